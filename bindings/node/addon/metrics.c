/* Figures of a runtime and of a box, under the names that the library gives them. */
#include "addon.h"

struct measuring {
    struct operation operation;
    void *subject;
    boxlite_metrics *metrics;
};

static void discard(struct operation *operation)
{
    boxlite_metrics_free(((struct measuring *)operation)->metrics);
}

static void runtime_work(struct operation *operation)
{
    struct measuring *measuring = (struct measuring *)operation;
    operation->code = boxlite_runtime_metrics(measuring->subject, operation->call, &measuring->metrics, &operation->error);
}

static void box_work(struct operation *operation)
{
    struct measuring *measuring = (struct measuring *)operation;
    operation->code = boxlite_box_metrics(measuring->subject, operation->call, &measuring->metrics, &operation->error);
}

static napi_value figures(napi_env napi, struct operation *operation)
{
    const boxlite_metrics *metrics = ((struct measuring *)operation)->metrics;
    napi_value result;
    napi_create_object(napi, &result);
    for (size_t i = 0; i < boxlite_metrics_len(metrics); i++) {
        set_number(napi, result, boxlite_metrics_name(metrics, i), (double)boxlite_metrics_at(metrics, i));
    }
    return result;
}

static napi_value measure(napi_env napi, napi_callback_info info, enum kind kind, void (*work)(struct operation *))
{
    napi_value args[ARGS_MAX];
    struct handle *handle;
    struct measuring *measuring;
    args_get(napi, info, args);
    if ((handle = handle_from(napi, args[0], kind)) == NULL
        || (measuring = operation_new(napi, sizeof *measuring, args[1])) == NULL) {
        return NULL;
    }
    operation_use(&measuring->operation, handle);
    measuring->subject = handle->pointer;
    measuring->operation.work = work;
    measuring->operation.result = figures;
    measuring->operation.discard = discard;
    return operation_start(measuring);
}

/* runtimeMetrics(runtime, call): { boxes_created_total, ... } */
napi_value runtime_metrics(napi_env napi, napi_callback_info info)
{
    return measure(napi, info, KIND_RUNTIME, runtime_work);
}

/* boxMetrics(box, call): { commands_total, ... } */
napi_value box_metrics(napi_env napi, napi_callback_info info)
{
    return measure(napi, info, KIND_BOX, box_work);
}
