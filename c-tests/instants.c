/* Each function that blocks for long, cut off at twenty random instants by a cancel or by its deadline: it answers what
 * it may answer, and leaves behind what the header says. Those that are done soon are in instants_brief.c. */
#include "cut.h"

#include <pthread.h>
#include <unistd.h>

#define INSTANTS 20
#define CONTENT (4 << 20)

static boxlite_runtime *runtime;
static boxlite_box *box;
static char *old_content, *new_content;
static char source[512], target[512];

static int status(boxlite_box *one)
{
    boxlite_info *info = NULL;
    OK(boxlite_box_info(one, NULL, &info, &error));
    int status = boxlite_info_status(info);
    boxlite_info_free(info);
    return status;
}

/* Waits until no process in the box has `pattern`, which does not match itself, in its arguments. */
static void check_no_process(const char *pattern)
{
    char script[256];
    long long deadline = now_ms() + PATIENCE_MS;
    snprintf(script, sizeof script, "ps -o args | grep -q '%s'", pattern);
    for (;;) {
        boxlite_exec_result *result = run(box, shell(script));
        int found = boxlite_exec_result_exit_code(result);
        boxlite_exec_result_free(result);
        if (found != 0)
            return;
        if (now_ms() > deadline) {
            CHECK(!"a process is left");
            give_up();
        }
    }
}

/* exec: all its processes are killed. */
static boxlite_code exec_sleep(boxlite_call *call)
{
    boxlite_command *command = shell("setsid sleep 1212 & sleep 0.2; kill $!");
    boxlite_exec_result *result = NULL;
    boxlite_code code = boxlite_exec(box, command, call, &result, &error);
    EXPECT(code, code);
    boxlite_exec_result_free(result);
    boxlite_command_free(command);
    return code;
}

static void after_exec(boxlite_code code)
{
    (void)code;
    check_no_process("[s]leep 1212");
}

/* exec_start: no process is left. */
static boxlite_code start_sleep(boxlite_call *call)
{
    boxlite_command *command = shell("sleep 2323");
    boxlite_execution *execution = NULL;
    boxlite_code code = boxlite_box_exec_start(box, command, call, &execution, &error);
    EXPECT(code, code);
    CHECK((execution != NULL) == (code == BOXLITE_OK));
    if (execution != NULL)
        OK(boxlite_execution_kill(execution, NULL, &error));
    boxlite_execution_free(execution);
    boxlite_command_free(command);
    return code;
}

static void after_exec_start(boxlite_code code)
{
    (void)code;
    check_no_process("[s]leep 2323");
}

/* execution_wait and attach: the process goes on. */
static boxlite_execution *waited_for;

static boxlite_code wait_for_it(boxlite_call *call)
{
    boxlite_exit *end = NULL;
    boxlite_execution *attached = NULL;
    boxlite_code code = BOXLITE_OK;
    if (call == NULL) {
        /* It would not end by itself: how long is a matter of taste. */
        sleep_ms(30);
        return BOXLITE_OK;
    }
    code = boxlite_box_attach(box, boxlite_execution_id(waited_for), call, &attached, &error);
    EXPECT(code, code);
    CHECK((attached != NULL) == (code == BOXLITE_OK));
    if (code == BOXLITE_OK) {
        code = boxlite_execution_wait(attached, call, &end, &error);
        EXPECT(code, code);
        CHECK(end == NULL && code != BOXLITE_OK);
    }
    boxlite_execution_free(attached);
    return code;
}

static void after_wait(boxlite_code code)
{
    (void)code;
    CHECK_OUTPUT(box, "ps -o args | grep -c '[s]leep 3434'", "1\n");
}

static void waits(void)
{
    boxlite_command *command = shell("exec sleep 3434");
    boxlite_exit *end = NULL;
    OK(boxlite_box_exec_start(box, command, NULL, &waited_for, &error));
    cut("execution_wait", INSTANTS, no_preparation, wait_for_it, after_wait);
    OK(boxlite_execution_kill(waited_for, NULL, &error));
    OK(boxlite_execution_wait(waited_for, NULL, &end, &error));
    CHECK_INT(boxlite_exit_signal(end), 9);
    boxlite_exit_free(end);
    boxlite_execution_free(waited_for);
    boxlite_command_free(command);
}

/* box_wait: the box goes on. */
static boxlite_code wait_for_box(boxlite_call *call)
{
    boxlite_box_end *end = NULL;
    if (call == NULL) {
        sleep_ms(30);
        return BOXLITE_OK;
    }
    boxlite_code code = boxlite_box_wait(box, call, &end, &error);
    EXPECT(code, code);
    CHECK(end == NULL && code != BOXLITE_OK);
    return code;
}

static void after_box_wait(boxlite_code code)
{
    (void)code;
    CHECK_INT(status(box), BOXLITE_STATUS_RUNNING);
}

/* copy and files: a whole file or none under the final name, and nothing beside it. */
static void empty_in(void)
{
    CHECK_OUTPUT(box, "rm -rf /in; mkdir /in", "");
}

static boxlite_code copy_in(boxlite_call *call)
{
    boxlite_code code = boxlite_box_copy_in(box, source, "/in/file", NULL, call, &error);
    EXPECT(code, code);
    return code;
}

static void check_in_box(const char *dir, bool has_to_be_there, int size)
{
    char script[512], expected[64];
    snprintf(script, sizeof script, "cd %s; " SETTLED "ls -A | tr '\\n' ' '; [ ! -e file ] || wc -c < file", dir);
    boxlite_exec_result *result = run(box, shell(script));
    const char *found = boxlite_exec_result_stdout(result);
    snprintf(expected, sizeof expected, "file %d\n", size);
    CHECK(strcmp(found, expected) == 0 || (!has_to_be_there && strcmp(found, "") == 0));
    if (strcmp(found, expected) != 0 && strcmp(found, "") != 0)
        printf("%s holds: %s\n", dir, found);
    boxlite_exec_result_free(result);
}

static void after_copy_in(boxlite_code code)
{
    check_in_box("/in", code == BOXLITE_OK, CONTENT);
}

static void empty_out(void)
{
    unlink(target);
}

static boxlite_code copy_out(boxlite_call *call)
{
    boxlite_code code = boxlite_box_copy_out(box, "/out/file", target, NULL, call, &error);
    EXPECT(code, code);
    return code;
}

static void after_copy_out(boxlite_code code)
{
    char dir[512];
    snprintf(dir, sizeof dir, "%s/out", home());
    long long deadline = now_ms() + PATIENCE_MS;
    bool there;
    int others;
    /* What a copy that was cut off has under way may come and go a moment later. Besides "." and "..". */
    do {
        there = access(target, F_OK) == 0;
        others = count_entries(dir) - 2 - there;
    } while ((others != 0 || there != (access(target, F_OK) == 0)) && now_ms() < deadline && (sleep_ms(10), true));
    CHECK_INT(others, 0);
    CHECK(there || code != BOXLITE_OK);
    if (there) {
        FILE *file = fopen(target, "r");
        CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0 && ftell(file) == CONTENT);
        if (file != NULL)
            fclose(file);
    }
}

static void write_before(void)
{
    OK(boxlite_box_write_file(box, "/written/file", old_content, CONTENT / 2, 0644, NULL, &error));
}

static boxlite_code write_file(boxlite_call *call)
{
    boxlite_code code = boxlite_box_write_file(box, "/written/file", new_content, CONTENT, 0644, call, &error);
    EXPECT(code, code);
    return code;
}

static void after_write_file(boxlite_code code)
{
    boxlite_exec_result *result =
        run(box, shell("cd /written; " SETTLED "ls -A; tr -d o < file | wc -c; wc -c < file"));
    const char *found = boxlite_exec_result_stdout(result);
    char whole[64], before[64];
    snprintf(whole, sizeof whole, "file\n%d\n%d\n", CONTENT, CONTENT);
    snprintf(before, sizeof before, "file\n0\n%d\n", CONTENT / 2);
    CHECK(strcmp(found, whole) == 0 || (code != BOXLITE_OK && strcmp(found, before) == 0));
    if (strcmp(found, whole) != 0 && strcmp(found, before) != 0)
        printf("/written holds: %s\n", found);
    boxlite_exec_result_free(result);
}

static boxlite_code read_file(boxlite_call *call)
{
    boxlite_bytes *bytes = NULL;
    boxlite_code code = boxlite_box_read_file(box, "/out/file", CONTENT, call, &bytes, &error);
    EXPECT(code, code);
    CHECK((bytes != NULL) == (code == BOXLITE_OK));
    CHECK(bytes == NULL || boxlite_bytes_len(bytes) == CONTENT);
    boxlite_bytes_free(bytes);
    return code;
}

/* create: there is a box by that name, or there is none. */
static char name[32];

static boxlite_code create(boxlite_call *call)
{
    static int count;
    boxlite_box_options *options = NULL;
    boxlite_box *made = NULL;
    snprintf(name, sizeof name, "created-%d", count++);
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    boxlite_code code = boxlite_create(runtime, options, name, call, &made, &error);
    EXPECT(code, code);
    CHECK((made != NULL) == (code == BOXLITE_OK));
    boxlite_box_free(made);
    boxlite_box_options_free(options);
    return code;
}

static void after_create(boxlite_code code)
{
    check_made_or_undone(runtime, name, code);
}

/* start: rolled back. stop and remove: completed all the same. */
static boxlite_box *fresh(void)
{
    boxlite_box *found = NULL;
    if (boxlite_get(runtime, "started", NULL, &found, NULL) != BOXLITE_OK)
        found = create_box(runtime, "started");
    return found;
}

static boxlite_code start(boxlite_call *call)
{
    boxlite_box *one = fresh();
    boxlite_code code = boxlite_box_start(one, call, &error);
    EXPECT(code, code);
    boxlite_box_free(one);
    return code;
}

static bool is_at_rest(boxlite_box *one)
{
    int now = status(one);
    return now == BOXLITE_STATUS_CONFIGURED || now == BOXLITE_STATUS_STOPPED;
}

static void after_start(boxlite_code code)
{
    boxlite_box *one = fresh();
    if (code == BOXLITE_OK) {
        CHECK_INT(status(one), BOXLITE_STATUS_RUNNING);
        OK(boxlite_remove(runtime, "started", 1, NULL, &error));
    } else {
        /* One that was done at that very moment has run, and comes to rest again. */
        long long deadline = now_ms() + PATIENCE_MS;
        while ((processes_with(boxlite_box_id(one)) != 0 || !is_at_rest(one)) && now_ms() < deadline)
            sleep_ms(10);
        CHECK(is_at_rest(one));
        OK(boxlite_remove(runtime, "started", 1, NULL, &error));
    }
    boxlite_box_free(one);
}

static void start_before(void)
{
    boxlite_box *one = fresh();
    OK(boxlite_box_start(one, NULL, &error));
    boxlite_box_free(one);
}

static boxlite_code stop(boxlite_call *call)
{
    boxlite_box *one = fresh();
    boxlite_code code = note_begin(boxlite_box_stop(one, call, &error));
    EXPECT(code, code);
    boxlite_box_free(one);
    return code;
}

static void after_stop(boxlite_code code)
{
    boxlite_box *one = fresh();
    (void)code;
    if (is_not_begun)
        OK(boxlite_box_stop(one, NULL, &error));
    boxlite_box_free(one);
    one = fresh();
    CHECK(wait_until_gone(boxlite_box_id(one), PATIENCE_MS));
    long long deadline = now_ms() + PATIENCE_MS;
    while (status(one) != BOXLITE_STATUS_STOPPED && now_ms() < deadline)
        sleep_ms(10);
    CHECK_INT(status(one), BOXLITE_STATUS_STOPPED);
    boxlite_box_free(one);
}

static boxlite_code remove_running(boxlite_call *call)
{
    boxlite_code code = note_begin(boxlite_remove(runtime, "started", 1, call, &error));
    EXPECT(code, code);
    return code;
}

static void after_remove(boxlite_code code)
{
    boxlite_box *one = NULL;
    (void)code;
    if (is_not_begun)
        boxlite_remove(runtime, "started", 1, NULL, NULL);
    long long deadline = now_ms() + PATIENCE_MS;
    while (boxlite_get(runtime, "started", NULL, &one, NULL) == BOXLITE_OK && now_ms() < deadline) {
        boxlite_box_free(one);
        sleep_ms(10);
    }
    CHECK(one == NULL);
}

/* pull: the caller leaves, what others wait for goes on, nothing half remains. The other one comes a little earlier or
 * later, so that either may be the one who fetches. */
struct other {
    boxlite_runtime *runtime;
    useconds_t after_us;
};

static void *pull_too(void *argument)
{
    struct other *other = argument;
    boxlite_image *image = NULL;
    usleep(other->after_us);
    EXPECT(BOXLITE_OK, boxlite_image_pull(other->runtime, test_image(), NULL, &image, &error));
    CHECK(image != NULL);
    boxlite_image_free(image);
    return NULL;
}

static boxlite_code pull(boxlite_call *call)
{
    static int count;
    char dir[32];
    boxlite_image *image = NULL;
    snprintf(dir, sizeof dir, "pulled-%d", count++);
    boxlite_runtime *other = open_runtime_in(dir);
    struct other beside = {other, random_below(4000)};
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, pull_too, &beside), 0);
    usleep(random_below(4000));
    boxlite_code code = boxlite_image_pull(other, test_image(), call, &image, &error);
    EXPECT(code, code);
    CHECK((image != NULL) == (code == BOXLITE_OK));
    boxlite_image_free(image);
    image = NULL;
    CHECK_INT(pthread_join(thread, NULL), 0);
    OK(boxlite_image_pull(other, test_image(), NULL, &image, &error));
    boxlite_image_free(image);
    close_runtime(other);
    return code;
}

int main(void)
{
    seed_instants();
    old_content = malloc(CONTENT);
    new_content = malloc(CONTENT);
    CHECK(old_content != NULL && new_content != NULL);
    memset(old_content, 'o', CONTENT);
    memset(new_content, 'n', CONTENT);
    runtime = open_runtime();
    box = create_box(runtime, NULL);
    snprintf(source, sizeof source, "%s/source", home());
    snprintf(target, sizeof target, "%s/out/file", home());
    FILE *file = fopen(source, "w");
    CHECK(file != NULL && fwrite(new_content, 1, CONTENT, file) == CONTENT && fclose(file) == 0);
    CHECK_OUTPUT(box, "mkdir /out /written", "");
    OK(boxlite_box_write_file(box, "/out/file", new_content, CONTENT, 0644, NULL, &error));
    OK(boxlite_box_copy_out(box, "/out/file", target, NULL, NULL, &error));

    cut("exec", INSTANTS, no_preparation, exec_sleep, after_exec);
    cut("exec_start", INSTANTS, no_preparation, start_sleep, after_exec_start);
    waits();
    cut("box_wait", INSTANTS, no_preparation, wait_for_box, after_box_wait);
    cut("copy_in", INSTANTS, empty_in, copy_in, after_copy_in);
    cut("copy_out", INSTANTS, empty_out, copy_out, after_copy_out);
    cut("write_file", INSTANTS, write_before, write_file, after_write_file);
    cut("read_file", INSTANTS, no_preparation, read_file, nothing_left);
    cut("create", INSTANTS, no_preparation, create, after_create);
    cut("start", INSTANTS, no_preparation, start, after_start);
    cut("stop", INSTANTS, start_before, stop, after_stop);
    cut("remove", INSTANTS, start_before, remove_running, after_remove);
    cut("image_pull", INSTANTS, no_preparation, pull, nothing_left);

    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    close_runtime(runtime);
    free(old_content);
    free(new_content);
    return finish();
}
