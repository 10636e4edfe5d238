/* What the C tests share: checks that count faults, a home that goes when the test does, and short forms for making
 * boxes and running commands in them. */
#ifndef HARNESS_H
#define HARNESS_H

#include <boxlite.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The error of the last call this thread checked with EXPECT; set by the call, freed by the check. */
extern _Thread_local boxlite_error *error;

/* Counts a fault and goes on. */
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(actual, expected) check_int((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_STR(actual, expected) check_str((actual), (expected), #actual, __FILE__, __LINE__)

/* Makes a call that ends in `&error` and checks its code, and that the error object says the same. */
#define EXPECT(code, call) expect((call), (code), NULL, #call, __FILE__, __LINE__)
/* Besides, that the error is about `subject`. */
#define EXPECT_ABOUT(code, subject, call) expect((call), (code), (subject), #call, __FILE__, __LINE__)
/* Makes a call that has to succeed; else the test ends here. */
#define OK(call) (EXPECT(BOXLITE_OK, call) ? (void)0 : give_up())

void check(bool condition, const char *text, const char *file, int line);
void check_int(long long actual, long long expected, const char *text, const char *file, int line);
void check_str(const char *actual, const char *expected, const char *text, const char *file, int line);
bool expect(boxlite_code actual, boxlite_code expected, const char *subject, const char *text, const char *file,
            int line);
_Noreturn void give_up(void);
/* Says how many faults there were. To be returned from main. */
int finish(void);
/* Faults so far, for a forked child to report. */
int fault_count(void);

/* A directory of this test's own, removed when it ends. */
const char *home(void);
/* The image of the tests. */
const char *test_image(void);
/* The number in an environment variable, or another one when it is not set. */
int number_from(const char *variable, int otherwise);
long long now_ms(void);
void sleep_ms(long long milliseconds);
/* Whether a process is there and no zombie. */
bool process_runs(int pid);
/* How many entries a directory has, such as /proc/self/fd or /proc/self/task. */
int count_entries(const char *dir);
/* Checks that it has at most `most` before long: work in the background, such as the making of a template, lends a
 * thread or a descriptor for a while, and what a free gives up goes a moment later. */
#define CHECK_SETTLES(dir, most) check_settles((dir), (most), __FILE__, __LINE__)
void check_settles(const char *dir, int most, const char *file, int line);
/* How many processes have `text`, such as a box's id, in their argv. */
int processes_with(const char *text);
/* Sends them a signal; says how many there were. */
int signal_processes_with(const char *text, int number);
/* Waits until there is none. */
bool wait_until_gone(const char *text, long long limit_ms);

/* A runtime on home(). */
boxlite_runtime *open_runtime(void);
/* A runtime on a home of its own, `name` below home(). */
boxlite_runtime *open_runtime_in(const char *name);
/* A box of the test image; `name` may be NULL. */
boxlite_box *create_box(boxlite_runtime *runtime, const char *name);
/* The pid of the box's shim; 0 when it does not run. */
int32_t shim_pid(boxlite_box *box);
/* Waits until the box has no process: one that ends has lost its arguments, by which wait_until_gone() knows it, before it
 * is gone. */
bool wait_until_ended(boxlite_box *box, long long limit_ms);
/* `sh -c script`. */
boxlite_command *shell(const char *script);
/* Runs a command that has to be started; frees the command. */
boxlite_exec_result *run(boxlite_box *box, boxlite_command *command);
/* Checks that `sh -c script` exits with 0 and writes `output`. */
#define CHECK_OUTPUT(box, script, output) check_output((box), (script), (output), __FILE__, __LINE__)
void check_output(boxlite_box *box, const char *script, const char *output, const char *file, int line);
boxlite_call *new_call(long long timeout_ms);

#endif
