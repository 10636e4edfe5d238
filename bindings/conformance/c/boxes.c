/* Boxes: made, found, started, stopped, removed; and the end of the shared one's shim. */
#include "driver.h"

#include <signal.h>
#include <string.h>

boxlite_code create_box(const char *image, const char *name, long long memory_mib, boxlite_box **made)
{
    boxlite_box_options *options;
    MUST(boxlite_box_options_new(&options, &error));
    MUST(boxlite_box_options_set_image(options, image, &error));
    MUST(boxlite_box_options_set_memory_mib(options, memory_mib, &error));
    boxlite_code code = boxlite_create(runtime, options, name, NULL, made, &error);
    boxlite_box_options_free(options);
    return code;
}

void kill_shim(void)
{
    boxlite_info *info;
    if (boxlite_box_info(box, NULL, &info, NULL) == BOXLITE_OK) {
        kill(boxlite_info_pid(info), SIGKILL);
    }
    boxlite_info_free(info);
}

static int32_t cancel_in_pull(const boxlite_progress *progress, void *call)
{
    bool pulling = strcmp(boxlite_progress_stage(progress), "pull") == 0;
    for (size_t i = 0; pulling && i < boxlite_progress_layer_len(progress); i++) {
        if (boxlite_progress_layer_done_bytes(progress, i) > 0) {
            MUST(boxlite_call_cancel(call, &error));
        }
    }
    return 0;
}

/* A box of its own, of `image`, is started, and removed. */
void start(void)
{
    boxlite_box *other;
    boxlite_info *info;
    if (!succeeded("create", create_box(field("image"), NULL, 256, &other))) {
        return;
    }
    boxlite_call *call = new_call();
    if (field("cancel") != NULL) {
        MUST(boxlite_call_set_progress(call, cancel_in_pull, call, &error));
    }
    (void)succeeded("error", boxlite_box_start(other, call, &error));
    boxlite_call_free(call);
    MUST(boxlite_box_info(other, NULL, &info, &error));
    tell("status", "\"%s\"", boxlite_status_name(boxlite_info_status(info)));
    boxlite_info_free(info);
    (void)succeeded("remove", boxlite_remove(runtime, boxlite_box_id(other), 1, NULL, &error));
    boxlite_box_free(other);
}

void create(void)
{
    boxlite_box *other;
    (void)succeeded("error", create_box(field("image"), field("name"), number("memory_mib", 256), &other));
    boxlite_box_free(other);
}

void get(void)
{
    boxlite_box *other;
    (void)succeeded("error", boxlite_get(runtime, field("name"), NULL, &other, &error));
    boxlite_box_free(other);
}

void remove_box(void)
{
    (void)succeeded("error", boxlite_remove(runtime, field("name"), (int32_t)number("force", 0), NULL, &error));
}

void stop(void)
{
    (void)succeeded("error", boxlite_box_stop(box, NULL, &error));
}

void reopen(void)
{
    boxlite_box *again;
    if (succeeded("error", boxlite_get(runtime, boxlite_box_id(box), NULL, &again, &error))) {
        boxlite_box_free(box);
        box = again;
    }
}
