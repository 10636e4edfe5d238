/* Calls that block, each on a thread of the environment's own: libuv's pool belongs to the program's files and names.
 * A thread takes the next operation that waits, and ends when there has been none for a while. There is no upper limit:
 * an operation that waits for another one must not be kept from it by the number of threads. */
#include "addon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How long a thread stays without work. */
#define IDLE_SECONDS 1
/* The library works on threads of its own: ours only wait, or call SQLite. */
#define STACK_BYTES (512 * 1024)

void *operation_new(napi_env napi, size_t size, napi_value call)
{
    struct operation *operation;
    struct handle *handle = NULL;
    boxlite_error *error = NULL;
    if (!is_nothing(napi, call) && (handle = handle_from(napi, call, KIND_CALL)) == NULL) {
        return NULL;
    }
    operation = calloc(1, size);
    if (operation == NULL) {
        napi_throw_error(napi, NULL, "boxlite: out of memory");
        return NULL;
    }
    operation->env = env_of(napi);
    if (handle != NULL) {
        handle_use(handle);
        operation->call_handle = handle;
        operation->call = handle->pointer;
    } else {
        /* Also without one of the caller's, an operation is cancelled when its environment goes. */
        boxlite_code code = boxlite_call_new(&operation->call, &error);
        if (code != BOXLITE_OK) {
            free(operation);
            return error_throw(napi, code, error);
        }
        operation->own_call = true;
    }
    return operation;
}

void operation_use(struct operation *operation, struct handle *handle)
{
    handle_use(handle);
    operation->used[operation->used[0] == NULL ? 0 : 1] = handle;
}

static void progress_free(struct progress *progress)
{
    for (size_t i = 0; i < progress->layer_count; i++) {
        free(progress->layers[i].digest);
    }
    free(progress->layers);
    free(progress->stage);
    free(progress->reference);
    *progress = (struct progress){0};
}

/* Frees the operation with all it holds. */
static void end(struct operation *operation)
{
    if (operation->discard != NULL) {
        operation->discard(operation);
    }
    boxlite_error_free(operation->error);
    if (operation->own_call) {
        boxlite_call_free(operation->call);
    }
    if (operation->call_handle != NULL) {
        handle_unuse(operation->call_handle);
    }
    for (size_t i = 0; i < 2; i++) {
        if (operation->used[i] != NULL) {
            handle_unuse(operation->used[i]);
        }
    }
    progress_free(&operation->progress);
    free(operation);
}

napi_value operation_drop(void *operation)
{
    if (operation != NULL) {
        end(operation);
    }
    return NULL;
}

/* On the operation's thread, inside its call. */
static int32_t on_progress(const boxlite_progress *progress, void *user)
{
    struct operation *operation = user;
    struct env *env = operation->env;
    struct progress now = {.layer_count = boxlite_progress_layer_len(progress)};
    struct progress old;
    now.layers = calloc(now.layer_count + 1, sizeof *now.layers);
    if (now.layers == NULL) {
        now.layer_count = 0;
    }
    for (size_t i = 0; i < now.layer_count; i++) {
        now.layers[i] = (struct layer){
            .digest = strdup(boxlite_progress_layer_digest(progress, i)),
            .done_bytes = (double)boxlite_progress_layer_done_bytes(progress, i),
            .total_bytes = (double)boxlite_progress_layer_total_bytes(progress, i),
        };
    }
    now.stage = strdup(boxlite_progress_stage(progress));
    now.reference = strdup(boxlite_progress_reference(progress));
    pthread_mutex_lock(&env->lock);
    old = operation->progress;
    operation->progress = now;
    operation->has_progress = true;
    uv_async_send(env->wake);
    pthread_mutex_unlock(&env->lock);
    progress_free(&old);
    return 0;
}

static void *thread_main(void *data)
{
    struct env *env = data;
    pthread_t last;
    bool has_last;
    pthread_mutex_lock(&env->lock);
    for (;;) {
        struct operation *operation = env->queue;
        if (operation != NULL) {
            bool cancelled = env->closing;
            if ((env->queue = operation->next) == NULL) {
                env->queue_end = &env->queue;
            }
            pthread_mutex_unlock(&env->lock);
            if (!cancelled) {
                operation->work(operation);
            }
            pthread_mutex_lock(&env->lock);
            operation->next = NULL;
            operation->finished = true;
            *env->done_end = operation;
            env->done_end = &operation->next;
            uv_async_send(env->wake);
            continue;
        }
        if (env->closing) {
            break;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_SECONDS;
        env->idle++;
        int outcome = pthread_cond_timedwait(&env->more, &env->lock, &until);
        env->idle--;
        if (outcome == ETIMEDOUT && env->queue == NULL) {
            break;
        }
    }
    last = env->last;
    has_last = env->has_last;
    env->last = pthread_self();
    env->has_last = true;
    pthread_mutex_unlock(&env->lock);
    if (has_last) {
        pthread_join(last, NULL);
    }
    /* The environment may be gone as soon as the lock is free and no thread is counted. */
    pthread_mutex_lock(&env->lock);
    env->threads--;
    uv_async_send(env->wake);
    pthread_mutex_unlock(&env->lock);
    return NULL;
}

/* With the lock held. The program's signals are for its own threads. */
static int thread_start(struct env *env)
{
    pthread_attr_t attributes;
    sigset_t all, old;
    pthread_t thread;
    int outcome;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    outcome = pthread_create(&thread, &attributes, thread_main, env);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (outcome == 0) {
        env->threads++;
    }
    return outcome;
}

napi_value operation_start(void *begun)
{
    struct operation *operation = begun;
    struct env *env = operation->env;
    napi_env napi = env->napi;
    napi_value promise;
    unsigned waiting = 0;
    int outcome = 0;
    if (operation->call_handle != NULL && operation->call_handle->progress != NULL) {
        boxlite_call_set_progress(operation->call, on_progress, operation, NULL);
    }
    if (napi_create_promise(napi, &operation->deferred, &promise) != napi_ok) {
        return operation_drop(operation);
    }
    pthread_mutex_lock(&env->lock);
    for (struct operation *other = env->queue; other != NULL; other = other->next) {
        waiting++;
    }
    if (env->idle <= waiting) {
        outcome = thread_start(env);
    }
    if (outcome == 0 || env->threads > 0) {
        operation->next = NULL;
        *env->queue_end = operation;
        env->queue_end = &operation->next;
        pthread_cond_signal(&env->more);
        outcome = 0;
    }
    pthread_mutex_unlock(&env->lock);
    if (outcome != 0) {
        napi_reject_deferred(napi, operation->deferred,
                             error_text(napi, BOXLITE_RESOURCE_EXHAUSTED, "no thread could be started for the call",
                                        "raise the limit on processes (ulimit -u), or make fewer calls at a time"));
        operation_drop(operation);
        return promise;
    }
    operation->next_pending = env->pending;
    operation->previous_pending = &env->pending;
    if (env->pending != NULL) {
        env->pending->previous_pending = &operation->next_pending;
    }
    env->pending = operation;
    env_keep_alive(env);
    return promise;
}

static napi_value js_progress(napi_env napi, const struct progress *progress)
{
    napi_value object, layers;
    napi_create_object(napi, &object);
    napi_create_array(napi, &layers);
    set_text(napi, object, "stage", progress->stage);
    set_text(napi, object, "reference", progress->reference);
    for (size_t i = 0; i < progress->layer_count; i++) {
        napi_value layer;
        napi_create_object(napi, &layer);
        set_text(napi, layer, "digest", progress->layers[i].digest);
        set_number(napi, layer, "doneBytes", progress->layers[i].done_bytes);
        set_number(napi, layer, "totalBytes", progress->layers[i].total_bytes);
        napi_set_element(napi, layers, (uint32_t)i, layer);
    }
    set_value(napi, object, "layers", layers);
    return object;
}

static void report(struct env *env, struct operation *operation)
{
    napi_env napi = env->napi;
    struct progress progress;
    napi_value function, receiver, argument, ignored;
    pthread_mutex_lock(&env->lock);
    progress = operation->progress;
    operation->progress = (struct progress){0};
    operation->has_progress = false;
    pthread_mutex_unlock(&env->lock);
    if (operation->call_handle->progress != NULL
        && napi_get_reference_value(napi, operation->call_handle->progress, &function) == napi_ok
        && napi_get_global(napi, &receiver) == napi_ok) {
        argument = js_progress(napi, &progress);
        if (napi_make_callback(napi, env->context, receiver, function, 1, &argument, &ignored)
            == napi_pending_exception) {
            napi_value thrown;
            if (napi_get_and_clear_last_exception(napi, &thrown) == napi_ok) {
                napi_fatal_exception(napi, thrown);
            }
        }
    }
    progress_free(&progress);
}

static void unlink_pending(struct operation *operation)
{
    *operation->previous_pending = operation->next_pending;
    if (operation->next_pending != NULL) {
        operation->next_pending->previous_pending = operation->previous_pending;
    }
}

/* Settles the promise, and lets what waits for it run. */
static void settle(struct env *env, struct operation *operation)
{
    napi_env napi = env->napi;
    napi_callback_scope scope = NULL;
    napi_value resource, value = NULL;
    bool failed = operation->code != BOXLITE_OK;
    unlink_pending(operation);
    napi_create_object(napi, &resource);
    napi_open_callback_scope(napi, resource, env->context, &scope);
    if (failed) {
        value = error_make(napi, operation->code, operation->error);
    }
    if (operation->result != NULL && (!failed || operation->partial)) {
        napi_value result = operation->result(napi, operation);
        bool thrown = false;
        napi_is_exception_pending(napi, &thrown);
        if (thrown) {
            failed = true;
            napi_get_and_clear_last_exception(napi, &value);
        } else if (!failed) {
            value = result;
        } else if (result != NULL) {
            /* What there is in spite of the failure. */
            set_value(napi, value, "result", result);
        }
    }
    if (value == NULL) {
        value = undefined(napi);
    }
    if (failed) {
        napi_reject_deferred(napi, operation->deferred, value);
    } else {
        napi_resolve_deferred(napi, operation->deferred, value);
    }
    end(operation);
    env_let_go(env);
    if (scope != NULL) {
        napi_close_callback_scope(napi, scope);
    }
}

/* On the loop's thread, for each that is done or has progress. */
void operations_deliver(struct env *env)
{
    napi_handle_scope scope;
    struct operation *operation;
    bool some = true;
    while (some) {
        /* What runs below may begin operations and settle none: the list is looked at anew each time. */
        some = false;
        pthread_mutex_lock(&env->lock);
        for (operation = env->pending; operation != NULL && !operation->has_progress;) {
            operation = operation->next_pending;
        }
        pthread_mutex_unlock(&env->lock);
        if (operation != NULL && napi_open_handle_scope(env->napi, &scope) == napi_ok) {
            some = true;
            report(env, operation);
            napi_close_handle_scope(env->napi, scope);
        }
    }
    for (;;) {
        pthread_mutex_lock(&env->lock);
        operation = env->done;
        if (operation != NULL && (env->done = operation->next) == NULL) {
            env->done_end = &env->done;
        }
        pthread_mutex_unlock(&env->lock);
        if (operation == NULL || napi_open_handle_scope(env->napi, &scope) != napi_ok) {
            break;
        }
        settle(env, operation);
        napi_close_handle_scope(env->napi, scope);
    }
}

void operations_cancel(struct env *env)
{
    for (struct operation *operation = env->pending; operation != NULL; operation = operation->next_pending) {
        boxlite_call_cancel(operation->call, NULL);
    }
}

/* After the threads have ended, in an environment that runs no JavaScript any more. */
void operations_forget(struct env *env)
{
    while (env->pending != NULL) {
        struct operation *operation = env->pending;
        unlink_pending(operation);
        end(operation);
    }
}
