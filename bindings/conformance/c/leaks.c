/* Many commands, and what they have left in this process. */
#include "driver.h"

#include <dirent.h>
#include <stdio.h>

void rounds(void)
{
    boxlite_command *command = new_command();
    int failed = 0;
    for (long long left = number("count", 0); left > 0; left--) {
        boxlite_exec_result *result;
        MUST(boxlite_exec(box, command, NULL, &result, &error));
        failed += boxlite_exec_result_exit_code(result) != 0;
        boxlite_exec_result_free(result);
    }
    boxlite_command_free(command);
    tell("failed", "%d", failed);
}

static int entries(const char *dir)
{
    DIR *stream = opendir(dir);
    int count = 0;
    while (stream != NULL && readdir(stream) != NULL) {
        count++;
    }
    closedir(stream);
    return count;
}

void measure(void)
{
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        sscanf(line, "VmRSS: %ld", &kib);
    }
    fclose(status);
    tell("descriptors", "%d", entries("/proc/self/fd"));
    tell("threads", "%d", entries("/proc/self/task"));
    tell("resident_kib", "%ld", kib);
}
