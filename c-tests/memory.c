/* A command that takes all the memory of its box is killed alone. */
#include "harness.h"

static boxlite_box *small_box(boxlite_runtime *runtime, const char *name)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_memory_mib(options, 128, &error));
    OK(boxlite_create(runtime, options, name, NULL, &box, &error));
    boxlite_box_options_free(options);
    return box;
}

static void a_greedy_command_dies_alone(boxlite_box *box)
{
    boxlite_command *command;
    boxlite_exec_result *result;
    OK(boxlite_command_new("tail", &command, &error));
    OK(boxlite_command_add_arg(command, "/dev/zero", &error));
    result = run(box, command);
    CHECK_INT(boxlite_exec_result_signal(result), 9);
    CHECK_INT(boxlite_exec_result_oom_killed(result), 1);
    boxlite_exec_result_free(result);
    CHECK_OUTPUT(box, "echo alive", "alive\n");
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    boxlite_box *box = small_box(runtime, "small");
    a_greedy_command_dies_alone(box);
    OK(boxlite_remove(runtime, "small", 1, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
