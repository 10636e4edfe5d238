/* Images of a home's store: pulled, found, listed, removed; and what no box needs any more. */
#include "addon.h"

#include <stdlib.h>

/* What gives one image by its reference: a pull, or a look into the store. */
typedef boxlite_code fetch_fn(boxlite_runtime *runtime, const char *reference, boxlite_call *call, boxlite_image **image,
                              boxlite_error **error);

struct imaging {
    struct operation operation;
    boxlite_runtime *runtime;
    fetch_fn *fetch;
    char *reference;
    int32_t flag;                  /* force, or dry run */
    boxlite_image *image;
    boxlite_image_list *list;
    boxlite_prune *prune;
};

static void discard(struct operation *operation)
{
    struct imaging *imaging = (struct imaging *)operation;
    boxlite_image_free(imaging->image);
    boxlite_image_list_free(imaging->list);
    boxlite_prune_free(imaging->prune);
    free(imaging->reference);
}

static struct imaging *begin(napi_env napi, napi_value runtime, napi_value call, void (*work)(struct operation *),
                             napi_value (*result)(napi_env, struct operation *))
{
    struct handle *handle = handle_from(napi, runtime, KIND_RUNTIME);
    struct imaging *imaging = handle == NULL ? NULL : operation_new(napi, sizeof *imaging, call);
    if (imaging == NULL) {
        return NULL;
    }
    operation_use(&imaging->operation, handle);
    imaging->runtime = handle->pointer;
    imaging->operation.work = work;
    imaging->operation.result = result;
    imaging->operation.discard = discard;
    return imaging;
}

/* Of one image: its reference is the second argument. */
static napi_value of_one(napi_env napi, struct imaging *imaging, napi_value reference)
{
    if (imaging == NULL) {
        return NULL;
    }
    return to_text(napi, reference, "reference", &imaging->reference) ? operation_start(imaging) : operation_drop(imaging);
}

static napi_value js_image(napi_env napi, const boxlite_image *image)
{
    napi_value result, layers;
    napi_create_object(napi, &result);
    set_text(napi, result, "reference", boxlite_image_reference(image));
    set_text(napi, result, "repository", boxlite_image_repository(image));
    set_text(napi, result, "tag", boxlite_image_tag(image));
    set_text(napi, result, "digest", boxlite_image_digest(image));
    set_text(napi, result, "configDigest", boxlite_image_config_digest(image));
    napi_create_array(napi, &layers);
    for (size_t i = 0; i < boxlite_image_layer_len(image); i++) {
        napi_set_element(napi, layers, (uint32_t)i, js_text(napi, boxlite_image_layer_digest(image, i)));
    }
    set_value(napi, result, "layers", layers);
    set_number(napi, result, "sizeBytes", (double)boxlite_image_size_bytes(image));
    set_number(napi, result, "storedAt", (double)boxlite_image_stored_at_ms(image));
    return result;
}

static napi_value image_result(napi_env napi, struct operation *operation)
{
    return js_image(napi, ((struct imaging *)operation)->image);
}

static void fetch_work(struct operation *operation)
{
    struct imaging *imaging = (struct imaging *)operation;
    operation->code = imaging->fetch(imaging->runtime, imaging->reference, operation->call, &imaging->image,
                                     &operation->error);
}

static napi_value fetched(napi_env napi, napi_callback_info info, fetch_fn *fetch)
{
    napi_value args[ARGS_MAX];
    args_get(napi, info, args);
    struct imaging *imaging = begin(napi, args[0], args[2], fetch_work, image_result);
    if (imaging != NULL) {
        imaging->fetch = fetch;
    }
    return of_one(napi, imaging, args[1]);
}

/* imagePull(runtime, reference, call): the image */
napi_value image_pull(napi_env napi, napi_callback_info info)
{
    return fetched(napi, info, boxlite_image_pull);
}

/* imageGet(runtime, reference, call): the image */
napi_value image_get(napi_env napi, napi_callback_info info)
{
    return fetched(napi, info, boxlite_image_get);
}

static void list_work(struct operation *operation)
{
    struct imaging *imaging = (struct imaging *)operation;
    operation->code = boxlite_runtime_images(imaging->runtime, operation->call, &imaging->list, &operation->error);
}

static napi_value list_result(napi_env napi, struct operation *operation)
{
    const boxlite_image_list *list = ((struct imaging *)operation)->list;
    napi_value result;
    napi_create_array(napi, &result);
    for (size_t i = 0; i < boxlite_image_list_len(list); i++) {
        napi_set_element(napi, result, (uint32_t)i, js_image(napi, boxlite_image_list_at(list, i)));
    }
    return result;
}

/* imageList(runtime, call): images */
napi_value image_list(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct imaging *imaging;
    args_get(napi, info, args);
    imaging = begin(napi, args[0], args[1], list_work, list_result);
    return imaging == NULL ? NULL : operation_start(imaging);
}

static void remove_work(struct operation *operation)
{
    struct imaging *imaging = (struct imaging *)operation;
    operation->code = boxlite_image_remove(imaging->runtime, imaging->reference, imaging->flag, operation->call,
                                           &operation->error);
}

/* imageRemove(runtime, reference, force, call) */
napi_value image_remove(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct imaging *imaging;
    args_get(napi, info, args);
    if ((imaging = begin(napi, args[0], args[3], remove_work, NULL)) != NULL) {
        imaging->flag = to_flag(napi, args[2]);
    }
    return of_one(napi, imaging, args[1]);
}

static void prune_work(struct operation *operation)
{
    struct imaging *imaging = (struct imaging *)operation;
    operation->code = boxlite_runtime_prune(imaging->runtime, imaging->flag, operation->call, &imaging->prune,
                                            &operation->error);
}

static napi_value prune_result(napi_env napi, struct operation *operation)
{
    static const char *const kinds[] = {
        [BOXLITE_PRUNE_IMAGE] = "image", [BOXLITE_PRUNE_DISK] = "disk", [BOXLITE_PRUNE_BLOB] = "blob",
    };
    const boxlite_prune *prune = ((struct imaging *)operation)->prune;
    napi_value result, items;
    napi_create_object(napi, &result);
    napi_create_array(napi, &items);
    for (size_t i = 0; i < boxlite_prune_len(prune); i++) {
        int32_t kind = boxlite_prune_kind(prune, i);
        napi_value item;
        napi_create_object(napi, &item);
        set_text(napi, item, "kind", kind >= 0 && kind <= BOXLITE_PRUNE_BLOB ? kinds[kind] : "unknown");
        set_text(napi, item, "name", boxlite_prune_name(prune, i));
        set_number(napi, item, "bytes", (double)boxlite_prune_bytes(prune, i));
        napi_set_element(napi, items, (uint32_t)i, item);
    }
    set_value(napi, result, "items", items);
    set_number(napi, result, "totalBytes", (double)boxlite_prune_total_bytes(prune));
    return result;
}

/* imagePrune(runtime, dryRun, call): { items, totalBytes } */
napi_value image_prune(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct imaging *imaging;
    args_get(napi, info, args);
    if ((imaging = begin(napi, args[0], args[2], prune_work, prune_result)) == NULL) {
        return NULL;
    }
    imaging->flag = to_flag(napi, args[1]);
    return operation_start(imaging);
}
