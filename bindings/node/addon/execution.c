/* A command that runs: waited for, signalled, its streams given away. */
#include "addon.h"

#include <stdlib.h>

struct attending {
    struct operation operation;
    boxlite_execution *execution;
    double first, second;
    boxlite_exit *exit;
    boxlite_stream_state *state;
};

static void discard(struct operation *operation)
{
    struct attending *attending = (struct attending *)operation;
    boxlite_exit_free(attending->exit);
    boxlite_stream_state_free(attending->state);
}

static struct attending *begin(napi_env napi, napi_value execution, napi_value call, void (*work)(struct operation *))
{
    struct handle *handle = handle_from(napi, execution, KIND_EXECUTION);
    struct attending *attending = handle == NULL ? NULL : operation_new(napi, sizeof *attending, call);
    if (attending == NULL) {
        return NULL;
    }
    operation_use(&attending->operation, handle);
    attending->execution = handle->pointer;
    attending->operation.work = work;
    attending->operation.discard = discard;
    return attending;
}

/* executionWatch(execution): { watch, ended }; ended is fulfilled when executionWait() won't wait any more. */
napi_value execution_watch(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct handle *handle;
    boxlite_error *error = NULL;
    boxlite_code code;
    int32_t fd;
    args_get(napi, info, args);
    if ((handle = handle_from(napi, args[0], KIND_EXECUTION)) == NULL) {
        return NULL;
    }
    code = boxlite_execution_exit_fd(handle->pointer, &fd, &error);
    return code != BOXLITE_OK ? error_throw(napi, code, error) : watch_new(napi, fd);
}

napi_value js_exit(napi_env napi, const boxlite_exit *exit)
{
    napi_value result;
    napi_create_object(napi, &result);
    set_number(napi, result, "code", boxlite_exit_code(exit));
    set_number(napi, result, "signal", boxlite_exit_signal(exit));
    set_flag(napi, result, "timedOut", boxlite_exit_timed_out(exit));
    set_flag(napi, result, "oomKilled", boxlite_exit_oom_killed(exit));
    return result;
}

static void wait_work(struct operation *operation)
{
    struct attending *attending = (struct attending *)operation;
    operation->code = boxlite_execution_wait(attending->execution, operation->call, &attending->exit, &operation->error);
}

static napi_value wait_result(napi_env napi, struct operation *operation)
{
    return js_exit(napi, ((struct attending *)operation)->exit);
}

/* executionWait(execution, call): { code, signal, timedOut, oomKilled } */
napi_value execution_wait(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct attending *attending;
    args_get(napi, info, args);
    if ((attending = begin(napi, args[0], args[1], wait_work)) == NULL) {
        return NULL;
    }
    attending->operation.result = wait_result;
    return operation_start(attending);
}

static void signal_work(struct operation *operation)
{
    struct attending *attending = (struct attending *)operation;
    operation->code = boxlite_execution_signal(attending->execution, (int32_t)attending->first, operation->call,
                                               &operation->error);
}

static void kill_work(struct operation *operation)
{
    operation->code = boxlite_execution_kill(((struct attending *)operation)->execution, operation->call,
                                             &operation->error);
}

static void resize_work(struct operation *operation)
{
    struct attending *attending = (struct attending *)operation;
    operation->code = boxlite_execution_resize_tty(attending->execution, (int32_t)attending->first,
                                                   (int32_t)attending->second, operation->call, &operation->error);
}

static void close_stdin_work(struct operation *operation)
{
    struct attending *attending = (struct attending *)operation;
    operation->code = boxlite_execution_close_stdin(attending->execution, (uint64_t)attending->first, operation->call,
                                                    &operation->error);
}

/* Of an execution, a number or two, and a call. */
static napi_value with_numbers(napi_env napi, napi_callback_info info, size_t count, const char *const names[],
                               void (*work)(struct operation *))
{
    napi_value args[ARGS_MAX];
    double numbers[2] = {0, 0};
    struct attending *attending;
    args_get(napi, info, args);
    for (size_t i = 0; i < count; i++) {
        if (!to_number(napi, args[1 + i], names[i], &numbers[i])) {
            return NULL;
        }
        if (numbers[i] < 0) {
            return throw_type(napi, names[i], "must not be negative");
        }
        if (work != close_stdin_work && numbers[i] > INT32_MAX) {
            return throw_type(napi, names[i], "is too large");
        }
    }
    if ((attending = begin(napi, args[0], args[1 + count], work)) == NULL) {
        return NULL;
    }
    attending->first = numbers[0];
    attending->second = numbers[1];
    return operation_start(attending);
}

/* executionSignal(execution, signal, call) */
napi_value execution_signal(napi_env napi, napi_callback_info info)
{
    static const char *const names[] = {"signal"};
    return with_numbers(napi, info, 1, names, signal_work);
}

/* executionKill(execution, call) */
napi_value execution_kill(napi_env napi, napi_callback_info info)
{
    return with_numbers(napi, info, 0, NULL, kill_work);
}

/* executionResizeTty(execution, rows, cols, call) */
napi_value execution_resize_tty(napi_env napi, napi_callback_info info)
{
    static const char *const names[] = {"rows", "cols"};
    return with_numbers(napi, info, 2, names, resize_work);
}

/* executionCloseStdin(execution, totalBytes, call) */
napi_value execution_close_stdin(napi_env napi, napi_callback_info info)
{
    static const char *const names[] = {"totalBytes"};
    return with_numbers(napi, info, 1, names, close_stdin_work);
}

/* executionClaim(execution, place): the descriptor taken for stdin (0), stdout or the terminal (1), or stderr (2), which
 * is the caller's from now on; -1 when there is none. */
napi_value execution_claim(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct handle *handle;
    double place;
    int fd;
    args_get(napi, info, args);
    if ((handle = handle_from(napi, args[0], KIND_EXECUTION)) == NULL || !to_number(napi, args[1], "place", &place)) {
        return NULL;
    }
    fd = handle->fds[(unsigned)place % 3];
    handle->fds[(unsigned)place % 3] = -1;
    return js_number(napi, fd);
}

static void state_work(struct operation *operation)
{
    struct attending *attending = (struct attending *)operation;
    operation->code = boxlite_execution_stream_state(attending->execution, (int32_t)attending->first, operation->call,
                                                     &attending->state, &operation->error);
}

static napi_value state_result(napi_env napi, struct operation *operation)
{
    const boxlite_stream_state *state = ((struct attending *)operation)->state;
    napi_value result;
    napi_create_object(napi, &result);
    set_number(napi, result, "first", (double)boxlite_stream_state_first(state));
    set_number(napi, result, "total", (double)boxlite_stream_state_total(state));
    set_number(napi, result, "dropped", (double)boxlite_stream_state_dropped(state));
    set_flag(napi, result, "closed", boxlite_stream_state_closed(state));
    set_flag(napi, result, "takenOver", boxlite_stream_state_taken_over(state));
    return result;
}

/* executionStreamState(execution, which, call): { first, total, dropped, closed, takenOver } */
napi_value execution_stream_state(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct attending *attending;
    double which;
    args_get(napi, info, args);
    if (!to_number(napi, args[1], "which", &which)
        || (attending = begin(napi, args[0], args[2], state_work)) == NULL) {
        return NULL;
    }
    attending->first = which;
    attending->operation.result = state_result;
    return operation_start(attending);
}
