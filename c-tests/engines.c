/* Which engine runs a box: what the machine can do, what was asked for where, and an engine that cannot run. */
#include "harness.h"

/* The item of the system check with this name. */
static size_t item(const boxlite_system_check *check, const char *name)
{
    size_t count = boxlite_system_check_len(check);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(boxlite_system_check_name(check, i), name) == 0) {
            return i;
        }
    }
    fprintf(stderr, "no item %s\n", name);
    give_up();
}

static boxlite_system_check *examine(boxlite_runtime *runtime)
{
    boxlite_system_check *found;
    OK(boxlite_runtime_system_check(runtime, NULL, &found, &error));
    return found;
}

/* Whether the system check's item `name` says `text`. */
static bool says(boxlite_runtime *runtime, const char *name, const char *text)
{
    boxlite_system_check *found = examine(runtime);
    const char *detail = boxlite_system_check_detail(found, item(found, name));
    bool there = strstr(detail, text) != NULL;
    if (!there) {
        fprintf(stderr, "%s: %s\n", name, detail);
    }
    boxlite_system_check_free(found);
    return there;
}

/* The verdict on KVM comes soon, whatever KVM is like, with a sentence that says why, and a remedy unless all is well. */
static bool kvm_is_usable(boxlite_runtime *runtime)
{
    long long began = now_ms();
    boxlite_system_check *found = examine(runtime);
    CHECK(now_ms() - began < 20000);
    size_t kvm = item(found, "kvm");
    const char *detail = boxlite_system_check_detail(found, kvm);
    bool usable = boxlite_system_check_status(found, kvm) == BOXLITE_CHECK_OK;
    printf("kvm: %s\n", detail);
    if (usable) {
        CHECK(strstr(detail, "hardware speed") != NULL);
    } else {
        CHECK_INT(boxlite_system_check_status(found, kvm), BOXLITE_CHECK_WARNING);
        CHECK(strstr(detail, "KVM") != NULL);
        CHECK(boxlite_system_check_remedy(found, kvm)[0] != '\0');
    }
    size_t engine = item(found, "engine");
    printf("engine: %s\n", boxlite_system_check_detail(found, engine));
    /* The reason of the choice is the verdict of the same look. */
    CHECK(strstr(boxlite_system_check_detail(found, engine), detail) != NULL);
    boxlite_system_check_free(found);
    return usable;
}

static boxlite_runtime *runtime_with(int32_t engine)
{
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, home(), &error));
    OK(boxlite_runtime_options_set_engine(options, engine, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    return runtime;
}

static boxlite_box *box_with(boxlite_runtime *runtime, int32_t engine)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, test_image(), &error));
    OK(boxlite_box_options_set_engine(options, engine, &error));
    OK(boxlite_create(runtime, options, NULL, NULL, &box, &error));
    boxlite_box_options_free(options);
    return box;
}

static void numbers(void)
{
    boxlite_runtime_options *runtime;
    boxlite_box_options *box;
    OK(boxlite_runtime_options_new(&runtime, &error));
    OK(boxlite_box_options_new(&box, &error));
    int32_t wrong[] = {-1, 3, INT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "engine",
                     boxlite_runtime_options_set_engine(runtime, wrong[i], &error));
        EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "engine",
                     boxlite_box_options_set_engine(box, wrong[i], &error));
    }
    boxlite_runtime_options_free(runtime);
    boxlite_box_options_free(box);
}

static void environment(void)
{
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, home(), &error));
    setenv("BOXLITE_ENGINE", "firecracker", 1);
    EXPECT_ABOUT(BOXLITE_CONFIG, "BOXLITE_ENGINE", boxlite_runtime_new(options, &runtime, &error));
    setenv("BOXLITE_ENGINE", "qemu", 1);
    runtime = open_runtime();
    CHECK(says(runtime, "engine", "qemu-"));
    boxlite_runtime_free(runtime);
    /* An option goes before it, also where it is wrong. */
    setenv("BOXLITE_ENGINE", "firecracker", 1);
    boxlite_runtime_free(runtime_with(BOXLITE_ENGINE_AUTO));
    setenv("BOXLITE_ENGINE", "", 1);
    boxlite_runtime_free(open_runtime());
    unsetenv("BOXLITE_ENGINE");
    boxlite_runtime_options_free(options);
}

static void check_engine(boxlite_box *box, const char *name)
{
    boxlite_info *info;
    CHECK_OUTPUT(box, "echo here", "here\n");
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_STR(boxlite_info_engine(info), name);
    boxlite_info_free(info);
}

/* On a machine that cannot run it: the verdict, what to do, and nothing that runs. */
static void refused(boxlite_box *box)
{
    boxlite_error *why;
    CHECK_INT(boxlite_box_start(box, NULL, &why), BOXLITE_ENGINE);
    printf("refused: %s\nhint: %s\n", boxlite_error_message(why), boxlite_error_hint(why));
    CHECK_STR(boxlite_error_subject(why), "engine");
    CHECK(strstr(boxlite_error_message(why), "krun was asked for and can't run: ") != NULL);
    CHECK(strstr(boxlite_error_message(why), "KVM") != NULL);
    CHECK(strstr(boxlite_error_hint(why), "; or choose the engine `auto` or `qemu`") != NULL);
    boxlite_error_free(why);
    CHECK_INT(processes_with(boxlite_box_id(box)), 0);
    boxlite_info *info;
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK(boxlite_info_engine(info) == NULL);
    boxlite_info_free(info);
}

int main(void)
{
    unsetenv("BOXLITE_ENGINE");
    numbers();
    environment();

    boxlite_runtime *runtime = open_runtime();
    bool usable = kvm_is_usable(runtime);
    boxlite_runtime_free(runtime);

    /* What the box asks for goes before what the runtime does. */
    runtime = runtime_with(BOXLITE_ENGINE_KRUN);
    boxlite_box *on_qemu = box_with(runtime, BOXLITE_ENGINE_QEMU);
    check_engine(on_qemu, usable ? "qemu-kvm" : "qemu-tcg");
    OK(boxlite_remove(runtime, boxlite_box_id(on_qemu), 1, NULL, &error));
    boxlite_box_free(on_qemu);
    boxlite_box *by_default = create_box(runtime, NULL);
    if (!usable) {
        CHECK(!says(runtime, "engine", "qemu"));
        refused(by_default);
    }
    OK(boxlite_remove(runtime, boxlite_box_id(by_default), 1, NULL, &error));
    boxlite_box_free(by_default);
    boxlite_runtime_free(runtime);

    /* A box keeps what it asked for; a later runtime finds out anew whether it can run. */
    runtime = open_runtime();
    boxlite_box *on_krun = box_with(runtime, BOXLITE_ENGINE_KRUN);
    boxlite_runtime_free(runtime);
    boxlite_runtime *later = runtime_with(BOXLITE_ENGINE_QEMU);
    boxlite_box *again;
    OK(boxlite_get(later, boxlite_box_id(on_krun), NULL, &again, &error));
    if (usable) {
        check_engine(again, "libkrun");
    } else {
        refused(again);
    }
    OK(boxlite_remove(later, boxlite_box_id(again), 1, NULL, &error));
    boxlite_box_free(again);
    boxlite_box_free(on_krun);
    boxlite_runtime_free(later);
    return finish();
}
