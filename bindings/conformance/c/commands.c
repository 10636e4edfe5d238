/* A command that runs to its end in one call, and what may happen to it meanwhile. */
#include "driver.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Kills the box's shim once there is this file in the box. */
static void *kill_when(void *path)
{
    boxlite_bytes *bytes;
    while (boxlite_box_read_file(box, path, 1, NULL, &bytes, NULL) == BOXLITE_NOT_FOUND) {
        usleep(20000);
    }
    boxlite_bytes_free(bytes);
    kill_shim();
    return NULL;
}

void run(void)
{
    boxlite_command *command = new_command();
    if (command == NULL) {
        return;
    }
    size_t len;
    char *data = input(&len);
    if (data != NULL) {
        MUST(boxlite_command_set_input(command, data, len, &error));
        free(data);
    }
    boxlite_exec_result *result;
    boxlite_call *call = new_call();
    pthread_t killer;
    if (field("kill_when") != NULL) {
        pthread_create(&killer, NULL, kill_when, (void *)(size_t)field("kill_when"));
    }
    boxlite_code code = boxlite_exec(box, command, call, &result, &error);
    if (field("kill_when") != NULL) {
        pthread_join(killer, NULL);
    }
    if (succeeded("error", code)) {
        tell_exit(boxlite_exec_result_exit_code(result), boxlite_exec_result_signal(result),
                  boxlite_exec_result_timed_out(result), boxlite_exec_result_oom_killed(result));
        tell_flag("open", boxlite_exec_result_output_still_open(result));
    }
    if (result != NULL) {
        write_file(field("out"), boxlite_exec_result_stdout(result), boxlite_exec_result_stdout_len(result));
        write_file(field("err"), boxlite_exec_result_stderr(result), boxlite_exec_result_stderr_len(result));
    }
    boxlite_exec_result_free(result);
    boxlite_call_free(call);
    boxlite_command_free(command);
}
