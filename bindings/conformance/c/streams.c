/* Commands whose streams are taken: as they come, when nobody took them, by another one who attaches. */
#include "driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 };

/* An output stream that is read into a file. */
struct output {
    boxlite_execution *execution;
    int fd, which;
    FILE *file;
    uint64_t received;
    char text[4096];
};

static void open_output(struct output *output, boxlite_execution *execution, int fd, int which, const char *path)
{
    memset(output, 0, sizeof *output);
    output->execution = execution;
    output->fd = fd;
    output->which = which;
    output->file = fopen(path, "w");
    if (output->file == NULL) {
        die(path);
    }
}

/* Takes stdout from this offset on. */
static void open_stdout(struct output *output, boxlite_execution *execution, uint64_t offset, const char *path)
{
    int fd;
    MUST(boxlite_execution_take_stdout(execution, offset, 0, NULL, &fd, &error));
    open_output(output, execution, fd, BOXLITE_STREAM_STDOUT, path);
}

/* Reads once; false at the end. */
static bool read_some(struct output *output)
{
    char chunk[CHUNK];
    ssize_t count = read(output->fd, chunk, sizeof chunk);
    if (count <= 0) {
        return false;
    }
    for (ssize_t i = 0; i < count && output->received + (uint64_t)i + 1 < sizeof output->text; i++) {
        output->text[output->received + (uint64_t)i] = chunk[i];
    }
    output->received += (uint64_t)count;
    if (fwrite(chunk, 1, (size_t)count, output->file) != (size_t)count) {
        die("write");
    }
    return true;
}

static void read_at_least(struct output *output, uint64_t bytes)
{
    while (output->received < bytes && read_some(output)) {
    }
}

static void *read_to_end(void *of)
{
    while (read_some(of)) {
    }
    return NULL;
}

/* The bare end of a stream may be a cut: tells, and closes the stream. */
static void finish_output(struct output *output, const char *key)
{
    boxlite_stream_state *state;
    boxlite_code code = boxlite_execution_stream_state(output->execution, output->which, NULL, &state, &error);
    if (code != BOXLITE_OK || !boxlite_stream_state_closed(state) ||
        boxlite_stream_state_first(state) + output->received != boxlite_stream_state_total(state)) {
        tell(key, "\"%s\"", boxlite_code_name(BOXLITE_EXECUTION));
    }
    boxlite_stream_state_free(state);
    boxlite_error_free(error);
    error = NULL;
    fclose(output->file);
    close(output->fd);
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t count = send(fd, data, len, MSG_NOSIGNAL);
        if (count <= 0) {
            return;
        }
        data += count;
        len -= (size_t)count;
    }
}

static void *feed(void *fd)
{
    size_t len;
    char *data = input(&len);
    send_all(*(int *)fd, data, len);
    shutdown(*(int *)fd, SHUT_WR);
    free(data);
    return NULL;
}

/* Does to a command what the request asks for; a terminal is typed on `tty`. */
static void act(boxlite_execution *execution, int tty)
{
    if (field("shim_after") != NULL) {
        kill_shim();
    }
    if (field("resize") != NULL) {
        int rows, cols;
        pair("resize", &rows, &cols);
        (void)succeeded("resize", boxlite_execution_resize_tty(execution, rows, cols, NULL, &error));
    }
    if (field("type") != NULL) {
        send_all(tty, field("type"), strlen(field("type")));
    }
    if (field("signal") != NULL) {
        (void)succeeded("sent", boxlite_execution_signal(execution, (int32_t)number("signal", 0), NULL, &error));
    }
    if (field("kill") != NULL) {
        (void)succeeded("sent", boxlite_execution_kill(execution, NULL, &error));
    }
}

/* Starts a command and takes its streams; acts on it when `until` has come out; reads to the end. */
void stream(void)
{
    boxlite_execution *execution;
    boxlite_command *command = new_command();
    if (command == NULL) {
        return;
    }
    bool tty = field("tty") != NULL;
    MUST(boxlite_command_set_stdout(command, BOXLITE_OUTPUT_PIPE, &error));
    MUST(boxlite_command_set_stderr(command, tty ? BOXLITE_OUTPUT_RETAIN : BOXLITE_OUTPUT_PIPE, &error));
    boxlite_code code = boxlite_box_exec_start(box, command, NULL, &execution, &error);
    boxlite_command_free(command);
    if (!succeeded("error", code)) {
        return;
    }
    int in, fd;
    pthread_t feeder, reader;
    struct output out, err;
    if (tty) {
        MUST(boxlite_execution_take_tty(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &fd, &error));
        open_output(&out, execution, fd, BOXLITE_STREAM_STDOUT, field("out"));
    } else {
        MUST(boxlite_execution_take_stdin(execution, 0, NULL, &in, &error));
        open_stdout(&out, execution, BOXLITE_OFFSET_OLDEST, field("out"));
        MUST(boxlite_execution_take_stderr(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &fd, &error));
        open_output(&err, execution, fd, BOXLITE_STREAM_STDERR, field("err"));
        pthread_create(&feeder, NULL, feed, &in);
        pthread_create(&reader, NULL, read_to_end, &err);
    }
    while (field("until") != NULL && strstr(out.text, field("until")) == NULL && read_some(&out)) {
    }
    read_at_least(&out, (uint64_t)number("shim_after", 0));
    act(execution, out.fd);
    read_to_end(&out);
    if (!tty) {
        pthread_join(reader, NULL);
        pthread_join(feeder, NULL);
        finish_output(&err, "stderr");
        close(in);
    }
    finish_output(&out, "stdout");
    tell_wait(execution);
    boxlite_execution_free(execution);
}

/* Lets a command write what nobody takes, waits, and takes what is left. */
void untaken(void)
{
    boxlite_execution *execution;
    boxlite_stream_state *state;
    struct output output;
    boxlite_command *command = new_command();
    MUST(boxlite_command_set_stdin(command, BOXLITE_STDIN_NULL, &error));
    MUST(boxlite_box_exec_start(box, command, NULL, &execution, &error));
    boxlite_command_free(command);
    tell_wait(execution);
    MUST(boxlite_execution_stream_state(execution, BOXLITE_STREAM_STDOUT, NULL, &state, &error));
    tell("total", "%llu", (unsigned long long)boxlite_stream_state_total(state));
    tell("dropped", "%llu", (unsigned long long)boxlite_stream_state_dropped(state));
    tell_flag("closed", boxlite_stream_state_closed(state));
    boxlite_stream_state_free(state);
    open_stdout(&output, execution, BOXLITE_OFFSET_OLDEST, field("out"));
    read_to_end(&output);
    finish_output(&output, "stdout");
    boxlite_execution_free(execution);
}

/* One starts a command and talks to it, another takes it up by its id and talks on. */
void attach(void)
{
    boxlite_execution *execution, *attached;
    boxlite_command *command = new_command();
    boxlite_box *again;
    struct output before, after;
    const char *first = field("first"), *second = field("second");
    uint64_t offset = (uint64_t)number("offset", 0);
    int in;
    MUST(boxlite_command_set_stdin(command, BOXLITE_STDIN_KEEP, &error));
    MUST(boxlite_command_set_stdout(command, BOXLITE_OUTPUT_PIPE, &error));
    MUST(boxlite_box_exec_start(box, command, NULL, &execution, &error));
    boxlite_command_free(command);
    MUST(boxlite_execution_take_stdin(execution, 0, NULL, &in, &error));
    open_stdout(&before, execution, BOXLITE_OFFSET_OLDEST, field("err"));
    send_all(in, first, strlen(first));
    read_at_least(&before, offset);
    close(in);

    MUST(boxlite_get(runtime, boxlite_box_id(box), NULL, &again, &error));
    MUST(boxlite_box_attach(again, boxlite_execution_id(execution), NULL, &attached, &error));
    MUST(boxlite_execution_take_stdin(attached, 0, NULL, &in, &error));
    open_stdout(&after, attached, offset, field("out"));
    read_to_end(&before);
    finish_output(&before, "taken_over");
    send_all(in, second, strlen(second));
    MUST(boxlite_execution_close_stdin(attached, strlen(first) + strlen(second), NULL, &error));
    read_to_end(&after);
    finish_output(&after, "stdout");
    close(in);
    tell_wait(attached);
    boxlite_execution_free(attached);
    boxlite_execution_free(execution);
    boxlite_box_free(again);
}
