/* A host that leaves SIGPIPE at its default, so that one write into a dead shim's socket would end it: shims that die
 * at once, while starting, and while they are written to. The host lives, gets an error, and nothing is left. So it is
 * with a log that nobody reads. */
#define _GNU_SOURCE
#include "harness.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

/* Anything that takes PATIENCE_MS has gone wrong. */
enum { DEAD_ROUNDS = 10, INPUT_SIZE = 4 << 20, PATIENCE_MS = 60000 };

/* Where the library finds its pieces when nobody tells it: beside itself. */
static void installed_pieces(char *dir, size_t size)
{
    Dl_info info;
    char real[4096];
    if (dladdr((void *)(size_t)&boxlite_version, &info) == 0 || realpath(info.dli_fname, real) == NULL) {
        give_up();
    }
    snprintf(dir, size, "%.2000s/../libexec/boxlite", dirname(real));
}

/* A directory of pieces whose shim is `script`. */
static void make_pieces(const char *dir, const char *script)
{
    static const char *const others[] = {"kernel.elf", "kernel.json", "guest.erofs"};
    char installed[2100], from[2200], to[600];
    installed_pieces(installed, sizeof installed);
    CHECK_INT(mkdir(dir, 0755), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(from, sizeof from, "%s/%s", installed, others[i]);
        snprintf(to, sizeof to, "%s/%s", dir, others[i]);
        CHECK_INT(symlink(from, to), 0);
    }
    snprintf(to, sizeof to, "%s/boxlite-shim", dir);
    FILE *shim = fopen(to, "we");
    CHECK(shim != NULL && fputs(script, shim) >= 0 && fclose(shim) == 0);
    CHECK_INT(chmod(to, 0755), 0);
}

static void check_failed(boxlite_runtime *runtime, boxlite_box *box, boxlite_code code)
{
    CHECK(code == BOXLITE_ENGINE || code == BOXLITE_PORTAL);
    EXPECT(code, code);
    CHECK_INT(shim_pid(box), 0);
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 0, NULL, &error));
    boxlite_box_free(box);
}

static void a_shim_that_dies_at_once(const char *name, const char *script)
{
    char dir[512];
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    snprintf(dir, sizeof dir, "%s/pieces-%s", home(), name);
    make_pieces(dir, script);
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, home(), &error));
    OK(boxlite_runtime_options_set_runtime_dir(options, dir, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    for (int round = 0; round < DEAD_ROUNDS; round++) {
        boxlite_box *box = create_box(runtime, NULL);
        check_failed(runtime, box, boxlite_box_start(box, NULL, &error));
    }
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
}

/* Kills every process with an id in its argv, from `after_ms` on until told to stop. */
struct killer {
    const char *id;
    long long after_ms;
    atomic_bool stop;
    int killed;
    pthread_t thread;
};

static void *kill_shims(void *argument)
{
    struct killer *killer = argument;
    sleep_ms(killer->after_ms);
    while (!atomic_load(&killer->stop)) {
        killer->killed += signal_processes_with(killer->id, SIGKILL);
        sleep_ms(2);
    }
    return NULL;
}

static void start_killer(struct killer *killer, const char *id, long long after_ms)
{
    killer->id = id;
    killer->after_ms = after_ms;
    killer->killed = 0;
    atomic_init(&killer->stop, false);
    CHECK_INT(pthread_create(&killer->thread, NULL, kill_shims, killer), 0);
}

static void stop_killer(struct killer *killer)
{
    atomic_store(&killer->stop, true);
    CHECK_INT(pthread_join(killer->thread, NULL), 0);
    CHECK(killer->killed > 0);
}

static void a_shim_killed_while_it_starts(boxlite_runtime *runtime)
{
    static const long long moments_ms[] = {0, 0, 30, 100};
    for (size_t i = 0; i < sizeof moments_ms / sizeof *moments_ms; i++) {
        struct killer killer;
        boxlite_box *box = create_box(runtime, NULL);
        char id[32];
        snprintf(id, sizeof id, "%s", boxlite_box_id(box));
        start_killer(&killer, id, moments_ms[i]);
        boxlite_code code = boxlite_box_start(box, NULL, &error);
        if (code == BOXLITE_OK) {
            /* The machine was faster than the later moments. */
            EXPECT(BOXLITE_OK, code);
            CHECK(moments_ms[i] > 0 && wait_until_gone(id, PATIENCE_MS));
            OK(boxlite_remove(runtime, id, 1, NULL, &error));
            boxlite_box_free(box);
        } else {
            check_failed(runtime, box, code);
        }
        stop_killer(&killer);
    }
}

/* What the command doesn't read has filled the sockets when the shim dies. */
static void a_shim_killed_while_it_is_written_to(boxlite_runtime *runtime)
{
    struct killer killer;
    boxlite_box *box = create_box(runtime, NULL);
    char *input = calloc(1, INPUT_SIZE);
    boxlite_command *command = shell("sleep 600");
    boxlite_exec_result *result;
    OK(boxlite_command_set_input(command, input, INPUT_SIZE, &error));
    free(input);
    OK(boxlite_box_start(box, NULL, &error));
    start_killer(&killer, boxlite_box_id(box), 200);
    long long start = now_ms();
    boxlite_code code = boxlite_exec(box, command, NULL, &result, &error);
    CHECK(now_ms() - start < PATIENCE_MS);
    CHECK(code != BOXLITE_OK);
    EXPECT(code, code);
    printf("exec in a box whose shim was killed: %s\n", boxlite_code_name(code));
    boxlite_exec_result_free(result);
    boxlite_command_free(command);
    stop_killer(&killer);

    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    boxlite_box_free(box);
}

/* Stop, remove and shutdown right after the death, which nobody may have noticed yet. */
static void a_shim_killed_just_before_a_call(boxlite_runtime *runtime)
{
    boxlite_box *box = create_box(runtime, NULL);
    OK(boxlite_box_start(box, NULL, &error));
    CHECK_INT(kill(shim_pid(box), SIGKILL), 0);
    OK(boxlite_box_stop(box, NULL, &error));
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    boxlite_box_free(box);

    box = create_box(runtime, NULL);
    OK(boxlite_box_start(box, NULL, &error));
    CHECK_INT(kill(shim_pid(box), SIGKILL), 0);
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    boxlite_box_free(box);
}

static boxlite_runtime *open_logging(int32_t level, int32_t fd)
{
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, home(), &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "level", boxlite_runtime_options_set_log_fd(options, 0, fd, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "level", boxlite_runtime_options_set_log_fd(options, 5, fd, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "fd", boxlite_runtime_options_set_log_fd(options, level, -1, &error));
    OK(boxlite_runtime_options_set_log_fd(options, level, fd, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    return runtime;
}

static void live_and_end(boxlite_runtime *runtime)
{
    boxlite_box *box = create_box(runtime, "logged");
    CHECK_OUTPUT(box, "echo up", "up\n");
    OK(boxlite_box_stop(box, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_remove(runtime, "logged", 0, NULL, &error));
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
}

/* What a runtime of this level writes for a box's life. */
static void read_log(int32_t level, char *text, size_t size)
{
    int pipes[2];
    size_t length = 0;
    CHECK_INT(pipe2(pipes, O_CLOEXEC), 0);
    boxlite_runtime *runtime = open_logging(level, pipes[1]);
    /* The runtime has its own. */
    close(pipes[1]);
    live_and_end(runtime);
    for (ssize_t count; length < size - 1 && (count = read(pipes[0], text + length, size - 1 - length)) > 0;) {
        length += (size_t)count;
    }
    text[length] = '\0';
    close(pipes[0]);
}

static void a_log_is_lines_of_json_from_its_level_up(void)
{
    static char text[1 << 16];
    read_log(BOXLITE_LOG_INFO, text, sizeof text);
    CHECK(strstr(text, "\"level\":\"info\"") != NULL && strstr(text, "\"level\":\"debug\"") == NULL);
    int lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        CHECK(line[0] == '{' && line[strlen(line) - 1] == '}' && strstr(line, "\"event\":") != NULL);
        lines++;
    }
    CHECK(lines >= 3);
    read_log(BOXLITE_LOG_ERROR, text, sizeof text);
    CHECK_STR(text, "");
}

/* Nobody reads the log any more, from the first line on. */
static void a_log_whose_reader_is_dead(void)
{
    int pipes[2];
    CHECK_INT(pipe2(pipes, O_CLOEXEC), 0);
    boxlite_runtime *runtime = open_logging(BOXLITE_LOG_DEBUG, pipes[1]);
    close(pipes[0]);
    live_and_end(runtime);
    close(pipes[1]);
}

int main(void)
{
    sigset_t set, mask;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    CHECK_INT(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    /* The shim's end of the socket is its standard input. */
    a_shim_that_dies_at_once("false", "#!/bin/false\n");
    a_shim_that_dies_at_once("deaf", "#!/bin/sh\nexec <&-\nsleep 0.02\n");
    a_shim_that_dies_at_once("mute", "#!/bin/sh\nhead -c 1 >/dev/null\nexit 1\n");
    a_log_is_lines_of_json_from_its_level_up();
    a_log_whose_reader_is_dead();
    boxlite_runtime *runtime = open_runtime();
    a_shim_killed_while_it_starts(runtime);
    a_shim_killed_while_it_is_written_to(runtime);
    a_shim_killed_just_before_a_call(runtime);
    boxlite_runtime_free(runtime);

    struct sigaction action;
    CHECK_INT(sigaction(SIGPIPE, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
    CHECK_INT(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    CHECK_INT(sigismember(&mask, SIGPIPE), 0);
    return finish();
}
