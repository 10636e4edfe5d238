/* The error object, the names of codes, and which library this is. */
#include "harness.h"

#include <errno.h>

static void codes_have_names(void)
{
    CHECK_STR(boxlite_code_name(BOXLITE_OK), "BOXLITE_OK");
    CHECK_STR(boxlite_code_name(BOXLITE_ENGINE), "BOXLITE_ENGINE");
    CHECK_STR(boxlite_code_name(BOXLITE_PANIC), "BOXLITE_PANIC");
    CHECK_STR(boxlite_code_name(-1), "BOXLITE_UNKNOWN");
    CHECK_STR(boxlite_code_name(INT32_MAX), "BOXLITE_UNKNOWN");
    CHECK_STR(boxlite_status_name(BOXLITE_STATUS_RUNNING), "running");
    CHECK_STR(boxlite_status_name(INT32_MIN), "unknown");
}

static void the_object_says_all(void)
{
    boxlite_command *command = (boxlite_command *)&command;
    boxlite_error *old = (boxlite_error *)&old;
    CHECK_INT(boxlite_command_new(NULL, &command, &old), BOXLITE_INVALID_ARGUMENT);
    CHECK(command == NULL);
    CHECK_INT(boxlite_error_code(old), BOXLITE_INVALID_ARGUMENT);
    CHECK(strstr(boxlite_error_message(old), "`program` is NULL") != NULL);
    CHECK(boxlite_error_hint(old)[0] != '\0');
    CHECK_STR(boxlite_error_subject(old), "program");
    CHECK_INT(boxlite_error_os_errno(old), 0);
    CHECK_INT(boxlite_error_exit_code(old), -1);

    /* An old value is overwritten, not freed; success writes NULL. */
    boxlite_error *second = old;
    CHECK_INT(boxlite_command_new("true", &command, &second), BOXLITE_OK);
    CHECK(second == NULL);
    CHECK_STR(boxlite_error_subject(old), "program");
    boxlite_error_free(old);
    boxlite_command_free(command);
}

static void no_object_is_no_error(void)
{
    CHECK_INT(boxlite_error_code(NULL), BOXLITE_OK);
    CHECK_STR(boxlite_error_message(NULL), "");
    CHECK_STR(boxlite_error_hint(NULL), "");
    CHECK(boxlite_error_subject(NULL) == NULL);
    CHECK_INT(boxlite_error_exit_code(NULL), -1);
    boxlite_error_free(NULL);
}

static void the_cause_is_told(void)
{
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    char path[512];
    snprintf(path, sizeof path, "%s/file", home());
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fclose(file) == 0);
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, path, &error));
    CHECK_INT(boxlite_runtime_new(options, &runtime, &error), BOXLITE_STORAGE);
    CHECK(runtime == NULL);
    CHECK(strstr(boxlite_error_message(error), path) != NULL);
    CHECK(boxlite_error_subject(error) != NULL && strstr(boxlite_error_subject(error), path) != NULL);
    CHECK(boxlite_error_os_errno(error) == ENOTDIR || boxlite_error_os_errno(error) == EEXIST);
    boxlite_error_free(error);
    error = NULL;
    boxlite_runtime_options_free(options);
}

int main(void)
{
    int major, minor, patch;
    CHECK_INT(sscanf(boxlite_version(), "%d.%d.%d", &major, &minor, &patch), 3);
    CHECK_INT(boxlite_abi_version(), BOXLITE_ABI_VERSION);
    codes_have_names();
    the_object_says_all();
    no_object_is_no_error();
    the_cause_is_told();
    return finish();
}
