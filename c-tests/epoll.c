/* One thread, one event loop, no callback: fifty commands in two boxes, their input fed, both outputs read and their
 * ends awaited through descriptors alone. docs/c-api.md points to it as the model of such a program. */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BOXES = 2, COMMANDS = 50, INPUT = 40000, PATIENCE_MS = 60000 };

/* What an event is about. */
enum source { IN, OUT, ERR, END, SOURCES };

struct job {
    boxlite_execution *execution;
    int fds[SOURCES];
    size_t sent;
    /* Bytes of each output, and their sum over all positions, which a lost or a doubled one changes. */
    size_t received[SOURCES];
    unsigned long sums[SOURCES];
};

static struct job jobs[COMMANDS];
static int loop, open_sources;

/* The input of each command is another one. */
static unsigned char input_byte(int job, size_t at)
{
    return (unsigned char)((at * 31 + (size_t)job * 7) >> 3);
}

static void add_source(int job, enum source source, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u32 = (unsigned)job * SOURCES + source};
    jobs[job].fds[source] = fd;
    CHECK_INT(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event), 0);
    open_sources++;
}

static void end_source(struct job *job, enum source source)
{
    close(job->fds[source]);
    job->fds[source] = -1;
    open_sources--;
}

static void start(int number, boxlite_box *box)
{
    struct job *job = &jobs[number];
    char script[64];
    int fd;
    snprintf(script, sizeof script, "tee /dev/stderr; exit %d", number);
    boxlite_command *command = shell(script);
    OK(boxlite_command_set_stdout(command, BOXLITE_OUTPUT_PIPE, &error));
    OK(boxlite_command_set_stderr(command, BOXLITE_OUTPUT_PIPE, &error));
    OK(boxlite_box_exec_start(box, command, NULL, &job->execution, &error));
    boxlite_command_free(command);
    OK(boxlite_execution_take_stdin(job->execution, BOXLITE_FD_NONBLOCK, NULL, &fd, &error));
    add_source(number, IN, fd, EPOLLOUT);
    OK(boxlite_execution_take_stdout(job->execution, BOXLITE_OFFSET_OLDEST, BOXLITE_FD_NONBLOCK, NULL, &fd, &error));
    add_source(number, OUT, fd, EPOLLIN);
    OK(boxlite_execution_take_stderr(job->execution, BOXLITE_OFFSET_OLDEST, BOXLITE_FD_NONBLOCK, NULL, &fd, &error));
    add_source(number, ERR, fd, EPOLLIN);
    OK(boxlite_execution_exit_fd(job->execution, &fd, &error));
    add_source(number, END, fd, EPOLLIN);
}

/* Sends as much as goes; the half-close is the command's end of file. The descriptor stays until the command has
 * ended, but there is nothing left to be told about it. */
static void feed(int number)
{
    struct job *job = &jobs[number];
    unsigned char bytes[8192];
    while (job->sent < INPUT) {
        size_t count = INPUT - job->sent < sizeof bytes ? INPUT - job->sent : sizeof bytes;
        for (size_t i = 0; i < count; i++) {
            bytes[i] = input_byte(number, job->sent + i);
        }
        ssize_t sent = send(job->fds[IN], bytes, count, MSG_NOSIGNAL);
        if (sent < 0) {
            CHECK(errno == EAGAIN);
            return;
        }
        job->sent += (size_t)sent;
    }
    CHECK_INT(shutdown(job->fds[IN], SHUT_WR), 0);
    CHECK_INT(epoll_ctl(loop, EPOLL_CTL_DEL, job->fds[IN], NULL), 0);
    open_sources--;
}

/* Reads what is there, to the end of file. */
static void drain(struct job *job, enum source source)
{
    unsigned char bytes[16384];
    ssize_t count;
    while ((count = read(job->fds[source], bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < count; i++) {
            job->sums[source] += bytes[i] * ++job->received[source];
        }
    }
    if (count == 0) {
        end_source(job, source);
    } else if (errno != EAGAIN) {
        perror("read");
        CHECK(false);
        end_source(job, source);
    }
}

/* The command has ended, so this does not wait. */
static void collect(int number)
{
    struct job *job = &jobs[number];
    boxlite_call *call = new_call(PATIENCE_MS);
    boxlite_exit *exit;
    OK(boxlite_execution_wait(job->execution, call, &exit, &error));
    CHECK_INT(boxlite_exit_code(exit), number);
    CHECK_INT(boxlite_exit_signal(exit), 0);
    boxlite_exit_free(exit);
    boxlite_call_free(call);
    end_source(job, END);
}

/* An end of file alone could be a cut: the counts tell. */
static void check_whole(int number, enum source source, int32_t which)
{
    struct job *job = &jobs[number];
    boxlite_stream_state *state;
    unsigned long sum = 0;
    OK(boxlite_execution_stream_state(job->execution, which, NULL, &state, &error));
    CHECK_INT(boxlite_stream_state_closed(state), 1);
    CHECK_INT((long long)boxlite_stream_state_dropped(state), 0);
    CHECK_INT((long long)(boxlite_stream_state_first(state) + job->received[source]),
              (long long)boxlite_stream_state_total(state));
    boxlite_stream_state_free(state);
    for (size_t at = 0; at < INPUT; at++) {
        sum += input_byte(number, at) * (at + 1);
    }
    CHECK_INT((long long)job->received[source], INPUT);
    CHECK(job->sums[source] == sum);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    boxlite_box *boxes[BOXES];
    for (int i = 0; i < BOXES; i++) {
        boxes[i] = create_box(runtime, NULL);
        OK(boxlite_box_start(boxes[i], NULL, &error));
        CHECK_OUTPUT(boxes[i], "echo up", "up\n");
    }
    int descriptors = count_entries("/proc/self/fd");
    loop = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < COMMANDS; i++) {
        start(i, boxes[i % BOXES]);
    }
    int threads = count_entries("/proc/self/task");

    while (open_sources > 0) {
        struct epoll_event events[64];
        int count = epoll_wait(loop, events, 64, PATIENCE_MS);
        if (count <= 0) {
            CHECK_INT(open_sources, 0);
            break;
        }
        for (int i = 0; i < count; i++) {
            int number = (int)(events[i].data.u32 / SOURCES);
            enum source source = events[i].data.u32 % SOURCES;
            if (source == IN) {
                feed(number);
            } else if (source == END) {
                collect(number);
            } else {
                drain(&jobs[number], source);
            }
        }
    }

    CHECK_SETTLES("/proc/self/task", threads);
    for (int i = 0; i < COMMANDS; i++) {
        check_whole(i, OUT, BOXLITE_STREAM_STDOUT);
        check_whole(i, ERR, BOXLITE_STREAM_STDERR);
        close(jobs[i].fds[IN]);
        boxlite_execution_free(jobs[i].execution);
    }
    close(loop);
    CHECK_SETTLES("/proc/self/fd", descriptors);
    for (int i = 0; i < BOXES; i++) {
        OK(boxlite_remove(runtime, boxlite_box_id(boxes[i]), 1, NULL, &error));
        boxlite_box_free(boxes[i]);
    }
    OK(boxlite_runtime_shutdown(runtime, 5000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
