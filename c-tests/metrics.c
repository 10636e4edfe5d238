/* What a runtime and a box say of themselves in numbers. */
#include "harness.h"

static int64_t of_runtime(boxlite_runtime *runtime, const char *name)
{
    boxlite_metrics *metrics;
    OK(boxlite_runtime_metrics(runtime, NULL, &metrics, &error));
    int64_t figure = boxlite_metrics_value(metrics, name);
    boxlite_metrics_free(metrics);
    return figure;
}

static boxlite_metrics *of_box(boxlite_box *box)
{
    boxlite_metrics *metrics;
    OK(boxlite_box_metrics(box, NULL, &metrics, &error));
    return metrics;
}

static int64_t figure_of(boxlite_box *box, const char *name)
{
    boxlite_metrics *metrics = of_box(box);
    int64_t figure = boxlite_metrics_value(metrics, name);
    boxlite_metrics_free(metrics);
    return figure;
}

static void every_figure_has_a_name(boxlite_box *box)
{
    boxlite_metrics *metrics = of_box(box);
    size_t count = boxlite_metrics_len(metrics);
    CHECK(count >= 8);
    for (size_t i = 0; i < count; i++) {
        CHECK(boxlite_metrics_at(metrics, i) >= 0);
        CHECK_INT(boxlite_metrics_value(metrics, boxlite_metrics_name(metrics, i)), boxlite_metrics_at(metrics, i));
    }
    CHECK(boxlite_metrics_name(metrics, count) == NULL);
    CHECK_INT(boxlite_metrics_at(metrics, count), -1);
    CHECK_INT(boxlite_metrics_value(metrics, "no such thing"), -1);
    CHECK_INT(boxlite_metrics_value(metrics, NULL), -1);
    boxlite_metrics_free(metrics);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime(), *other = open_runtime();
    boxlite_metrics *metrics;
    CHECK_INT(of_runtime(runtime, "boxes_created_total"), 0);
    boxlite_box *box = create_box(runtime, "one"), *same;
    CHECK_INT(of_runtime(runtime, "boxes_created_total"), 1);
    EXPECT(BOXLITE_INVALID_STATE, boxlite_box_metrics(box, NULL, &metrics, &error));
    CHECK(metrics == NULL);

    CHECK_OUTPUT(box, "echo one", "one\n");
    boxlite_command *command;
    boxlite_exec_result *result;
    OK(boxlite_command_new("no-such-program", &command, &error));
    EXPECT(BOXLITE_EXECUTION, boxlite_exec(box, command, NULL, &result, &error));
    boxlite_command_free(command);
    CHECK_INT(of_runtime(runtime, "boxes_running"), 1);
    CHECK_INT(of_runtime(runtime, "commands_total"), 1);
    CHECK_INT(of_runtime(runtime, "command_errors_total"), 1);
    CHECK_INT(of_runtime(runtime, "starts_booted_total") + of_runtime(runtime, "starts_cloned_total"), 1);
    CHECK_INT(figure_of(box, "commands_total"), 1);
    CHECK_INT(figure_of(box, "command_errors_total"), 1);
    every_figure_has_a_name(box);

    /* What it takes grows with what it does. */
    CHECK(figure_of(box, "memory_bytes") > 10 << 20);
    CHECK(figure_of(box, "guest_memory_total_bytes") > 128 << 20);
    CHECK(figure_of(box, "guest_memory_total_bytes") <= 256 << 20);
    CHECK(figure_of(box, "guest_memory_used_bytes") < figure_of(box, "guest_memory_total_bytes"));
    CHECK(figure_of(box, "start_ms") >= figure_of(box, "boot_ms"));
    CHECK(figure_of(box, "boot_ms") > 0);
    int64_t cpu = figure_of(box, "cpu_ms_total"), disk = figure_of(box, "disk_bytes");
    CHECK(cpu > 0);
    CHECK_OUTPUT(box, "dd if=/dev/urandom of=/file bs=1M count=16 2>/dev/null; sync; echo done", "done\n");
    CHECK(figure_of(box, "cpu_ms_total") > cpu);
    CHECK(figure_of(box, "disk_bytes") >= disk + (16 << 20));

    /* Of its commands. */
    boxlite_execution *execution;
    long long deadline = now_ms() + 60000;
    while (figure_of(box, "guest_processes") != 0 && now_ms() < deadline) {
        sleep_ms(10);
    }
    CHECK_INT(figure_of(box, "guest_processes"), 0);
    command = shell("sleep 600 & sleep 600");
    OK(boxlite_box_exec_start(box, command, NULL, &execution, &error));
    boxlite_command_free(command);
    CHECK(figure_of(box, "guest_processes") >= 1);
    OK(boxlite_execution_kill(execution, NULL, &error));
    boxlite_execution_free(execution);

    /* Through another runtime: what was done there does not count, what the box takes does. */
    OK(boxlite_get(other, "one", NULL, &same, &error));
    CHECK_INT(figure_of(same, "commands_total"), 0);
    CHECK_INT(figure_of(same, "start_ms"), -1);
    CHECK(figure_of(same, "memory_bytes") > 10 << 20);
    boxlite_box_free(same);

    OK(boxlite_box_stop(box, NULL, &error));
    EXPECT(BOXLITE_STOPPED, boxlite_box_metrics(box, NULL, &metrics, &error));
    CHECK_INT(of_runtime(runtime, "boxes_stopped_total"), 1);
    CHECK_INT(of_runtime(runtime, "boxes_running"), 0);
    OK(boxlite_remove(runtime, "one", 0, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(other, -1, NULL, &error));
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    CHECK_INT(of_runtime(runtime, "boxes_created_total"), 1);
    boxlite_runtime_free(other);
    boxlite_runtime_free(runtime);
    return finish();
}
