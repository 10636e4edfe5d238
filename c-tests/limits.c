/* Limits that a box is made with: it is stopped when it has run, or been idle, for long enough, whoever watches. */
#include "harness.h"

#include <unistd.h>

/* Long enough for a slow machine to get from the start to the command. */
enum { LIFETIME_MS = 8000, IDLE_MS = 6000 };

static boxlite_box_options *options_of(int64_t lifetime_ms, int64_t idle_ms)
{
    boxlite_box_options *options;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_memory_mib(options, 256, &error));
    OK(boxlite_box_options_set_max_lifetime_ms(options, lifetime_ms, &error));
    OK(boxlite_box_options_set_idle_timeout_ms(options, idle_ms, &error));
    return options;
}

static boxlite_box *make(boxlite_runtime *runtime, const char *name, boxlite_box_options *options)
{
    boxlite_box *box;
    OK(boxlite_create(runtime, options, name, NULL, &box, &error));
    boxlite_box_options_free(options);
    return box;
}

static void check_end(boxlite_box *box, int32_t reason)
{
    boxlite_box_end *end;
    boxlite_call *call = new_call(60000);
    OK(boxlite_box_wait(box, call, &end, &error));
    CHECK_INT(boxlite_box_end_reason(end), reason);
    boxlite_box_end_free(end);
    boxlite_call_free(call);
}

static void a_lifetime_ends_what_runs(boxlite_runtime *runtime)
{
    boxlite_box *box = make(runtime, "mayfly", options_of(LIFETIME_MS, 0));
    boxlite_command *command = shell("echo kept > /file; sync; sleep 600");
    boxlite_execution *execution;
    boxlite_exit *exit;
    boxlite_info *info;
    OK(boxlite_box_exec_start(box, command, NULL, &execution, &error));
    boxlite_command_free(command);
    check_end(box, BOXLITE_END_LIFETIME);
    OK(boxlite_execution_wait(execution, NULL, &exit, &error));
    CHECK_INT(boxlite_exit_signal(exit), 15);
    boxlite_exit_free(exit);
    boxlite_execution_free(execution);
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_INT(boxlite_info_status(info), BOXLITE_STATUS_STOPPED);
    boxlite_info_free(info);

    /* It is a box at rest like any other, and the next run has a life of its own. */
    CHECK_OUTPUT(box, "cat /file", "kept\n");
    OK(boxlite_remove(runtime, "mayfly", 1, NULL, &error));
    boxlite_box_free(box);
}

static void only_an_idle_box_is_idle(boxlite_runtime *runtime)
{
    boxlite_box *box = make(runtime, "idler", options_of(0, IDLE_MS));
    boxlite_execution *execution;
    int32_t input;
    /* A command that takes longer than that, then one whose input is open for longer. */
    CHECK_OUTPUT(box, "sleep 9; echo done", "done\n");
    boxlite_command *command;
    OK(boxlite_command_new("cat", &command, &error));
    OK(boxlite_command_set_stdin(command, BOXLITE_STDIN_ONCE, &error));
    OK(boxlite_box_exec_start(box, command, NULL, &execution, &error));
    boxlite_command_free(command);
    OK(boxlite_execution_take_stdin(execution, 0, NULL, &input, &error));
    boxlite_box_end *end;
    boxlite_call *call = new_call(IDLE_MS + 3000);
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_wait(box, call, &end, &error));
    boxlite_call_free(call);
    close(input);
    boxlite_execution_free(execution);
    check_end(box, BOXLITE_END_IDLE);
    OK(boxlite_remove(runtime, "idler", 0, NULL, &error));
    boxlite_box_free(box);
}

static void one_that_removes_itself(boxlite_runtime *runtime)
{
    boxlite_box_options *options = options_of(0, IDLE_MS);
    OK(boxlite_box_options_set_auto_remove(options, 1, &error));
    boxlite_box *box = make(runtime, "gone", options), *found = NULL;
    OK(boxlite_box_start(box, NULL, &error));
    check_end(box, BOXLITE_END_IDLE);
    long long limit = now_ms() + 20000;
    while (boxlite_get(runtime, "gone", NULL, &found, NULL) == BOXLITE_OK && now_ms() < limit) {
        boxlite_box_free(found);
        sleep_ms(50);
    }
    EXPECT(BOXLITE_NOT_FOUND, boxlite_get(runtime, "gone", NULL, &found, &error));
    boxlite_box_free(box);
}

/* Nobody watches over it but its own process. */
static void one_that_is_left_alone(boxlite_runtime *runtime)
{
    boxlite_box_options *options = options_of(LIFETIME_MS, 0);
    OK(boxlite_box_options_set_detach(options, 1, &error));
    boxlite_box *box = make(runtime, "detached", options);
    OK(boxlite_box_start(box, NULL, &error));
    CHECK(shim_pid(box) > 0);
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
    CHECK(wait_until_gone(boxlite_box_id(box), 60000));
    boxlite_box_free(box);

    runtime = open_runtime();
    OK(boxlite_get(runtime, "detached", NULL, &box, &error));
    check_end(box, BOXLITE_END_LIFETIME);
    OK(boxlite_remove(runtime, "detached", 0, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
}

static void processes_are_counted(boxlite_runtime *runtime)
{
    boxlite_box_options *options = options_of(0, 0);
    OK(boxlite_box_options_set_pids_max(options, 16, &error));
    boxlite_box *box = make(runtime, "few", options);
    boxlite_exec_result *result = run(box, shell("for i in $(seq 40); do sleep 60 & done; echo all"));
    CHECK(strstr(boxlite_exec_result_stderr(result), "fork") != NULL);
    CHECK_STR(boxlite_exec_result_stdout(result), "");
    boxlite_exec_result_free(result);
    OK(boxlite_remove(runtime, "few", 1, NULL, &error));
    boxlite_box_free(box);
}

static void nonsense_is_refused(void)
{
    boxlite_box_options *options = options_of(0, 0);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "ms", boxlite_box_options_set_max_lifetime_ms(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "ms", boxlite_box_options_set_idle_timeout_ms(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "pids", boxlite_box_options_set_pids_max(options, -1, &error));
    boxlite_box_options_free(options);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    nonsense_is_refused();
    a_lifetime_ends_what_runs(runtime);
    only_an_idle_box_is_idle(runtime);
    one_that_removes_itself(runtime);
    processes_are_counted(runtime);
    one_that_is_left_alone(runtime);
    return finish();
}
