/* A forked child: handles of its parent answer BOXLITE_FORKED, freeing them does nothing, a new runtime works. */
#include "harness.h"

#include <sys/wait.h>
#include <unistd.h>

static boxlite_runtime *runtime;
static boxlite_box *box;
static boxlite_call *call;
static boxlite_runtime_options *options;

static void in_the_child(void)
{
    boxlite_box *other;
    boxlite_info *info;
    boxlite_info_list *list;
    boxlite_system_check *check_list;
    boxlite_exec_result *result;
    boxlite_command *command = shell("true");
    EXPECT_ABOUT(BOXLITE_FORKED, "runtime", boxlite_create(runtime, NULL, NULL, NULL, &other, &error));
    CHECK(other == NULL);
    EXPECT(BOXLITE_FORKED, boxlite_get(runtime, "x", NULL, &other, &error));
    EXPECT(BOXLITE_FORKED, boxlite_list(runtime, NULL, NULL, &list, &error));
    EXPECT(BOXLITE_FORKED, boxlite_remove(runtime, "kept", 1, NULL, &error));
    EXPECT(BOXLITE_FORKED, boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    EXPECT(BOXLITE_FORKED, boxlite_runtime_system_check(runtime, NULL, &check_list, &error));
    EXPECT_ABOUT(BOXLITE_FORKED, "box", boxlite_box_start(box, NULL, &error));
    EXPECT(BOXLITE_FORKED, boxlite_box_stop(box, NULL, &error));
    EXPECT(BOXLITE_FORKED, boxlite_box_info(box, NULL, &info, &error));
    EXPECT(BOXLITE_FORKED, boxlite_exec(box, command, NULL, &result, &error));
    EXPECT_ABOUT(BOXLITE_FORKED, "call", boxlite_call_cancel(call, &error));
    CHECK_STR(boxlite_box_name(box), "kept");
    boxlite_command_free(command);
    boxlite_box_free(box);
    boxlite_call_free(call);
    boxlite_runtime_free(runtime);

    /* The parent's options are plain memory. */
    boxlite_runtime *own;
    OK(boxlite_runtime_new(options, &own, &error));
    EXPECT(BOXLITE_FORKED, boxlite_list(own, NULL, call, &list, &error));
    OK(boxlite_list(own, NULL, NULL, &list, &error));
    CHECK_INT((long long)boxlite_info_list_len(list), 1);
    boxlite_info_list_free(list);
    OK(boxlite_runtime_shutdown(own, 0, NULL, &error));
    boxlite_runtime_free(own);
    boxlite_runtime_options_free(options);
}

int main(void)
{
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, home(), &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    box = create_box(runtime, "kept");
    call = new_call(60000);
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        if (child == 0) {
            in_the_child();
            _exit(fault_count() != 0);
        }
        int status = 0;
        CHECK_INT(waitpid(child, &status, 0), child);
        CHECK_INT(status, 0);
    }
    /* The parent's handles are as before. */
    boxlite_info *info;
    OK(boxlite_box_info(box, call, &info, &error));
    CHECK_INT(boxlite_info_status(info), BOXLITE_STATUS_CONFIGURED);
    boxlite_info_free(info);
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 0, call, &error));
    boxlite_call_free(call);
    boxlite_runtime_free(runtime);
    boxlite_runtime_options_free(options);
    return finish();
}
