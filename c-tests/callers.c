/* Calls from an atexit handler: the threads' destructors have run by then, those of the libraries have not. */
#include "harness.h"

#include <unistd.h>

static boxlite_runtime *opened_before;
static boxlite_box *started_before;

static void at_the_end(void)
{
    char id[32];
    CHECK_OUTPUT(started_before, "cat /file", "kept\n");
    snprintf(id, sizeof id, "%s", boxlite_box_id(started_before));
    OK(boxlite_remove(opened_before, id, 1, NULL, &error));
    CHECK_INT(processes_with(id), 0);
    boxlite_box_free(started_before);
    OK(boxlite_runtime_shutdown(opened_before, 0, NULL, &error));
    boxlite_runtime_free(opened_before);

    boxlite_runtime *runtime = open_runtime();
    boxlite_box *box = create_box(runtime, NULL);
    CHECK_OUTPUT(box, "echo late", "late\n");
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    boxlite_box_free(box);
    boxlite_runtime_free(runtime);
    /* The exit code is settled already, unless there is something to say. */
    if (finish() != 0) {
        _exit(1);
    }
}

int main(void)
{
    /* Handlers run last one first: the home has to be there. */
    (void)home();
    if (atexit(at_the_end) != 0) {
        return 1;
    }
    opened_before = open_runtime();
    started_before = create_box(opened_before, NULL);
    CHECK_OUTPUT(started_before, "echo kept > /file; cat /file", "kept\n");
    return 0;
}
