/* What a crash and the loss of the home's database leave, and how the home is made whole again. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static char database[512];

static boxlite_runtime_options *options_of_home(void)
{
    boxlite_runtime_options *options;
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, home(), &error));
    return options;
}

/* The home cannot be opened, for a reason that names the database and its remedy. */
static void refused(const boxlite_runtime_options *options)
{
    boxlite_runtime *runtime;
    boxlite_code code = boxlite_runtime_new(options, &runtime, &error);
    CHECK(runtime == NULL);
    CHECK_INT(code, BOXLITE_DATABASE);
    CHECK_STR(boxlite_error_subject(error), database);
    CHECK(strstr(boxlite_error_hint(error), "boxlite_runtime_repair") != NULL);
    EXPECT_ABOUT(BOXLITE_DATABASE, database, code);
}

static boxlite_repair *repair(const boxlite_runtime_options *options)
{
    boxlite_repair *report;
    OK(boxlite_runtime_repair(options, &report, &error));
    return report;
}

static void check_info(boxlite_runtime *runtime, const char *name, int32_t status, const char *failure)
{
    boxlite_box *box;
    boxlite_info *info;
    OK(boxlite_get(runtime, name, NULL, &box, &error));
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_INT(boxlite_info_status(info), status);
    CHECK_INT(boxlite_info_pid(info), 0);
    const char *found = boxlite_info_failure(info);
    CHECK(failure == NULL ? found == NULL : found != NULL && strstr(found, failure) != NULL);
    boxlite_info_free(info);
    boxlite_box_free(box);
}

/* A box whose machine was killed has failed, and says so, until it is started again. */
static void a_crash_is_told(boxlite_runtime *runtime)
{
    boxlite_box *box;
    OK(boxlite_get(runtime, "crashed", NULL, &box, &error));
    const char *id = boxlite_box_id(box);
    CHECK_OUTPUT(box, "echo data > /file; sync; echo done", "done\n");
    int32_t shim = shim_pid(box);
    char engine[64];
    snprintf(engine, sizeof engine, "pkill -KILL -P %d", (int)shim);
    CHECK_INT(system(engine), 0);
    CHECK(wait_until_gone(id, 60000));
    CHECK(wait_until_ended(box, 60000));
    check_info(runtime, "crashed", BOXLITE_STATUS_FAILED, "engine");
    boxlite_box_free(box);
}

int main(void)
{
    boxlite_runtime_options *options = options_of_home();
    boxlite_runtime *runtime = open_runtime();
    boxlite_box_free(create_box(runtime, "crashed"));
    boxlite_box_free(create_box(runtime, "idle"));
    char resolved[4096];
    CHECK(realpath(home(), resolved) != NULL);
    snprintf(database, sizeof database, "%.400s/db/boxlite.db", resolved);
    a_crash_is_told(runtime);

    /* A sound home has nothing to be repaired. */
    boxlite_repair *report = repair(options);
    CHECK_INT((long long)boxlite_repair_len(report), 2);
    CHECK_INT((long long)boxlite_repair_kept_len(report), 0);
    for (size_t i = 0; i < boxlite_repair_len(report); i++) {
        CHECK_INT(boxlite_repair_outcome(report, i), BOXLITE_REPAIR_KEPT);
    }
    boxlite_repair_free(report);

    /* The database is lost under a runtime that has it open. */
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    CHECK_INT(unlink(database), 0);
    boxlite_info_list *list;
    EXPECT_ABOUT(BOXLITE_DATABASE, database, boxlite_list(runtime, NULL, NULL, &list, &error));
    boxlite_runtime_free(runtime);
    refused(options);
    char log[600];
    snprintf(log, sizeof log, "%s-wal", database);
    unlink(log);
    refused(options);

    /* Only the box that has a directory is known any more. */
    report = repair(options);
    CHECK_INT((long long)boxlite_repair_len(report), 1);
    CHECK_STR(boxlite_repair_name(report, 0), "crashed");
    CHECK_INT(boxlite_repair_outcome(report, 0), BOXLITE_REPAIR_REBUILT);
    CHECK(boxlite_repair_id(report, 0) != NULL && boxlite_repair_detail(report, 0) != NULL);
    CHECK(boxlite_repair_id(report, 1) == NULL && boxlite_repair_name(report, 1) == NULL);
    CHECK_INT(boxlite_repair_outcome(report, 1), BOXLITE_REPAIR_LOST);
    boxlite_repair_free(report);
    runtime = open_runtime();
    check_info(runtime, "crashed", BOXLITE_STATUS_FAILED, "engine");
    boxlite_box *box;
    OK(boxlite_get(runtime, "crashed", NULL, &box, &error));
    CHECK_OUTPUT(box, "cat /file", "data\n");
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);

    /* What is in the database's place is kept. */
    int fd = open(database, O_WRONLY | O_TRUNC | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "a text", 6) == 6 && close(fd) == 0);
    refused(options);
    report = repair(options);
    CHECK(boxlite_repair_kept_len(report) >= 1);
    CHECK_INT(access(boxlite_repair_kept_path(report, 0), R_OK), 0);
    CHECK(boxlite_repair_kept_path(report, boxlite_repair_kept_len(report)) == NULL);
    boxlite_repair_free(report);
    runtime = open_runtime();
    OK(boxlite_remove(runtime, "crashed", 1, NULL, &error));
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_runtime_free(runtime);
    boxlite_runtime_options_free(options);
    return finish();
}
