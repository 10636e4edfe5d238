/* A box's life: started, stopped, started again with its data, removed; and the host's process afterwards. */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static void check_handlers_untouched(void)
{
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0) {
            CHECK(action.sa_handler == SIG_DFL);
        }
    }
}

static void a_restart_keeps_the_data(boxlite_runtime *runtime)
{
    boxlite_box *box = create_box(runtime, "keeper"), *again;
    OK(boxlite_box_start(box, NULL, &error));
    OK(boxlite_box_start(box, NULL, &error));
    CHECK_OUTPUT(box, "echo kept > /root-file; ln -s /root-file /link; mkdir /dir; echo ok", "ok\n");
    EXPECT(BOXLITE_INVALID_STATE, boxlite_remove(runtime, "keeper", 0, NULL, &error));
    OK(boxlite_box_stop(box, NULL, &error));

    boxlite_info *info;
    boxlite_exec_result *result;
    boxlite_command *command = shell("true");
    EXPECT(BOXLITE_STOPPED, boxlite_box_start(box, NULL, &error));
    EXPECT(BOXLITE_STOPPED, boxlite_exec(box, command, NULL, &result, &error));
    CHECK(result == NULL);
    boxlite_command_free(command);
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_INT(boxlite_info_status(info), BOXLITE_STATUS_STOPPED);
    CHECK_INT(boxlite_info_pid(info), 0);
    boxlite_info_free(info);

    OK(boxlite_get(runtime, "keeper", NULL, &again, &error));
    CHECK_OUTPUT(again, "cat /link; ls -d /dir", "kept\n/dir\n");
    OK(boxlite_remove(runtime, "keeper", 1, NULL, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_remove(runtime, "keeper", 1, NULL, &error));
    boxlite_box_free(again);
    boxlite_box_free(box);
}

static void auto_remove_removes(boxlite_runtime *runtime)
{
    boxlite_box_options *options;
    boxlite_box *box, *found;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_auto_remove(options, 1, &error));
    OK(boxlite_create(runtime, options, "brief", NULL, &box, &error));
    boxlite_box_options_free(options);
    CHECK_OUTPUT(box, "echo hi", "hi\n");
    OK(boxlite_box_stop(box, NULL, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_get(runtime, "brief", NULL, &found, &error));
    boxlite_box_free(box);
}

static void an_image_that_is_not_there_is_named(boxlite_runtime *runtime)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, "oci:/no/such/layout", &error));
    OK(boxlite_create(runtime, options, NULL, NULL, &box, &error));
    boxlite_box_options_free(options);
    boxlite_code code = boxlite_box_start(box, NULL, &error);
    CHECK(code != BOXLITE_OK);
    CHECK(strstr(boxlite_error_message(error), "/no/such/layout") != NULL);
    EXPECT(code, code);
    boxlite_info *info;
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_INT(boxlite_info_pid(info), 0);
    boxlite_info_free(info);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 0, NULL, &error));
    boxlite_box_free(box);
}

static void a_shutdown_stops_what_runs(boxlite_runtime *runtime)
{
    boxlite_box *box = create_box(runtime, NULL);
    boxlite_info *info;
    OK(boxlite_box_start(box, NULL, &error));
    OK(boxlite_box_info(box, NULL, &info, &error));
    int32_t pid = boxlite_info_pid(info);
    CHECK(pid > 0 && process_runs(pid));
    boxlite_info_free(info);
    OK(boxlite_runtime_shutdown(runtime, 10000, NULL, &error));
    CHECK(!process_runs(pid));
    EXPECT(BOXLITE_STOPPED, boxlite_box_start(box, NULL, &error));
    boxlite_box_free(box);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    a_restart_keeps_the_data(runtime);
    auto_remove_removes(runtime);
    an_image_that_is_not_there_is_named(runtime);
    a_shutdown_stops_what_runs(runtime);
    boxlite_runtime_free(runtime);
    check_handlers_untouched();
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_INT(errno, ECHILD);
    return finish();
}
