/* Descriptors that become readable at an end, watched by the event loop itself: no thread waits. */
#include "addon.h"

#include <stdlib.h>
#include <unistd.h>

struct watch {
    uv_poll_t *poll;
    struct env *env;
    napi_deferred deferred;
    int fd;
    struct watch *next, **previous;
    struct grip *grip;
};

/* What JavaScript holds: it may outlive the watch. */
struct grip {
    struct watch *watch;
};

static void grip_collected(napi_env napi, void *data, void *hint)
{
    struct grip *grip = data;
    (void)napi;
    (void)hint;
    if (grip->watch != NULL) {
        grip->watch->grip = NULL;
    }
    free(grip);
}

static void closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct env *env = watch->env;
    close(watch->fd);
    free(watch);
    free(handle);
    env->open_handles--;
    env_closed_one(env);
}

static void watch_close(struct watch *watch)
{
    *watch->previous = watch->next;
    if (watch->next != NULL) {
        watch->next->previous = watch->previous;
    }
    if (watch->grip != NULL) {
        watch->grip->watch = NULL;
        watch->grip = NULL;
    }
    watch->env->open_handles++;
    uv_close((uv_handle_t *)watch->poll, closed);
}

void watches_close(struct env *env)
{
    while (env->watches != NULL) {
        watch_close(env->watches);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    struct env *env = watch->env;
    napi_env napi = env->napi;
    napi_deferred deferred = watch->deferred;
    napi_handle_scope handles;
    napi_callback_scope scope = NULL;
    napi_value resource;
    /* An error says, too, that there is nothing more to wait for: the question that follows tells. */
    (void)status;
    (void)events;
    watch_close(watch);
    if (napi_open_handle_scope(napi, &handles) != napi_ok) {
        return;
    }
    napi_create_object(napi, &resource);
    napi_open_callback_scope(napi, resource, env->context, &scope);
    napi_resolve_deferred(napi, deferred, undefined(napi));
    if (scope != NULL) {
        napi_close_callback_scope(napi, scope);
    }
    napi_close_handle_scope(napi, handles);
}

napi_value watch_new(napi_env napi, int fd)
{
    struct env *env = env_of(napi);
    struct watch *watch = calloc(1, sizeof *watch);
    struct grip *grip = calloc(1, sizeof *grip);
    uv_poll_t *poll = malloc(uv_handle_size(UV_POLL));
    napi_value result, promise, external;
    if (watch == NULL || grip == NULL || poll == NULL || uv_poll_init(env->loop, poll, fd) != 0) {
        free(watch);
        free(grip);
        free(poll);
        close(fd);
        napi_throw(napi, error_text(napi, BOXLITE_RESOURCE_EXHAUSTED, "the event loop can't watch one more descriptor",
                                    "raise the limit on open files (ulimit -n)"));
        return NULL;
    }
    poll->data = watch;
    *watch = (struct watch){.poll = poll, .env = env, .fd = fd, .grip = grip, .next = env->watches};
    watch->previous = &env->watches;
    if (env->watches != NULL) {
        env->watches->previous = &watch->next;
    }
    env->watches = watch;
    grip->watch = watch;
    if (napi_create_object(napi, &result) != napi_ok
        || napi_create_promise(napi, &watch->deferred, &promise) != napi_ok
        || napi_create_external(napi, grip, grip_collected, NULL, &external) != napi_ok) {
        watch_close(watch);
        free(grip);
        return NULL;
    }
    set_value(napi, result, "watch", external);
    set_value(napi, result, "ended", promise);
    uv_poll_start(poll, UV_READABLE | UV_DISCONNECT, on_readable);
    return result;
}

/* watchEnd(watch): it is over now, whatever the descriptor says. Does nothing when it is over already. */
napi_value watch_end(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    void *data = NULL;
    args_get(napi, info, args);
    if (napi_get_value_external(napi, args[0], &data) == napi_ok && ((struct grip *)data)->watch != NULL) {
        struct watch *watch = ((struct grip *)data)->watch;
        napi_deferred deferred = watch->deferred;
        watch_close(watch);
        napi_resolve_deferred(napi, deferred, undefined(napi));
    }
    return undefined(napi);
}

/* watchRef(watch, flag): whether it keeps the loop going. */
napi_value watch_ref(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    void *data = NULL;
    args_get(napi, info, args);
    if (napi_get_value_external(napi, args[0], &data) == napi_ok && ((struct grip *)data)->watch != NULL) {
        uv_handle_t *handle = (uv_handle_t *)((struct grip *)data)->watch->poll;
        if (to_flag(napi, args[1])) {
            uv_ref(handle);
        } else {
            uv_unref(handle);
        }
    }
    return undefined(napi);
}
