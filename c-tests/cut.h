/* Cuts a call off at random instants, by a cancel or by its deadline. */
#ifndef CUT_H
#define CUT_H

#include "harness.h"

/* Of this run's instants; SEED repeats them. To be called first. */
void seed_instants(void);
/* A number below `bound`. */
unsigned random_below(unsigned bound);

/* Makes the call `work` once as it is, and then `rounds` times cut off at an instant within the time it took, each after
 * `prepare`. It has to answer BOXLITE_OK, or what it was cut off by. `check_left` is told which, and looks at what is
 * left. */
void cut(const char *name, int rounds, void (*prepare)(void), boxlite_code (*work)(boxlite_call *),
         void (*check_left)(boxlite_code));
void no_preparation(void);
void nothing_left(boxlite_code code);
/* After a call that makes a box of this name: there is one, which is removed, or there is none. */
void check_made_or_undone(boxlite_runtime *runtime, const char *name, boxlite_code code);
/* Shuts it down and frees it. */
void close_runtime(boxlite_runtime *runtime);

/* A cancel may come before the function is called, which then does nothing, and says so: `work` passes what its function
 * answered with `&error` through note_begin(), and `check_left` finds out here. */
boxlite_code note_begin(boxlite_code code);
extern bool is_not_begun;

/* In the shell of a box, in a directory that `file` was copied to: what was cut off may still be on its way to its end.
 * Waits until nobody copies, and nothing is beside the file. */
#define SETTLED \
    "for i in $(seq 600); do pidof boxlite-copy > /dev/null || [ -n \"$(ls -A | grep -vx file)\" ] || break; " \
    "sleep 0.1; done; "

/* How long to wait for what goes on after a call. Anything that takes longer has gone wrong. */
enum { PATIENCE_MS = 60000 };

#endif
