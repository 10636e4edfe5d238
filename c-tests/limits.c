/* Limits that a box is made with: it is stopped when it has run, or been idle, for long enough, whoever watches. And
 * those of one command, each of which is not another's. */
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
    boxlite_call *call = new_call(180000);
    OK(boxlite_box_wait(box, call, &end, &error));
    CHECK_INT(boxlite_box_end_reason(end), reason);
    boxlite_box_end_free(end);
    boxlite_call_free(call);
}

static void a_lifetime_ends_what_runs(boxlite_runtime *runtime)
{
    boxlite_box *box = make(runtime, "mayfly", options_of(LIFETIME_MS, 0));
    boxlite_command *command = shell("echo kept > /file; sleep 600");
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
    long long limit = now_ms() + 60000;
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
    CHECK(wait_until_gone(boxlite_box_id(box), 180000));
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

/* Busy for three seconds by the box's clock, which a busy host does not change: what all its commands use meanwhile. */
static const char *const busy =
    "now() { IFS=' .' read -r s h _ </proc/uptime; now=$((s * 1000 + ${h#0} * 10)); }; "
    "used() { while read -r k v; do [ $k = usage_usec ] && used=$((v / 1000)); done </sys/fs/cgroup/cpu.stat; }; "
    "now; began=$now; used; before=$used; "
    "while [ $((now - began)) -lt 3000 ]; do i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; now; done; "
    "used; echo $((used - before)) $((now - began))";

static void cpu_time_is_shared(boxlite_runtime *runtime)
{
    boxlite_box_options *options = options_of(0, 0);
    OK(boxlite_box_options_set_cpu_millis(options, 250, &error));
    boxlite_box *box = make(runtime, "slow", options);
    boxlite_execution *beside;
    boxlite_command *command = shell("while :; do :; done");
    OK(boxlite_box_exec_start(box, command, NULL, &beside, &error));
    boxlite_command_free(command);
    boxlite_exec_result *result = run(box, shell(busy));
    int used = 0, took = 0;
    CHECK_INT(sscanf(boxlite_exec_result_stdout(result), "%d %d", &used, &took), 2);
    printf("a quarter of a CPU: %d ms in %d\n", used, took);
    CHECK(used > 0 && used < took / 2);
    boxlite_exec_result_free(result);
    boxlite_execution_free(beside);
    OK(boxlite_remove(runtime, "slow", 1, NULL, &error));
    boxlite_box_free(box);
}

enum { PIDS = 12, MEMORY = 48 << 20, OPEN_FILES = 40, CPU_MILLIS = 200 };

/* All four at once, so that any two that change places are seen. */
static boxlite_command *limited(const char *script)
{
    boxlite_command *command = shell(script);
    OK(boxlite_command_set_limits(command, PIDS, MEMORY, OPEN_FILES, CPU_MILLIS, &error));
    return command;
}

static void a_command_has_limits_of_its_own(boxlite_runtime *runtime)
{
    boxlite_box *box = create_box(runtime, "limits");
    boxlite_exec_result *result = run(box, limited("ulimit -n; ulimit -Hn"));
    CHECK_STR(boxlite_exec_result_stdout(result), "40\n40\n");
    boxlite_exec_result_free(result);

    /* The shell is one of the processes. */
    result = run(box, limited("for i in $(seq 30); do sleep 60 & echo $i; done"));
    CHECK(strstr(boxlite_exec_result_stderr(result), "fork") != NULL);
    CHECK(strstr(boxlite_exec_result_stdout(result), "\n11\n") != NULL);
    CHECK(strstr(boxlite_exec_result_stdout(result), "\n12\n") == NULL);
    boxlite_exec_result_free(result);

    /* 16 MiB are within the limit, 128 MiB are within the box's memory only. */
    result = run(box, limited("dd if=/dev/zero of=/dev/null bs=16M count=1 2>/dev/null; echo $?"));
    CHECK_STR(boxlite_exec_result_stdout(result), "0\n");
    CHECK_INT(boxlite_exec_result_oom_killed(result), 0);
    boxlite_exec_result_free(result);
    result = run(box, limited("exec dd if=/dev/zero of=/dev/null bs=128M count=1"));
    CHECK_INT(boxlite_exec_result_signal(result), 9);
    CHECK_INT(boxlite_exec_result_oom_killed(result), 1);
    boxlite_exec_result_free(result);
    result = run(box, shell("exec dd if=/dev/zero of=/dev/null bs=128M count=1"));
    CHECK_INT(boxlite_exec_result_exit_code(result), 0);
    boxlite_exec_result_free(result);

    /* A fifth of a CPU, in hundredths of a second by the box's clock. A busy machine may take long for one turn. */
    result = run(box, limited("began=$(tr -d . </proc/uptime | cut -d' ' -f1); now=$began; "
                              "while [ $((now - began)) -lt 300 ]; do i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; "
                              "now=$(tr -d . </proc/uptime | cut -d' ' -f1); done; "
                              "set -- $(cat /proc/$$/stat); echo $((${14} + ${15} + ${16} + ${17})) $((now - began))"));
    int used = 0, took = 0;
    CHECK_INT(sscanf(boxlite_exec_result_stdout(result), "%d %d", &used, &took), 2);
    printf("a fifth of a CPU: %d hundredths of a second in %d\n", used, took);
    CHECK(used > 0 && used < took / 2);
    boxlite_exec_result_free(result);
    OK(boxlite_remove(runtime, "limits", 1, NULL, &error));
    boxlite_box_free(box);
}

static void check_files(boxlite_box *box, boxlite_command *command, const char *expected)
{
    boxlite_exec_result *result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), expected);
    boxlite_exec_result_free(result);
}

/* Soft and hard limit, which root could raise if it had the capability. */
static void files_are_counted(boxlite_runtime *runtime)
{
    static const char *const limits = "ulimit -n; ulimit -Hn; (ulimit -n 1000) 2>/dev/null || echo no more";
    boxlite_box_options *options = options_of(0, 0);
    OK(boxlite_box_options_set_max_open_files(options, 99, &error));
    boxlite_box *box = make(runtime, "open", options);
    check_files(box, shell(limits), "99\n99\nno more\n");
    boxlite_command *command = shell(limits);
    OK(boxlite_command_set_limits(command, 0, 0, 50, 0, &error));
    check_files(box, command, "50\n50\nno more\n");
    command = shell(limits);
    OK(boxlite_command_set_limits(command, 0, 0, 500, 0, &error));
    check_files(box, command, "99\n99\nno more\n");
    boxlite_box_free(box);

    /* Another runtime, and another start. */
    boxlite_runtime *other = open_runtime();
    OK(boxlite_get(other, "open", NULL, &box, &error));
    check_files(box, shell("ulimit -n"), "99\n");
    OK(boxlite_remove(other, "open", 1, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(other, -1, NULL, &error));
    boxlite_runtime_free(other);
}

static void nonsense_is_refused(void)
{
    boxlite_box_options *options = options_of(0, 0);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "ms", boxlite_box_options_set_max_lifetime_ms(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "ms", boxlite_box_options_set_idle_timeout_ms(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "pids", boxlite_box_options_set_pids_max(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "millis", boxlite_box_options_set_cpu_millis(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "millis", boxlite_box_options_set_cpu_millis(options, 256001, &error));
    OK(boxlite_box_options_set_cpu_millis(options, 256000, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "files", boxlite_box_options_set_max_open_files(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "files", boxlite_box_options_set_max_open_files(options, 1048577, &error));
    boxlite_box_options_free(options);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    nonsense_is_refused();
    files_are_counted(runtime);
    a_lifetime_ends_what_runs(runtime);
    only_an_idle_box_is_idle(runtime);
    one_that_removes_itself(runtime);
    processes_are_counted(runtime);
    cpu_time_is_shared(runtime);
    a_command_has_limits_of_its_own(runtime);
    one_that_is_left_alone(runtime);
    return finish();
}
