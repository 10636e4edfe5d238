/* Boxes: made, found, listed, told about, started, stopped, removed. */
#include "addon.h"

#include <stdlib.h>

struct boxing {
    struct operation operation;
    boxlite_runtime *runtime;
    boxlite_box *box;              /* what it is about; owned by its handle */
    boxlite_box_options *options;
    boxlite_list_options *list_options;
    char *text;
    int32_t force;
    int32_t created;
    boxlite_box *made;
    boxlite_info *info;
    boxlite_info_list *list;
};

static void discard(struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    boxlite_box_options_free(boxing->options);
    boxlite_list_options_free(boxing->list_options);
    boxlite_box_free(boxing->made);
    boxlite_info_free(boxing->info);
    boxlite_info_list_free(boxing->list);
    free(boxing->text);
}

static struct boxing *begin(napi_env napi, napi_value subject, enum kind kind, napi_value call,
                            void (*work)(struct operation *))
{
    struct handle *handle = handle_from(napi, subject, kind);
    struct boxing *boxing = handle == NULL ? NULL : operation_new(napi, sizeof *boxing, call);
    if (boxing == NULL) {
        return NULL;
    }
    operation_use(&boxing->operation, handle);
    if (kind == KIND_RUNTIME) {
        boxing->runtime = handle->pointer;
    } else {
        boxing->box = handle->pointer;
    }
    boxing->operation.work = work;
    boxing->operation.discard = discard;
    return boxing;
}

/* { handle, id, name } */
napi_value box_made(napi_env napi, boxlite_box *box)
{
    napi_value result, handle;
    napi_create_object(napi, &result);
    set_text(napi, result, "id", boxlite_box_id(box));
    set_text(napi, result, "name", boxlite_box_name(box));
    handle = handle_new(napi, KIND_BOX, box, NULL);
    if (handle == NULL) {
        return NULL;
    }
    set_value(napi, result, "handle", handle);
    return result;
}

static napi_value made_result(napi_env napi, struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    boxlite_box *made = boxing->made;
    boxing->made = NULL;
    return box_made(napi, made);
}

static void create_work(struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    operation->code = boxlite_create(boxing->runtime, boxing->options, boxing->text, operation->call, &boxing->made,
                                     &operation->error);
}

static napi_value creation(napi_env napi, napi_callback_info info, void (*work)(struct operation *),
                           napi_value (*result)(napi_env, struct operation *))
{
    napi_value args[ARGS_MAX];
    struct boxing *boxing;
    args_get(napi, info, args);
    if ((boxing = begin(napi, args[0], KIND_RUNTIME, args[3], work)) == NULL) {
        return NULL;
    }
    boxing->operation.result = result;
    if ((!is_nothing(napi, args[2]) && !to_text(napi, args[2], "name", &boxing->text))
        || (boxing->options = box_options_from(napi, args[1])) == NULL) {
        return operation_drop(boxing);
    }
    return operation_start(boxing);
}

/* create(runtime, options, name, call): { handle, id, name } */
napi_value box_create(napi_env napi, napi_callback_info info)
{
    return creation(napi, info, create_work, made_result);
}

static void get_or_create_work(struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    operation->code = boxlite_get_or_create(boxing->runtime, boxing->options, boxing->text, operation->call,
                                            &boxing->created, &boxing->made, &operation->error);
}

static napi_value had_result(napi_env napi, struct operation *operation)
{
    napi_value result = made_result(napi, operation);
    if (result != NULL) {
        set_flag(napi, result, "created", ((struct boxing *)operation)->created);
    }
    return result;
}

/* getOrCreate(runtime, options, name, call): { handle, id, name, created } */
napi_value box_get_or_create(napi_env napi, napi_callback_info info)
{
    return creation(napi, info, get_or_create_work, had_result);
}

static void get_work(struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    operation->code = boxlite_get(boxing->runtime, boxing->text, operation->call, &boxing->made, &operation->error);
}

/* get(runtime, idOrName, call): { handle, id, name } */
napi_value box_get(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct boxing *boxing;
    args_get(napi, info, args);
    if ((boxing = begin(napi, args[0], KIND_RUNTIME, args[2], get_work)) == NULL) {
        return NULL;
    }
    boxing->operation.result = made_result;
    return to_text(napi, args[1], "idOrName", &boxing->text) ? operation_start(boxing) : operation_drop(boxing);
}

static void remove_work(struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    operation->code = boxlite_remove(boxing->runtime, boxing->text, boxing->force, operation->call, &operation->error);
}

/* remove(runtime, idOrName, force, call) */
napi_value box_remove(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct boxing *boxing;
    args_get(napi, info, args);
    if ((boxing = begin(napi, args[0], KIND_RUNTIME, args[3], remove_work)) == NULL) {
        return NULL;
    }
    boxing->force = to_flag(napi, args[2]);
    return to_text(napi, args[1], "idOrName", &boxing->text) ? operation_start(boxing) : operation_drop(boxing);
}

napi_value js_info(napi_env napi, const boxlite_info *info)
{
    napi_value result, labels, stages;
    napi_create_object(napi, &result);
    set_text(napi, result, "id", boxlite_info_id(info));
    set_text(napi, result, "name", boxlite_info_name(info));
    set_text(napi, result, "status", boxlite_status_name(boxlite_info_status(info)));
    set_number(napi, result, "createdAt", (double)boxlite_info_created_at_ms(info));
    set_number(napi, result, "updatedAt", (double)boxlite_info_updated_at_ms(info));
    set_number(napi, result, "startedAt", (double)boxlite_info_started_at_ms(info));
    set_number(napi, result, "pid", boxlite_info_pid(info));
    set_text(napi, result, "image", boxlite_info_image(info));
    set_number(napi, result, "cpus", boxlite_info_cpus(info));
    set_number(napi, result, "memoryMib", (double)boxlite_info_memory_mib(info));
    set_number(napi, result, "diskSizeGb", (double)boxlite_info_disk_size_gb(info));
    set_flag(napi, result, "autoRemove", boxlite_info_auto_remove(info));
    set_flag(napi, result, "detach", boxlite_info_detach(info));
    set_text(napi, result, "failure", boxlite_info_failure(info));
    set_text(napi, result, "engine", boxlite_info_engine(info));
    napi_create_object(napi, &labels);
    for (size_t i = 0; i < boxlite_info_label_len(info); i++) {
        set_text(napi, labels, boxlite_info_label_key(info, i), boxlite_info_label_value(info, i));
    }
    set_value(napi, result, "labels", labels);
    napi_create_array(napi, &stages);
    for (size_t i = 0; i < boxlite_info_stage_len(info); i++) {
        napi_value stage;
        napi_create_object(napi, &stage);
        set_text(napi, stage, "name", boxlite_info_stage_name(info, i));
        set_number(napi, stage, "us", (double)boxlite_info_stage_us(info, i));
        napi_set_element(napi, stages, (uint32_t)i, stage);
    }
    set_value(napi, result, "stages", stages);
    return result;
}

static void list_work(struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    operation->code = boxlite_list(boxing->runtime, boxing->list_options, operation->call, &boxing->list,
                                   &operation->error);
}

static napi_value list_result(napi_env napi, struct operation *operation)
{
    const boxlite_info_list *list = ((struct boxing *)operation)->list;
    napi_value result;
    napi_create_array(napi, &result);
    for (size_t i = 0; i < boxlite_info_list_len(list); i++) {
        napi_set_element(napi, result, (uint32_t)i, js_info(napi, boxlite_info_list_at(list, i)));
    }
    return result;
}

/* list(runtime, { labels }, call): infos. A label of null selects any value. */
napi_value box_list(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct boxing *boxing;
    struct reader reader;
    args_get(napi, info, args);
    if ((boxing = begin(napi, args[0], KIND_RUNTIME, args[2], list_work)) == NULL) {
        return NULL;
    }
    boxing->operation.result = list_result;
    reader_begin(&reader, napi, args[1]);
    reader_check(&reader, boxlite_list_options_new(&boxing->list_options, &reader.error));
    if (read_pairs(&reader, "labels")) {
        while (next_pair(&reader)) {
            reader_check(&reader, boxlite_list_options_add_label(boxing->list_options, reader.key, reader.text,
                                                                 &reader.error));
        }
    }
    return reader_end(&reader) ? operation_start(boxing) : operation_drop(boxing);
}

static void info_work(struct operation *operation)
{
    struct boxing *boxing = (struct boxing *)operation;
    operation->code = boxlite_box_info(boxing->box, operation->call, &boxing->info, &operation->error);
}

static napi_value info_result(napi_env napi, struct operation *operation)
{
    return js_info(napi, ((struct boxing *)operation)->info);
}

/* boxInfo(box, call) */
napi_value box_info(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct boxing *boxing;
    args_get(napi, info, args);
    if ((boxing = begin(napi, args[0], KIND_BOX, args[1], info_work)) == NULL) {
        return NULL;
    }
    boxing->operation.result = info_result;
    return operation_start(boxing);
}

static void start_work(struct operation *operation)
{
    operation->code = boxlite_box_start(((struct boxing *)operation)->box, operation->call, &operation->error);
}

static void stop_work(struct operation *operation)
{
    operation->code = boxlite_box_stop(((struct boxing *)operation)->box, operation->call, &operation->error);
}

static napi_value no_result(napi_env napi, napi_callback_info info, void (*work)(struct operation *))
{
    napi_value args[ARGS_MAX];
    struct boxing *boxing;
    args_get(napi, info, args);
    boxing = begin(napi, args[0], KIND_BOX, args[1], work);
    return boxing == NULL ? NULL : operation_start(boxing);
}

/* boxStart(box, call) */
napi_value box_start(napi_env napi, napi_callback_info info)
{
    return no_result(napi, info, start_work);
}

/* boxStop(box, call) */
napi_value box_stop(napi_env napi, napi_callback_info info)
{
    return no_result(napi, info, stop_work);
}
