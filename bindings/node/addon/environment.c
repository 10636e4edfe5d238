/* One environment: its place in the event loop, and how it is taken down. Owns the environment's memory.
 *
 * The end comes by an asynchronous cleanup hook: whatever is being done is cancelled, the threads end, the loop's handles
 * are closed, and only then does Node go on with freeing what JavaScript held. No JavaScript runs after the hook. */
#include "addon.h"

#include <stdlib.h>
#include <string.h>

struct env *env_of(napi_env napi)
{
    void *env = NULL;
    napi_get_instance_data(napi, &env);
    return env;
}

void env_keep_alive(struct env *env)
{
    if (env->keeps_alive++ == 0) {
        uv_ref((uv_handle_t *)env->wake);
    }
}

void env_let_go(struct env *env)
{
    if (--env->keeps_alive == 0) {
        uv_unref((uv_handle_t *)env->wake);
    }
}

static void wake_closed(uv_handle_t *handle)
{
    struct env *env = handle->data;
    free(handle);
    pthread_cond_destroy(&env->more);
    pthread_mutex_destroy(&env->lock);
    napi_remove_async_cleanup_hook(env->hook);
    free(env);
}

void env_closed_one(struct env *env)
{
    bool busy;
    if (!env->closing) {
        return;
    }
    pthread_mutex_lock(&env->lock);
    busy = env->threads > 0;
    pthread_mutex_unlock(&env->lock);
    if (busy || env->open_handles > 0 || uv_is_closing((uv_handle_t *)env->wake)) {
        return;
    }
    if (env->has_last) {
        pthread_join(env->last, NULL);
    }
    operations_forget(env);
    uv_close((uv_handle_t *)env->wake, wake_closed);
}

static void on_wake(uv_async_t *wake)
{
    struct env *env = wake->data;
    if (env->closing) {
        env_closed_one(env);
    } else {
        operations_deliver(env);
    }
}

static void on_cleanup(napi_async_cleanup_hook_handle hook, void *data)
{
    struct env *env = data;
    (void)hook;
    pthread_mutex_lock(&env->lock);
    env->closing = true;
    pthread_cond_broadcast(&env->more);
    pthread_mutex_unlock(&env->lock);
    /* Node turns the loop until the hook is removed, but a loop that nothing keeps alive does not even look. */
    uv_ref((uv_handle_t *)env->wake);
    operations_cancel(env);
    watches_close(env);
    env_closed_one(env);
}

static struct env *env_make(napi_env napi)
{
    struct env *env = calloc(1, sizeof *env);
    pthread_condattr_t monotonic;
    napi_value resource, name;
    if (env == NULL) {
        return NULL;
    }
    env->napi = napi;
    env->queue_end = &env->queue;
    env->done_end = &env->done;
    pthread_mutex_init(&env->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&env->more, &monotonic);
    pthread_condattr_destroy(&monotonic);
    /* Its size as the running Node has it, which need not be the header's. */
    env->wake = malloc(uv_handle_size(UV_ASYNC));
    if (env->wake == NULL || napi_get_uv_event_loop(napi, &env->loop) != napi_ok
        || napi_create_object(napi, &resource) != napi_ok
        || napi_create_string_utf8(napi, "boxlite", NAPI_AUTO_LENGTH, &name) != napi_ok
        || napi_async_init(napi, resource, name, &env->context) != napi_ok
        || uv_async_init(env->loop, env->wake, on_wake) != 0) {
        free(env->wake);
        free(env);
        return NULL;
    }
    env->wake->data = env;
    uv_unref((uv_handle_t *)env->wake);
    if (napi_set_instance_data(napi, env, NULL, NULL) != napi_ok
        || napi_add_async_cleanup_hook(napi, on_cleanup, env, &env->hook) != napi_ok) {
        return NULL;
    }
    return env;
}

static napi_value versions(napi_env napi, napi_callback_info info)
{
    napi_value result;
    (void)info;
    napi_create_object(napi, &result);
    set_text(napi, result, "version", boxlite_version());
    set_number(napi, result, "abi", boxlite_abi_version());
    return result;
}

static const struct {
    const char *name;
    napi_callback function;
} functions[] = {
    {"versions", versions},
    {"setErrorClass", errors_set_class},
    {"close", handle_close},
    {"callNew", call_new},
    {"callCancel", call_cancel},
    {"runtimeOpen", runtime_open},
    {"runtimeShutdown", runtime_shutdown},
    {"runtimeRepair", runtime_repair},
    {"runtimeSystemCheck", runtime_system_check},
    {"runtimePrepare", runtime_prepare},
    {"runtimeMetrics", runtime_metrics},
    {"imagePull", image_pull},
    {"imageGet", image_get},
    {"imageList", image_list},
    {"imageRemove", image_remove},
    {"imagePrune", image_prune},
    {"create", box_create},
    {"getOrCreate", box_get_or_create},
    {"get", box_get},
    {"remove", box_remove},
    {"list", box_list},
    {"boxInfo", box_info},
    {"boxStart", box_start},
    {"boxStop", box_stop},
    {"boxWatch", box_watch},
    {"boxWait", box_wait},
    {"boxLog", box_log},
    {"boxMetrics", box_metrics},
    {"copyIn", box_copy_in},
    {"copyOut", box_copy_out},
    {"copyInTar", box_copy_in_tar},
    {"copyOutTar", box_copy_out_tar},
    {"readFile", box_read_file},
    {"writeFile", box_write_file},
    {"exec", box_exec},
    {"execStart", box_exec_start},
    {"attach", box_attach},
    {"executions", box_executions},
    {"executionWatch", execution_watch},
    {"watchRef", watch_ref},
    {"watchEnd", watch_end},
    {"executionWait", execution_wait},
    {"executionSignal", execution_signal},
    {"executionKill", execution_kill},
    {"executionResizeTty", execution_resize_tty},
    {"executionClaim", execution_claim},
    {"executionCloseStdin", execution_close_stdin},
    {"executionStreamState", execution_stream_state},
};

NAPI_MODULE_INIT()
{
    if (env_make(env) == NULL) {
        napi_throw_error(env, NULL, "boxlite: there is no memory or event loop to work with");
        return NULL;
    }
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        napi_value function;
        if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function)
            == napi_ok) {
            set_value(env, exports, functions[i].name, function);
        }
    }
    return exports;
}
