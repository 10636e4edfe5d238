/* unload LIBRARY: ten rounds of dlopen, a box, shutdown and dlclose leave threads and descriptors as they were. */
#define _GNU_SOURCE
#include <boxlite.h>
#include <dirent.h>
#include <dlfcn.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static char home[64] = "/tmp/boxlite-c-XXXXXX";
static void *library;

/* A function of the library, typed by the header. */
#define FN(name) ((__typeof__(&name))symbol(#name))
#define OK(call) \
    if ((call) != BOXLITE_OK) { \
        fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, FN(boxlite_error_message)(error)); \
        exit(1); \
    }

static void *symbol(const char *name)
{
    void *address = dlsym(library, name);
    if (address == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return address;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

/* The last threads end just after the last handle was freed, since no free waits. */
static void wait_for_threads(int count)
{
    struct timespec moment = {0, 20000000};
    for (int i = 0; i < 1500 && count_entries("/proc/self/task") > count; i++) {
        nanosleep(&moment, NULL);
    }
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat, (void)kind, (void)walk;
    (void)remove(path);
    return 0;
}

/* `runs`: the box is started as well. */
static void round_trip(const char *path, int runs)
{
    boxlite_error *error = NULL;
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    boxlite_box_options *box_options;
    boxlite_box *box;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    OK(FN(boxlite_runtime_options_new)(&options, &error));
    OK(FN(boxlite_runtime_options_set_home_dir)(options, home, &error));
    OK(FN(boxlite_runtime_new)(options, &runtime, &error));
    FN(boxlite_runtime_options_free)(options);
    OK(FN(boxlite_box_options_new)(&box_options, &error));
    OK(FN(boxlite_box_options_set_image)(box_options, getenv("BOXLITE_TEST_IMAGE"), &error));
    OK(FN(boxlite_create)(runtime, box_options, NULL, NULL, &box, &error));
    FN(boxlite_box_options_free)(box_options);
    if (runs) {
        OK(FN(boxlite_box_start)(box, NULL, &error));
    }
    OK(FN(boxlite_remove)(runtime, FN(boxlite_box_id)(box), 1, NULL, &error));
    FN(boxlite_box_free)(box);
    OK(FN(boxlite_runtime_shutdown)(runtime, 1000, NULL, &error));
    FN(boxlite_runtime_free)(runtime);
    if (dlclose(library) != 0) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 || getenv("BOXLITE_TEST_IMAGE") == NULL || mkdtemp(home) == NULL) {
        fprintf(stderr, "usage: BOXLITE_TEST_IMAGE=IMAGE unload LIBRARY\n");
        return 2;
    }
    int threads = count_entries("/proc/self/task");
    /* What is made once per process and kept. */
    round_trip(argv[1], 0);
    wait_for_threads(threads);
    int descriptors = count_entries("/proc/self/fd");
    for (int i = 0; i < 10; i++) {
        round_trip(argv[1], i % 5 == 0);
    }
    wait_for_threads(threads);
    int threads_now = count_entries("/proc/self/task"), descriptors_now = count_entries("/proc/self/fd");
    printf("threads %d -> %d, descriptors %d -> %d\n", threads, threads_now, descriptors, descriptors_now);
    nftw(home, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return threads_now != threads || descriptors_now != descriptors;
}
