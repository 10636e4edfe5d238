/* The frame of a generated program: a forked child inherits a runtime, a box, a running command and a call of its
 * parent, frees them, which has to do nothing, and hands them to every function, each of which has to refuse them.
 * "program HOME HOME-OF-THE-CHILD IMAGE". Tells on stderr what is wrong. */
#include <boxlite.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct handles {
    boxlite_runtime *runtime;
    boxlite_box *box;
    boxlite_execution *execution;
    boxlite_call *call;
};

static int faults = 0;

static void fault(const char *function, const char *what)
{
    fprintf(stderr, "%s: %s\n", function, what);
    faults++;
}

/* That `function` refused the handle it calls `handle`. */
static void refused(const char *function, const char *handle, boxlite_code code, boxlite_error *error)
{
    const char *subject = boxlite_error_subject(error);
    if (code != BOXLITE_FORKED || boxlite_error_code(error) != code || subject == NULL || strcmp(subject, handle) != 0) {
        fprintf(stderr, "%s: %s about %s, not BOXLITE_FORKED about %s: %s\n", function, boxlite_code_name(code),
                subject != NULL ? subject : "nothing", handle, boxlite_error_message(error));
        faults++;
    }
    boxlite_error_free(error);
}

static int needed(boxlite_code code, boxlite_error *error, const char *call)
{
    if (code != BOXLITE_OK) {
        fprintf(stderr, "%s: %s\n", call, boxlite_error_message(error));
        boxlite_error_free(error);
        faults++;
    }
    return code == BOXLITE_OK;
}
#define NEEDED(call) needed((call), error, #call)

/* A runtime on `home` with a box in which a command runs. */
static int make(struct handles *made, const char *home, const char *image)
{
    boxlite_error *error = NULL;
    boxlite_runtime_options *of_runtime = NULL;
    boxlite_box_options *of_box = NULL;
    boxlite_command *command = NULL;
    const char *const args[] = {"600"};
    int done = NEEDED(boxlite_runtime_options_new(&of_runtime, &error))
        && NEEDED(boxlite_runtime_options_set_home_dir(of_runtime, home, &error))
        && NEEDED(boxlite_runtime_new(of_runtime, &made->runtime, &error))
        && NEEDED(boxlite_box_options_new(&of_box, &error))
        && NEEDED(boxlite_box_options_set_image(of_box, image, &error))
        && NEEDED(boxlite_box_options_set_memory_mib(of_box, 128, &error))
        && NEEDED(boxlite_create(made->runtime, of_box, "forked", NULL, &made->box, &error))
        && NEEDED(boxlite_command_new("sleep", &command, &error))
        && NEEDED(boxlite_command_add_args(command, args, 1, &error))
        && NEEDED(boxlite_command_set_stdin(command, BOXLITE_STDIN_ONCE, &error))
        && NEEDED(boxlite_box_exec_start(made->box, command, NULL, &made->execution, &error))
        && NEEDED(boxlite_call_new(&made->call, &error));
    boxlite_command_free(command);
    boxlite_box_options_free(of_box);
    boxlite_runtime_options_free(of_runtime);
    return done;
}

/* That the handles are as they were made. */
static void use_and_free(struct handles *own)
{
    boxlite_error *error = NULL;
    boxlite_exit *exit = NULL;
    if (NEEDED(boxlite_execution_kill(own->execution, own->call, &error))
        && NEEDED(boxlite_execution_wait(own->execution, own->call, &exit, &error))
        && boxlite_exit_signal(exit) != SIGKILL) {
        fault("boxlite_execution_wait", "not the signal it was killed by");
    }
    boxlite_exit_free(exit);
    (void)NEEDED(boxlite_remove(own->runtime, "forked", 1, own->call, &error));
    (void)NEEDED(boxlite_runtime_shutdown(own->runtime, 0, own->call, &error));
    boxlite_execution_free(own->execution);
    boxlite_box_free(own->box);
    boxlite_call_free(own->call);
    boxlite_runtime_free(own->runtime);
}

/* What the calls are given besides handles. */
static boxlite_command *a_command;

@CALLS@

int main(int argc, char **argv)
{
    struct handles parents = {NULL, NULL, NULL, NULL};
    boxlite_error *error = NULL;
    int status = -1;
    if (argc != 4 || !NEEDED(boxlite_command_new("true", &a_command, &error)) || !make(&parents, argv[1], argv[3])) {
        return 2;
    }
    pid_t child = fork();
    if (child == 0) {
        struct handles own = {NULL, NULL, NULL, NULL};
        free_every_inherited(&parents);
        free_every_inherited(&parents);
        if (make(&own, argv[2], argv[3])) {
            refuse_every_inherited(&parents, &own);
            use_and_free(&own);
        }
        boxlite_command_free(a_command);
        _exit(faults != 0);
    }
    if (waitpid(child, &status, 0) != child || status != 0) {
        fault("the child", "found faults, or died");
    }
    use_and_free(&parents);
    boxlite_command_free(a_command);
    return faults != 0;
}
