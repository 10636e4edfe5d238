/* How boxes end, and how a program is told: by waiting, by a descriptor, through any runtime, after any kind of end. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

static int32_t exit_fd(boxlite_box *box)
{
    int32_t fd = -2;
    OK(boxlite_box_exit_fd(box, &fd, &error));
    CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    return fd;
}

static bool readable(int32_t fd, int limit_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, limit_ms) == 1;
}

/* The box has ended, and why; a call does not wait any more. */
static void check_ended(boxlite_box *box, int32_t reason, const char *word)
{
    boxlite_box_end *end;
    OK(boxlite_box_wait(box, NULL, &end, &error));
    CHECK_INT(boxlite_box_end_reason(end), reason);
    if (strstr(boxlite_box_end_message(end), word) == NULL) {
        CHECK_STR(boxlite_box_end_message(end), word);
    }
    boxlite_box_end_free(end);
}

static void one_that_never_ran(boxlite_runtime *runtime)
{
    boxlite_box_end *end;
    boxlite_box *box = create_box(runtime, "idle");
    EXPECT(BOXLITE_INVALID_STATE, boxlite_box_wait(box, NULL, &end, &error));
    CHECK(end == NULL);
    int32_t fd = exit_fd(box);
    CHECK(readable(fd, PATIENCE_MS));
    close(fd);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_box_log_fd(box, BOXLITE_BOX_LOG_CONSOLE, &fd, &error));
    CHECK_INT(fd, -1);
    OK(boxlite_remove(runtime, "idle", 0, NULL, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_box_wait(box, NULL, &end, &error));
    boxlite_box_free(box);
}

struct waiting {
    boxlite_box *box;
    int32_t reason;
};

static void *wait_in_thread(void *user)
{
    struct waiting *waiting = user;
    boxlite_box_end *end;
    OK(boxlite_box_wait(waiting->box, NULL, &end, &error));
    waiting->reason = boxlite_box_end_reason(end);
    boxlite_box_end_free(end);
    return NULL;
}

static void a_stop(boxlite_runtime *runtime, boxlite_runtime *other)
{
    boxlite_box_end *end;
    boxlite_box *box = create_box(runtime, "stopped"), *elsewhere;
    CHECK_OUTPUT(box, "echo up", "up\n");
    OK(boxlite_get(other, "stopped", NULL, &elsewhere, &error));
    int32_t here = exit_fd(box), there = exit_fd(elsewhere);
    CHECK(!readable(here, 200) && !readable(there, 0));
    boxlite_call *call = new_call(100);
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_wait(box, call, &end, &error));
    boxlite_call_free(call);

    struct waiting waiting = {box, -1};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_in_thread, &waiting) == 0);
    OK(boxlite_box_stop(box, NULL, &error));
    pthread_join(thread, NULL);
    CHECK_INT(waiting.reason, BOXLITE_END_STOPPED);
    char byte;
    CHECK(readable(here, PATIENCE_MS) && read(here, &byte, 1) == 0 && readable(here, 0));
    CHECK(readable(there, PATIENCE_MS));
    check_ended(box, BOXLITE_END_STOPPED, "stopped");
    check_ended(elsewhere, BOXLITE_END_STOPPED, "stopped");
    close(here), close(there);

    /* The next run has an end of its own. */
    boxlite_box_free(box);
    OK(boxlite_get(runtime, "stopped", NULL, &box, &error));
    OK(boxlite_box_start(box, NULL, &error));
    here = exit_fd(box);
    CHECK(!readable(here, 200));
    OK(boxlite_remove(runtime, "stopped", 1, NULL, &error));
    CHECK(readable(here, PATIENCE_MS));
    /* A removal waits for seconds only before it kills. */
    boxlite_box_end *last;
    OK(boxlite_box_wait(box, NULL, &last, &error));
    int32_t reason = boxlite_box_end_reason(last);
    CHECK(reason == BOXLITE_END_STOPPED || reason == BOXLITE_END_KILLED);
    boxlite_box_end_free(last);
    close(here);
    boxlite_box_free(box);
    boxlite_box_free(elsewhere);
}

static void faults_are_told(boxlite_runtime *runtime)
{
    boxlite_box *box = create_box(runtime, "faulty");
    OK(boxlite_box_start(box, NULL, &error));
    int32_t fd = exit_fd(box);
    char command[64];
    snprintf(command, sizeof command, "pkill -KILL -P %d", (int)shim_pid(box));
    CHECK_INT(system(command), 0);
    CHECK(readable(fd, PATIENCE_MS));
    close(fd);
    check_ended(box, BOXLITE_END_CRASHED, "engine");

    OK(boxlite_box_start(box, NULL, &error));
    fd = exit_fd(box);
    CHECK(kill(shim_pid(box), SIGKILL) == 0);
    CHECK(readable(fd, PATIENCE_MS));
    close(fd);
    check_ended(box, BOXLITE_END_KILLED, "killed");
    CHECK(wait_until_gone(boxlite_box_id(box), PATIENCE_MS));

    /* Both runs are in the logs. */
    int32_t log;
    char text[65536];
    OK(boxlite_box_log_fd(box, BOXLITE_BOX_LOG_SHIM, &log, &error));
    ssize_t length = read(log, text, sizeof text - 1);
    CHECK(length > 0);
    text[length > 0 ? length : 0] = '\0';
    CHECK(strstr(text, "ready") != NULL);
    close(log);
    OK(boxlite_box_log_fd(box, BOXLITE_BOX_LOG_CONSOLE, &log, &error));
    CHECK((fcntl(log, F_GETFD) & FD_CLOEXEC) != 0);
    close(log);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "which", boxlite_box_log_fd(box, 7, &log, &error));
    OK(boxlite_remove(runtime, "faulty", 1, NULL, &error));
    boxlite_box_free(box);
}

/* A box that goes with its stop, so that nothing but the waiters knows of it. */
static void one_that_removes_itself(boxlite_runtime *runtime)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_memory_mib(options, 256, &error));
    OK(boxlite_box_options_set_auto_remove(options, 1, &error));
    OK(boxlite_create(runtime, options, NULL, NULL, &box, &error));
    boxlite_box_options_free(options);
    OK(boxlite_box_start(box, NULL, &error));
    int32_t fd = exit_fd(box);
    OK(boxlite_box_stop(box, NULL, &error));
    CHECK(readable(fd, PATIENCE_MS));
    close(fd);
    check_ended(box, BOXLITE_END_STOPPED, "");
    boxlite_box_free(box);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime(), *other = open_runtime();
    one_that_never_ran(runtime);
    a_stop(runtime, other);
    faults_are_told(runtime);
    one_that_removes_itself(runtime);

    /* Whoever waits is told of the shutdown, too. */
    boxlite_box *box = create_box(runtime, NULL);
    OK(boxlite_box_start(box, NULL, &error));
    int32_t fd = exit_fd(box);
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    CHECK(readable(fd, PATIENCE_MS));
    check_ended(box, BOXLITE_END_STOPPED, "");
    close(fd);
    boxlite_box_free(box);
    boxlite_runtime_free(runtime);
    OK(boxlite_runtime_shutdown(other, -1, NULL, &error));
    boxlite_runtime_free(other);
    return finish();
}
