/* What a JavaScript object holds of the library. Owns when a handle is freed: on close() or when it was forgotten, but
 * not before the last operation that uses it has ended. */
#include "addon.h"

#include <stdlib.h>
#include <unistd.h>

static void pointer_free(enum kind kind, void *pointer)
{
    switch (kind) {
    case KIND_CALL:
        boxlite_call_free(pointer);
        break;
    case KIND_RUNTIME:
        boxlite_runtime_free(pointer);
        break;
    case KIND_BOX:
        boxlite_box_free(pointer);
        break;
    case KIND_EXECUTION:
        boxlite_execution_free(pointer);
        break;
    }
}

/* Frees what may be freed by now. */
static void settle(struct handle *handle)
{
    if (handle->uses > 0) {
        return;
    }
    if ((handle->closed || handle->collected) && handle->pointer != NULL) {
        for (size_t i = 0; i < 3; i++) {
            if (handle->fds[i] >= 0) {
                close(handle->fds[i]);
                handle->fds[i] = -1;
            }
        }
        if (handle->of != NULL) {
            handle_unuse(handle->of);
        } else {
            pointer_free(handle->kind, handle->pointer);
        }
        handle->pointer = NULL;
    }
    if (handle->collected) {
        free(handle);
    }
}

static void forget_progress(napi_env napi, struct handle *handle)
{
    if (handle->progress != NULL) {
        napi_delete_reference(napi, handle->progress);
        handle->progress = NULL;
    }
}

static void collected(napi_env napi, void *data, void *hint)
{
    struct handle *handle = data;
    (void)hint;
    forget_progress(napi, handle);
    handle->collected = true;
    settle(handle);
}

napi_value handle_new(napi_env napi, enum kind kind, void *pointer, struct handle **made)
{
    struct handle *handle = calloc(1, sizeof *handle);
    napi_value value;
    if (handle == NULL) {
        pointer_free(kind, pointer);
        napi_throw_error(napi, NULL, "boxlite: out of memory");
        return NULL;
    }
    handle->kind = kind;
    handle->pointer = pointer;
    handle->fds[0] = handle->fds[1] = handle->fds[2] = -1;
    if (napi_create_external(napi, handle, collected, NULL, &value) != napi_ok) {
        pointer_free(kind, pointer);
        free(handle);
        return NULL;
    }
    if (made != NULL) {
        *made = handle;
    }
    return value;
}

struct handle *handle_from(napi_env napi, napi_value value, enum kind kind)
{
    static const char *const names[] = {"call", "runtime", "box", "child"};
    void *data = NULL;
    struct handle *handle;
    if (napi_get_value_external(napi, value, &data) != napi_ok || (handle = data)->kind != kind) {
        throw_type(napi, names[kind], "is not one");
        return NULL;
    }
    if (handle->closed) {
        throw_type(napi, names[kind], "was closed: get it anew");
        return NULL;
    }
    return handle;
}

napi_value handle_share(napi_env napi, struct handle *of)
{
    struct handle *handle = calloc(1, sizeof *handle);
    napi_value value;
    if (handle == NULL) {
        napi_throw_error(napi, NULL, "boxlite: out of memory");
        return NULL;
    }
    *handle = (struct handle){.kind = of->kind, .pointer = of->pointer, .of = of, .fds = {-1, -1, -1}};
    if (napi_create_external(napi, handle, collected, NULL, &value) != napi_ok) {
        free(handle);
        return NULL;
    }
    handle_use(of);
    return value;
}

void handle_use(struct handle *handle)
{
    handle->uses++;
}

void handle_unuse(struct handle *handle)
{
    handle->uses--;
    settle(handle);
}

/* close(handle): may be repeated. */
napi_value handle_close(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    void *data = NULL;
    args_get(napi, info, args);
    if (napi_get_value_external(napi, args[0], &data) == napi_ok) {
        struct handle *handle = data;
        forget_progress(napi, handle);
        handle->closed = true;
        settle(handle);
    }
    return undefined(napi);
}
