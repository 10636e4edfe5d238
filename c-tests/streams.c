/* Commands that run while their streams are descriptors: taken, polled, closed. */
#define _GNU_SOURCE
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static void both_ways_and_a_half_close(void)
{
    boxlite_execution *execution = start(piped("cat; echo done >&2"));
    int in = take_stdin(execution), out = take_stdout(execution), err;
    OK(boxlite_execution_take_stderr(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &err, &error));
    CHECK(fcntl(in, F_GETFD) & FD_CLOEXEC);
    CHECK(!(fcntl(out, F_GETFL) & O_NONBLOCK));
    char text[64];
    send_text(in, "one\n");
    read_until(out, text, sizeof text, "one\n");
    send_text(in, "two\n");
    CHECK_INT(shutdown(in, SHUT_WR), 0);
    CHECK_INT((long long)read_all(out, text, sizeof text), 4);
    CHECK_STR(text, "two\n");
    read_all(err, text, sizeof text);
    CHECK_STR(text, "done\n");
    check_exit(execution, 0, 0);
    check_exit(execution, 0, 0);
    struct state state = state_of(execution, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.first, 0);
    CHECK_INT((long long)state.total, 8);
    CHECK_INT(state.closed, 1);
    close(in);
    close(out);
    close(err);
    boxlite_execution_free(execution);
}

static void what_was_taken_or_is_not_there_is_refused(void)
{
    boxlite_execution *execution = start(piped("read line; exit 3"));
    int out = take_stdout(execution), fd = 7;
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_stdout(execution, 0, 0, NULL, &fd, &error));
    CHECK_INT(fd, -1);
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_tty(execution, 0, 0, NULL, &fd, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "flags", boxlite_execution_take_stdin(execution, 64, NULL, &fd, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "fd", boxlite_execution_take_stdin(execution, 0, NULL, NULL, &error));
    boxlite_stream_state *state;
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "which",
                 boxlite_execution_stream_state(execution, 0, NULL, &state, &error));
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_resize_tty(execution, 24, 80, NULL, &error));
    /* Losing the only connection is end of file. */
    close(take_stdin(execution));
    check_exit(execution, 3, 0);
    close(out);
    boxlite_execution_free(execution);

    boxlite_command *command = shell("wc -c");
    OK(boxlite_command_set_stdin(command, BOXLITE_STDIN_NULL, &error));
    OK(boxlite_command_set_stderr(command, BOXLITE_OUTPUT_NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "mode", boxlite_command_set_stdin(command, 3, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "mode", boxlite_command_set_stdout(command, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "rows", boxlite_command_set_tty(command, 0, 80, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "cols", boxlite_command_set_tty(command, 24, 65536, &error));
    execution = start(command);
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_stdin(execution, 0, NULL, &fd, &error));
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_stderr(execution, 0, 0, NULL, &fd, &error));
    char text[16];
    out = take_stdout(execution);
    read_all(out, text, sizeof text);
    CHECK_STR(text, "0\n");
    check_exit(execution, 0, 0);
    close(out);
    boxlite_execution_free(execution);
}

static void the_newest_mebibyte_of_what_nobody_takes_is_kept(void)
{
    boxlite_execution *execution = start(shell("head -c 3145728 /dev/zero; printf end"));
    check_exit(execution, 0, 0);
    struct state state = state_of(execution, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.total, 3 * MIB + 3);
    CHECK_INT((long long)state.dropped, 2 * MIB + 3);
    CHECK_INT(state.closed, 1);
    int out = take_stdout(execution);
    CHECK_INT((long long)read_all(out, NULL, 0), MIB);
    state = state_of(execution, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.first, 2 * MIB + 3);
    CHECK_INT((long long)(state.first + MIB), (long long)state.total);
    close(out);
    boxlite_execution_free(execution);
}

static void a_taken_stream_loses_nothing_and_a_closed_one_blocks_nobody(void)
{
    boxlite_execution *execution = start(piped("head -c 20971520 /dev/zero; echo wrote all >&2; read line"));
    int out = take_stdout(execution), err;
    OK(boxlite_execution_take_stderr(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &err, &error));
    char text[64];
    /* Nobody reads: the process waits. */
    CHECK(!readable(err, 500));
    size_t total = 0;
    static char chunk[MIB];
    while (total < 10 * (size_t)MIB) {
        ssize_t count = read(out, chunk, sizeof chunk);
        CHECK(count > 0);
        if (count <= 0) {
            break;
        }
        total += (size_t)count;
    }
    struct state state = state_of(execution, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.dropped, 0);
    CHECK(state.total >= total && state.total < 20 * (unsigned long long)MIB);
    /* Given up: the process goes on, and knows nothing of it. */
    close(out);
    read_until(err, text, sizeof text, "wrote all\n");
    state = state_of(execution, BOXLITE_STREAM_STDOUT);
    CHECK_INT((long long)state.total, 20 * MIB);
    CHECK(state.dropped > 0);
    OK(boxlite_execution_kill(execution, NULL, &error));
    check_exit(execution, -1, SIGKILL);
    close(err);
    boxlite_execution_free(execution);
}

static void the_end_is_a_descriptor(void)
{
    boxlite_execution *execution = start(shell("exec sleep 600"));
    int one, other;
    OK(boxlite_execution_exit_fd(execution, &one, &error));
    OK(boxlite_execution_exit_fd(execution, &other, &error));
    CHECK(one != other);
    CHECK(!readable(one, 100));
    boxlite_call *call = new_call(100);
    boxlite_exit *exit;
    EXPECT(BOXLITE_TIMEOUT, boxlite_execution_wait(execution, call, &exit, &error));
    boxlite_call_free(call);
    OK(boxlite_execution_signal(execution, SIGTERM, NULL, &error));
    CHECK(readable(one, PATIENCE_MS));
    char byte;
    CHECK_INT(read(one, &byte, 1), 0);
    CHECK(readable(one, 0));
    CHECK(readable(other, PATIENCE_MS));
    close(one);
    check_exit(execution, -1, SIGTERM);
    /* It outlives its handle, and a new one is ready at once. */
    OK(boxlite_execution_exit_fd(execution, &one, &error));
    CHECK(readable(one, PATIENCE_MS));
    boxlite_execution_free(execution);
    CHECK(readable(other, 0));
    close(one);
    close(other);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "fd", boxlite_execution_exit_fd(NULL, NULL, &error));
}

static void a_terminal_is_one_stream(void)
{
    boxlite_command *command = shell("stty size; read line; echo got $line; stty size; exit 4");
    OK(boxlite_command_set_tty(command, 33, 101, &error));
    boxlite_execution *execution = start(command);
    int tty, fd;
    OK(boxlite_execution_take_tty(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &tty, &error));
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_take_stdout(execution, 0, 0, NULL, &fd, &error));
    char text[256];
    read_until(tty, text, sizeof text, "33 101");
    OK(boxlite_execution_resize_tty(execution, 44, 122, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "cols", boxlite_execution_resize_tty(execution, 1, 70000, NULL, &error));
    send_text(tty, "words\n");
    read_until(tty, text, sizeof text, "44 122");
    CHECK(strstr(text, "got words") != NULL);
    check_exit(execution, 4, 0);
    close(tty);
    boxlite_execution_free(execution);
}

static void a_stream_does_not_block_where_it_must_not(void)
{
    boxlite_execution *execution = start(piped("read line; echo $line"));
    int in, out;
    OK(boxlite_execution_take_stdin(execution, BOXLITE_FD_NONBLOCK, NULL, &in, &error));
    OK(boxlite_execution_take_stdout(execution, 0, BOXLITE_FD_NONBLOCK, NULL, &out, &error));
    char text[16];
    CHECK(read(out, text, sizeof text) == -1 && errno == EAGAIN);
    send_text(in, "go\n");
    read_until(out, text, sizeof text, "go\n");
    check_exit(execution, 0, 0);
    close(in);
    close(out);
    boxlite_execution_free(execution);
}

/* One event loop for many commands; none of them costs a thread. */
static void two_hundred_idle_commands_add_no_thread(void)
{
    enum { COMMANDS = 200 };
    static boxlite_execution *executions[COMMANDS];
    static int exits[COMMANDS];
    int poller = epoll_create1(EPOLL_CLOEXEC);
    /* The pools are as large as they get. */
    boxlite_execution_free(start(shell("true")));
    int before = count_entries("/proc/self/task");
    for (int i = 0; i < COMMANDS; i++) {
        boxlite_command *command;
        OK(boxlite_command_new("sleep", &command, &error));
        OK(boxlite_command_add_arg(command, "600", &error));
        executions[i] = start(command);
        OK(boxlite_execution_exit_fd(executions[i], &exits[i], &error));
        struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = (uint32_t)i}};
        CHECK_INT(epoll_ctl(poller, EPOLL_CTL_ADD, exits[i], &event), 0);
    }
    CHECK_SETTLES("/proc/self/task", before);
    for (int i = 0; i < COMMANDS; i++) {
        OK(boxlite_execution_kill(executions[i], NULL, &error));
    }
    for (int left = COMMANDS; left > 0; left--) {
        struct epoll_event event;
        if (epoll_wait(poller, &event, 1, PATIENCE_MS) != 1) {
            CHECK_INT(left, 0);
            break;
        }
        int i = (int)event.data.u32;
        check_exit(executions[i], -1, SIGKILL);
        close(exits[i]);
        boxlite_execution_free(executions[i]);
    }
    close(poller);
}

/* What a stop does to those who wait. */
static void the_boxs_end_is_everybodys(void)
{
    boxlite_execution *execution = start(piped("echo hello; exec sleep 600"));
    int out = take_stdout(execution), end;
    OK(boxlite_execution_exit_fd(execution, &end, &error));
    char text[16];
    read_until(out, text, sizeof text, "hello\n");
    OK(boxlite_box_stop(box, NULL, &error));
    CHECK(readable(end, PATIENCE_MS));
    CHECK_INT((long long)read_all(out, text, sizeof text), 0);
    int fd;
    boxlite_code code = boxlite_execution_take_stderr(execution, 0, 0, NULL, &fd, &error);
    CHECK(code != BOXLITE_OK && fd == -1);
    EXPECT(code, code);
    close(out);
    close(end);
    boxlite_execution_free(execution);

    boxlite_box *again;
    boxlite_execution_list *list;
    OK(boxlite_get(runtime, boxlite_box_id(box), NULL, &again, &error));
    OK(boxlite_box_executions(again, NULL, &list, &error));
    CHECK_INT((long long)boxlite_execution_list_len(list), 0);
    CHECK_INT(shim_pid(again), 0);
    boxlite_execution_list_free(list);
    boxlite_box_free(again);
}

int main(void)
{
    begin_commands();

    both_ways_and_a_half_close();
    what_was_taken_or_is_not_there_is_refused();
    the_newest_mebibyte_of_what_nobody_takes_is_kept();
    a_taken_stream_loses_nothing_and_a_closed_one_blocks_nobody();
    the_end_is_a_descriptor();
    a_terminal_is_one_stream();
    a_stream_does_not_block_where_it_must_not();
    two_hundred_idle_commands_add_no_thread();
    the_boxs_end_is_everybodys();

    return finish_commands();
}
