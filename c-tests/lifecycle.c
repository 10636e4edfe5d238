/* A box's life: started, stopped, started again with its data, removed; and the host's process afterwards. */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_handlers_untouched(void)
{
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0) {
            CHECK(action.sa_handler == SIG_DFL);
        }
    }
}

/* What a process has once for all its parts, and a library must leave as it is. */
struct process {
    char *dir, *locale;
    mode_t mask;
    size_t variables;
    struct rlimit limits[RLIM_NLIMITS];
    sigset_t blocked;
};

static struct process look_at_process(void)
{
    struct process process = {.dir = getcwd(NULL, 0), .locale = strdup(setlocale(LC_ALL, NULL))};
    process.mask = umask(0);
    umask(process.mask);
    while (environ[process.variables] != NULL) {
        process.variables++;
    }
    for (int limit = 0; limit < RLIM_NLIMITS; limit++) {
        CHECK_INT(getrlimit(limit, &process.limits[limit]), 0);
    }
    CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &process.blocked), 0);
    return process;
}

static void check_process_unchanged(struct process *before)
{
    struct process now = look_at_process();
    CHECK_STR(now.dir, before->dir);
    CHECK_STR(now.locale, before->locale);
    CHECK_INT(now.mask, before->mask);
    CHECK_INT((long long)now.variables, (long long)before->variables);
    CHECK(memcmp(now.limits, before->limits, sizeof now.limits) == 0);
    for (int number = 1; number < 32; number++) {
        CHECK_INT(sigismember(&now.blocked, number), sigismember(&before->blocked, number));
    }
    int subreaper = -1;
    CHECK_INT(prctl(PR_GET_CHILD_SUBREAPER, &subreaper), 0);
    CHECK_INT(subreaper, 0);
    free(now.dir), free(now.locale), free(before->dir), free(before->locale);
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

static void check_status(boxlite_box *box, int32_t status)
{
    boxlite_info *info;
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_INT(boxlite_info_status(info), status);
    boxlite_info_free(info);
}

static void a_stop_of_what_never_ran(boxlite_runtime *runtime)
{
    boxlite_box_options *options;
    boxlite_box *kept = create_box(runtime, "kept"), *brief, *found;
    OK(boxlite_box_stop(kept, NULL, &error));
    check_status(kept, BOXLITE_STATUS_CONFIGURED);
    EXPECT(BOXLITE_STOPPED, boxlite_box_start(kept, NULL, &error));
    OK(boxlite_remove(runtime, "kept", 0, NULL, &error));
    boxlite_box_free(kept);

    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_auto_remove(options, 1, &error));
    OK(boxlite_create(runtime, options, NULL, NULL, &brief, &error));
    boxlite_box_options_free(options);
    OK(boxlite_box_stop(brief, NULL, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_get(runtime, boxlite_box_id(brief), NULL, &found, &error));
    /* Who stopped it may remove it, too; of what never was there is nothing to remove. */
    OK(boxlite_remove(runtime, boxlite_box_id(brief), 0, NULL, &error));
    EXPECT(BOXLITE_NOT_FOUND, boxlite_remove(runtime, "AAAAAAAAAAAA", 0, NULL, &error));
    boxlite_box_free(brief);
}

static int note_stage(const boxlite_progress *progress, void *last)
{
    snprintf(last, 32, "%s", boxlite_progress_stage(progress));
    return 0;
}

static void an_image_that_is_not_there_is_named(boxlite_runtime *runtime)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, "oci:/no/such/layout", &error));
    OK(boxlite_create(runtime, options, NULL, NULL, &box, &error));
    boxlite_box_options_free(options);
    boxlite_call *call = new_call(-1);
    char last[32] = "";
    OK(boxlite_call_set_progress(call, note_stage, last, &error));
    boxlite_code code = boxlite_box_start(box, call, &error);
    CHECK(code != BOXLITE_OK);
    CHECK_STR(last, "failed");
    boxlite_call_free(call);
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
    OK(boxlite_runtime_shutdown(runtime, 10000, NULL, &error));
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));

    boxlite_box *refused;
    boxlite_exec_result *result;
    boxlite_command *command = shell("true");
    EXPECT(BOXLITE_STOPPED, boxlite_create(runtime, NULL, NULL, NULL, &refused, &error));
    EXPECT(BOXLITE_STOPPED, boxlite_exec(box, command, NULL, &result, &error));
    boxlite_command_free(command);
    CHECK_INT(boxlite_box_start(box, NULL, &error), BOXLITE_STOPPED);
    CHECK(strstr(boxlite_error_message(error), "shut down") != NULL);
    boxlite_error_free(error);
    error = NULL;

    boxlite_info_list *list;
    OK(boxlite_list(runtime, NULL, NULL, &list, &error));
    CHECK_INT((long long)boxlite_info_list_len(list), 1);
    CHECK_INT(boxlite_info_status(boxlite_info_list_at(list, 0)), BOXLITE_STATUS_STOPPED);
    boxlite_info_list_free(list);
    boxlite_box_free(box);
}

int main(void)
{
    struct process before = look_at_process();
    boxlite_runtime *runtime = open_runtime();
    a_restart_keeps_the_data(runtime);
    auto_remove_removes(runtime);
    a_stop_of_what_never_ran(runtime);
    an_image_that_is_not_there_is_named(runtime);
    a_shutdown_stops_what_runs(runtime);
    boxlite_runtime_free(runtime);
    check_handlers_untouched();
    check_process_unchanged(&before);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_INT(errno, ECHILD);
    return finish();
}
