/* What the addon's files know of each other. One `struct env` per Node environment (the main thread, each worker), no
 * statics that change: the addon is loaded once and used by any number of environments at a time.
 *
 * Three threads of thought:
 *   environment.c  one environment: its place in the event loop, and how it is taken down
 *   operations.c   calls that block, on threads of the environment's own, never on libuv's pool
 *   handles.c      what a JavaScript object holds of the library
 * All else turns JavaScript values into calls of the C API, and results into JavaScript values. */
#ifndef BOXLITE_NODE_ADDON_H
#define BOXLITE_NODE_ADDON_H

#define NAPI_VERSION 8
#include <boxlite.h>
#include <node_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

struct env;
struct operation;
struct watch;

/* ---- environment.c ---- */

struct env {
    napi_env napi;
    napi_async_context context;
    napi_async_cleanup_hook_handle hook;
    napi_ref error_class;
    uv_loop_t *loop;
    uv_async_t *wake;              /* tells the loop that operations are done or have progress */
    bool closing;                  /* set on the loop's thread, under `lock` */
    unsigned open_handles;         /* of libuv, while closing */

    pthread_mutex_t lock;          /* guards all from here to `last` */
    pthread_cond_t more;
    struct operation *queue, **queue_end;
    struct operation *done, **done_end;
    unsigned threads, idle;
    pthread_t last;                /* the thread that ended last: whoever ends next joins it */
    bool has_last;

    struct operation *pending;     /* all begun and not settled; the loop's thread only */
    unsigned keeps_alive;          /* how many reasons the loop has to go on */
    struct watch *watches;
};

struct env *env_of(napi_env napi);
void env_keep_alive(struct env *env);
void env_let_go(struct env *env);
/* Goes on with closing where it stands: called whenever something that it waits for has happened. */
void env_closed_one(struct env *env);

/* ---- handles.c ---- */

enum kind { KIND_CALL, KIND_RUNTIME, KIND_BOX, KIND_EXECUTION };

/* One handle of the library. Freed when JavaScript closes or forgets it, but never before the last operation that uses
 * it has ended. The loop's thread only. */
struct handle {
    enum kind kind;
    void *pointer;
    unsigned uses;
    bool closed, collected;
    struct handle *of;             /* whose pointer this one shares, and keeps */
    napi_ref progress;             /* KIND_CALL: the function to report to */
    int fds[3];                    /* KIND_EXECUTION: taken, not yet claimed: stdin, stdout or terminal, stderr */
};

/* On failure `pointer` is freed and an exception is pending. */
napi_value handle_new(napi_env napi, enum kind kind, void *pointer, struct handle **made);
/* NULL with an exception pending when `value` is no such handle or was closed. */
struct handle *handle_from(napi_env napi, napi_value value, enum kind kind);
/* One more handle of the same: what it stands for is there until both are closed. NULL with an exception pending. */
napi_value handle_share(napi_env napi, struct handle *handle);
void handle_use(struct handle *handle);
void handle_unuse(struct handle *handle);
napi_value handle_close(napi_env napi, napi_callback_info info);

/* ---- operations.c ---- */

struct layer {
    char *digest;
    double done_bytes, total_bytes;
};

struct progress {
    char *stage, *reference;
    struct layer *layers;
    size_t layer_count;
};

/* A call that blocks: `work` on a thread of its own, then on the loop's thread `result` and always `discard`. Kinds of
 * operations begin with this struct. */
struct operation {
    struct env *env;
    struct operation *next, *next_pending, **previous_pending;
    napi_deferred deferred;
    struct handle *call_handle, *used[2];
    boxlite_call *call;
    bool own_call;
    void (*work)(struct operation *);
    napi_value (*result)(napi_env, struct operation *);   /* NULL: undefined */
    bool partial;                  /* `result` has something to give after a failure, too */
    void (*discard)(struct operation *);                  /* NULL: nothing but the struct */
    boxlite_code code;
    boxlite_error *error;
    bool finished;                 /* from here on guarded by env->lock until it is settled */
    bool has_progress;
    struct progress progress;
};

/* Allocates an operation of `size` bytes, all zero. `call` is a KIND_CALL handle or undefined. NULL with an exception
 * pending. */
void *operation_new(napi_env napi, size_t size, napi_value call);
void operation_use(struct operation *operation, struct handle *handle);
/* Begins it, and gives its promise; it is no longer the caller's. */
napi_value operation_start(void *operation);
/* For an operation that was not begun. Gives NULL. */
napi_value operation_drop(void *operation);
void operations_deliver(struct env *env);
void operations_cancel(struct env *env);
void operations_forget(struct env *env);

/* ---- watches.c: descriptors that say an end, by the event loop ---- */

/* Takes `fd` over: { watch, ended }, where ended is a promise. */
napi_value watch_new(napi_env napi, int fd);
napi_value watch_ref(napi_env napi, napi_callback_info info);
napi_value watch_end(napi_env napi, napi_callback_info info);
void watches_close(struct env *env);

/* ---- values.c ---- */

#define ARGS_MAX 6
/* The call's arguments; those that are missing are undefined. */
void args_get(napi_env napi, napi_callback_info info, napi_value args[ARGS_MAX]);
napi_value undefined(napi_env napi);
napi_value js_text(napi_env napi, const char *text);          /* null when NULL */
napi_value js_bytes(napi_env napi, const char *bytes, size_t length);
napi_value js_number(napi_env napi, double number);
napi_value js_flag(napi_env napi, int32_t flag);
void set_text(napi_env napi, napi_value object, const char *key, const char *text);
void set_number(napi_env napi, napi_value object, const char *key, double number);
void set_flag(napi_env napi, napi_value object, const char *key, int32_t flag);
void set_value(napi_env napi, napi_value object, const char *key, napi_value value);
/* undefined or null */
bool is_nothing(napi_env napi, napi_value value);
/* A string as UTF-8, or a Uint8Array as it is; without NUL inside. The caller frees *text. False with an exception
 * pending, which names it `name`. */
bool to_text(napi_env napi, napi_value value, const char *name, char **text);
/* The same, NULs and all, and one more after them. */
bool to_bytes(napi_env napi, napi_value value, const char *name, char **text, size_t *size);
bool to_number(napi_env napi, napi_value value, const char *name, double *number);
bool to_flag(napi_env napi, napi_value value);

/* Reads an object of options, one after the other, until the first that is wrong. */
struct reader {
    napi_env napi;
    napi_value object;
    bool failed;                   /* an exception is pending */
    char *key, *text;              /* of the last one read; freed by the next, or reader_end() */
    double number;
    boxlite_error *error;
    napi_value pairs, names;
    uint32_t pair, pair_count;
};
void reader_begin(struct reader *reader, napi_env napi, napi_value object);
/* False when the option is not set, or something failed. */
bool read_value(struct reader *reader, const char *key, napi_value *value);
bool read_text(struct reader *reader, const char *key);
bool read_number(struct reader *reader, const char *key);
bool read_natural(struct reader *reader, const char *key);     /* refuses what is less than 0 */
bool read_flag(struct reader *reader, const char *key);
bool read_pairs(struct reader *reader, const char *key);
/* The next of the pairs, in reader->key and reader->text, which is NULL when its value is nothing. */
bool next_pair(struct reader *reader);
/* An array, and then each of it in reader->text. */
bool read_texts(struct reader *reader, const char *key);
bool next_text(struct reader *reader, const char *key);
/* Throws when a function of the library refused what was read. */
void reader_check(struct reader *reader, boxlite_code code);
/* True when all was well. */
bool reader_end(struct reader *reader);

/* ---- errors.c ---- */

/* Makes a BoxliteError; does not free `error`. */
napi_value error_make(napi_env napi, boxlite_code code, const boxlite_error *error);
napi_value error_text(napi_env napi, boxlite_code code, const char *message, const char *hint);
/* Throws it, frees `error`, gives NULL. */
napi_value error_throw(napi_env napi, boxlite_code code, boxlite_error *error);
napi_value throw_type(napi_env napi, const char *name, const char *problem);
napi_value errors_set_class(napi_env napi, napi_callback_info info);

/* ---- what JavaScript calls, by noun ---- */
boxlite_runtime_options *runtime_options_from(napi_env napi, napi_value value);
boxlite_box_options *box_options_from(napi_env napi, napi_value value);
boxlite_command *command_from(napi_env napi, napi_value value);
napi_value js_info(napi_env napi, const boxlite_info *info);
napi_value js_exit(napi_env napi, const boxlite_exit *exit);
napi_value box_made(napi_env napi, boxlite_box *box);

napi_value call_new(napi_env napi, napi_callback_info info);
napi_value call_cancel(napi_env napi, napi_callback_info info);
napi_value runtime_open(napi_env napi, napi_callback_info info);
napi_value runtime_shutdown(napi_env napi, napi_callback_info info);
napi_value runtime_repair(napi_env napi, napi_callback_info info);
napi_value runtime_system_check(napi_env napi, napi_callback_info info);
napi_value runtime_prepare(napi_env napi, napi_callback_info info);
napi_value runtime_metrics(napi_env napi, napi_callback_info info);
napi_value image_pull(napi_env napi, napi_callback_info info);
napi_value image_get(napi_env napi, napi_callback_info info);
napi_value image_list(napi_env napi, napi_callback_info info);
napi_value image_remove(napi_env napi, napi_callback_info info);
napi_value image_prune(napi_env napi, napi_callback_info info);
napi_value box_create(napi_env napi, napi_callback_info info);
napi_value box_get_or_create(napi_env napi, napi_callback_info info);
napi_value box_get(napi_env napi, napi_callback_info info);
napi_value box_remove(napi_env napi, napi_callback_info info);
napi_value box_list(napi_env napi, napi_callback_info info);
napi_value box_info(napi_env napi, napi_callback_info info);
napi_value box_start(napi_env napi, napi_callback_info info);
napi_value box_stop(napi_env napi, napi_callback_info info);
napi_value box_watch(napi_env napi, napi_callback_info info);
napi_value box_wait(napi_env napi, napi_callback_info info);
napi_value box_log(napi_env napi, napi_callback_info info);
napi_value box_metrics(napi_env napi, napi_callback_info info);
napi_value box_copy_in(napi_env napi, napi_callback_info info);
napi_value box_copy_out(napi_env napi, napi_callback_info info);
napi_value box_copy_in_tar(napi_env napi, napi_callback_info info);
napi_value box_copy_out_tar(napi_env napi, napi_callback_info info);
napi_value box_read_file(napi_env napi, napi_callback_info info);
napi_value box_write_file(napi_env napi, napi_callback_info info);
napi_value box_exec(napi_env napi, napi_callback_info info);
napi_value box_exec_start(napi_env napi, napi_callback_info info);
napi_value box_attach(napi_env napi, napi_callback_info info);
napi_value box_executions(napi_env napi, napi_callback_info info);
napi_value execution_watch(napi_env napi, napi_callback_info info);
napi_value execution_wait(napi_env napi, napi_callback_info info);
napi_value execution_signal(napi_env napi, napi_callback_info info);
napi_value execution_kill(napi_env napi, napi_callback_info info);
napi_value execution_resize_tty(napi_env napi, napi_callback_info info);
napi_value execution_claim(napi_env napi, napi_callback_info info);
napi_value execution_close_stdin(napi_env napi, napi_callback_info info);
napi_value execution_stream_state(napi_env napi, napi_callback_info info);

#endif
