/* Hosts that don't keep the status of their children: one ignores SIGCHLD, one has a thread that waits for any child.
 * Boxes run, commands run, nothing becomes a zombie, and the thread meets only the short-lived: the launcher that
 * forks a shim, and mke2fs and the probe of KVM, run once for a home. */
#define _GNU_SOURCE
#include "harness.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 2, MET = 64, NAME = 32 };

/* A child, living or not, that the thread met. */
struct met {
    pid_t pid;
    char name[NAME];
};

static struct met met[MET];
static atomic_int met_count;
static atomic_bool stop_waiting;
static int32_t shims[ROUNDS];

/* Name and parent of a process; a zombie has both. */
static bool read_stat(const char *pid, char *name, char *state, int *parent)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool read = fscanf(file, "%*d (%31[^)]) %c %d", name, state, parent) == 3;
    fclose(file);
    return read;
}

/* Children of this process, zombies among them. */
static int count_children(void)
{
    DIR *stream = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        char name[NAME], state;
        int parent;
        if (isdigit((unsigned char)entry->d_name[0]) && read_stat(entry->d_name, name, &state, &parent) &&
            parent == getpid()) {
            fprintf(stderr, "child %s: %s (%c)\n", entry->d_name, name, state);
            count++;
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count;
}

/* From a home that has nothing yet to a box removed, with every step that starts a process. */
static void a_life(boxlite_runtime *runtime, int round)
{
    boxlite_box *box = create_box(runtime, NULL);
    OK(boxlite_box_start(box, NULL, &error));
    shims[round] = shim_pid(box);
    CHECK(shims[round] > 0 && process_runs(shims[round]));
    CHECK_OUTPUT(box, "echo hi", "hi\n");
    boxlite_exec_result *result = run(box, shell("exit 3"));
    CHECK_INT(boxlite_exec_result_exit_code(result), 3);
    boxlite_exec_result_free(result);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    CHECK_INT(count_children(), 0);
    boxlite_box_free(box);
}

static void lives(const char *name)
{
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", home(), name);
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, path, &error));
    /* Templates are made at any time, by children of their own. */
    OK(boxlite_runtime_options_set_template_space(options, 0, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    for (int round = 0; round < ROUNDS; round++) {
        a_life(runtime, round);
    }
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
    CHECK_INT(count_children(), 0);
}

static void wait_for_any_child(void)
{
    siginfo_t child = {0};
    if (waitid(P_ALL, 0, &child, WEXITED | WNOWAIT) != 0) {
        sleep_ms(1);
        return;
    }
    char pid[32], name[NAME] = "?", state;
    int parent, index = atomic_load(&met_count);
    snprintf(pid, sizeof pid, "%d", (int)child.si_pid);
    (void)read_stat(pid, name, &state, &parent);
    /* The library may have been faster. */
    if (waitpid(-1, NULL, WNOHANG) == child.si_pid && index < MET) {
        met[index].pid = child.si_pid;
        memcpy(met[index].name, name, NAME);
        atomic_store(&met_count, index + 1);
    }
}

static void *wait_for_any(void *unused)
{
    while (!atomic_load(&stop_waiting)) {
        wait_for_any_child();
    }
    return unused;
}

static void a_host_that_waits_for_any_child(void)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, wait_for_any, NULL), 0);
    lives("waited");
    atomic_store(&stop_waiting, true);
    CHECK_INT(pthread_join(thread, NULL), 0);
    for (int i = 0; i < atomic_load(&met_count); i++) {
        printf("met %s\n", met[i].name);
        CHECK(strcmp(met[i].name, "boxlite-shim") == 0 || strcmp(met[i].name, "mke2fs") == 0);
        for (int round = 0; round < ROUNDS; round++) {
            CHECK(met[i].pid != shims[round]);
        }
    }
    /* One launcher a box, one mke2fs and one probe of KVM a home. */
    CHECK(atomic_load(&met_count) <= ROUNDS + 2);
}

static void a_host_that_ignores_sigchld(void)
{
    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    lives("ignored");
    /* It still does. */
    CHECK(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
}

int main(void)
{
    (void)home();
    a_host_that_ignores_sigchld();
    a_host_that_waits_for_any_child();
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_INT(errno, ECHILD);
    return finish();
}
