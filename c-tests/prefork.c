/* A prefork server: a master with a runtime and a box, and four workers forked from it. What they inherit answers
 * BOXLITE_FORKED and is freed without effect; their own runtimes work; their boxes go when they do. And the boxes of a
 * master that is killed go although its workers live on. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Boxes go within 10 seconds of their owner's end where the machine has time for them. */
enum { WORKERS = 4, ID_LENGTH = 12, GONE_MS = 40000 };

static boxlite_runtime *runtime;
static boxlite_box *box;

static void inherited_handles_answer(void)
{
    boxlite_box *other;
    boxlite_info *info;
    boxlite_info_list *list;
    boxlite_exec_result *result;
    boxlite_command *command = shell("true");
    EXPECT_ABOUT(BOXLITE_FORKED, "runtime", boxlite_create(runtime, NULL, NULL, NULL, &other, &error));
    EXPECT(BOXLITE_FORKED, boxlite_get(runtime, boxlite_box_id(box), NULL, &other, &error));
    EXPECT(BOXLITE_FORKED, boxlite_list(runtime, NULL, NULL, &list, &error));
    EXPECT(BOXLITE_FORKED, boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    EXPECT(BOXLITE_FORKED, boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    EXPECT_ABOUT(BOXLITE_FORKED, "box", boxlite_box_start(box, NULL, &error));
    EXPECT(BOXLITE_FORKED, boxlite_box_stop(box, NULL, &error));
    EXPECT(BOXLITE_FORKED, boxlite_box_info(box, NULL, &info, &error));
    EXPECT(BOXLITE_FORKED, boxlite_exec(box, command, NULL, &result, &error));
    CHECK(result == NULL);
    boxlite_command_free(command);
}

static void tell(int fd, const char *id)
{
    CHECK_INT(write(fd, id, ID_LENGTH), ID_LENGTH);
}

static void hear(int fd, char *id)
{
    CHECK_INT(read(fd, id, ID_LENGTH), ID_LENGTH);
    id[ID_LENGTH] = '\0';
}

static void start_master(const char *name)
{
    runtime = open_runtime_in(name);
    box = create_box(runtime, "masters");
    CHECK_OUTPUT(box, "echo master > /whose; cat /whose", "master\n");
}

/* Half of the workers tidy up, half just exit. */
static _Noreturn void work(int number, int ids)
{
    char name[32];
    snprintf(name, sizeof name, "worker-%d", number);
    inherited_handles_answer();
    boxlite_box_free(box);
    boxlite_runtime_free(runtime);
    boxlite_runtime *own = open_runtime_in(name);
    boxlite_box *own_box = create_box(own, "masters");
    CHECK_OUTPUT(own_box, "test ! -e /whose && echo worker", "worker\n");
    tell(ids, boxlite_box_id(own_box));
    if (number % 2 == 0) {
        OK(boxlite_runtime_shutdown(own, 0, NULL, &error));
        CHECK_INT(processes_with(boxlite_box_id(own_box)), 0);
        boxlite_box_free(own_box);
        boxlite_runtime_free(own);
    }
    exit(fault_count() != 0);
}

static _Noreturn void a_master_and_its_workers(void)
{
    int ids[2];
    pid_t workers[WORKERS];
    start_master("first");
    CHECK_INT(pipe2(ids, O_CLOEXEC), 0);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        if (workers[i] == 0) {
            work(i, ids[1]);
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        int status = -1;
        CHECK_INT(waitpid(workers[i], &status, 0), workers[i]);
        CHECK_INT(status, 0);
    }
    close(ids[1]);
    for (int i = 0; i < WORKERS; i++) {
        char id[ID_LENGTH + 1];
        hear(ids[0], id);
        CHECK(wait_until_gone(id, GONE_MS));
    }
    close(ids[0]);

    /* What the workers freed was not the master's. */
    CHECK_OUTPUT(box, "cat /whose", "master\n");
    OK(boxlite_remove(runtime, "masters", 1, NULL, &error));
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
    exit(fault_count() != 0);
}

/* Waits for the end of the test, which holds the other end; an orphan among the boxes' owners. */
static _Noreturn void idle(int until)
{
    char nothing;
    inherited_handles_answer();
    exit(read(until, &nothing, 1) != 0 || fault_count() != 0);
}

/* Two boxes, so that one end doesn't stand for all; then its pids are told and it waits to be killed. */
static _Noreturn void a_master_to_be_killed(int news, int until)
{
    start_master("second");
    boxlite_box *second = create_box(runtime, "second");
    CHECK_OUTPUT(second, "echo up", "up\n");
    pid_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        if (workers[i] == 0) {
            /* Not a child of the test: should the test die, this ends by the pipe. */
            close(news);
            idle(until);
        }
    }
    if (fault_count() != 0) {
        _exit(1);
    }
    tell(news, boxlite_box_id(box));
    tell(news, boxlite_box_id(second));
    CHECK_INT(write(news, workers, sizeof workers), sizeof workers);
    for (;;) {
        pause();
    }
}

static void wait_until_at_rest(boxlite_runtime *in, const char *name)
{
    boxlite_box *found;
    OK(boxlite_get(in, name, NULL, &found, &error));
    CHECK(wait_until_ended(found, GONE_MS));
    boxlite_box_free(found);
}

static void a_killed_master_leaves_no_boxes(void)
{
    int news[2], until[2];
    char ids[2][ID_LENGTH + 1];
    pid_t workers[WORKERS];
    CHECK_INT(pipe2(news, O_CLOEXEC), 0);
    CHECK_INT(pipe2(until, O_CLOEXEC), 0);
    pid_t master = fork();
    if (master == 0) {
        close(until[1]);
        a_master_to_be_killed(news[1], until[0]);
    }
    close(news[1]);
    close(until[0]);
    hear(news[0], ids[0]);
    hear(news[0], ids[1]);
    CHECK_INT(read(news[0], workers, sizeof workers), sizeof workers);
    if (fault_count() != 0) {
        give_up();
    }
    CHECK(processes_with(ids[0]) > 0 && processes_with(ids[1]) > 0);

    int status = 0;
    long long start = now_ms();
    CHECK_INT(kill(master, SIGKILL), 0);
    CHECK_INT(waitpid(master, &status, 0), master);
    CHECK(WIFSIGNALED(status));
    CHECK(wait_until_gone(ids[0], GONE_MS));
    CHECK(wait_until_gone(ids[1], GONE_MS - (now_ms() - start)));
    printf("boxes gone %lld ms after the kill\n", now_ms() - start);
    for (int i = 0; i < WORKERS; i++) {
        CHECK(process_runs(workers[i]));
    }

    /* The home can be used at once, also while they live. */
    boxlite_runtime *next = open_runtime_in("second");
    wait_until_at_rest(next, "masters");
    wait_until_at_rest(next, "second");
    OK(boxlite_remove(next, "masters", 0, NULL, &error));
    OK(boxlite_remove(next, "second", 0, NULL, &error));
    OK(boxlite_runtime_shutdown(next, 0, NULL, &error));
    boxlite_runtime_free(next);

    close(until[1]);
    close(news[0]);
    long long deadline = now_ms() + GONE_MS;
    for (int i = 0; i < WORKERS; i++) {
        while (process_runs(workers[i]) && now_ms() < deadline) {
            sleep_ms(10);
        }
        CHECK(!process_runs(workers[i]));
    }
}

int main(void)
{
    (void)home();
    pid_t master = fork();
    if (master == 0) {
        a_master_and_its_workers();
    }
    int status = -1;
    CHECK_INT(waitpid(master, &status, 0), master);
    CHECK_INT(status, 0);
    a_killed_master_leaves_no_boxes();
    return finish();
}
