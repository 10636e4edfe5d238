/* Files into a box and out of it, by paths, by descriptors, and as bytes. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static boxlite_runtime *runtime;
static boxlite_box *box;

/* A path below home(). */
static const char *host(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", home(), name);
    return path;
}

static void write_host(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void check_host(const char *path, const char *text)
{
    char found[256] = "";
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    if (file != NULL) {
        found[fread(found, 1, sizeof found - 1, file)] = '\0';
        fclose(file);
    }
    CHECK_STR(found, text);
}

static void paths(void)
{
    const char *source = host("sou\nrce\xff");
    write_host(source, "content");
    OK(boxlite_box_copy_in(box, source, "/a/b/\xff", NULL, NULL, &error));
    CHECK_OUTPUT(box, "cat /a/b/*", "content");
    OK(boxlite_box_copy_out(box, "/a", host("back"), NULL, NULL, &error));
    check_host(host("back/b/\xff"), "content");

    boxlite_copy_options *options;
    OK(boxlite_copy_options_new(&options, &error));
    OK(boxlite_copy_options_set_overwrite(options, 0, &error));
    EXPECT(BOXLITE_ALREADY_EXISTS, boxlite_box_copy_in(box, source, "/a/b/\xff", options, NULL, &error));
    OK(boxlite_copy_options_set_overwrite(options, 1, &error));
    OK(boxlite_copy_options_set_recursive(options, 0, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "/a", boxlite_box_copy_out(box, "/a", host("no"), options, NULL, &error));
    OK(boxlite_copy_options_set_recursive(options, 1, &error));
    OK(boxlite_copy_options_set_include_parent(options, 0, &error));
    OK(boxlite_copy_options_set_follow_symlinks(options, 1, &error));
    OK(boxlite_box_copy_out(box, "/a/b", host("back"), options, NULL, &error));
    check_host(host("back/\xff"), "content");
    boxlite_copy_options_free(options);

    EXPECT_ABOUT(BOXLITE_NOT_FOUND, "/none", boxlite_box_copy_out(box, "/none", host("no"), NULL, NULL, &error));
    EXPECT(BOXLITE_INVALID_ARGUMENT, boxlite_box_copy_in(box, source, "relative", NULL, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "host_path", boxlite_box_copy_in(box, NULL, "/x", NULL, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "box", boxlite_box_copy_out(NULL, "/a", "/x", NULL, NULL, &error));
}

static void descriptors(void)
{
    int archive = open(host("a.tar"), O_RDWR | O_CREAT, 0600);
    CHECK(archive >= 0);
    OK(boxlite_box_copy_out_tar(box, "/a", archive, NULL, NULL, &error));
    CHECK_INT(lseek(archive, 0, SEEK_SET), 0);
    OK(boxlite_box_copy_in_tar(box, archive, "/tar", NULL, NULL, &error));
    CHECK_OUTPUT(box, "cat /tar/a/b/*", "content");
    CHECK_INT(lseek(archive, 0, SEEK_CUR) > 1024, 1);
    CHECK_INT(ftruncate(archive, 700), 0);
    CHECK_INT(lseek(archive, 0, SEEK_SET), 0);
    EXPECT(BOXLITE_INVALID_ARGUMENT, boxlite_box_copy_in_tar(box, archive, "/cut", NULL, NULL, &error));
    close(archive);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "fd", boxlite_box_copy_in_tar(box, -1, "/x", NULL, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "fd", boxlite_box_copy_out_tar(box, "/a", archive, NULL, NULL, &error));
}

static void bytes(void)
{
    static const char content[] = "\0one\xff\n\0";
    boxlite_bytes *read;
    OK(boxlite_box_write_file(box, "/new/file", content, sizeof content, 0640, NULL, &error));
    OK(boxlite_box_read_file(box, "/new/file", sizeof content, NULL, &read, &error));
    CHECK_INT((long long)boxlite_bytes_len(read), (long long)sizeof content);
    CHECK(memcmp(boxlite_bytes_data(read), content, sizeof content) == 0);
    boxlite_bytes_free(read);
    CHECK_OUTPUT(box, "stat -c %a /new/file", "640\n");
    EXPECT_ABOUT(BOXLITE_RESOURCE_EXHAUSTED, "/new/file",
                 boxlite_box_read_file(box, "/new/file", sizeof content - 1, NULL, &read, &error));
    CHECK(read == NULL);
    OK(boxlite_box_write_file(box, "/new/file", NULL, 0, BOXLITE_MODE_DEFAULT, NULL, &error));
    CHECK_OUTPUT(box, "stat -c '%a %s' /new/file", "644 0\n");
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "data",
                 boxlite_box_write_file(box, "/new/file", NULL, 1, 0600, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "mode",
                 boxlite_box_write_file(box, "/new/file", "", 0, 010000, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "max_bytes",
                 boxlite_box_read_file(box, "/new/file", -1, NULL, &read, &error));
    EXPECT_ABOUT(BOXLITE_NOT_FOUND, "/none", boxlite_box_read_file(box, "/none", 1, NULL, &read, &error));
    CHECK_INT((long long)boxlite_bytes_len(NULL), 0);
    CHECK(boxlite_bytes_data(NULL) == NULL);
}

/* Whichever moment it is cut off at: a file is not there or whole, and nothing else is. */
static void cut_off(void)
{
    enum { SIZE = 8 << 20, ROUNDS = 20 };
    char *content = calloc(1, SIZE);
    int pipe_ends[2];
    CHECK_INT(pipe(pipe_ends), 0);
    unsigned seed = 7;
    for (int round = 0; round < ROUNDS; round++) {
        boxlite_call *call = new_call(rand_r(&seed) % 400);
        boxlite_code code = boxlite_box_write_file(box, "/cut/off", content, SIZE, 0600, call, NULL);
        CHECK(code == BOXLITE_OK || code == BOXLITE_TIMEOUT);
        /* A source that says nothing. */
        code = boxlite_box_copy_in_tar(box, pipe_ends[0], "/cut", NULL, call, NULL);
        CHECK_INT(code, BOXLITE_TIMEOUT);
        code = boxlite_box_copy_out(box, "/bin", host("cut-bin"), NULL, call, NULL);
        CHECK(code == BOXLITE_OK || code == BOXLITE_TIMEOUT);
        boxlite_call_free(call);
    }
    free(content);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    CHECK_OUTPUT(box,
                 "for i in $(seq 600); do pidof boxlite-copy > /dev/null || break; sleep 0.1; done;"
                 "for f in $(ls -A /cut); do [ $f = off ] && [ $(stat -c %s /cut/off) = 8388608 ] || echo $f; done",
                 "");
}

int main(void)
{
    runtime = open_runtime();
    box = create_box(runtime, NULL);
    paths();
    int descriptors_before = count_entries("/proc/self/fd");
    descriptors();
    bytes();
    cut_off();
    /* The threads of what was cut off may be at their end. */
    CHECK_SETTLES("/proc/self/fd", descriptors_before);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
