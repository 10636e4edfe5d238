/* A box's lock is held by another process: a call with a deadline waits for it no longer than that, one that does not
 * want to wait not at all, and what was cut off goes on or is undone as its function's comment says. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static boxlite_runtime *runtime;

/* Another process that holds the box's lock and says that it stops the box, until it is let go. */
static pid_t hold_lock(boxlite_box *box)
{
    char path[512], text[64], ready = 0;
    int pipes[2];
    snprintf(path, sizeof path, "%s/locks/%s.lock", home(), boxlite_box_id(box));
    CHECK_INT(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        int length = snprintf(text, sizeof text, "%d\nstop\n", (int)getpid());
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

static void check_took(long long start, long long least, long long most)
{
    long long took = now_ms() - start;
    CHECK(took >= least && took < most);
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
    pid_t holder = hold_lock(box);
    long long start = now_ms();
    /* Through a handle of its own, which then answers BOXLITE_STOPPED. The stop goes on, before any later start. */
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_stop(other, call, &error));
    check_took(start, 600, 1500);
    /* Time enough to get the image ready, which needs no lock. */
    OK(boxlite_call_set_timeout_ms(call, 5000, &error));
    start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_start(box, call, &error));
    check_took(start, 5000, 6000);
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
    pid_t holder = hold_lock(box);
    long long start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_start(box, call, &error));
    check_took(start, 0, 500);
    start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_remove(runtime, "in-use", 1, call, &error));
    check_took(start, 0, 500);
    CHECK_INT(count_boxes(), 1);
    /* The removal goes on, as soon as it can. */
    let_go(holder);
    long long deadline = now_ms() + 5000;
    while (count_boxes() != 0 && now_ms() < deadline) {
        sleep_ms(10);
    }
    CHECK_INT(count_boxes(), 0);
    boxlite_call_free(call);
    boxlite_box_free(box);
}

int main(void)
{
    char locks[512];
    runtime = open_runtime();
    a_deadline_ends_the_wait_for_a_lock();
    no_waiting_is_none();
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
    snprintf(locks, sizeof locks, "%s/locks", home());
    CHECK_INT(count_entries(locks), 2);
    return finish();
}
