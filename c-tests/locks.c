/* A box's lock is held by another process: a call with a deadline waits for it no longer than that, one that does not
 * want to wait not at all, and what was cut off goes on or is undone as its function's comment says. One without a
 * deadline is told whom it waited for. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static boxlite_runtime *runtime;

/* Another process that holds the lock of a box, or of the home, and says what it does, until it is let go. */
static pid_t hold_lock(const char *below, const char *name, const char *operation)
{
    char path[512], text[64], ready = 0;
    int pipes[2];
    snprintf(path, sizeof path, "%s/%slocks/%s.lock", home(), below, name);
    CHECK_INT(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        int length = snprintf(text, sizeof text, "%d\n%s\n", (int)getpid(), operation);
        ready = fcntl(fd, F_SETLK, &whole) == 0 && write(fd, text, length) == length;
        if (write(pipes[1], &ready, 1) == 1) {
            pause();
        }
        _exit(0);
    }
    close(pipes[1]);
    CHECK_INT(read(pipes[0], &ready, 1), 1);
    CHECK_INT(ready, 1);
    close(pipes[0]);
    return pid;
}

static void let_go(pid_t holder)
{
    CHECK_INT(kill(holder, SIGKILL), 0);
    CHECK_INT(waitpid(holder, NULL, 0), holder);
}

/* A second home, in which a box is waited for without a deadline while the other tests run. */
static struct {
    boxlite_runtime *runtime;
    boxlite_box *box;
    pid_t holder;
    pthread_t without, with;
} patient;

/* Whom it waited for, and what for. */
static void check_names_holder(pid_t holder, const char *operation)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)holder);
    CHECK(strstr(boxlite_error_message(error), pid) != NULL);
    CHECK(strstr(boxlite_error_message(error), operation) != NULL);
}

static void *wait_without_a_deadline(void *unused)
{
    (void)unused;
    long long start = now_ms();
    boxlite_code code = boxlite_box_start(patient.box, NULL, &error);
    printf("%s after %lld ms: %s\n", boxlite_code_name(code), now_ms() - start, boxlite_error_message(error));
    check_names_holder(patient.holder, "stop");
    EXPECT_ABOUT(BOXLITE_BUSY, boxlite_box_id(patient.box), code);
    return NULL;
}

/* Half a minute is for those who set no deadline. */
static void *wait_longer(void *unused)
{
    (void)unused;
    boxlite_call *call = new_call(33000);
    long long start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_start(patient.box, call, &error));
    CHECK(now_ms() - start >= 33000);
    boxlite_call_free(call);
    return NULL;
}

static void begin_to_wait_for_long(void)
{
    patient.runtime = open_runtime_in("patient");
    patient.box = create_box(patient.runtime, "patient");
    patient.holder = hold_lock("patient/", boxlite_box_id(patient.box), "stop");
    CHECK_INT(pthread_create(&patient.without, NULL, wait_without_a_deadline, NULL), 0);
    CHECK_INT(pthread_create(&patient.with, NULL, wait_longer, NULL), 0);
}

static void the_long_waits_are_over(void)
{
    CHECK_INT(pthread_join(patient.without, NULL), 0);
    CHECK_INT(pthread_join(patient.with, NULL), 0);
    let_go(patient.holder);
    OK(boxlite_box_start(patient.box, NULL, &error));
    OK(boxlite_remove(patient.runtime, "patient", 1, NULL, &error));
    boxlite_box_free(patient.box);
    OK(boxlite_runtime_shutdown(patient.runtime, 0, NULL, &error));
    boxlite_runtime_free(patient.runtime);
}

/* Nobody waits for the lock's own limit of 30 seconds. */
enum { MUCH_LESS_THAN_LOCKS_MS = 20000 };

static void check_took(long long start, long long least)
{
    long long took = now_ms() - start;
    CHECK(took >= least && took < MUCH_LESS_THAN_LOCKS_MS);
    printf("%lld ms, for %lld\n", took, least);
}

static size_t count_boxes(void)
{
    boxlite_info_list *list;
    OK(boxlite_list(runtime, NULL, NULL, &list, &error));
    size_t count = boxlite_info_list_len(list);
    boxlite_info_list_free(list);
    return count;
}

static void a_deadline_ends_the_wait_for_a_lock(void)
{
    boxlite_box *box = create_box(runtime, "waited-for"), *other;
    boxlite_call *call = new_call(600);
    OK(boxlite_get(runtime, "waited-for", NULL, &other, &error));
    pid_t holder = hold_lock("", boxlite_box_id(box), "stop");
    long long start = now_ms();
    /* Through a handle of its own, which then answers BOXLITE_STOPPED. The stop goes on, before any later start. */
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_stop(other, call, &error));
    check_took(start, 600);
    /* Time enough to get the image ready, which needs no lock. */
    OK(boxlite_call_set_timeout_ms(call, 5000, &error));
    start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_start(box, call, &error));
    check_took(start, 5000);
    let_go(holder);
    OK(boxlite_box_start(box, NULL, &error));
    CHECK_OUTPUT(box, "echo up", "up\n");
    boxlite_call_free(call);
    boxlite_box_free(other);
    OK(boxlite_remove(runtime, "waited-for", 1, NULL, &error));
    boxlite_box_free(box);
}

static void no_waiting_is_none(void)
{
    boxlite_box *box = create_box(runtime, "in-use");
    boxlite_call *call = new_call(0);
    pid_t holder = hold_lock("", boxlite_box_id(box), "stop");
    long long start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_start(box, call, &error));
    check_took(start, 0);
    start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_remove(runtime, "in-use", 1, call, &error));
    check_took(start, 0);
    CHECK_INT(count_boxes(), 1);
    /* The removal goes on, as soon as it can. */
    let_go(holder);
    long long deadline = now_ms() + 60000;
    while (count_boxes() != 0 && now_ms() < deadline) {
        sleep_ms(10);
    }
    CHECK_INT(count_boxes(), 0);
    boxlite_call_free(call);
    boxlite_box_free(box);
}

/* The home's lock: what opens and repairs takes a call as well. */
static void a_deadline_ends_the_wait_for_a_home(void)
{
    boxlite_runtime_options *options;
    boxlite_runtime *late;
    boxlite_repair *repair;
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, home(), &error));
    pid_t holder = hold_lock("", "home", "repair the home");
    boxlite_call *call = new_call(300);
    long long start = now_ms();
    boxlite_code code = boxlite_runtime_new_within(options, call, &late, &error);
    check_names_holder(holder, "repair the home");
    EXPECT(BOXLITE_TIMEOUT, code);
    check_took(start, 300);
    CHECK(late == NULL);
    code = boxlite_runtime_repair_within(options, call, &repair, &error);
    check_names_holder(holder, "repair the home");
    EXPECT(BOXLITE_TIMEOUT, code);
    CHECK(repair == NULL);
    OK(boxlite_call_cancel(call, &error));
    EXPECT(BOXLITE_CANCELLED, boxlite_runtime_new_within(options, call, &late, &error));
    let_go(holder);
    OK(boxlite_call_reset(call, &error));
    OK(boxlite_call_set_timeout_ms(call, 60000, &error));
    OK(boxlite_runtime_new_within(options, call, &late, &error));
    OK(boxlite_runtime_repair_within(options, call, &repair, &error));
    boxlite_repair_free(repair);
    boxlite_runtime_free(late);
    boxlite_runtime_options_free(options);
    boxlite_call_free(call);
}

int main(void)
{
    char locks[512];
    begin_to_wait_for_long();
    runtime = open_runtime();
    a_deadline_ends_the_wait_for_a_lock();
    no_waiting_is_none();
    a_deadline_ends_the_wait_for_a_home();
    the_long_waits_are_over();
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
    snprintf(locks, sizeof locks, "%s/locks", home());
    /* The last one goes with what goes on. Besides "." and "..". */
    CHECK_SETTLES(locks, 2);
    return finish();
}
