#define _GNU_SOURCE
#include "harness.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SETTLE_MS = 60000 };

_Thread_local boxlite_error *error;

static int faults;
static char home_dir[256];
static pid_t home_owner;

static void fault(const char *file, int line)
{
    __atomic_fetch_add(&faults, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "%s:%d: ", file, line);
}

void check(bool condition, const char *text, const char *file, int line)
{
    if (!condition) {
        fault(file, line);
        fprintf(stderr, "not so: %s\n", text);
    }
}

void check_int(long long actual, long long expected, const char *text, const char *file, int line)
{
    if (actual != expected) {
        fault(file, line);
        fprintf(stderr, "%s is %lld, not %lld\n", text, actual, expected);
    }
}

void check_str(const char *actual, const char *expected, const char *text, const char *file, int line)
{
    if (actual == NULL || expected == NULL ? actual != expected : strcmp(actual, expected) != 0) {
        fault(file, line);
        fprintf(stderr, "%s is \"%s\", not \"%s\"\n", text, actual ? actual : "(null)", expected ? expected : "(null)");
    }
}

bool expect(boxlite_code actual, boxlite_code expected, const char *subject, const char *text, const char *file,
            int line)
{
    boxlite_error *cause = error;
    error = NULL;
    bool as_expected = actual == expected;
    if (!as_expected) {
        fault(file, line);
        fprintf(stderr, "%s: %s, not %s: %s (%s)\n", text, boxlite_code_name(actual), boxlite_code_name(expected),
                boxlite_error_message(cause), boxlite_error_hint(cause));
    }
    if ((cause == NULL) != (actual == BOXLITE_OK) || boxlite_error_code(cause) != actual) {
        fault(file, line);
        fprintf(stderr, "%s: the error object does not fit %s\n", text, boxlite_code_name(actual));
    }
    if (cause != NULL && (boxlite_error_message(cause)[0] == '\0' || boxlite_error_hint(cause)[0] == '\0')) {
        fault(file, line);
        fprintf(stderr, "%s: an error without message or hint\n", text);
    }
    if (subject != NULL && as_expected) {
        check_str(boxlite_error_subject(cause), subject, "subject", file, line);
    }
    boxlite_error_free(cause);
    return as_expected;
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat, (void)walk;
    if (kind == FTW_D || kind == FTW_DNR) {
        (void)chmod(path, 0700);
    }
    (void)remove(path);
    return 0;
}

/* At exit, so also when the test gives up. A forked child that exits leaves it to its parent. What ends in the background,
 * such as a database that is closed, may make a file anew meanwhile. */
static void remove_home(void)
{
    if (getpid() != home_owner) {
        return;
    }
    for (int tries = 0; tries < 100 && nftw(home_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0; tries++) {
        if (access(home_dir, F_OK) != 0) {
            return;
        }
        sleep_ms(20);
    }
}

int finish(void)
{
    if (faults != 0) {
        fprintf(stderr, "%d faults\n", faults);
    }
    return faults != 0;
}

_Noreturn void give_up(void)
{
    fprintf(stderr, "the test cannot go on\n");
    exit(1);
}

/* Templates are the same for all homes; without a place for them the home makes its own. */
static void share_templates(const char *dir)
{
    const char *shared = getenv("BOXLITE_TEST_TEMPLATES");
    char link[768];
    snprintf(link, sizeof link, "%s/templates", dir);
    if (shared != NULL && symlink(shared, link) != 0 && errno != EEXIST) {
        perror(link);
        give_up();
    }
}

const char *home(void)
{
    if (home_dir[0] == '\0') {
        const char *tmp = getenv("TMPDIR");
        snprintf(home_dir, sizeof home_dir, "%s/boxlite-c-XXXXXX", tmp != NULL ? tmp : "/tmp");
        if (mkdtemp(home_dir) == NULL) {
            perror(home_dir);
            home_dir[0] = '\0';
            give_up();
        }
        home_owner = getpid();
        atexit(remove_home);
        share_templates(home_dir);
    }
    return home_dir;
}

const char *test_image(void)
{
    const char *image = getenv("BOXLITE_TEST_IMAGE");
    if (image == NULL) {
        fprintf(stderr, "BOXLITE_TEST_IMAGE is not set: run the tests by ctest\n");
        exit(1);
    }
    return image;
}

int number_from(const char *variable, int otherwise)
{
    const char *text = getenv(variable);
    return text != NULL ? atoi(text) : otherwise;
}

long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(long long milliseconds)
{
    struct timespec span = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&span, &span) != 0) {
    }
}

bool process_runs(int pid)
{
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    bool read = fscanf(file, "%*d (%*[^)]) %c", &state) == 1;
    fclose(file);
    return read && state != 'Z' && state != 'X';
}

int count_entries(const char *dir)
{
    DIR *stream = opendir(dir);
    int count = 0;
    while (stream != NULL && readdir(stream) != NULL) {
        count++;
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count;
}

void check_settles(const char *dir, int most, const char *file, int line)
{
    long long deadline = now_ms() + SETTLE_MS;
    int count = count_entries(dir);
    while (count > most && now_ms() < deadline) {
        sleep_ms(20);
        count = count_entries(dir);
    }
    check(count <= most, dir, file, line);
    if (count > most) {
        char command[64];
        printf("%s has %d entries, not %d\n", dir, count, most);
        snprintf(command, sizeof command, "ls -l /proc/%d/fd; cat /proc/%d/task/*/comm", (int)getpid(), (int)getpid());
        (void)!system(command);
    }
}

static bool argv_has(const char *pid, const char *text)
{
    char path[64], argv[4096];
    snprintf(path, sizeof path, "/proc/%.20s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t length = read(fd, argv, sizeof argv);
    close(fd);
    return length > 0 && memmem(argv, (size_t)length, text, strlen(text)) != NULL;
}

int signal_processes_with(const char *text, int number)
{
    DIR *stream = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        if (isdigit((unsigned char)entry->d_name[0]) && argv_has(entry->d_name, text)) {
            (void)kill(atoi(entry->d_name), number);
            count++;
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count;
}

int processes_with(const char *text)
{
    return signal_processes_with(text, 0);
}

bool wait_until_gone(const char *text, long long limit_ms)
{
    long long deadline = now_ms() + limit_ms;
    while (processes_with(text) > 0) {
        if (now_ms() > deadline) {
            return false;
        }
        sleep_ms(20);
    }
    return true;
}

int32_t shim_pid(boxlite_box *box)
{
    boxlite_info *info;
    OK(boxlite_box_info(box, NULL, &info, &error));
    int32_t pid = boxlite_info_pid(info);
    boxlite_info_free(info);
    return pid;
}

bool wait_until_ended(boxlite_box *box, long long limit_ms)
{
    long long deadline = now_ms() + limit_ms;
    while (shim_pid(box) != 0) {
        if (now_ms() > deadline) {
            return false;
        }
        sleep_ms(20);
    }
    return true;
}

boxlite_runtime *open_runtime(void)
{
    return open_runtime_in(".");
}

boxlite_runtime *open_runtime_in(const char *name)
{
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", home(), name);
    if (strcmp(name, ".") != 0) {
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            perror(path);
            give_up();
        }
        share_templates(path);
    }
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, strcmp(name, ".") == 0 ? home() : path, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    return runtime;
}

boxlite_box *create_box(boxlite_runtime *runtime, const char *name)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_memory_mib(options, 256, &error));
    OK(boxlite_create(runtime, options, name, NULL, &box, &error));
    boxlite_box_options_free(options);
    return box;
}

boxlite_command *shell(const char *script)
{
    boxlite_command *command;
    OK(boxlite_command_new("sh", &command, &error));
    OK(boxlite_command_add_arg(command, "-c", &error));
    OK(boxlite_command_add_arg(command, script, &error));
    return command;
}

boxlite_exec_result *run(boxlite_box *box, boxlite_command *command)
{
    boxlite_exec_result *result;
    OK(boxlite_exec(box, command, NULL, &result, &error));
    boxlite_command_free(command);
    return result;
}

void check_output(boxlite_box *box, const char *script, const char *output, const char *file, int line)
{
    boxlite_exec_result *result = run(box, shell(script));
    check_int(boxlite_exec_result_exit_code(result), 0, script, file, line);
    check_str(boxlite_exec_result_stdout(result), output, script, file, line);
    boxlite_exec_result_free(result);
}

boxlite_call *new_call(long long timeout_ms)
{
    boxlite_call *call;
    OK(boxlite_call_new(&call, &error));
    OK(boxlite_call_set_timeout_ms(call, timeout_ms, &error));
    return call;
}

int fault_count(void)
{
    return faults;
}
