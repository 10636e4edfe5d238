/* Each function that is done soon and takes a call, cut off at twenty random instants by a cancel or by its deadline: it
 * answers what it may answer, and leaves behind what the header says. Those that take long are in instants.c. */
#include "cut.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { INSTANTS = 20, CONTENT = 1 << 20 };

static boxlite_runtime *runtime;
static boxlite_box *box;
static boxlite_execution *running;

/* The functions that only ask: an answer or none, and a handle with it or none. */
#define ASKS(name, type, ...)                                                                                          \
    static boxlite_code ask_##name(boxlite_call *call)                                                                 \
    {                                                                                                                  \
        boxlite_##type *answer = NULL;                                                                                 \
        boxlite_code code = boxlite_##name(__VA_ARGS__, call, &answer, &error);                                        \
        EXPECT(code, code);                                                                                            \
        CHECK((answer != NULL) == (code == BOXLITE_OK));                                                               \
        boxlite_##type##_free(answer);                                                                                 \
        return code;                                                                                                   \
    }

ASKS(get, box, runtime, boxlite_box_id(box))
ASKS(list, info_list, runtime, NULL)
ASKS(box_info, info, box)
ASKS(image_get, image, runtime, test_image())
ASKS(runtime_images, image_list, runtime)
ASKS(runtime_metrics, metrics, runtime)
ASKS(box_metrics, metrics, box)
ASKS(runtime_system_check, system_check, runtime)
ASKS(box_executions, execution_list, box)
ASKS(box_attach, execution, box, boxlite_execution_id(running))
ASKS(execution_stream_state, stream_state, running, BOXLITE_STREAM_STDOUT)

/* get_or_create: as create, there is a box or there is none. */
static char name[32];

static boxlite_code get_or_create(boxlite_call *call)
{
    static int count;
    boxlite_box *made = NULL;
    int32_t created = -1;
    snprintf(name, sizeof name, "made-%d", count++);
    boxlite_code code = boxlite_get_or_create(runtime, NULL, name, call, &created, &made, &error);
    EXPECT(code, code);
    CHECK((made != NULL) == (code == BOXLITE_OK));
    CHECK_INT(created, code == BOXLITE_OK);
    boxlite_box_free(made);
    return code;
}

static void after_get_or_create(boxlite_code code)
{
    check_made_or_undone(runtime, name, code);
}

/* image_remove and prune: completed all the same. In a home without boxes. */
static boxlite_runtime *store;

static void store_image(void)
{
    boxlite_image *image;
    OK(boxlite_image_pull(store, test_image(), NULL, &image, &error));
    boxlite_image_free(image);
}

static boxlite_code remove_image(boxlite_call *call)
{
    boxlite_code code = note_begin(boxlite_image_remove(store, test_image(), 0, call, &error));
    EXPECT(code, code);
    return code;
}

static boxlite_code prune(boxlite_call *call)
{
    boxlite_prune *report = NULL;
    boxlite_code code = note_begin(boxlite_runtime_prune(store, 0, call, &report, &error));
    EXPECT(code, code);
    CHECK((report != NULL) == (code == BOXLITE_OK));
    boxlite_prune_free(report);
    return code;
}

static void after_deletion(boxlite_code code)
{
    boxlite_image_list *list;
    long long deadline = now_ms() + PATIENCE_MS;
    size_t left = 1;
    (void)code;
    if (is_not_begun) {
        (void)boxlite_image_remove(store, test_image(), 0, NULL, NULL);
    }
    while (left != 0 && now_ms() < deadline) {
        OK(boxlite_runtime_images(store, NULL, &list, &error));
        left = boxlite_image_list_len(list);
        boxlite_image_list_free(list);
    }
    CHECK_INT((long long)left, 0);
}

/* prepare: no virtual machine is left, and no template that is not whole. In a home with templates of its own. */
static boxlite_runtime *maker;
static char templates[512];

static void forget_templates(void)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'/[0-9a-f]*", templates);
    CHECK_INT(system(command), 0);
}

static int count_drafts(void)
{
    DIR *stream = opendir(templates);
    int count = 0;
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        count += strncmp(entry->d_name, ".draft", 6) == 0;
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count;
}

static boxlite_code prepare(boxlite_call *call)
{
    boxlite_box_options *options;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_memory_mib(options, 72, &error));
    boxlite_code code = boxlite_runtime_prepare(maker, options, call, &error);
    EXPECT(code, code);
    boxlite_box_options_free(options);
    return code;
}

static void after_prepare(boxlite_code code)
{
    (void)code;
    CHECK(wait_until_gone(templates, PATIENCE_MS));
    long long deadline = now_ms() + PATIENCE_MS;
    while (count_drafts() != 0 && now_ms() < deadline) {
        sleep_ms(10);
    }
    CHECK_INT(count_drafts(), 0);
}

/* shutdown: the boxes end all the same. */
static boxlite_runtime *ended;
static boxlite_box *ended_box;

static void start_a_runtime(void)
{
    ended = open_runtime_in("ended");
    ended_box = create_box(ended, NULL);
    OK(boxlite_box_start(ended_box, NULL, &error));
}

static boxlite_code shut_down(boxlite_call *call)
{
    boxlite_code code = note_begin(boxlite_runtime_shutdown(ended, -1, call, &error));
    EXPECT(code, code);
    return code;
}

static void after_shutdown(boxlite_code code)
{
    (void)code;
    if (is_not_begun) {
        OK(boxlite_runtime_shutdown(ended, 0, NULL, &error));
    }
    CHECK(wait_until_gone(boxlite_box_id(ended_box), PATIENCE_MS));
    boxlite_box_free(ended_box);
    boxlite_runtime_free(ended);
}

/* Archives: whole files or none under a final name; one that was cut off lacks its end. */
static char archive[512], made_archive[512];
static long long archive_size;

static long long size_of(int fd)
{
    return (long long)lseek(fd, 0, SEEK_END);
}

static boxlite_code copy_out_tar(boxlite_call *call)
{
    int fd = open(made_archive, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    boxlite_code code = boxlite_box_copy_out_tar(box, "/out/file", fd, NULL, call, &error);
    EXPECT(code, code);
    CHECK(code == BOXLITE_OK ? size_of(fd) == archive_size : size_of(fd) <= archive_size);
    close(fd);
    return code;
}

static void empty_in(void)
{
    CHECK_OUTPUT(box, "rm -rf /in; mkdir /in", "");
}

static boxlite_code copy_in_tar(boxlite_call *call)
{
    int fd = open(archive, O_RDONLY | O_CLOEXEC);
    boxlite_code code = boxlite_box_copy_in_tar(box, fd, "/in", NULL, call, &error);
    EXPECT(code, code);
    close(fd);
    return code;
}

static void after_copy_in_tar(boxlite_code code)
{
    char whole[64];
    boxlite_exec_result *result =
        run(box, shell("cd /in; " SETTLED "ls -A | tr '\\n' ' '; [ ! -e file ] || wc -c <file"));
    const char *found = boxlite_exec_result_stdout(result);
    snprintf(whole, sizeof whole, "file %d\n", CONTENT);
    CHECK(strcmp(found, whole) == 0 || (code != BOXLITE_OK && found[0] == '\0'));
    if (strcmp(found, whole) != 0 && found[0] != '\0') {
        printf("/in holds: %s\n", found);
    }
    boxlite_exec_result_free(result);
}

/* One command for each round. */
static boxlite_execution *one;

static void start_command(const char *script, bool tty)
{
    boxlite_command *command = shell(script);
    OK(tty ? boxlite_command_set_tty(command, 24, 80, &error)
           : boxlite_command_set_stdin(command, BOXLITE_STDIN_ONCE, &error));
    OK(boxlite_box_exec_start(box, command, NULL, &one, &error));
    boxlite_command_free(command);
}

static void check_end_of_command(int code, int signal)
{
    boxlite_exit *end;
    boxlite_call *call = new_call(PATIENCE_MS);
    OK(boxlite_execution_wait(one, call, &end, &error));
    CHECK_INT(boxlite_exit_code(end), code);
    CHECK_INT(boxlite_exit_signal(end), signal);
    boxlite_exit_free(end);
    boxlite_call_free(call);
    boxlite_execution_free(one);
}

static void start_sleep(void)
{
    start_command("exec sleep 4545", false);
}

/* signal, kill and close_stdin: done all the same, once they have begun. */
static boxlite_code terminate(boxlite_call *call)
{
    boxlite_code code = note_begin(boxlite_execution_signal(one, SIGTERM, call, &error));
    EXPECT(code, code);
    return code;
}

static void after_terminate(boxlite_code code)
{
    (void)code;
    if (is_not_begun) {
        (void)boxlite_execution_signal(one, SIGTERM, NULL, NULL);
    }
    check_end_of_command(-1, SIGTERM);
}

static boxlite_code kill_it(boxlite_call *call)
{
    boxlite_code code = note_begin(boxlite_execution_kill(one, call, &error));
    EXPECT(code, code);
    return code;
}

static void after_kill(boxlite_code code)
{
    (void)code;
    if (is_not_begun) {
        (void)boxlite_execution_kill(one, NULL, NULL);
    }
    check_end_of_command(-1, SIGKILL);
}

static void start_reader(void)
{
    start_command("cat >/dev/null; exit 5", false);
}

static boxlite_code close_input(boxlite_call *call)
{
    boxlite_code code = note_begin(boxlite_execution_close_stdin(one, 0, call, &error));
    EXPECT(code, code);
    return code;
}

static void after_close(boxlite_code code)
{
    (void)code;
    if (is_not_begun) {
        (void)boxlite_execution_close_stdin(one, 0, NULL, NULL);
    }
    check_end_of_command(5, 0);
}

/* take_...: taken, or still to be taken. */
enum stream { IN, OUT, ERR, TTY };
static enum stream taken;

static boxlite_code take(boxlite_call *call, int32_t *fd)
{
    switch (taken) {
    case IN: return boxlite_execution_take_stdin(one, 0, call, fd, &error);
    case OUT: return boxlite_execution_take_stdout(one, BOXLITE_OFFSET_OLDEST, 0, call, fd, &error);
    case ERR: return boxlite_execution_take_stderr(one, BOXLITE_OFFSET_OLDEST, 0, call, fd, &error);
    default: return boxlite_execution_take_tty(one, BOXLITE_OFFSET_OLDEST, 0, call, fd, &error);
    }
}

static boxlite_code take_once(boxlite_call *call)
{
    int32_t fd = -2;
    boxlite_code code = take(call, &fd);
    EXPECT(code, code);
    CHECK((fd >= 0) == (code == BOXLITE_OK));
    if (fd >= 0) {
        close(fd);
    }
    return code;
}

static void after_take(boxlite_code code)
{
    int32_t fd;
    EXPECT(code == BOXLITE_OK ? BOXLITE_INVALID_STATE : BOXLITE_OK, take(NULL, &fd));
    if (fd >= 0) {
        close(fd);
    }
    OK(boxlite_execution_kill(one, NULL, &error));
    check_end_of_command(-1, SIGKILL);
}

static void start_sleep_on_tty(void)
{
    start_command("exec sleep 4545", true);
}

/* resize_tty: done all the same, once it has begun. One terminal for all rounds, which tells its size when asked. */
static int32_t terminal, columns;

static boxlite_code resize(boxlite_call *call)
{
    boxlite_code code = note_begin(boxlite_execution_resize_tty(one, 33, ++columns, call, &error));
    EXPECT(code, code);
    return code;
}

static void read_line(char *line, size_t size)
{
    size_t length = 0;
    while (length < size - 1 && read(terminal, line + length, 1) == 1 && line[length] != '\n') {
        length += line[length] != '\r';
    }
    line[length] = '\0';
}

static void after_resize(boxlite_code code)
{
    char line[64], expected[64];
    long long deadline = now_ms() + PATIENCE_MS;
    snprintf(expected, sizeof expected, "33 %d", (int)columns);
    (void)code;
    if (is_not_begun) {
        OK(boxlite_execution_resize_tty(one, 33, columns, NULL, &error));
    }
    do {
        CHECK_INT(write(terminal, "\n", 1), 1);
        read_line(line, sizeof line);
    } while (strcmp(line, expected) != 0 && now_ms() < deadline);
    CHECK_STR(line, expected);
}

static void resizes(void)
{
    char line[64];
    columns = 100;
    start_command("stty -echo; echo ready; while read line; do stty size; done", true);
    OK(boxlite_execution_take_tty(one, BOXLITE_OFFSET_OLDEST, 0, NULL, &terminal, &error));
    read_line(line, sizeof line);
    CHECK_STR(line, "ready");
    cut("resize_tty", INSTANTS, no_preparation, resize, after_resize);
    close(terminal);
    OK(boxlite_execution_kill(one, NULL, &error));
    check_end_of_command(-1, SIGKILL);
}

static void make_archive(void)
{
    char *content = malloc(CONTENT);
    CHECK(content != NULL);
    memset(content, 'n', CONTENT);
    OK(boxlite_box_write_file(box, "/out/file", content, CONTENT, 0644, NULL, &error));
    free(content);
    snprintf(archive, sizeof archive, "%s/archive", home());
    snprintf(made_archive, sizeof made_archive, "%s/made-archive", home());
    int fd = open(archive, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    OK(boxlite_box_copy_out_tar(box, "/out/file", fd, NULL, NULL, &error));
    archive_size = size_of(fd);
    close(fd);
}

static void open_maker(void)
{
    char path[500];
    boxlite_runtime_options *options;
    snprintf(path, sizeof path, "%s/maker", home());
    snprintf(templates, sizeof templates, "%s/templates", path);
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, path, &error));
    OK(boxlite_runtime_new(options, &maker, &error));
    boxlite_runtime_options_free(options);
}

int main(void)
{
    seed_instants();
    runtime = open_runtime();
    box = create_box(runtime, NULL);
    start_sleep();
    running = one;
    make_archive();

    cut("get", INSTANTS, no_preparation, ask_get, nothing_left);
    cut("list", INSTANTS, no_preparation, ask_list, nothing_left);
    cut("box_info", INSTANTS, no_preparation, ask_box_info, nothing_left);
    cut("image_get", INSTANTS, no_preparation, ask_image_get, nothing_left);
    cut("images", INSTANTS, no_preparation, ask_runtime_images, nothing_left);
    cut("runtime_metrics", INSTANTS, no_preparation, ask_runtime_metrics, nothing_left);
    cut("box_metrics", INSTANTS, no_preparation, ask_box_metrics, nothing_left);
    cut("system_check", INSTANTS, no_preparation, ask_runtime_system_check, nothing_left);
    cut("executions", INSTANTS, no_preparation, ask_box_executions, nothing_left);
    cut("attach", INSTANTS, no_preparation, ask_box_attach, nothing_left);
    cut("stream_state", INSTANTS, no_preparation, ask_execution_stream_state, nothing_left);
    cut("get_or_create", INSTANTS, no_preparation, get_or_create, after_get_or_create);
    cut("copy_in_tar", INSTANTS, empty_in, copy_in_tar, after_copy_in_tar);
    cut("copy_out_tar", INSTANTS, no_preparation, copy_out_tar, nothing_left);
    cut("signal", INSTANTS, start_sleep, terminate, after_terminate);
    cut("kill", INSTANTS, start_sleep, kill_it, after_kill);
    cut("close_stdin", INSTANTS, start_reader, close_input, after_close);
    taken = IN;
    cut("take_stdin", INSTANTS, start_sleep, take_once, after_take);
    taken = OUT;
    cut("take_stdout", INSTANTS, start_sleep, take_once, after_take);
    taken = ERR;
    cut("take_stderr", INSTANTS, start_sleep, take_once, after_take);
    taken = TTY;
    cut("take_tty", INSTANTS, start_sleep_on_tty, take_once, after_take);
    resizes();

    store = open_runtime_in("store");
    cut("image_remove", INSTANTS, store_image, remove_image, after_deletion);
    cut("prune", INSTANTS, store_image, prune, after_deletion);
    close_runtime(store);
    cut("shutdown", INSTANTS, start_a_runtime, shut_down, after_shutdown);
    open_maker();
    /* A machine boots for each, which takes seconds. */
    cut("prepare", INSTANTS, forget_templates, prepare, after_prepare);
    close_runtime(maker);

    boxlite_execution_free(running);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    close_runtime(runtime);
    return finish();
}
