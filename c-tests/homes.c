/* Homes that cannot be used, homes with odd names, one home twice, and what is left when a runtime has gone. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static boxlite_code open_at(const char *path, boxlite_runtime **runtime)
{
    boxlite_runtime_options *options;
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, path, &error));
    boxlite_code code = boxlite_runtime_new(options, runtime, &error);
    boxlite_runtime_options_free(options);
    return code;
}

static void close_runtime(boxlite_runtime *runtime)
{
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
}

/* Root may write anywhere, so a child that is not root tries. */
static void a_read_only_home_is_an_error_of_storage(void)
{
    boxlite_runtime *runtime;
    if (geteuid() == 0 && (chmod(home(), 0755) != 0 || setgid(65534) != 0 || setuid(65534) != 0)) {
        give_up();
    }
    char path[512];
    snprintf(path, sizeof path, "%s/read-only", home());
    EXPECT(BOXLITE_STORAGE, open_at(path, &runtime));
    CHECK(runtime == NULL);
    CHECK_INT(count_entries(path), 2);
    snprintf(path, sizeof path, "%s/read-only/new", home());
    EXPECT(BOXLITE_STORAGE, open_at(path, &runtime));
}

static void homes_that_cannot_be(void)
{
    boxlite_runtime *runtime;
    char path[512];
    snprintf(path, sizeof path, "%s/file", home());
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    EXPECT(BOXLITE_STORAGE, open_at(path, &runtime));
    EXPECT(BOXLITE_STORAGE, open_at("/proc/boxlite", &runtime));
    char longest[5000];
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    EXPECT(BOXLITE_STORAGE, open_at(longest, &runtime));
    CHECK(runtime == NULL);
}

static void homes_may_have_any_name(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/a b\n\xff", home());
    boxlite_runtime *runtime, *again;
    boxlite_box *box, *found;
    OK(open_at(path, &runtime));
    OK(open_at(path, &again));
    box = create_box(runtime, "one");
    OK(boxlite_get(again, "one", NULL, &found, &error));
    CHECK_STR(boxlite_box_id(found), boxlite_box_id(box));
    boxlite_box_free(found);
    OK(boxlite_remove(again, "one", 0, NULL, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_get(runtime, "one", NULL, &found, &error));
    boxlite_box_free(box);
    close_runtime(again);
    close_runtime(runtime);
}

/* Handles are counted inside, so the runtime's may go first. */
static void any_order_of_frees_is_safe(void)
{
    boxlite_runtime *runtime = open_runtime();
    boxlite_box *box = create_box(runtime, NULL);
    boxlite_call *call = new_call(1000);
    boxlite_info *info;
    OK(boxlite_box_info(box, call, &info, &error));
    long long start = now_ms();
    boxlite_runtime_free(runtime);
    /* It doesn't wait for long: see boxlite_runtime_free(). */
    CHECK(now_ms() - start < 5000);
    boxlite_info *late;
    EXPECT(BOXLITE_STOPPED, boxlite_box_start(box, NULL, &error));
    boxlite_code code = boxlite_box_info(box, call, &late, &error);
    CHECK(code == BOXLITE_STOPPED || code == BOXLITE_OK);
    EXPECT(code, code);
    boxlite_info_free(late);
    CHECK_STR(boxlite_box_id(box), boxlite_info_id(info));
    boxlite_call_free(call);
    boxlite_box_free(box);
    CHECK_INT((long long)strlen(boxlite_info_id(info)), 12);
    boxlite_info_free(info);
}

static void *start_it(void *box)
{
    boxlite_code code = boxlite_box_start(box, NULL, &error);
    CHECK(code == BOXLITE_OK || code == BOXLITE_STOPPED);
    EXPECT(code, code);
    return NULL;
}

/* The start is called off and its machine ended, for which a free waits a while (2 s at most); the rest is background. */
static void a_free_beside_a_start_waits_for_little(void)
{
    boxlite_runtime *runtime = open_runtime_in("freed");
    boxlite_box *box = create_box(runtime, NULL);
    pthread_t starter;
    CHECK_INT(pthread_create(&starter, NULL, start_it, box), 0);
    sleep_ms(50);
    long long start = now_ms();
    boxlite_runtime_free(runtime);
    long long took = now_ms() - start;
    printf("a free beside a start: %lld ms\n", took);
    CHECK(took < 5000);
    CHECK_INT(pthread_join(starter, NULL), 0);
    boxlite_box_free(box);
}

static void nothing_is_left(int threads)
{
    /* What came before has made what is made once and kept, such as tokio's wake-up sockets. */
    CHECK_SETTLES("/proc/self/task", threads);
    int descriptors = count_entries("/proc/self/fd");
    for (int round = 0; round < 5; round++) {
        boxlite_runtime *runtime = open_runtime();
        boxlite_box *box = create_box(runtime, NULL);
        OK(boxlite_remove(runtime, boxlite_box_id(box), 0, NULL, &error));
        OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
        boxlite_box_free(box);
        boxlite_runtime_free(runtime);
    }
    CHECK_SETTLES("/proc/self/task", threads);
    CHECK_SETTLES("/proc/self/fd", descriptors);
}

int main(void)
{
    int threads = count_entries("/proc/self/task");
    char path[512];
    snprintf(path, sizeof path, "%s/read-only", home());
    CHECK_INT(mkdir(path, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        a_read_only_home_is_an_error_of_storage();
        _exit(fault_count() != 0);
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);

    homes_that_cannot_be();
    homes_may_have_any_name();
    any_order_of_frees_is_safe();
    a_free_beside_a_start_waits_for_little();
    nothing_is_left(threads);
    return finish();
}
