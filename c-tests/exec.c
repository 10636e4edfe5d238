/* Commands in a real virtual machine: what goes in arrives, what comes out is told, byte for byte. */
#include "harness.h"

#include <pthread.h>

static boxlite_box *box;

static void exits_are_told_apart(void)
{
    const struct {
        const char *script;
        int code, signal;
    } cases[] = {{"exit 0", 0, 0}, {"exit 7", 7, 0}, {"exit 255", 255, 0}, {"kill -9 $$", -1, 9}, {"kill -15 $$", -1, 15}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        boxlite_exec_result *result = run(box, shell(cases[i].script));
        CHECK_INT(boxlite_exec_result_exit_code(result), cases[i].code);
        CHECK_INT(boxlite_exec_result_signal(result), cases[i].signal);
        CHECK_INT(boxlite_exec_result_timed_out(result), 0);
        CHECK_INT(boxlite_exec_result_oom_killed(result), 0);
        boxlite_exec_result_free(result);
    }
}

static void what_cannot_be_started_is_an_error(void)
{
    const struct {
        const char *program;
        int code;
    } cases[] = {{"no-such-program", 127}, {"/no/such/program", 127}, {"/etc", 126}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        boxlite_command *command;
        boxlite_exec_result *result = (boxlite_exec_result *)&result;
        OK(boxlite_command_new(cases[i].program, &command, &error));
        CHECK_INT(boxlite_exec(box, command, NULL, &result, &error), BOXLITE_EXECUTION);
        CHECK(result == NULL);
        CHECK_INT(boxlite_error_exit_code(error), cases[i].code);
        CHECK(strstr(boxlite_error_message(error), cases[i].program) != NULL);
        boxlite_error_free(error);
        error = NULL;
        boxlite_command_free(command);
    }
    boxlite_command *command = shell("true");
    boxlite_exec_result *result;
    OK(boxlite_command_set_user(command, "nobody-of-this-name", &error));
    boxlite_code code = boxlite_exec(box, command, NULL, &result, &error);
    CHECK(code != BOXLITE_OK && result == NULL);
    EXPECT(code, code);
    boxlite_command_free(command);
    CHECK_OUTPUT(box, "echo still here", "still here\n");
}

static void output_is_bytes(void)
{
    boxlite_exec_result *result = run(box, shell("printf 'a\\000\\377b'; printf 'e\\000' >&2"));
    CHECK_INT((long long)boxlite_exec_result_stdout_len(result), 4);
    CHECK(memcmp(boxlite_exec_result_stdout(result), "a\0\xff" "b", 5) == 0);
    CHECK_INT((long long)boxlite_exec_result_stdout_total(result), 4);
    CHECK_INT(boxlite_exec_result_stdout_truncated(result), 0);
    CHECK_INT((long long)boxlite_exec_result_stderr_len(result), 2);
    CHECK_INT((long long)boxlite_exec_result_stderr_total(result), 2);
    CHECK_INT(boxlite_exec_result_output_still_open(result), 0);
    boxlite_exec_result_free(result);
}

static void input_is_bytes(void)
{
    size_t len = 3 << 20;
    char *data = malloc(len);
    for (size_t i = 0; i < len; i++) {
        data[i] = (char)(i * 7 + i / 251);
    }
    boxlite_command *command;
    OK(boxlite_command_new("cat", &command, &error));
    OK(boxlite_command_set_input(command, data, len, &error));
    boxlite_exec_result *result = run(box, command);
    CHECK_INT((long long)boxlite_exec_result_stdout_len(result), (long long)len);
    CHECK(memcmp(boxlite_exec_result_stdout(result), data, len) == 0);
    boxlite_exec_result_free(result);

    /* A command that does not read all of its input is no error; one without input reads end of file. */
    command = shell("head -c 3");
    OK(boxlite_command_set_input(command, "abcdef", 6, &error));
    result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "abc");
    boxlite_exec_result_free(result);
    free(data);
    CHECK_OUTPUT(box, "wc -c", "0\n");
}

static void arguments_and_variables_may_be_any_bytes(void)
{
    boxlite_command *command = shell("printf '%s|%s|' \"$1\" \"$V\"; pwd");
    OK(boxlite_command_add_arg(command, "sh", &error));
    OK(boxlite_command_add_arg(command, "a\xff\n'\"", &error));
    OK(boxlite_command_set_env(command, "V", "old", &error));
    OK(boxlite_command_set_env(command, "V", "v\xfe=", &error));
    CHECK_OUTPUT(box, "mkdir -p \"/tmp/$(printf 'd\\375')\"", "");
    OK(boxlite_command_set_working_dir(command, "/tmp/d\xfd", &error));
    boxlite_exec_result *result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "a\xff\n'\"|v\xfe=|/tmp/d\xfd\n");
    boxlite_exec_result_free(result);

    command = shell("echo \"$BOX $BOTH $RAW\"");
    OK(boxlite_command_set_env(command, "BOTH", "command", &error));
    result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "box command r\xff\n");
    boxlite_exec_result_free(result);
}

static void a_thousand_variables_arrive(void)
{
    boxlite_command *command = shell("env | grep -c '^MANY_'; echo $MANY_999");
    for (int i = 0; i < 1000; i++) {
        char name[32], text[128];
        snprintf(name, sizeof name, "MANY_%d", i);
        snprintf(text, sizeof text, "%0100d", i);
        OK(boxlite_command_set_env(command, name, text, &error));
    }
    char expected[160];
    snprintf(expected, sizeof expected, "1000\n%0100d\n", 999);
    boxlite_exec_result *result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), expected);
    boxlite_exec_result_free(result);
}

static void a_megabyte_of_arguments_arrives(void)
{
    static char arg[100001];
    const char *args[10];
    memset(arg, 'x', sizeof arg - 1);
    for (size_t i = 0; i < 10; i++) {
        args[i] = arg;
    }
    boxlite_command *command = shell("echo $# ${#10}");
    OK(boxlite_command_add_arg(command, "sh", &error));
    OK(boxlite_command_add_args(command, args, 10, &error));
    boxlite_exec_result *result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "10 100000\n");
    boxlite_exec_result_free(result);
}

static void the_head_of_long_output_is_kept(void)
{
    boxlite_command *command = shell("i=0; while [ $i -lt 1000 ]; do echo 0123456789abcdef; i=$((i+1)); done; echo e >&2");
    OK(boxlite_command_set_max_output(command, 20, &error));
    boxlite_exec_result *result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "0123456789abcdef\n012");
    CHECK_INT((long long)boxlite_exec_result_stdout_total(result), 17000);
    CHECK_INT(boxlite_exec_result_stdout_truncated(result), 1);
    CHECK_INT(boxlite_exec_result_stderr_truncated(result), 0);
    CHECK_INT(boxlite_exec_result_exit_code(result), 0);
    boxlite_exec_result_free(result);
}

static void streams_can_be_merged(void)
{
    boxlite_command *command = shell("echo a; echo b >&2; echo c");
    OK(boxlite_command_set_merge_stderr(command, 1, &error));
    boxlite_exec_result *result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "a\nb\nc\n");
    CHECK_INT((long long)boxlite_exec_result_stderr_total(result), 0);
    boxlite_exec_result_free(result);
}

static void a_background_child_does_not_hold_the_call(void)
{
    long long start = now_ms();
    boxlite_exec_result *result = run(box, shell("sleep 600 & echo hi"));
    CHECK(now_ms() - start < 60000);
    CHECK_STR(boxlite_exec_result_stdout(result), "hi\n");
    CHECK_INT(boxlite_exec_result_output_still_open(result), 1);
    boxlite_exec_result_free(result);

    boxlite_command *command = shell("(sleep 1; echo late) & echo early");
    OK(boxlite_command_set_drain_ms(command, 60000, &error));
    result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "early\nlate\n");
    CHECK_INT(boxlite_exec_result_output_still_open(result), 0);
    boxlite_exec_result_free(result);
}

static void users_are_respected(void)
{
    boxlite_command *command = shell("id -u; id -g");
    OK(boxlite_command_set_user(command, "1234:4321", &error));
    boxlite_exec_result *result = run(box, command);
    CHECK_STR(boxlite_exec_result_stdout(result), "1234\n4321\n");
    boxlite_exec_result_free(result);
}

static void *one_of_many(void *number)
{
    char script[64], expected[32];
    int n = *(int *)number;
    snprintf(script, sizeof script, "echo %d; exit %d", n, n);
    snprintf(expected, sizeof expected, "%d\n", n);
    for (int round = 0; round < 3; round++) {
        boxlite_exec_result *result = run(box, shell(script));
        CHECK_INT(boxlite_exec_result_exit_code(result), n);
        CHECK_STR(boxlite_exec_result_stdout(result), expected);
        boxlite_exec_result_free(result);
    }
    return NULL;
}

static void sixteen_at_once_do_not_mix(void)
{
    pthread_t threads[16];
    int numbers[16];
    for (int i = 0; i < 16; i++) {
        numbers[i] = i;
        CHECK_INT(pthread_create(&threads[i], NULL, one_of_many, &numbers[i]), 0);
    }
    for (int i = 0; i < 16; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    boxlite_box_options *options;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_env(options, "BOX", "box", &error));
    OK(boxlite_box_options_set_env(options, "BOTH", "box", &error));
    OK(boxlite_box_options_set_env(options, "RAW", "r\xff", &error));
    OK(boxlite_create(runtime, options, NULL, NULL, &box, &error));
    boxlite_box_options_free(options);

    exits_are_told_apart();
    what_cannot_be_started_is_an_error();
    output_is_bytes();
    input_is_bytes();
    arguments_and_variables_may_be_any_bytes();
    a_thousand_variables_arrive();
    a_megabyte_of_arguments_arrives();
    the_head_of_long_output_is_kept();
    streams_can_be_merged();
    a_background_child_does_not_hold_the_call();
    users_are_respected();
    sixteen_at_once_do_not_mix();

    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
