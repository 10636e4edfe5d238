/* shell IMAGE [PROGRAM [ARGUMENT...]]: an interactive shell in a box of its own, on a terminal.
 *
 * One thread and poll(): what is typed goes to the box's terminal, what that prints comes back, a new size of the window is
 * passed on. The shell's exit code is this program's; the box is gone afterwards. */
#include <boxlite.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;

static void restore(void) { tcsetattr(STDIN_FILENO, TCSADRAIN, &before); }

static void check(boxlite_code code, const boxlite_error *error)
{
    if (code == BOXLITE_OK) return;
    fprintf(stderr, "shell: %s\n%s\n", boxlite_error_message(error), boxlite_error_hint(error));
    exit(125);
}

static struct winsize size_of_window(void)
{
    struct winsize size;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0) size = (struct winsize){24, 80, 0, 0};
    return size;
}

/* Up to the end of what the terminal prints: its last process has gone. */
static void relay(boxlite_execution *execution, int terminal, int resized)
{
    struct pollfd ready[] = {{terminal, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}, {resized, POLLIN, 0}};
    char bytes[65536];
    for (;;) {
        if (poll(ready, 3, -1) < 0 && errno != EINTR) return;
        if (ready[2].revents) {
            struct signalfd_siginfo which;
            struct winsize size = size_of_window();
            if (read(resized, &which, sizeof which) > 0)
                /* A shell that has just ended has no size: no reason to stop. */
                boxlite_execution_resize_tty(execution, size.ws_row, size.ws_col, NULL, NULL);
        }
        if (ready[1].revents) {
            ssize_t length = read(STDIN_FILENO, bytes, sizeof bytes);
            /* The end of a file or pipe is typed as a terminal's: Ctrl-D. */
            if (length <= 0) bytes[0] = 4, length = 1, ready[1].fd = -1;
            for (ssize_t at = 0, sent; at < length; at += sent)
                if ((sent = send(terminal, bytes + at, (size_t)(length - at), MSG_NOSIGNAL)) < 0) break;
        }
        if (ready[0].revents) {
            ssize_t length = read(terminal, bytes, sizeof bytes);
            if (length <= 0) return;
            for (ssize_t at = 0, written; at < length; at += written)
                if ((written = write(STDOUT_FILENO, bytes + at, (size_t)(length - at))) < 0) return;
        }
    }
}

int main(int argc, char **argv)
{
    boxlite_error *error;
    boxlite_runtime *runtime;
    boxlite_box_options *options;
    boxlite_box *box;
    boxlite_command *command;
    boxlite_execution *execution;
    boxlite_exit *ended;
    struct winsize size = size_of_window();
    int terminal;

    /* Before the library makes threads: the signal comes by a descriptor, to no thread. */
    sigset_t winch;
    sigemptyset(&winch);
    sigaddset(&winch, SIGWINCH);
    sigprocmask(SIG_BLOCK, &winch, NULL);
    int resized = signalfd(-1, &winch, SFD_CLOEXEC);

    check(boxlite_runtime_new(NULL, &runtime, &error), error);
    check(boxlite_box_options_new(&options, &error), error);
    check(boxlite_box_options_set_image(options, argc > 1 ? argv[1] : "alpine", &error), error);
    check(boxlite_box_options_set_auto_remove(options, 1, &error), error);
    check(boxlite_create(runtime, options, NULL, NULL, &box, &error), error);
    check(boxlite_command_new(argc > 2 ? argv[2] : "sh", &command, &error), error);
    for (int i = 3; i < argc; i++) check(boxlite_command_add_arg(command, argv[i], &error), error);
    check(boxlite_command_set_tty(command, size.ws_row, size.ws_col, &error), error);
    const char *name = getenv("TERM");
    check(boxlite_command_set_env(command, "TERM", name ? name : "dumb", &error), error);
    check(boxlite_box_exec_start(box, command, NULL, &execution, &error), error);
    check(boxlite_execution_take_tty(execution, BOXLITE_OFFSET_OLDEST, 0, NULL, &terminal, &error), error);

    /* Every key is the box's, Ctrl-C as well. What was typed meanwhile stays. */
    if (tcgetattr(STDIN_FILENO, &before) == 0) {
        struct termios raw = before;
        cfmakeraw(&raw);
        atexit(restore);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    relay(execution, terminal, resized);
    check(boxlite_execution_wait(execution, NULL, &ended, &error), error);
    int code = boxlite_exit_code(ended);
    if (code < 0) code = 128 + boxlite_exit_signal(ended);

    check(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error), error);
    check(boxlite_runtime_shutdown(runtime, -2, NULL, &error), error);
    boxlite_exit_free(ended);
    boxlite_execution_free(execution);
    boxlite_command_free(command);
    boxlite_box_free(box);
    boxlite_box_options_free(options);
    boxlite_runtime_free(runtime);
    close(terminal);
    close(resized);
    return code;
}
