/* Thirty boxes made, used and removed in one process, three at a time, leave it as the first three did:
 * descriptors, threads, children, the temporary directory, the home. */
#define _GNU_SOURCE
#include "harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, BOXES_EACH = 10, LISTING = 1 << 16 };

static boxlite_runtime *runtime;
static char listing[LISTING];
static size_t listed;

static int list_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat, (void)kind, (void)walk;
    int length = snprintf(listing + listed, LISTING - listed, "%s\n", path);
    listed += length > 0 && (size_t)length < LISTING - listed ? (size_t)length : 0;
    return 0;
}

static int compare(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

/* All paths below a directory, sorted, as one string to free. */
static char *list_tree(const char *dir)
{
    listed = 0;
    listing[0] = '\0';
    CHECK_INT(nftw(dir, list_entry, 16, FTW_PHYS), 0);
    char *lines[1024], *sorted = calloc(1, LISTING), *end = sorted;
    size_t count = 0;
    for (char *line = strtok(listing, "\n"); line != NULL && count < 1024; line = strtok(NULL, "\n")) {
        lines[count++] = line;
    }
    CHECK(count > 0 && count < 1024);
    qsort(lines, count, sizeof *lines, compare);
    for (size_t i = 0; i < count; i++) {
        end += sprintf(end, "%s\n", lines[i]);
    }
    return sorted;
}

/* Makes `dir` this process's /tmp, for it and what it starts alone, as other programs come and go there. */
static void see_as_tmp(const char *dir)
{
    Dl_info library;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(dir, "/tmp", NULL, MS_BIND, NULL) != 0) {
        printf("not root: what ignores TMPDIR is not seen\n");
    } else if (dladdr((void *)(size_t)&boxlite_version, &library) == 0 || access(library.dli_fname, R_OK) != 0) {
        printf("the library is in /tmp: what ignores TMPDIR is not seen\n");
        CHECK_INT(umount2("/tmp", MNT_DETACH), 0);
    }
}

static void a_life(void)
{
    boxlite_box *box = create_box(runtime, NULL);
    CHECK_OUTPUT(box, "cat /etc/hostname > /tmp/x; echo out; echo err >&2", "out\n");
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    boxlite_box_free(box);
}

static void *lives(void *count)
{
    for (int i = 0; i < *(int *)count; i++) {
        a_life();
    }
    return NULL;
}

static void run_threads(int boxes_each)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, lives, &boxes_each), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    }
}

int main(void)
{
    char tmp[512];
    CHECK_INT(setenv("TMPDIR", "/var/tmp", 1), 0);
    snprintf(tmp, sizeof tmp, "%s/tmp", home());
    CHECK_INT(mkdir(tmp, 0700), 0);
    CHECK_INT(setenv("TMPDIR", tmp, 1), 0);
    see_as_tmp(tmp);
    int idle_threads = count_entries("/proc/self/task");

    runtime = open_runtime();
    run_threads(1);
    /* Only what stays is the measure. */
    sleep_ms(500);
    int descriptors = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
    char *tree = list_tree(home());
    long long start = now_ms();
    run_threads(BOXES_EACH);
    printf("%d boxes in %lld ms\n", THREADS * BOXES_EACH, now_ms() - start);
    CHECK_SETTLES("/proc/self/fd", descriptors);
    CHECK_SETTLES("/proc/self/task", threads);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_INT(errno, ECHILD);
    char *tree_now = list_tree(home());
    CHECK_STR(tree_now, tree);
    free(tree);
    free(tree_now);

    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
    CHECK_SETTLES("/proc/self/task", idle_threads);
    CHECK_INT(count_entries(tmp), 2);
    return finish();
}
