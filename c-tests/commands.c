#define _GNU_SOURCE
#include "commands.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

boxlite_runtime *runtime;
boxlite_box *box;

static int descriptors;

void begin_commands(void)
{
    signal(SIGPIPE, SIG_DFL);
    runtime = open_runtime();
    box = create_box(runtime, NULL);
    descriptors = count_entries("/proc/self/fd");
}

int finish_commands(void)
{
    /* The runtime's own, such as the one of the box that ran, may be a few more. */
    CHECK_SETTLES("/proc/self/fd", descriptors + 4);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}

boxlite_command *piped(const char *script)
{
    boxlite_command *command = shell(script);
    OK(boxlite_command_set_stdout(command, BOXLITE_OUTPUT_PIPE, &error));
    OK(boxlite_command_set_stderr(command, BOXLITE_OUTPUT_PIPE, &error));
    return command;
}

/* Starts a command and frees it. */
boxlite_execution *start(boxlite_command *command)
{
    boxlite_execution *execution;
    OK(boxlite_box_exec_start(box, command, NULL, &execution, &error));
    boxlite_command_free(command);
    return execution;
}

int take_stdin(boxlite_execution *execution)
{
    int fd;
    OK(boxlite_execution_take_stdin(execution, 0, NULL, &fd, &error));
    return fd;
}

int take_stdout(boxlite_execution *execution)
{
    int fd;
    OK(boxlite_execution_take_stdout(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &fd, &error));
    return fd;
}

bool readable(int fd, int limit_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, limit_ms) == 1;
}

/* Reads to the end of file, into `text` as far as it goes; says how many bytes there were. */
size_t read_all(int fd, char *text, size_t size)
{
    size_t total = 0;
    char chunk[65536];
    while (readable(fd, PATIENCE_MS)) {
        ssize_t count = read(fd, chunk, sizeof chunk);
        if (count <= 0) {
            CHECK_INT(count, 0);
            break;
        }
        for (ssize_t i = 0; i < count; i++, total++) {
            if (total + 1 < size) {
                text[total] = chunk[i];
            }
        }
    }
    if (size > 0) {
        text[total < size ? total : size - 1] = '\0';
    }
    return total;
}

/* Reads until `end` has come. */
void read_until(int fd, char *text, size_t size, const char *end)
{
    size_t total = 0;
    text[0] = '\0';
    while (strstr(text, end) == NULL && total + 1 < size && readable(fd, PATIENCE_MS)) {
        ssize_t count = read(fd, text + total, size - 1 - total);
        if (count <= 0) {
            break;
        }
        total += (size_t)count;
        text[total] = '\0';
    }
    CHECK(strstr(text, end) != NULL);
}

void send_text(int fd, const char *text)
{
    CHECK_INT(send(fd, text, strlen(text), MSG_NOSIGNAL), (long long)strlen(text));
}

void check_exit(boxlite_execution *execution, int code, int signal)
{
    boxlite_exit *exit;
    boxlite_call *call = new_call(PATIENCE_MS);
    OK(boxlite_execution_wait(execution, call, &exit, &error));
    boxlite_call_free(call);
    CHECK_INT(boxlite_exit_code(exit), code);
    CHECK_INT(boxlite_exit_signal(exit), signal);
    CHECK_INT(boxlite_exit_timed_out(exit), 0);
    CHECK_INT(boxlite_exit_oom_killed(exit), 0);
    boxlite_exit_free(exit);
}

struct state state_of(boxlite_execution *execution, int which)
{
    boxlite_stream_state *state;
    OK(boxlite_execution_stream_state(execution, which, NULL, &state, &error));
    struct state copy = {boxlite_stream_state_first(state), boxlite_stream_state_total(state),
                         boxlite_stream_state_dropped(state), boxlite_stream_state_closed(state),
                         boxlite_stream_state_taken_over(state)};
    boxlite_stream_state_free(state);
    return copy;
}

/* Whether `received` bytes are all there ever was from the first one on that the handle's descriptor was owed. */
bool is_whole(struct state state, size_t received)
{
    return state.closed && state.first + received == state.total;
}

boxlite_execution *attach(boxlite_runtime *from, const char *id)
{
    boxlite_box *there;
    boxlite_execution *execution;
    OK(boxlite_get(from, boxlite_box_id(box), NULL, &there, &error));
    OK(boxlite_box_attach(there, id, NULL, &execution, &error));
    boxlite_box_free(there);
    return execution;
}
