/* Boxes kept ready: one is claimed by the next box of the same sizes, and there is none where none is wanted. */
#define _GNU_SOURCE
#include "harness.h"

static boxlite_runtime *open_with_spares(const char *dir, int32_t count)
{
    char path[512];
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    boxlite_runtime_free(open_runtime_in(dir));
    snprintf(path, sizeof path, "%s/%s", home(), dir);
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, path, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "count", boxlite_runtime_options_set_spares(options, -1, &error));
    OK(boxlite_runtime_options_set_spares(options, count, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    return runtime;
}

/* Starts a box, tells whether it was a spare, and whether boxes are emulated, and removes it. */
static bool is_claimed(boxlite_runtime *runtime, bool *emulated)
{
    boxlite_info *info;
    bool claimed = false;
    boxlite_box *box = create_box(runtime, NULL);
    CHECK_OUTPUT(box, "echo up", "up\n");
    OK(boxlite_box_info(box, NULL, &info, &error));
    for (size_t stage = 0; stage < boxlite_info_stage_len(info); stage++) {
        claimed = claimed || strncmp(boxlite_info_stage_name(info, stage), "claim/", 6) == 0;
    }
    *emulated = strcmp(boxlite_info_engine(info), "qemu-tcg") == 0;
    boxlite_info_free(info);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
    return claimed;
}

static void a_spare_is_claimed(void)
{
    boxlite_runtime *runtime = open_with_spares("one", 1);
    bool emulated = true;
    /* Made with little right to the machine: one that is busy takes minutes. */
    long long deadline = now_ms() + 600000;
    CHECK(!is_claimed(runtime, &emulated));
    /* Only machines that are emulated have templates, and so spares. It is made once nothing was to do for a while. */
    while (emulated && !is_claimed(runtime, &emulated)) {
        if (now_ms() > deadline) {
            CHECK(!"no box was claimed from a spare");
            break;
        }
        sleep_ms(4000);
    }
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
}

static void none_are_made_where_none_are_wanted(void)
{
    bool emulated;
    CHECK_INT(setenv("BOXLITE_SPARES", "1", 1), 0);
    boxlite_runtime *runtime = open_with_spares("none", 0);
    CHECK(!is_claimed(runtime, &emulated));
    sleep_ms(4000);
    CHECK(!is_claimed(runtime, &emulated));
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
}

int main(void)
{
    a_spare_is_claimed();
    none_are_made_where_none_are_wanted();
    return finish();
}
