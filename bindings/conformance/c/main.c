/* The driver's life: opens the runtime, has each line of stdin performed, shuts down. */
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

boxlite_runtime *runtime;
boxlite_box *box;
boxlite_error *error;

static const struct {
    const char *name;
    void (*perform)(void);
} ops[] = {
    {"run", run},
    {"stream", stream},
    {"untaken", untaken},
    {"attach", attach},
    {"start", start},
    {"create", create},
    {"get", get},
    {"remove", remove_box},
    {"copy_in", copy_in},
    {"copy_out", copy_out},
    {"read_file", read_box_file},
    {"write_file", write_box_file},
    {"stop", stop},
    {"reopen", reopen},
    {"rounds", rounds},
    {"measure", measure},
};

void die(const char *what)
{
    const char *why = error != NULL ? boxlite_error_message(error) : strerror(errno);
    fprintf(stderr, "conformance driver: %s: %s\n", what, why);
    exit(1);
}

static void perform(const char *op)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(ops[i].name, op) == 0) {
            ops[i].perform();
            return;
        }
    }
    tell("unknown", "\"%s\"", op);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s HOME IMAGE REGISTRY\n", argv[0]);
        return 2;
    }
    boxlite_runtime_options *options;
    MUST(boxlite_runtime_options_new(&options, &error));
    MUST(boxlite_runtime_options_set_home_dir(options, argv[1], &error));
    MUST(boxlite_runtime_options_add_registry(options, argv[3], BOXLITE_TRANSPORT_HTTP, &error));
    MUST(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    MUST(create_box(argv[2], "shared", 256, &box));

    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        const char *op = parse(line);
        begin_answer();
        perform(op);
        end_answer();
    }
    free(line);
    boxlite_box_free(box);
    MUST(boxlite_runtime_shutdown(runtime, 5000, NULL, &error));
    boxlite_runtime_free(runtime);
    return 0;
}
