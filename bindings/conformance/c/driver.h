/* What the files of the conformance driver in C share: the request, the answer, the shared box. A driver performs what
 * it is told over stdin, and prints what it saw. It expects nothing; ../README.md tells of the requests and answers. */
#ifndef DRIVER_H
#define DRIVER_H

#include <boxlite.h>
#include <stdbool.h>
#include <stddef.h>

extern boxlite_runtime *runtime;
/* The box named `shared`. */
extern boxlite_box *box;
/* Of the last call; NULL when that succeeded, or its failure was told. */
extern boxlite_error *error;

/* For what no row asks: ends the driver. */
_Noreturn void die(const char *what);
#define MUST(call) ((call) == BOXLITE_OK ? (void)0 : die(#call))

/* request.c: the request that is being performed. */

/* Splits "op\tkey=hex\t..."; gives the op. */
const char *parse(char *line);
/* The first value of this key, or NULL. */
const char *field(const char *key);
long long number(const char *key, long long otherwise);
/* "rows,cols" */
void pair(const char *key, int *rows, int *cols);
/* The bytes of the file `input`, none without one; to be freed. */
char *input(size_t *len);
/* The call that the request asks for; to be freed. */
boxlite_call *new_call(void);
/* The command that it asks for; NULL, and told, when a part of it was refused. */
boxlite_command *new_command(void);

/* answer.c: what was seen. */

void begin_answer(void);
void end_answer(void);
/* A value is JSON. */
void tell(const char *key, const char *format, ...);
void tell_flag(const char *key, bool value);
/* Tells of a failure and frees its error; whether the call succeeded. */
bool succeeded(const char *key, boxlite_code code);
void tell_exit(int code, int signal, int timed_out, int oom_killed);
/* Waits for an execution, and tells how it ended. */
void tell_wait(boxlite_execution *execution);
/* An output that is there as a whole. */
void write_file(const char *path, const void *data, size_t len);

/* boxes.c */

boxlite_code create_box(const char *image, const char *name, long long memory_mib, boxlite_box **made);
/* Kills the shared box's shim. */
void kill_shim(void);

/* What each op does, in the file that has its subject. */

/* commands.c */
void run(void);

/* streams.c */
void stream(void);
void untaken(void);
void attach(void);

/* boxes.c */
void start(void);
void create(void);
void get(void);
void remove_box(void);
void stop(void);
void reopen(void);

/* files.c */
void copy_in(void);
void copy_out(void);
void read_box_file(void);
void write_box_file(void);

/* leaks.c */
void rounds(void);
void measure(void);

#endif
