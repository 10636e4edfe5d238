/* Who takes a command's streams, and what each is told: taken over, listed, taken up, forgotten, given up. */
#define _GNU_SOURCE
#include "commands.h"

#include <signal.h>
#include <unistd.h>

static void another_takes_over(void)
{
    boxlite_command *command = piped("while read line; do echo \"<$line>\"; done; exit 5");
    OK(boxlite_command_set_stdin(command, BOXLITE_STDIN_KEEP, &error));
    boxlite_execution *execution = start(command);
    int in = take_stdin(execution), out = take_stdout(execution);
    char text[64];
    send_text(in, "first\n");
    read_until(out, text, sizeof text, "<first>\n");
    /* Kept: losing the connection is no end. */
    close(in);

    boxlite_runtime *second = open_runtime();
    boxlite_execution *attached = attach(second, boxlite_execution_id(execution));
    CHECK_STR(boxlite_execution_id(attached), boxlite_execution_id(execution));
    int in2 = take_stdin(attached), out2;
    OK(boxlite_execution_take_stdout(attached, 8, 0, NULL, &out2, &error));
    /* Who had it before is told by an end, and can tell it from the stream's own. */
    CHECK_INT((long long)read_all(out, text, sizeof text), 0);
    struct state state = state_of(execution, BOXLITE_STREAM_STDOUT);
    CHECK_INT(state.closed, 0);
    send_text(in2, "second\n");
    read_until(out2, text, sizeof text, "<second>\n");
    CHECK_STR(text, "<second>\n");
    state = state_of(attached, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.first, 8);
    CHECK_INT(state.taken_over, 0);
    OK(boxlite_execution_close_stdin(attached, strlen("first\nsecond\n"), NULL, &error));
    CHECK_INT((long long)read_all(out2, text, sizeof text), 0);
    check_exit(attached, 5, 0);
    check_exit(execution, 5, 0);
    /* At the end all bytes are somewhere, but not all of them with either. */
    state = state_of(attached, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.first, 8);
    CHECK_INT((long long)state.total, 17);
    CHECK(is_whole(state, 9) && !state.taken_over);
    state = state_of(execution, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.first, 0);
    CHECK_INT((long long)state.total, 17);
    CHECK(state.closed && state.taken_over && !is_whole(state, 8));
    close(in2);
    close(out);
    close(out2);
    boxlite_execution_free(attached);
    OK(boxlite_runtime_shutdown(second, 1000, NULL, &error));
    boxlite_runtime_free(second);
    boxlite_execution_free(execution);
}

static void commands_are_listed(void)
{
    boxlite_execution *execution = start(shell("exec sleep 601"));
    boxlite_execution_list *list;
    OK(boxlite_box_executions(box, NULL, &list, &error));
    size_t len = boxlite_execution_list_len(list);
    CHECK(len > 1);
    const boxlite_execution_info *info = boxlite_execution_list_at(list, len - 1);
    CHECK_STR(boxlite_execution_info_id(info), boxlite_execution_id(execution));
    CHECK_INT((long long)boxlite_execution_info_arg_len(info), 3);
    CHECK_STR(boxlite_execution_info_arg(info, 2), "exec sleep 601");
    CHECK(boxlite_execution_info_arg(info, 3) == NULL);
    CHECK(boxlite_execution_info_started_at_ms(info) > 1600000000000);
    CHECK_INT(boxlite_execution_info_tty(info), 0);
    CHECK(boxlite_execution_info_exit(info) == NULL);
    CHECK_INT(boxlite_execution_info_stdin(info), BOXLITE_STDIN_ONCE);
    CHECK_INT(boxlite_execution_info_stdout(info), BOXLITE_OUTPUT_RETAIN);
    CHECK_INT(boxlite_execution_info_stderr(info), BOXLITE_OUTPUT_RETAIN);
    CHECK_INT(boxlite_execution_info_merge_stderr(info), 0);
    CHECK_INT(boxlite_execution_info_stdin_taken(info), 0);
    CHECK_INT(boxlite_execution_info_stdout_taken(info), 0);
    CHECK_INT(boxlite_execution_info_stderr_taken(info), 0);
    int ended = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        const boxlite_exit *exit = boxlite_execution_info_exit(boxlite_execution_list_at(list, i));
        ended += boxlite_exit_code(exit) == 5 && exit != NULL;
    }
    CHECK_INT(ended, 1);
    CHECK(boxlite_execution_list_at(list, len) == NULL);
    boxlite_execution_list_free(list);
    boxlite_execution *none;
    EXPECT_ABOUT(BOXLITE_NOT_FOUND, "nobody", boxlite_box_attach(box, "nobody", NULL, &none, &error));
    CHECK(none == NULL);
    OK(boxlite_execution_kill(execution, NULL, &error));
    check_exit(execution, -1, SIGKILL);
    OK(boxlite_execution_kill(execution, NULL, &error));
    boxlite_execution_free(execution);
}

/* The newest command of the box. */
static const boxlite_execution_info *newest(boxlite_execution_list **list)
{
    OK(boxlite_box_executions(box, NULL, list, &error));
    return boxlite_execution_list_at(*list, boxlite_execution_list_len(*list) - 1);
}

static void the_streams_of_a_command_are_known_to_who_takes_it_up(void)
{
    boxlite_command *command = shell("sleep 600");
    OK(boxlite_command_set_stdin(command, BOXLITE_STDIN_NULL, &error));
    OK(boxlite_command_set_stdout(command, BOXLITE_OUTPUT_PIPE, &error));
    OK(boxlite_command_set_merge_stderr(command, 1, &error));
    boxlite_execution *execution = start(command), *attached = attach(runtime, boxlite_execution_id(execution));
    int fd, out;
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_stdin(attached, 0, NULL, &fd, &error));
    CHECK_INT(fd, -1);
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_stderr(attached, 0, 0, NULL, &fd, &error));
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_tty(attached, 0, 0, NULL, &fd, &error));
    OK(boxlite_execution_take_stdout(attached, 0, 0, NULL, &out, &error));
    boxlite_execution_list *list;
    const boxlite_execution_info *info = newest(&list);
    CHECK_STR(boxlite_execution_info_id(info), boxlite_execution_id(execution));
    CHECK_INT(boxlite_execution_info_stdin(info), BOXLITE_STDIN_NULL);
    CHECK_INT(boxlite_execution_info_stdout(info), BOXLITE_OUTPUT_PIPE);
    CHECK_INT(boxlite_execution_info_stderr(info), BOXLITE_OUTPUT_PIPE);
    CHECK_INT(boxlite_execution_info_merge_stderr(info), 1);
    boxlite_execution_list_free(list);
    /* The list says who is connected, as soon as the box knows. */
    for (int taken = 0; !taken;) {
        taken = boxlite_execution_info_stdout_taken(newest(&list));
        boxlite_execution_list_free(list);
    }
    close(out);
    for (int taken = 1; taken;) {
        taken = boxlite_execution_info_stdout_taken(newest(&list));
        boxlite_execution_list_free(list);
    }
    OK(boxlite_execution_kill(execution, NULL, &error));
    check_exit(attached, -1, SIGKILL);
    boxlite_execution_free(attached);
    boxlite_execution_free(execution);
    CHECK_INT(boxlite_execution_info_stdin(NULL), -1);
    CHECK_INT(boxlite_execution_info_stdout(NULL), -1);
    CHECK_INT(boxlite_execution_info_stderr(NULL), -1);

    command = shell("sleep 600");
    OK(boxlite_command_set_stderr(command, BOXLITE_OUTPUT_NULL, &error));
    execution = start(command);
    attached = attach(runtime, boxlite_execution_id(execution));
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_stderr(attached, 0, 0, NULL, &fd, &error));
    int in = take_stdin(attached);
    for (int taken = 0; !taken;) {
        taken = boxlite_execution_info_stdin_taken(newest(&list));
        boxlite_execution_list_free(list);
    }
    close(in);
    OK(boxlite_execution_kill(execution, NULL, &error));
    check_exit(execution, -1, SIGKILL);
    boxlite_execution_free(attached);
    boxlite_execution_free(execution);
}

/* A box remembers its newest 64 commands that have ended. */
static void what_is_forgotten_is_said_at_once(void)
{
    enum { NEWER = 66 };
    boxlite_execution *execution = start(piped("echo lost"));
    check_exit(execution, 0, 0);
    for (int i = 0; i < NEWER; i++) {
        boxlite_execution *newer = start(shell("true"));
        check_exit(newer, 0, 0);
        boxlite_execution_free(newer);
    }
    int fd = 7;
    EXPECT_ABOUT(BOXLITE_NOT_FOUND, boxlite_execution_id(execution),
                 boxlite_execution_take_stdout(execution, 0, 0, NULL, &fd, &error));
    CHECK_INT(fd, -1);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_execution_take_stdin(execution, 0, NULL, &fd, &error));
    /* Nothing is waited for that will not come: that would take 10 s. */
    boxlite_call *call = new_call(8000);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_execution_close_stdin(execution, 0, call, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_execution_kill(execution, call, &error));
    boxlite_call_free(call);
    check_exit(execution, 0, 0);
    boxlite_execution_free(execution);
}

/* Many commands that leave what they wrote to whoever comes. */
static void what_was_promised_is_kept_and_what_was_given_up_is_never_whole(void)
{
    enum { COMMANDS = 14, BYTES = 1000000 };
    static const int32_t MODES[] = {BOXLITE_OUTPUT_PIPE, BOXLITE_OUTPUT_RETAIN};
    for (int mode = 0; mode < 2; mode++) {
        boxlite_execution *executions[COMMANDS];
        for (int i = 0; i < COMMANDS; i++) {
            boxlite_command *command = shell("head -c 1000000 /dev/zero");
            OK(boxlite_command_set_stdout(command, MODES[mode], &error));
            executions[i] = start(command);
            check_exit(executions[i], 0, 0);
        }
        int lost = 0;
        for (int i = 0; i < COMMANDS; i++) {
            int out = take_stdout(executions[i]);
            size_t received = read_all(out, NULL, 0);
            struct state state = state_of(executions[i], BOXLITE_STREAM_STDOUT);
            CHECK_INT((long long)state.total, BYTES);
            CHECK_INT((long long)(state.dropped + received), BYTES);
            CHECK_INT(is_whole(state, received), received == BYTES);
            lost += received < BYTES;
            close(out);
            boxlite_execution_free(executions[i]);
        }
        /* Of the box's 256 MiB 32 are for what was promised, 8 for what was not. */
        CHECK_INT(lost > 0, MODES[mode] == BOXLITE_OUTPUT_RETAIN);
    }
}

int main(void)
{
    begin_commands();

    another_takes_over();
    commands_are_listed();
    the_streams_of_a_command_are_known_to_who_takes_it_up();
    what_is_forgotten_is_said_at_once();
    what_was_promised_is_kept_and_what_was_given_up_is_never_whole();

    OK(boxlite_box_stop(box, NULL, &error));
    return finish_commands();
}
