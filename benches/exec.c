/* What a C caller of boxlite_exec() waits for `true` on a running box: seconds of each call, one a line.
 * Usage: exec HOME IMAGE ROUNDS. scripts/bench-start.sh compiles it against runtime/lib, benches/start.rs runs it. */
#include <boxlite.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void check(boxlite_code code, boxlite_error *error) {
    if (code != BOXLITE_OK) {
        fprintf(stderr, "%s\n%s\n", boxlite_error_message(error), boxlite_error_hint(error));
        exit(1);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    boxlite_error *error = NULL;
    boxlite_runtime_options *options = NULL;
    boxlite_runtime *runtime = NULL;
    boxlite_box_options *box_options = NULL;
    boxlite_box *box = NULL;
    boxlite_command *command = NULL;

    if (argc != 4) {
        fprintf(stderr, "usage: %s HOME IMAGE ROUNDS\n", argv[0]);
        return 2;
    }
    check(boxlite_runtime_options_new(&options, &error), error);
    check(boxlite_runtime_options_set_home_dir(options, argv[1], &error), error);
    check(boxlite_runtime_options_set_spares(options, 0, &error), error);
    check(boxlite_runtime_new(options, &runtime, &error), error);
    check(boxlite_box_options_new(&box_options, &error), error);
    check(boxlite_box_options_set_image(box_options, argv[2], &error), error);
    check(boxlite_create(runtime, box_options, NULL, NULL, &box, &error), error);
    check(boxlite_command_new("true", &command, &error), error);
    for (int round = -5; round < atoi(argv[3]); round++) {
        boxlite_exec_result *result = NULL;
        double began = now();
        check(boxlite_exec(box, command, NULL, &result, &error), error);
        if (round >= 0)
            printf("%.6f\n", now() - began);
        boxlite_exec_result_free(result);
    }
    check(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error), error);
    boxlite_command_free(command);
    boxlite_box_options_free(box_options);
    boxlite_box_free(box);
    check(boxlite_runtime_shutdown(runtime, 10000, NULL, &error), error);
    boxlite_runtime_free(runtime);
    boxlite_runtime_options_free(options);
    return 0;
}
