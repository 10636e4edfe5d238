/* The end of a box: waited for by the event loop, explained; and the box's logs. */
#include "addon.h"

#include <unistd.h>

struct ending {
    struct operation operation;
    boxlite_box *box;
    boxlite_box_end *end;
    int32_t which;
    int32_t fd;                    /* -1: none, or given away */
};

static void discard(struct operation *operation)
{
    struct ending *ending = (struct ending *)operation;
    boxlite_box_end_free(ending->end);
    if (ending->fd >= 0) {
        close(ending->fd);
    }
}

static struct ending *begin(napi_env napi, napi_value box, napi_value call, void (*work)(struct operation *),
                            napi_value (*result)(napi_env, struct operation *))
{
    struct handle *handle = handle_from(napi, box, KIND_BOX);
    struct ending *ending = handle == NULL ? NULL : operation_new(napi, sizeof *ending, call);
    if (ending == NULL) {
        return NULL;
    }
    operation_use(&ending->operation, handle);
    ending->box = handle->pointer;
    ending->fd = -1;
    ending->operation.work = work;
    ending->operation.result = result;
    ending->operation.discard = discard;
    return ending;
}

/* boxWatch(box): { watch, ended, box }; ended is fulfilled when boxWait() won't wait any more. The box is one more handle,
 * which the caller closes, after close() of the other one, too. */
napi_value box_watch(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX], result, box;
    struct handle *handle;
    boxlite_error *error = NULL;
    boxlite_code code;
    int32_t fd;
    args_get(napi, info, args);
    if ((handle = handle_from(napi, args[0], KIND_BOX)) == NULL) {
        return NULL;
    }
    code = boxlite_box_exit_fd(handle->pointer, &fd, &error);
    if (code != BOXLITE_OK) {
        return error_throw(napi, code, error);
    }
    if ((box = handle_share(napi, handle)) == NULL) {
        close(fd);
        return NULL;
    }
    if ((result = watch_new(napi, fd)) != NULL) {
        set_value(napi, result, "box", box);
    }
    return result;
}

static void wait_work(struct operation *operation)
{
    struct ending *ending = (struct ending *)operation;
    operation->code = boxlite_box_wait(ending->box, operation->call, &ending->end, &operation->error);
}

static napi_value wait_result(napi_env napi, struct operation *operation)
{
    static const char *const reasons[] = {
        [BOXLITE_END_UNKNOWN] = "unknown",         [BOXLITE_END_STOPPED] = "stopped",
        [BOXLITE_END_OWNER_GONE] = "owner-gone",   [BOXLITE_END_MAIN_EXITED] = "main-exited",
        [BOXLITE_END_CRASHED] = "crashed",         [BOXLITE_END_KILLED] = "killed",
        [BOXLITE_END_REMOVED] = "removed",         [BOXLITE_END_LIFETIME] = "lifetime",
        [BOXLITE_END_IDLE] = "idle",               [BOXLITE_END_OUT_OF_MEMORY] = "out-of-memory",
    };
    const boxlite_box_end *end = ((struct ending *)operation)->end;
    int32_t reason = boxlite_box_end_reason(end);
    napi_value result;
    napi_create_object(napi, &result);
    set_text(napi, result, "reason", reason > 0 && reason <= BOXLITE_END_OUT_OF_MEMORY ? reasons[reason] : reasons[0]);
    set_text(napi, result, "message", boxlite_box_end_message(end));
    return result;
}

/* boxWait(box, call): { reason, message } */
napi_value box_wait(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct ending *ending;
    args_get(napi, info, args);
    ending = begin(napi, args[0], args[1], wait_work, wait_result);
    return ending == NULL ? NULL : operation_start(ending);
}

static void log_work(struct operation *operation)
{
    struct ending *ending = (struct ending *)operation;
    operation->code = boxlite_box_log_fd(ending->box, ending->which, &ending->fd, &operation->error);
}

static napi_value log_result(napi_env napi, struct operation *operation)
{
    struct ending *ending = (struct ending *)operation;
    napi_value fd = js_number(napi, ending->fd);
    ending->fd = -1;
    return fd;
}

/* boxLog(box, which): a descriptor, which is the caller's. */
napi_value box_log(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct ending *ending;
    double which;
    args_get(napi, info, args);
    if (!to_number(napi, args[1], "which", &which)
        || (ending = begin(napi, args[0], undefined(napi), log_work, log_result)) == NULL) {
        return NULL;
    }
    ending->which = (int32_t)which;
    return operation_start(ending);
}
