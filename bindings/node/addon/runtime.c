/* The runtime: opened, checked, repaired, ended; and calls, which carry a deadline and a progress function. */
#include "addon.h"

#include <stdlib.h>

/* callNew(timeoutMs, progress): both may be nothing. */
napi_value call_new(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX], value;
    boxlite_call *call = NULL;
    boxlite_error *error = NULL;
    struct handle *handle;
    double timeout = -1;
    boxlite_code code;
    args_get(napi, info, args);
    if (!is_nothing(napi, args[0]) && !to_number(napi, args[0], "deadline", &timeout)) {
        return NULL;
    }
    code = boxlite_call_new(&call, &error);
    if (code == BOXLITE_OK) {
        code = boxlite_call_set_timeout_ms(call, (int64_t)timeout, &error);
    }
    if (code != BOXLITE_OK) {
        boxlite_call_free(call);
        return error_throw(napi, code, error);
    }
    value = handle_new(napi, KIND_CALL, call, &handle);
    if (value != NULL && !is_nothing(napi, args[1])) {
        napi_create_reference(napi, args[1], 1, &handle->progress);
    }
    return value;
}

napi_value call_cancel(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    void *data = NULL;
    args_get(napi, info, args);
    /* One that was closed has nothing left to cancel. */
    if (napi_get_value_external(napi, args[0], &data) == napi_ok && ((struct handle *)data)->kind == KIND_CALL
        && ((struct handle *)data)->pointer != NULL) {
        boxlite_call_cancel(((struct handle *)data)->pointer, NULL);
    }
    return undefined(napi);
}

static void registry(struct reader *reader, boxlite_runtime_options *options, napi_value object)
{
    struct reader of;
    char *host = NULL, *username = NULL;
    double transport = BOXLITE_TRANSPORT_HTTPS;
    reader_begin(&of, reader->napi, object);
    if (read_number(&of, "transport")) {
        transport = of.number;
    }
    if (read_text(&of, "host")) {
        host = of.text;
        of.text = NULL;
        reader_check(&of, boxlite_runtime_options_add_registry(options, host, (int32_t)transport, &of.error));
    } else if (!of.failed) {
        throw_type(of.napi, "registries", "each needs a host");
        of.failed = true;
    }
    if (read_flag(&of, "search")) {
        reader_check(&of, boxlite_runtime_options_set_registry_search(options, host, of.number != 0, &of.error));
    }
    if (read_flag(&of, "skipVerify")) {
        reader_check(&of, boxlite_runtime_options_set_registry_skip_verify(options, host, of.number != 0, &of.error));
    }
    if (read_text(&of, "token")) {
        reader_check(&of, boxlite_runtime_options_set_registry_bearer_auth(options, host, of.text, &of.error));
    }
    if (read_text(&of, "username")) {
        username = of.text;
        of.text = NULL;
    }
    if (read_text(&of, "password")) {
        reader_check(&of, boxlite_runtime_options_set_registry_basic_auth(options, host, username ? username : "", of.text,
                                                                          &of.error));
    }
    if (read_texts(&of, "mirrors")) {
        while (next_text(&of, "mirrors")) {
            reader_check(&of, boxlite_runtime_options_add_registry_mirror(options, host, of.text, &of.error));
        }
    }
    reader->failed = !reader_end(&of);
    free(host);
    free(username);
}

/* NULL with an exception pending. */
boxlite_runtime_options *runtime_options_from(napi_env napi, napi_value value)
{
    boxlite_runtime_options *options = NULL;
    struct reader reader;
    napi_value list;
    double log_level = BOXLITE_LOG_INFO, layer_bytes = 0, entries = 0;
    reader_begin(&reader, napi, value);
    reader_check(&reader, boxlite_runtime_options_new(&options, &reader.error));
    if (read_text(&reader, "home")) {
        reader_check(&reader, boxlite_runtime_options_set_home_dir(options, reader.text, &reader.error));
    }
    if (read_text(&reader, "runtimeDir")) {
        reader_check(&reader, boxlite_runtime_options_set_runtime_dir(options, reader.text, &reader.error));
    }
    if (read_number(&reader, "engine")) {
        reader_check(&reader, boxlite_runtime_options_set_engine(options, (int32_t)reader.number, &reader.error));
    }
    if (read_number(&reader, "spares")) {
        reader_check(&reader, boxlite_runtime_options_set_spares(options, (int32_t)reader.number, &reader.error));
    }
    if (read_number(&reader, "templateSpace")) {
        reader_check(&reader, boxlite_runtime_options_set_template_space(options, (int64_t)reader.number, &reader.error));
    }
    if (read_text(&reader, "dockerConfig")) {
        reader_check(&reader, boxlite_runtime_options_set_docker_config(options, reader.text, &reader.error));
    }
    if (read_texts(&reader, "caFiles")) {
        while (next_text(&reader, "caFiles")) {
            reader_check(&reader, boxlite_runtime_options_add_ca_file(options, reader.text, &reader.error));
        }
    }
    if (read_number(&reader, "logLevel")) {
        log_level = reader.number;
    }
    if (read_number(&reader, "logFd")) {
        reader_check(&reader, boxlite_runtime_options_set_log_fd(options, (int32_t)log_level, (int32_t)reader.number,
                                                                 &reader.error));
    }
    if (read_number(&reader, "maxLayerBytes")) {
        layer_bytes = reader.number;
    }
    if (read_number(&reader, "maxImageEntries")) {
        entries = reader.number;
    }
    if (!reader.failed) {
        reader_check(&reader, boxlite_runtime_options_set_image_limits(options, (uint64_t)layer_bytes, (uint64_t)entries,
                                                                       &reader.error));
    }
    if (read_value(&reader, "registries", &list)) {
        uint32_t count = 0;
        if (napi_get_array_length(napi, list, &count) != napi_ok) {
            throw_type(napi, "registries", "must be an array");
            reader.failed = true;
        }
        for (uint32_t i = 0; i < count && !reader.failed; i++) {
            napi_value one;
            napi_get_element(napi, list, i, &one);
            registry(&reader, options, one);
        }
    }
    if (!reader_end(&reader)) {
        boxlite_runtime_options_free(options);
        return NULL;
    }
    return options;
}

struct opening {
    struct operation operation;
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    boxlite_repair *repair;
};

static void open_work(struct operation *operation)
{
    struct opening *opening = (struct opening *)operation;
    operation->code = boxlite_runtime_new_within(opening->options, operation->call, &opening->runtime,
                                                 &operation->error);
}

static napi_value open_result(napi_env napi, struct operation *operation)
{
    struct opening *opening = (struct opening *)operation;
    boxlite_runtime *runtime = opening->runtime;
    opening->runtime = NULL;
    return handle_new(napi, KIND_RUNTIME, runtime, NULL);
}

static void repair_work(struct operation *operation)
{
    struct opening *opening = (struct opening *)operation;
    operation->code = boxlite_runtime_repair_within(opening->options, operation->call, &opening->repair,
                                                    &operation->error);
}

static napi_value repair_result(napi_env napi, struct operation *operation)
{
    const boxlite_repair *repair = ((struct opening *)operation)->repair;
    napi_value result, boxes, kept;
    napi_create_object(napi, &result);
    napi_create_array(napi, &boxes);
    napi_create_array(napi, &kept);
    for (size_t i = 0; i < boxlite_repair_len(repair); i++) {
        static const char *const outcomes[] = {"kept", "rebuilt", "lost"};
        int32_t outcome = boxlite_repair_outcome(repair, i);
        napi_value box;
        napi_create_object(napi, &box);
        set_text(napi, box, "id", boxlite_repair_id(repair, i));
        set_text(napi, box, "name", boxlite_repair_name(repair, i));
        set_text(napi, box, "outcome", outcome >= 0 && outcome <= BOXLITE_REPAIR_LOST ? outcomes[outcome] : "unknown");
        set_text(napi, box, "detail", boxlite_repair_detail(repair, i));
        napi_set_element(napi, boxes, (uint32_t)i, box);
    }
    for (size_t i = 0; i < boxlite_repair_kept_len(repair); i++) {
        napi_set_element(napi, kept, (uint32_t)i, js_text(napi, boxlite_repair_kept_path(repair, i)));
    }
    set_value(napi, result, "boxes", boxes);
    set_value(napi, result, "keptAside", kept);
    return result;
}

static void opening_discard(struct operation *operation)
{
    struct opening *opening = (struct opening *)operation;
    boxlite_runtime_options_free(opening->options);
    boxlite_runtime_free(opening->runtime);
    boxlite_repair_free(opening->repair);
}

static napi_value with_options(napi_env napi, napi_callback_info info, void (*work)(struct operation *),
                               napi_value (*result)(napi_env, struct operation *))
{
    napi_value args[ARGS_MAX];
    struct opening *opening;
    args_get(napi, info, args);
    opening = operation_new(napi, sizeof *opening, args[1]);
    if (opening == NULL) {
        return NULL;
    }
    opening->operation.work = work;
    opening->operation.result = result;
    opening->operation.discard = opening_discard;
    opening->options = runtime_options_from(napi, args[0]);
    return opening->options == NULL ? operation_drop(opening) : operation_start(opening);
}

/* runtimeOpen(options, call): a runtime */
napi_value runtime_open(napi_env napi, napi_callback_info info)
{
    return with_options(napi, info, open_work, open_result);
}

/* runtimeRepair(options, call): { boxes, keptAside } */
napi_value runtime_repair(napi_env napi, napi_callback_info info)
{
    return with_options(napi, info, repair_work, repair_result);
}

struct on_runtime {
    struct operation operation;
    boxlite_runtime *runtime;
    int64_t grace;
    boxlite_box_options *options;
    boxlite_system_check *check;
};

static void shutdown_work(struct operation *operation)
{
    struct on_runtime *on = (struct on_runtime *)operation;
    operation->code = boxlite_runtime_shutdown(on->runtime, on->grace, operation->call, &operation->error);
}

static void check_work(struct operation *operation)
{
    struct on_runtime *on = (struct on_runtime *)operation;
    operation->code = boxlite_runtime_system_check(on->runtime, operation->call, &on->check, &operation->error);
}

static napi_value check_result(napi_env napi, struct operation *operation)
{
    const boxlite_system_check *check = ((struct on_runtime *)operation)->check;
    napi_value items;
    napi_create_array(napi, &items);
    for (size_t i = 0; i < boxlite_system_check_len(check); i++) {
        static const char *const statuses[] = {"ok", "warning", "failed"};
        int32_t status = boxlite_system_check_status(check, i);
        napi_value item;
        napi_create_object(napi, &item);
        set_text(napi, item, "name", boxlite_system_check_name(check, i));
        set_text(napi, item, "status", status >= 0 && status <= BOXLITE_CHECK_FAILED ? statuses[status] : "unknown");
        set_text(napi, item, "detail", boxlite_system_check_detail(check, i));
        set_text(napi, item, "remedy", boxlite_system_check_remedy(check, i));
        napi_set_element(napi, items, (uint32_t)i, item);
    }
    return items;
}

static void on_runtime_discard(struct operation *operation)
{
    boxlite_box_options_free(((struct on_runtime *)operation)->options);
    boxlite_system_check_free(((struct on_runtime *)operation)->check);
}

static struct on_runtime *on_runtime(napi_env napi, napi_value runtime, napi_value call)
{
    struct handle *handle = handle_from(napi, runtime, KIND_RUNTIME);
    struct on_runtime *on = handle == NULL ? NULL : operation_new(napi, sizeof *on, call);
    if (on != NULL) {
        operation_use(&on->operation, handle);
        on->runtime = handle->pointer;
        on->operation.discard = on_runtime_discard;
    }
    return on;
}

/* runtimeShutdown(runtime, graceMs, call) */
napi_value runtime_shutdown(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct on_runtime *on;
    double grace;
    args_get(napi, info, args);
    if (!to_number(napi, args[1], "grace", &grace) || (on = on_runtime(napi, args[0], args[2])) == NULL) {
        return NULL;
    }
    on->grace = (int64_t)grace;
    on->operation.work = shutdown_work;
    return operation_start(on);
}

/* runtimeSystemCheck(runtime, call): its items */
napi_value runtime_system_check(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct on_runtime *on;
    args_get(napi, info, args);
    if ((on = on_runtime(napi, args[0], args[1])) == NULL) {
        return NULL;
    }
    on->operation.work = check_work;
    on->operation.result = check_result;
    return operation_start(on);
}

static void prepare_work(struct operation *operation)
{
    struct on_runtime *on = (struct on_runtime *)operation;
    operation->code = boxlite_runtime_prepare(on->runtime, on->options, operation->call, &operation->error);
}

/* runtimePrepare(runtime, options, call) */
napi_value runtime_prepare(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct on_runtime *on;
    args_get(napi, info, args);
    if ((on = on_runtime(napi, args[0], args[2])) == NULL) {
        return NULL;
    }
    on->operation.work = prepare_work;
    return (on->options = box_options_from(napi, args[1])) == NULL ? operation_drop(on) : operation_start(on);
}
