/* What the tests of commands that go on running share: one box, and short forms for starting a command in it, for taking
 * its streams and for what is known of them. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "harness.h"

enum { PATIENCE_MS = 30000 };

/* Makes both below; to be called first. */
void begin_commands(void);
/* The box does not run any more: checks that no descriptor of its commands is left, removes it and ends the test. */
int finish_commands(void);

extern boxlite_runtime *runtime;
extern boxlite_box *box;

/* `sh -c script`, of whose output nothing is lost. */
boxlite_command *piped(const char *script);
/* Starts a command and frees it. */
boxlite_execution *start(boxlite_command *command);
/* A command of the box through another handle, and perhaps another runtime. */
boxlite_execution *attach(boxlite_runtime *from, const char *id);
int take_stdin(boxlite_execution *execution);
int take_stdout(boxlite_execution *execution);
bool readable(int fd, int limit_ms);
/* Reads to the end of file, into `text` as far as it goes; says how many bytes there were. */
size_t read_all(int fd, char *text, size_t size);
/* Reads until `end` has come. */
void read_until(int fd, char *text, size_t size, const char *end);
void send_text(int fd, const char *text);
void check_exit(boxlite_execution *execution, int code, int signal);

struct state {
    unsigned long long first, total, dropped;
    int closed, taken_over;
};

struct state state_of(boxlite_execution *execution, int which);
/* Whether `received` bytes are all there ever was from the first one on that the handle's descriptor was owed. */
bool is_whole(struct state state, size_t received);

#endif
