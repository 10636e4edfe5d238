/* Many threads, mixed calls on the same handles, every result checked. BOXLITE_HAMMER_CALLS is how many calls to a box or
 * a home each thread makes; those that only make an object or read one are not counted. BOXLITE_HAMMER_SEED repeats a
 * run's choices. */
#define _GNU_SOURCE
#include "harness.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { THREADS = 16, BOXES = 2, CALLS = 1000, PATIENCE_MS = 120000, GROWN_POOL = 8 };

struct shared {
    boxlite_box *box;
    /* Has said "hello" and sleeps until the end of the test. */
    boxlite_execution *sleeper;
    char id[64], name[16];
    int32_t pid;
};

static boxlite_runtime *runtime;
static struct shared shared[BOXES];

/* A call that a worker is in, for the canceller. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static boxlite_call *to_cancel[THREADS];
static bool is_over;

static void check_info(const struct shared *one, const boxlite_info *info)
{
    CHECK_STR(boxlite_info_id(info), one->id);
    CHECK_STR(boxlite_info_name(info), one->name);
    CHECK_INT(boxlite_info_status(info), BOXLITE_STATUS_RUNNING);
    CHECK_INT(boxlite_info_pid(info), one->pid);
    CHECK_INT(boxlite_info_memory_mib(info), 256);
}

static void ask_info(struct shared *one)
{
    boxlite_info *info;
    OK(boxlite_box_info(one->box, NULL, &info, &error));
    check_info(one, info);
    boxlite_info_free(info);
    CHECK_STR(boxlite_box_id(one->box), one->id);
    CHECK_STR(boxlite_box_name(one->box), one->name);
}

static void ask_list(void)
{
    boxlite_info_list *list;
    OK(boxlite_list(runtime, NULL, NULL, &list, &error));
    CHECK_INT((long long)boxlite_info_list_len(list), BOXES);
    for (size_t i = 0; i < boxlite_info_list_len(list); i++) {
        const boxlite_info *info = boxlite_info_list_at(list, i);
        const struct shared *one = &shared[strcmp(boxlite_info_id(info), shared[1].id) == 0];
        check_info(one, info);
    }
    boxlite_info_list_free(list);
}

/* Other handles of the same boxes come and go. */
static void get_another_handle(struct shared *one, unsigned random)
{
    boxlite_box *other;
    boxlite_info *info;
    OK(boxlite_get(runtime, random & 1 ? one->id : one->name, NULL, &other, &error));
    OK(boxlite_box_info(other, NULL, &info, &error));
    boxlite_box_free(other);
    check_info(one, info);
    boxlite_info_free(info);
}

static void exec_and_compare(struct shared *one, unsigned random)
{
    char script[64], output[32];
    snprintf(script, sizeof script, "echo %x; exit %d", random, (int)(random % 100));
    snprintf(output, sizeof output, "%x\n", random);
    boxlite_exec_result *result = run(one->box, shell(script));
    CHECK_STR(boxlite_exec_result_stdout(result), output);
    CHECK_INT(boxlite_exec_result_exit_code(result), (int)(random % 100));
    CHECK_INT(boxlite_exec_result_signal(result), 0);
    boxlite_exec_result_free(result);
}

static void check_state(boxlite_execution *execution, unsigned long long total, int closed)
{
    boxlite_stream_state *state;
    OK(boxlite_execution_stream_state(execution, BOXLITE_STREAM_STDOUT, NULL, &state, &error));
    CHECK_INT((long long)boxlite_stream_state_total(state), (long long)total);
    CHECK_INT((long long)boxlite_stream_state_dropped(state), 0);
    CHECK_INT(boxlite_stream_state_closed(state), closed);
    boxlite_stream_state_free(state);
}

static void check_exit(boxlite_execution *execution, int code, int signal)
{
    boxlite_call *call = new_call(PATIENCE_MS);
    boxlite_exit *exit;
    OK(boxlite_execution_wait(execution, call, &exit, &error));
    CHECK_INT(boxlite_exit_code(exit), code);
    CHECK_INT(boxlite_exit_signal(exit), signal);
    boxlite_exit_free(exit);
    boxlite_call_free(call);
}

static void start_take_and_wait(struct shared *one, unsigned random)
{
    boxlite_command *command = shell("read line; echo \"<$line>\"; exit 9");
    boxlite_execution *execution;
    int in, out, end;
    OK(boxlite_command_set_stdout(command, BOXLITE_OUTPUT_PIPE, &error));
    OK(boxlite_box_exec_start(one->box, command, NULL, &execution, &error));
    boxlite_command_free(command);
    OK(boxlite_execution_exit_fd(execution, &end, &error));
    OK(boxlite_execution_take_stdin(execution, 0, NULL, &in, &error));
    OK(boxlite_execution_take_stdout(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &out, &error));
    char sent[32], expected[40], text[64] = "";
    int length = snprintf(sent, sizeof sent, "%x\n", random);
    snprintf(expected, sizeof expected, "<%x>\n", random);
    CHECK_INT(write(in, sent, (size_t)length), length);
    size_t total = 0;
    for (ssize_t count; (count = read(out, text + total, sizeof text - 1 - total)) > 0;) {
        total += (size_t)count;
    }
    CHECK_STR(text, expected);
    check_exit(execution, 9, 0);
    struct pollfd poller = {.fd = end, .events = POLLIN};
    CHECK_INT(poll(&poller, 1, PATIENCE_MS), 1);
    check_state(execution, total, 1);
    OK(boxlite_execution_kill(execution, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_STATE, boxlite_execution_id(execution),
                 boxlite_execution_signal(execution, SIGTERM, NULL, &error));
    close(in);
    close(out);
    close(end);
    boxlite_execution_free(execution);
}

static void attach_to_the_sleeper(struct shared *one)
{
    boxlite_execution *attached;
    OK(boxlite_box_attach(one->box, boxlite_execution_id(one->sleeper), NULL, &attached, &error));
    CHECK_STR(boxlite_execution_id(attached), boxlite_execution_id(one->sleeper));
    check_state(attached, 6, 0);
    boxlite_execution_free(attached);
}

static void find_the_sleeper(struct shared *one)
{
    boxlite_execution_list *list;
    int found = 0;
    OK(boxlite_box_executions(one->box, NULL, &list, &error));
    for (size_t i = 0; i < boxlite_execution_list_len(list); i++) {
        const boxlite_execution_info *info = boxlite_execution_list_at(list, i);
        if (strcmp(boxlite_execution_info_id(info), boxlite_execution_id(one->sleeper)) == 0) {
            found++;
            CHECK(boxlite_execution_info_exit(info) == NULL);
        }
    }
    CHECK_INT(found, 1);
    boxlite_execution_list_free(list);
}

static void wait_too_short(struct shared *one)
{
    boxlite_call *call = new_call(3);
    boxlite_exit *exit;
    EXPECT(BOXLITE_TIMEOUT, boxlite_execution_wait(one->sleeper, call, &exit, &error));
    CHECK(exit == NULL);
    boxlite_call_free(call);
}

/* The canceller comes when it comes: before the call, at its start, while it waits. */
static void be_cancelled(struct shared *one, int thread, unsigned random)
{
    boxlite_call *call = new_call(PATIENCE_MS);
    pthread_mutex_lock(&lock);
    to_cancel[thread] = call;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (random & 1) {
        boxlite_exit *exit;
        EXPECT(BOXLITE_CANCELLED, boxlite_execution_wait(one->sleeper, call, &exit, &error));
        CHECK(exit == NULL);
    } else {
        boxlite_command *command = shell("exec sleep 602");
        boxlite_exec_result *result;
        EXPECT(BOXLITE_CANCELLED, boxlite_exec(one->box, command, call, &result, &error));
        boxlite_exec_result_free(result);
        boxlite_command_free(command);
    }
    pthread_mutex_lock(&lock);
    CHECK(to_cancel[thread] == NULL);
    pthread_mutex_unlock(&lock);
    boxlite_call_free(call);
}

static void *cancel_them(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        int found = 0;
        for (int i = 0; i < THREADS; i++) {
            if (to_cancel[i] != NULL) {
                EXPECT(BOXLITE_OK, boxlite_call_cancel(to_cancel[i], &error));
                to_cancel[i] = NULL;
                found++;
            }
        }
        if (is_over) {
            break;
        }
        if (found == 0) {
            pthread_cond_wait(&changed, &lock);
        } else {
            pthread_mutex_unlock(&lock);
            sleep_ms(20);
            pthread_mutex_lock(&lock);
        }
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void be_refused(struct shared *one)
{
    boxlite_box *none;
    boxlite_execution *nothing;
    EXPECT_ABOUT(BOXLITE_NOT_FOUND, "nobody", boxlite_get(runtime, "nobody", NULL, &none, &error));
    CHECK(none == NULL);
    EXPECT_ABOUT(BOXLITE_NOT_FOUND, "no-one", boxlite_box_attach(one->box, "no-one", NULL, &nothing, &error));
    CHECK(nothing == NULL);
    EXPECT_ABOUT(BOXLITE_ALREADY_EXISTS, one->name, boxlite_create(runtime, NULL, one->name, NULL, &none, &error));
    CHECK(none == NULL);
    EXPECT(BOXLITE_INVALID_STATE, boxlite_execution_resize_tty(one->sleeper, 24, 80, NULL, &error));
}

static void build_options(void)
{
    boxlite_box_options *options;
    boxlite_command *command = shell("true");
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_env(options, "NAME", "value", &error));
    EXPECT(BOXLITE_INVALID_ARGUMENT, boxlite_box_options_set_cpus(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "mode", boxlite_command_set_stdin(command, 99, &error));
    boxlite_command_free(command);
    boxlite_box_options_free(options);
}

struct worker {
    pthread_t thread;
    int number, calls;
    unsigned random;
};

/* How many calls each kind of turn makes. */
static const int calls_of_turn[] = {1, 1, 2, 1, 8, 2, 1, 1, 1, 4, 0};
enum { KINDS = sizeof calls_of_turn / sizeof *calls_of_turn };

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (int made = 0; made < worker->calls;) {
        unsigned random = worker->random = worker->random * 1664525 + 1013904223;
        struct shared *one = &shared[random >> 10 & 1];
        random >>= 12;
        made += calls_of_turn[random % KINDS];
        switch (random % KINDS) {
        case 0: ask_info(one); break;
        case 1: ask_list(); break;
        case 2: get_another_handle(one, random >> 4); break;
        case 3: exec_and_compare(one, random); break;
        case 4: start_take_and_wait(one, random); break;
        case 5: attach_to_the_sleeper(one); break;
        case 6: find_the_sleeper(one); break;
        case 7: wait_too_short(one); break;
        case 8: be_cancelled(one, worker->number, random >> 4); break;
        case 9: be_refused(one); break;
        default: build_options(); break;
        }
    }
    return NULL;
}

static void prepare(struct shared *one, const char *name)
{
    snprintf(one->name, sizeof one->name, "%s", name);
    one->box = create_box(runtime, name);
    snprintf(one->id, sizeof one->id, "%s", boxlite_box_id(one->box));
    OK(boxlite_box_start(one->box, NULL, &error));
    one->pid = shim_pid(one->box);
    CHECK(one->pid > 0);
    boxlite_command *command = shell("echo hello; exec sleep 601");
    OK(boxlite_box_exec_start(one->box, command, NULL, &one->sleeper, &error));
    boxlite_command_free(command);
    int out;
    char text[6];
    OK(boxlite_execution_take_stdout(one->sleeper, BOXLITE_OFFSET_OLDEST, 0, NULL, &out, &error));
    for (size_t total = 0; total < sizeof text;) {
        ssize_t count = read(out, text + total, sizeof text - total);
        if (count <= 0) {
            CHECK(false);
            give_up();
        }
        total += (size_t)count;
    }
    close(out);
}

int main(void)
{
    static struct worker workers[THREADS];
    int calls = number_from("BOXLITE_HAMMER_CALLS", CALLS);
    unsigned seed = (unsigned)number_from("BOXLITE_HAMMER_SEED", (int)getpid());
    int idle_threads = count_entries("/proc/self/task");
    runtime = open_runtime();
    prepare(&shared[0], "anvil");
    prepare(&shared[1], "bench");
    printf("BOXLITE_HAMMER_SEED=%u BOXLITE_HAMMER_CALLS=%d\n", seed, calls);
    CHECK_OUTPUT(shared[0].box, "echo up", "up\n");
    CHECK_OUTPUT(shared[1].box, "echo up", "up\n");
    int descriptors = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task") + GROWN_POOL;

    pthread_t canceller;
    CHECK_INT(pthread_create(&canceller, NULL, cancel_them, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.number = i, .calls = calls, .random = seed * 2654435761u + (unsigned)i * 40503u};
        CHECK_INT(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    pthread_mutex_lock(&lock);
    is_over = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(canceller, NULL);

    CHECK_SETTLES("/proc/self/fd", descriptors);
    CHECK_SETTLES("/proc/self/task", threads);
    for (int i = 0; i < BOXES; i++) {
        struct shared *one = &shared[i];
        /* What was cancelled goes, what was not is there. */
        CHECK_OUTPUT(one->box,
                     "for i in $(seq 600); do ps -o args | grep -q 'sleep 60[2]' || break; sleep 0.1; done; "
                     "ps -o args | grep -c 'sleep 60[2]' || true",
                     "0\n");
        CHECK_OUTPUT(one->box, "ps -o args | grep -c 'sleep 60[1]'", "1\n");
        OK(boxlite_execution_kill(one->sleeper, NULL, &error));
        check_exit(one->sleeper, -1, SIGKILL);
        OK(boxlite_remove(runtime, one->id, 1, NULL, &error));
        boxlite_execution_free(one->sleeper);
        boxlite_box_free(one->box);
        CHECK(wait_until_gone(one->id, 60000));
    }
    OK(boxlite_runtime_shutdown(runtime, 5000, NULL, &error));
    boxlite_runtime_free(runtime);
    CHECK_SETTLES("/proc/self/task", idle_threads);
    return finish();
}
