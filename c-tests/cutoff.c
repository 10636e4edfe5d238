/* Commands that are cut off, by their own timeout, by the call's deadline, by a cancel: nothing of them is left, and
 * the output so far is told. */
#include "harness.h"

#include <pthread.h>

/* Anything that takes longer has gone wrong: what is cut off here would take hours. */
enum { PATIENCE_MS = 60000 };

static boxlite_box *box;

/* How many processes of the box have this, which must not match itself, in their arguments. */
static int count_processes(const char *pattern)
{
    char script[256];
    snprintf(script, sizeof script, "ps -o args | grep -c '%s'", pattern);
    boxlite_exec_result *result = run(box, shell(script));
    int count = atoi(boxlite_exec_result_stdout(result));
    boxlite_exec_result_free(result);
    return count;
}

static void wait_for_processes(const char *pattern, int count)
{
    long long deadline = now_ms() + PATIENCE_MS;
    while (count_processes(pattern) < count && now_ms() < deadline) {
        sleep_ms(10);
    }
}

/* What is killed goes when its turn comes. */
static void check_gone(const char *pattern)
{
    long long deadline = now_ms() + PATIENCE_MS;
    while (count_processes(pattern) > 0 && now_ms() < deadline) {
        sleep_ms(10);
    }
    CHECK_INT(count_processes(pattern), 0);
}

/* The machine may be too busy for a command to say something before it is cut off: then it is given more time. */
#define FIRST_LIMIT_MS 500
static bool is_too_early(const boxlite_exec_result *result, long long limit_ms)
{
    return limit_ms < PATIENCE_MS / 2 && (result == NULL || boxlite_exec_result_stdout(result)[0] == '\0');
}

static void a_timeout_of_the_command_is_a_result(void)
{
    boxlite_exec_result *result = NULL;
    long long limit_ms = FIRST_LIMIT_MS;
    do {
        boxlite_exec_result_free(result);
        limit_ms *= 2;
        boxlite_command *command = shell("echo before; setsid sleep 4321 & sleep 4321");
        OK(boxlite_command_set_timeout_ms(command, limit_ms, &error));
        long long start = now_ms();
        result = run(box, command);
        long long took = now_ms() - start;
        CHECK(took >= limit_ms && took < limit_ms + PATIENCE_MS);
        CHECK_INT(boxlite_exec_result_timed_out(result), 1);
        CHECK_INT(boxlite_exec_result_signal(result), 9);
        CHECK_INT(boxlite_exec_result_exit_code(result), -1);
    } while (is_too_early(result, limit_ms));
    CHECK_STR(boxlite_exec_result_stdout(result), "before\n");
    boxlite_exec_result_free(result);
    check_gone("sleep [4]321");
}

static void a_deadline_of_the_call_kills_and_tells_the_output(void)
{
    boxlite_command *command = shell("echo so far; setsid sleep 4322 & sleep 4322");
    boxlite_call *call = new_call(-1);
    boxlite_exec_result *result = NULL;
    long long limit_ms = FIRST_LIMIT_MS;
    do {
        boxlite_exec_result_free(result);
        limit_ms *= 2;
        OK(boxlite_call_set_timeout_ms(call, limit_ms, &error));
        long long start = now_ms();
        EXPECT(BOXLITE_TIMEOUT, boxlite_exec(box, command, call, &result, &error));
        long long took = now_ms() - start;
        CHECK(took >= limit_ms && took < limit_ms + PATIENCE_MS);
    } while (is_too_early(result, limit_ms));
    CHECK(result != NULL);
    CHECK_STR(boxlite_exec_result_stdout(result), "so far\n");
    CHECK_INT(boxlite_exec_result_signal(result), 9);
    boxlite_exec_result_free(result);
    check_gone("sleep [4]322");

    /* The deadline counts anew for each call. */
    boxlite_command *quick = shell("true");
    OK(boxlite_exec(box, quick, call, &result, &error));
    boxlite_exec_result_free(result);
    boxlite_command_free(quick);
    boxlite_command_free(command);
    boxlite_call_free(call);
}

static void no_waiting_is_soon_over(void)
{
    boxlite_command *command = shell("sleep 4323");
    boxlite_call *call = new_call(0);
    boxlite_exec_result *result;
    long long start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_exec(box, command, call, &result, &error));
    CHECK(now_ms() - start < PATIENCE_MS);
    boxlite_exec_result_free(result);
    boxlite_command_free(command);
    boxlite_call_free(call);
    check_gone("sleep [4]323");
}

/* Whatever the deadline falls into, the sending of the command or its start, no process is left. */
static void no_deadline_is_too_short(void)
{
    boxlite_command *command = shell("sleep 4326");
    boxlite_call *call = new_call(-1);
    for (int timeout_ms = 1; timeout_ms < 40; timeout_ms += 3) {
        boxlite_exec_result *result;
        OK(boxlite_call_set_timeout_ms(call, timeout_ms, &error));
        EXPECT(BOXLITE_TIMEOUT, boxlite_exec(box, command, call, &result, &error));
        boxlite_exec_result_free(result);
    }
    boxlite_command_free(command);
    boxlite_call_free(call);
    check_gone("sleep [4]326");
}

/* When the command has said what it has to say. */
static void *cancel_soon(void *call)
{
    wait_for_processes("^sleep [4]324$", 2);
    EXPECT(BOXLITE_OK, boxlite_call_cancel(call, &error));
    return NULL;
}

static void a_cancel_kills_and_tells_the_output(void)
{
    boxlite_command *command = shell("echo so far; setsid sleep 4324 & sleep 4324");
    boxlite_call *call = new_call(-1);
    boxlite_exec_result *result = NULL;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, cancel_soon, call), 0);
    EXPECT(BOXLITE_CANCELLED, boxlite_exec(box, command, call, &result, &error));
    pthread_join(thread, NULL);
    CHECK(result != NULL);
    CHECK_STR(boxlite_exec_result_stdout(result), "so far\n");
    boxlite_exec_result_free(result);

    EXPECT(BOXLITE_CANCELLED, boxlite_exec(box, command, call, &result, &error));
    CHECK(result == NULL);
    boxlite_command_free(command);
    command = shell("echo again");
    OK(boxlite_call_reset(call, &error));
    OK(boxlite_exec(box, command, call, &result, &error));
    CHECK_STR(boxlite_exec_result_stdout(result), "again\n");
    boxlite_exec_result_free(result);
    boxlite_command_free(command);
    boxlite_call_free(call);
    check_gone("sleep [4]324");
}

static void *stop_soon(void *one)
{
    wait_for_processes("^sleep [4]325$", 1);
    OK(boxlite_box_stop(one, NULL, &error));
    return NULL;
}

/* The command dies of the stop's SIGTERM or SIGKILL, or the box goes first. */
static void a_stop_ends_what_runs(void)
{
    boxlite_command *command = shell("sleep 4325");
    boxlite_exec_result *result;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, stop_soon, box), 0);
    long long start = now_ms();
    boxlite_code code = boxlite_exec(box, command, NULL, &result, &error);
    CHECK(now_ms() - start < 2 * PATIENCE_MS);
    if (code == BOXLITE_OK) {
        int32_t signal = boxlite_exec_result_signal(result);
        CHECK(signal == 15 || signal == 9);
    } else {
        CHECK_INT(code, BOXLITE_STOPPED);
    }
    EXPECT(code, code);
    pthread_join(thread, NULL);
    boxlite_exec_result_free(result);
    boxlite_command_free(command);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    box = create_box(runtime, NULL);
    boxlite_exec_result_free(run(box, shell("sleep 4320 > /dev/null 2>&1 &")));
    CHECK_INT(count_processes("sleep [4]320"), 1);
    a_timeout_of_the_command_is_a_result();
    a_deadline_of_the_call_kills_and_tells_the_output();
    no_waiting_is_soon_over();
    no_deadline_is_too_short();
    a_cancel_kills_and_tells_the_output();
    a_stop_ends_what_runs();
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
