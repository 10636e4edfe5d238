/* Templates: made ahead, used by the next box, and made once for all tests that count what there is meanwhile. */
#include "harness.h"

static bool was_restored(boxlite_box *box)
{
    boxlite_info *info;
    bool restored = false;
    OK(boxlite_box_info(box, NULL, &info, &error));
    for (size_t stage = 0; stage < boxlite_info_stage_len(info); stage++) {
        restored = restored || strcmp(boxlite_info_stage_name(info, stage), "restore") == 0;
    }
    boxlite_info_free(info);
    return restored;
}

static void a_call_that_is_cut_off_leaves_nothing(boxlite_runtime *runtime)
{
    const char *maker = "size=72M,mem-path=ram";
    boxlite_box_options *options;
    boxlite_call *call;
    OK(boxlite_box_options_new(&options, &error));
    /* A size of which there is no template yet. */
    OK(boxlite_box_options_set_memory_mib(options, 72, &error));
    OK(boxlite_call_new(&call, &error));
    OK(boxlite_call_set_timeout_ms(call, 100, &error));
    EXPECT(BOXLITE_TIMEOUT, boxlite_runtime_prepare(runtime, options, call, &error));
    boxlite_call_free(call);
    boxlite_box_options_free(options);
    CHECK(wait_until_gone(maker, 60000));
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    boxlite_info *info;
    boxlite_box_options *options;
    OK(boxlite_box_options_new(&options, &error));
    /* As create_box() makes them. */
    OK(boxlite_box_options_set_memory_mib(options, 256, &error));
    OK(boxlite_runtime_prepare(runtime, options, NULL, &error));
    boxlite_box_options_free(options);
    boxlite_box *box = create_box(runtime, NULL);
    OK(boxlite_box_start(box, NULL, &error));
    OK(boxlite_box_info(box, NULL, &info, &error));
    /* Only machines that are emulated have templates. */
    if (strcmp(boxlite_info_engine(info), "qemu-tcg") == 0) {
        CHECK(was_restored(box));
        a_call_that_is_cut_off_leaves_nothing(runtime);
    }
    boxlite_info_free(info);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
