/* Images: pulled ahead with progress, found, listed, kept while boxes need them, removed, pruned. */
#include "harness.h"

struct seen {
    int reports;
    bool booted;
    char last_stage[32];
    char reference[512];
    size_t layers;
};

static int32_t note(const boxlite_progress *progress, void *user)
{
    struct seen *seen = user;
    seen->reports++;
    snprintf(seen->last_stage, sizeof seen->last_stage, "%s", boxlite_progress_stage(progress));
    snprintf(seen->reference, sizeof seen->reference, "%s", boxlite_progress_reference(progress));
    seen->booted = seen->booted || strcmp(seen->last_stage, "boot") == 0;
    seen->layers = boxlite_progress_layer_len(progress);
    return 0;
}

static void pulling(boxlite_runtime *runtime)
{
    boxlite_image *image;
    struct seen seen = {0};
    EXPECT(BOXLITE_NOT_FOUND, boxlite_image_get(runtime, test_image(), NULL, &image, &error));
    CHECK(image == NULL);
    boxlite_call *call = new_call(60000);
    OK(boxlite_call_set_progress(call, note, &seen, &error));
    OK(boxlite_image_pull(runtime, test_image(), call, &image, &error));
    CHECK(seen.reports > 0 && !seen.booted);
    CHECK_STR(seen.last_stage, "done");
    CHECK_STR(seen.reference, boxlite_image_reference(image));
    CHECK_INT((long long)seen.layers, (long long)boxlite_image_layer_len(image));

    CHECK(strstr(boxlite_image_reference(image), boxlite_image_repository(image)) != NULL);
    CHECK(strncmp(boxlite_image_digest(image), "sha256:", 7) == 0);
    CHECK(strncmp(boxlite_image_config_digest(image), "sha256:", 7) == 0);
    CHECK(boxlite_image_layer_len(image) > 0);
    CHECK(strncmp(boxlite_image_layer_digest(image, 0), "sha256:", 7) == 0);
    CHECK(boxlite_image_layer_digest(image, boxlite_image_layer_len(image)) == NULL);
    CHECK(boxlite_image_size_bytes(image) > 100000);
    CHECK(boxlite_image_stored_at_ms(image) > 1500000000000);

    boxlite_image *same;
    OK(boxlite_image_get(runtime, boxlite_image_digest(image), NULL, &same, &error));
    CHECK_STR(boxlite_image_reference(same), boxlite_image_reference(image));
    boxlite_image_free(same);
    boxlite_image_free(image);

    OK(boxlite_call_cancel(call, &error));
    EXPECT(BOXLITE_CANCELLED, boxlite_image_pull(runtime, test_image(), call, &image, &error));
    CHECK(image == NULL);
    boxlite_call_free(call);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_image_pull(runtime, "oci:/no/such/layout", NULL, &image, &error));
    EXPECT(BOXLITE_INVALID_ARGUMENT, boxlite_image_pull(runtime, "Bad Name", NULL, &image, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "reference", boxlite_image_pull(runtime, "\xff", NULL, &image, &error));
}

static size_t listed(boxlite_runtime *runtime)
{
    boxlite_image_list *list;
    OK(boxlite_runtime_images(runtime, NULL, &list, &error));
    size_t count = boxlite_image_list_len(list);
    for (size_t i = 0; i < count; i++) {
        CHECK(boxlite_image_reference(boxlite_image_list_at(list, i))[0] != '\0');
    }
    CHECK(boxlite_image_list_at(list, count) == NULL);
    boxlite_image_list_free(list);
    return count;
}

/* What a prune finds; its bytes go to *bytes. */
static size_t prune(boxlite_runtime *runtime, int32_t dry_run, uint64_t *bytes)
{
    boxlite_prune *report;
    uint64_t sum = 0;
    OK(boxlite_runtime_prune(runtime, dry_run, NULL, &report, &error));
    size_t count = boxlite_prune_len(report);
    for (size_t i = 0; i < count; i++) {
        CHECK_INT(boxlite_prune_kind(report, i), BOXLITE_PRUNE_IMAGE);
        CHECK(strncmp(boxlite_prune_name(report, i), "oci:", 4) == 0);
        sum += boxlite_prune_bytes(report, i);
    }
    CHECK_INT(boxlite_prune_kind(report, count), -1);
    CHECK(boxlite_prune_name(report, count) == NULL);
    CHECK_INT((long long)boxlite_prune_total_bytes(report), (long long)sum);
    boxlite_prune_free(report);
    *bytes = sum;
    return count;
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    uint64_t announced, freed;
    CHECK_INT((long long)listed(runtime), 0);
    CHECK_INT((long long)prune(runtime, 0, &freed), 0);
    pulling(runtime);
    CHECK_INT((long long)listed(runtime), 1);
    CHECK_INT((long long)prune(runtime, 1, &announced), 1);

    /* A box that was only created needs its image already. */
    boxlite_box *box = create_box(runtime, "user");
    CHECK_INT((long long)prune(runtime, 0, &freed), 0);
    CHECK_OUTPUT(box, "echo runs", "runs\n");
    EXPECT(BOXLITE_INVALID_STATE, boxlite_image_remove(runtime, test_image(), 0, NULL, &error));
    CHECK_INT((long long)prune(runtime, 0, &freed), 0);
    CHECK_INT((long long)listed(runtime), 1);

    /* Removed all the same: the box goes on, and pulls it again when it is started again. */
    OK(boxlite_image_remove(runtime, test_image(), 1, NULL, &error));
    CHECK_INT((long long)listed(runtime), 0);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_image_remove(runtime, test_image(), 1, NULL, &error));
    CHECK_OUTPUT(box, "echo goes on > /file; cat /file", "goes on\n");
    OK(boxlite_box_stop(box, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_get(runtime, "user", NULL, &box, &error));
    CHECK_OUTPUT(box, "cat /file", "goes on\n");
    CHECK_INT((long long)listed(runtime), 1);

    OK(boxlite_remove(runtime, "user", 1, NULL, &error));
    boxlite_box_free(box);
    CHECK_INT((long long)prune(runtime, 1, &announced), 1);
    CHECK(announced > 100000);
    CHECK_INT((long long)listed(runtime), 1);
    CHECK_INT((long long)prune(runtime, 0, &freed), 1);
    CHECK_INT((long long)freed, (long long)announced);
    CHECK_INT((long long)listed(runtime), 0);

    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_image_list *list;
    EXPECT(BOXLITE_STOPPED, boxlite_runtime_images(runtime, NULL, &list, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
