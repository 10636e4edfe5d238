/* Wrong arguments: each is refused by name, changes nothing, and leaves out-handles NULL. */
#include "harness.h"

static const char *const not_utf8 = "ab\xff";

static void names_must_be_utf8(boxlite_runtime *runtime)
{
    boxlite_box *box = (boxlite_box *)&box;
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "name", boxlite_create(runtime, NULL, not_utf8, NULL, &box, &error));
    CHECK(box == NULL);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "id_or_name", boxlite_get(runtime, not_utf8, NULL, &box, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "id_or_name", boxlite_remove(runtime, not_utf8, 0, NULL, &error));

    CHECK_INT(boxlite_get(runtime, not_utf8, NULL, &box, &error), BOXLITE_INVALID_ARGUMENT);
    CHECK(strstr(boxlite_error_message(error), "offset 2") != NULL);
    boxlite_error_free(error);
    error = NULL;
}

static void each_null_is_named(boxlite_runtime *runtime)
{
    boxlite_box *box;
    boxlite_exec_result *result;
    boxlite_info_list *list;
    boxlite_command *command;
    OK(boxlite_command_new("true", &command, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "runtime", boxlite_runtime_new(NULL, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "runtime", boxlite_create(NULL, NULL, NULL, NULL, &box, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "box", boxlite_create(runtime, NULL, NULL, NULL, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "id_or_name", boxlite_get(runtime, NULL, NULL, &box, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "id_or_name", boxlite_remove(runtime, NULL, 1, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "list", boxlite_list(runtime, NULL, NULL, NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "runtime", boxlite_list(NULL, NULL, NULL, &list, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "box", boxlite_exec(NULL, command, NULL, &result, &error));
    boxlite_command_free(command);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "program", boxlite_command_new(NULL, &command, &error));
    CHECK(command == NULL);

    /* Without an error pointer the code is all there is. */
    CHECK_INT(boxlite_get(runtime, NULL, NULL, &box, NULL), BOXLITE_INVALID_ARGUMENT);
    CHECK_INT(boxlite_box_start(NULL, NULL, NULL), BOXLITE_INVALID_ARGUMENT);
}

static void check_range(const char *range, boxlite_code code)
{
    CHECK(strstr(boxlite_error_message(error), range) != NULL);
    EXPECT(BOXLITE_INVALID_ARGUMENT, code);
}

static void builders_check_what_they_are_given(void)
{
    boxlite_box_options *options;
    OK(boxlite_box_options_new(&options, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "cpus", boxlite_box_options_set_cpus(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "cpus", boxlite_box_options_set_cpus(options, 256, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "memory_mib", boxlite_box_options_set_memory_mib(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "disk_size_gb", boxlite_box_options_set_disk_size_gb(options, -1, &error));
    /* What no machine could give is refused at once, and the range is told. */
    check_range("1 to 255", boxlite_box_options_set_cpus(options, 0, &error));
    check_range("1 to 4294967295", boxlite_box_options_set_memory_mib(options, 0, &error));
    check_range("1 to 16384", boxlite_box_options_set_disk_size_gb(options, 0, &error));
    check_range("1 to 16384", boxlite_box_options_set_disk_size_gb(options, 16385, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "disk_cache", boxlite_box_options_set_disk_cache(options, -1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "disk_cache", boxlite_box_options_set_disk_cache(options, 2, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "options",
                 boxlite_box_options_set_disk_cache(NULL, BOXLITE_DISK_CACHE_UNSAFE, &error));
    OK(boxlite_box_options_set_disk_cache(options, BOXLITE_DISK_CACHE_UNSAFE, &error));
    OK(boxlite_box_options_set_disk_cache(options, BOXLITE_DISK_CACHE_WRITEBACK, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "image", boxlite_box_options_set_image(options, not_utf8, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "user", boxlite_box_options_set_user(options, not_utf8, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "name", boxlite_box_options_set_env(options, not_utf8, "x", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "name", boxlite_box_options_set_env(options, "A=B", "x", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "name", boxlite_box_options_set_env(options, "", "x", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "value", boxlite_box_options_set_env(options, "A", NULL, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "key", boxlite_box_options_set_label(options, "", "x", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "value", boxlite_box_options_set_label(options, "k", not_utf8, &error));
    OK(boxlite_box_options_set_env(options, "A", not_utf8, &error));
    OK(boxlite_box_options_set_working_dir(options, "/\xff", &error));
    OK(boxlite_box_options_set_rootfs_path(options, "/\xff", &error));
    boxlite_box_options_free(options);

    boxlite_command *command;
    const char *args[] = {"a", NULL, "c"};
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "program", boxlite_command_new("", &command, &error));
    OK(boxlite_command_new("p\xff", &command, &error));
    OK(boxlite_command_add_arg(command, not_utf8, &error));
    OK(boxlite_command_add_args(command, NULL, 0, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "args", boxlite_command_add_args(command, NULL, 1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "args", boxlite_command_add_args(command, args, 3, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "args", boxlite_command_add_args(command, args, SIZE_MAX, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "path", boxlite_command_set_working_dir(command, "tmp", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "data", boxlite_command_set_input(command, NULL, 1, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "timeout_ms", boxlite_command_set_timeout_ms(command, 0, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "timeout_ms", boxlite_command_set_timeout_ms(command, -2, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "drain_ms", boxlite_command_set_drain_ms(command, -1, &error));
    OK(boxlite_command_set_input(command, NULL, 0, &error));
    OK(boxlite_command_set_timeout_ms(command, -1, &error));
    boxlite_command_free(command);

    boxlite_runtime_options *runtime_options;
    OK(boxlite_runtime_options_new(&runtime_options, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "path", boxlite_runtime_options_set_home_dir(runtime_options, "", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "transport",
                 boxlite_runtime_options_add_registry(runtime_options, "host", 2, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "host",
                 boxlite_runtime_options_add_registry(runtime_options, not_utf8, BOXLITE_TRANSPORT_HTTP, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "host",
                 boxlite_runtime_options_set_registry_search(runtime_options, "host", 1, &error));
    OK(boxlite_runtime_options_add_registry(runtime_options, "host", BOXLITE_TRANSPORT_HTTPS, &error));
    OK(boxlite_runtime_options_set_registry_search(runtime_options, "host", 1, &error));
    OK(boxlite_runtime_options_set_registry_skip_verify(runtime_options, "host", 1, &error));
    OK(boxlite_runtime_options_set_registry_basic_auth(runtime_options, "host", "user", "password", &error));
    OK(boxlite_runtime_options_set_registry_bearer_auth(runtime_options, "host", "token", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "bytes",
        boxlite_runtime_options_set_template_space(runtime_options, -1, &error));
    OK(boxlite_runtime_options_set_template_space(runtime_options, 0, &error));
    boxlite_runtime_options_free(runtime_options);
}

static void refused_at_create(boxlite_runtime *runtime, boxlite_code (*set)(boxlite_box_options *), const char *name)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, "busybox", &error));
    if (set != NULL) {
        CHECK_INT(set(options), BOXLITE_OK);
    }
    boxlite_code code = boxlite_create(runtime, options, name, NULL, &box, &error);
    CHECK(code == BOXLITE_INVALID_ARGUMENT || code == BOXLITE_CONFIG);
    CHECK(box == NULL);
    EXPECT(code, code);
    boxlite_box_options_free(options);
}

/* More than this machine has. */
static boxlite_code many_cpus(boxlite_box_options *options)
{
    return boxlite_box_options_set_cpus(options, 255, NULL);
}

static boxlite_code relative_dir(boxlite_box_options *options)
{
    return boxlite_box_options_set_working_dir(options, "relative", NULL);
}

static boxlite_code bad_reference(boxlite_box_options *options)
{
    return boxlite_box_options_set_image(options, "Not A Reference", NULL);
}

static boxlite_code removed_yet_detached(boxlite_box_options *options)
{
    boxlite_box_options_set_detach(options, 1, NULL);
    return boxlite_box_options_set_auto_remove(options, 1, NULL);
}

static void prepare_refuses_what_create_refuses(boxlite_runtime *runtime)
{
    boxlite_box_options *options;
    OK(boxlite_box_options_new(&options, &error));
    CHECK_INT(many_cpus(options), BOXLITE_OK);
    EXPECT_ABOUT(BOXLITE_CONFIG, "cpus", boxlite_runtime_prepare(runtime, options, NULL, &error));
    boxlite_box_options_free(options);
}

static void create_refuses_wrong_options(boxlite_runtime *runtime)
{
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    refused_at_create(runtime, many_cpus, NULL);
    refused_at_create(runtime, relative_dir, NULL);
    refused_at_create(runtime, bad_reference, NULL);
    refused_at_create(runtime, removed_yet_detached, NULL);
    refused_at_create(runtime, NULL, name);
    refused_at_create(runtime, NULL, "../escape");
    refused_at_create(runtime, NULL, "a/b");
    refused_at_create(runtime, NULL, ".hidden");
    refused_at_create(runtime, NULL, "");

    boxlite_box *box;
    EXPECT_ABOUT(BOXLITE_NOT_FOUND, name, boxlite_get(runtime, name, NULL, &box, &error));
    EXPECT_ABOUT(BOXLITE_NOT_FOUND, "../boxes", boxlite_get(runtime, "../boxes", NULL, &box, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_remove(runtime, "../boxes", 1, NULL, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_remove(runtime, "a/b", 1, NULL, &error));

    boxlite_info_list *list;
    OK(boxlite_list(runtime, NULL, NULL, &list, &error));
    CHECK_INT((long long)boxlite_info_list_len(list), 0);
    boxlite_info_list_free(list);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    names_must_be_utf8(runtime);
    each_null_is_named(runtime);
    builders_check_what_they_are_given();
    create_refuses_wrong_options(runtime);
    prepare_refuses_what_create_refuses(runtime);
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
