/* Boxes that never run: created, listed, selected by label, described, found, removed. */
#include "harness.h"

static void make(boxlite_runtime *runtime, const char *name, const char *team, const char *tier)
{
    boxlite_box_options *options;
    boxlite_box *box;
    OK(boxlite_box_options_new(&options, &error));
    OK(boxlite_box_options_set_image(options, "busybox:1.36", &error));
    OK(boxlite_box_options_set_label(options, "team", "overwritten", &error));
    OK(boxlite_box_options_set_label(options, "team", team, &error));
    if (tier != NULL) {
        OK(boxlite_box_options_set_label(options, "tier", tier, &error));
    }
    OK(boxlite_box_options_set_cpus(options, 2, &error));
    OK(boxlite_box_options_set_memory_mib(options, 384, &error));
    OK(boxlite_box_options_set_disk_size_gb(options, 5, &error));
    OK(boxlite_box_options_set_detach(options, 1, &error));
    OK(boxlite_create(runtime, options, name, NULL, &box, &error));
    CHECK_STR(boxlite_box_name(box), name);
    boxlite_box_free(box);
    boxlite_box_options_free(options);
}

/* The names in the list that `key` and `value` select, in its order. */
static void check_selected(boxlite_runtime *runtime, const char *key, const char *value, const char *names)
{
    boxlite_list_options *options;
    boxlite_info_list *list;
    char found[256] = "";
    OK(boxlite_list_options_new(&options, &error));
    if (key != NULL) {
        OK(boxlite_list_options_add_label(options, key, value, &error));
    }
    OK(boxlite_list(runtime, options, NULL, &list, &error));
    boxlite_list_options_free(options);
    for (size_t i = 0; i < boxlite_info_list_len(list); i++) {
        const char *name = boxlite_info_name(boxlite_info_list_at(list, i));
        strncat(found, name != NULL ? name : "?", sizeof found - strlen(found) - 1);
        strncat(found, " ", sizeof found - strlen(found) - 1);
    }
    CHECK_STR(found, names);
    CHECK(boxlite_info_list_at(list, boxlite_info_list_len(list)) == NULL);
    CHECK(boxlite_info_list_at(list, SIZE_MAX) == NULL);
    boxlite_info_list_free(list);
}

static void selection(boxlite_runtime *runtime)
{
    check_selected(runtime, NULL, NULL, "c b a ");
    check_selected(runtime, "team", "red", "c a ");
    check_selected(runtime, "team", NULL, "c b a ");
    check_selected(runtime, "tier", NULL, "a ");
    check_selected(runtime, "team", "green", "");
    check_selected(runtime, "te", NULL, "");

    boxlite_list_options *options;
    boxlite_info_list *list;
    OK(boxlite_list_options_new(&options, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "key", boxlite_list_options_add_label(options, "", "x", &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "value", boxlite_list_options_add_label(options, "k", "\xff", &error));
    OK(boxlite_list_options_add_label(options, "team", "red", &error));
    OK(boxlite_list_options_add_label(options, "tier", "gold", &error));
    OK(boxlite_list(runtime, options, NULL, &list, &error));
    CHECK_INT((long long)boxlite_info_list_len(list), 1);
    boxlite_info_list_free(list);
    boxlite_list_options_free(options);
}

static void description(boxlite_runtime *runtime)
{
    boxlite_box *box;
    boxlite_info *info;
    OK(boxlite_get(runtime, "a", NULL, &box, &error));
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_STR(boxlite_info_id(info), boxlite_box_id(box));
    CHECK_STR(boxlite_info_name(info), "a");
    CHECK_INT(boxlite_info_status(info), BOXLITE_STATUS_CONFIGURED);
    CHECK(boxlite_info_created_at_ms(info) > 1500000000000);
    CHECK(boxlite_info_updated_at_ms(info) >= boxlite_info_created_at_ms(info));
    CHECK_INT(boxlite_info_started_at_ms(info), -1);
    CHECK_INT(boxlite_info_pid(info), 0);
    CHECK_STR(boxlite_info_image(info), "busybox:1.36");
    CHECK_INT(boxlite_info_cpus(info), 2);
    CHECK_INT(boxlite_info_memory_mib(info), 384);
    CHECK_INT(boxlite_info_disk_size_gb(info), 5);
    CHECK_INT(boxlite_info_auto_remove(info), 0);
    CHECK_INT(boxlite_info_detach(info), 1);
    CHECK(boxlite_info_failure(info) == NULL);
    CHECK_INT((long long)boxlite_info_stage_len(info), 0);
    CHECK_INT((long long)boxlite_info_label_len(info), 2);
    CHECK_STR(boxlite_info_label_key(info, 0), "team");
    CHECK_STR(boxlite_info_label_value(info, 0), "red");
    CHECK_STR(boxlite_info_label_key(info, 1), "tier");
    CHECK_STR(boxlite_info_label_value(info, 1), "gold");
    CHECK(boxlite_info_label_key(info, 2) == NULL);

    /* A snapshot outlives the box, and a stop of a box that never ran changes nothing. */
    char prefix[13];
    memcpy(prefix, boxlite_box_id(box), sizeof prefix);
    prefix[8] = '\0';
    OK(boxlite_remove(runtime, prefix, 0, NULL, &error));
    CHECK_STR(boxlite_info_name(info), "a");
    EXPECT(BOXLITE_NOT_FOUND, boxlite_remove(runtime, boxlite_box_id(box), 0, NULL, &error));
    boxlite_info_free(info);
    boxlite_box_free(box);
}

static void names_are_unique(boxlite_runtime *runtime)
{
    boxlite_box *box = (boxlite_box *)&box;
    EXPECT(BOXLITE_ALREADY_EXISTS, boxlite_create(runtime, NULL, "b", NULL, &box, &error));
    CHECK(box == NULL);
    OK(boxlite_create(runtime, NULL, NULL, NULL, &box, &error));
    CHECK(boxlite_box_name(box) == NULL);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 0, NULL, &error));
    boxlite_box_free(box);
}

static void found_or_made(boxlite_runtime *runtime)
{
    boxlite_box *first, *again;
    char prefix[3] = "";
    int32_t created = -1;
    OK(boxlite_get_or_create(runtime, NULL, "shared", NULL, &created, &first, &error));
    CHECK_INT(created, 1);
    OK(boxlite_get_or_create(runtime, NULL, "shared", NULL, &created, &again, &error));
    CHECK_INT(created, 0);
    CHECK_STR(boxlite_box_id(again), boxlite_box_id(first));
    boxlite_box_free(again);

    /* A name that begins an id, and one that is an id, are names all the same. */
    /* Longer than the names that other boxes have here. */
    memcpy(prefix, boxlite_box_id(first), 2);
    const char *names[] = {prefix, boxlite_box_id(first)};
    for (int i = 0; i < 2; i++) {
        OK(boxlite_get_or_create(runtime, NULL, names[i], NULL, &created, &again, &error));
        CHECK_INT(created, 1);
        CHECK_STR(boxlite_box_name(again), names[i]);
        OK(boxlite_remove(runtime, boxlite_box_id(again), 0, NULL, &error));
        boxlite_box_free(again);
    }
    OK(boxlite_get_or_create(runtime, NULL, NULL, NULL, NULL, &again, &error));
    CHECK(boxlite_box_name(again) == NULL);
    OK(boxlite_remove(runtime, boxlite_box_id(again), 0, NULL, &error));
    boxlite_box_free(again);
    created = -1;
    EXPECT(BOXLITE_INVALID_ARGUMENT, boxlite_get_or_create(runtime, NULL, "a b", NULL, &created, &again, &error));
    CHECK(again == NULL);
    CHECK_INT(created, 0);
    OK(boxlite_remove(runtime, "shared", 0, NULL, &error));
    boxlite_box_free(first);
}

static void the_machine(boxlite_runtime *runtime)
{
    boxlite_system_check *found;
    OK(boxlite_runtime_system_check(runtime, NULL, &found, &error));
    size_t count = boxlite_system_check_len(found);
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        int32_t status = boxlite_system_check_status(found, i);
        CHECK(status >= BOXLITE_CHECK_OK && status <= BOXLITE_CHECK_FAILED);
        CHECK(boxlite_system_check_name(found, i)[0] != '\0');
        CHECK(boxlite_system_check_detail(found, i)[0] != '\0');
        CHECK(status == BOXLITE_CHECK_OK || boxlite_system_check_remedy(found, i)[0] != '\0');
        CHECK(strstr(boxlite_system_check_json(found), boxlite_system_check_name(found, i)) != NULL);
    }
    CHECK(boxlite_system_check_name(found, count) == NULL);
    CHECK_INT(boxlite_system_check_status(found, count), BOXLITE_CHECK_FAILED);
    boxlite_system_check_free(found);
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    check_selected(runtime, NULL, NULL, "");
    make(runtime, "a", "red", "gold");
    make(runtime, "b", "blue", NULL);
    make(runtime, "c", "red", NULL);
    selection(runtime);
    description(runtime);
    names_are_unique(runtime);
    found_or_made(runtime);
    check_selected(runtime, NULL, NULL, "c b ");
    the_machine(runtime);

    OK(boxlite_runtime_shutdown(runtime, -2, NULL, &error));
    OK(boxlite_runtime_shutdown(runtime, 0, NULL, &error));
    boxlite_box *box;
    EXPECT(BOXLITE_STOPPED, boxlite_create(runtime, NULL, NULL, NULL, &box, &error));
    check_selected(runtime, NULL, NULL, "c b ");
    boxlite_runtime_free(runtime);
    return finish();
}
