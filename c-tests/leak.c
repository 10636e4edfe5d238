/* Loses a handle. Only to see that the memcheck tests notice. */
#include "harness.h"

int main(void)
{
    boxlite_command *lost;
    OK(boxlite_command_new("true", &lost, &error));
    lost = NULL;
    return lost != NULL;
}
