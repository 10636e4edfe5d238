/* Deadlines, cancels and progress of the calls that make and end boxes. */
#include "harness.h"

#include <pthread.h>

/* Anything that takes longer has gone wrong. */
enum { PATIENCE_MS = 60000 };

struct seen {
    int count, cancel_at;
    char stage[32];
    pthread_t thread;
    boxlite_call *call;
};

static int32_t note(const boxlite_progress *progress, void *user)
{
    struct seen *seen = user;
    CHECK(pthread_equal(pthread_self(), seen->thread));
    CHECK(boxlite_progress_stage(progress) != NULL && boxlite_progress_reference(progress) != NULL);
    size_t layers = boxlite_progress_layer_len(progress);
    for (size_t i = 0; i < layers; i++) {
        CHECK(strncmp(boxlite_progress_layer_digest(progress, i), "sha256:", 7) == 0);
        CHECK(boxlite_progress_layer_done_bytes(progress, i) <= boxlite_progress_layer_total_bytes(progress, i));
    }
    CHECK(boxlite_progress_layer_digest(progress, layers) == NULL);
    snprintf(seen->stage, sizeof seen->stage, "%s", boxlite_progress_stage(progress));
    return ++seen->count == seen->cancel_at;
}

static void check_status(boxlite_box *box, int32_t status)
{
    boxlite_info *info;
    OK(boxlite_box_info(box, NULL, &info, &error));
    CHECK_STR(boxlite_status_name(boxlite_info_status(info)), boxlite_status_name(status));
    CHECK_INT(boxlite_info_pid(info) != 0, status == BOXLITE_STATUS_RUNNING);
    boxlite_info_free(info);
}

static void settings(void)
{
    boxlite_call *call = new_call(INT64_MAX);
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "timeout_ms", boxlite_call_set_timeout_ms(call, -2, &error));
    OK(boxlite_call_set_timeout_ms(call, 0, &error));
    OK(boxlite_call_set_progress(call, NULL, NULL, &error));
    OK(boxlite_call_reset(call, &error));
    boxlite_call_free(call);
}

static void a_cancelled_call_begins_nothing(boxlite_runtime *runtime)
{
    boxlite_call *call = new_call(-1);
    boxlite_box *box;
    boxlite_info_list *list;
    OK(boxlite_call_cancel(call, &error));
    OK(boxlite_call_cancel(call, &error));
    EXPECT(BOXLITE_CANCELLED, boxlite_create(runtime, NULL, "never", call, &box, &error));
    CHECK(box == NULL);
    EXPECT(BOXLITE_CANCELLED, boxlite_list(runtime, NULL, call, &list, &error));
    EXPECT(BOXLITE_CANCELLED, boxlite_runtime_shutdown(runtime, 0, call, &error));
    OK(boxlite_call_reset(call, &error));
    OK(boxlite_list(runtime, NULL, call, &list, &error));
    CHECK_INT((long long)boxlite_info_list_len(list), 0);
    boxlite_info_list_free(list);
    boxlite_call_free(call);
}

/* A start that is cut off is undone, and the next one works, whatever the deadline falls into. A machine may be fast enough
 * for the longer ones. Gives the box. */
static boxlite_box *a_start_that_is_cut_off_is_undone(boxlite_runtime *runtime)
{
    for (long long limit_ms = 200; limit_ms > 0; limit_ms /= 2) {
        boxlite_box *box = create_box(runtime, NULL);
        boxlite_call *call = new_call(limit_ms);
        long long start = now_ms();
        boxlite_code code = boxlite_box_start(box, call, &error);
        long long took = now_ms() - start;
        bool is_cut = code != BOXLITE_OK;
        EXPECT(is_cut ? BOXLITE_TIMEOUT : BOXLITE_OK, code);
        boxlite_call_free(call);
        if (is_cut) {
            CHECK(took >= limit_ms && took < PATIENCE_MS);
            CHECK(wait_until_gone(boxlite_box_id(box), PATIENCE_MS));
            CHECK(wait_until_ended(box, PATIENCE_MS));
            return box;
        }
        OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
        boxlite_box_free(box);
    }
    CHECK(!"a deadline of a millisecond cuts a start off");
    give_up();
}

static void a_callback_can_cancel(boxlite_runtime *runtime)
{
    boxlite_box *box = create_box(runtime, NULL);
    boxlite_call *call = new_call(-1);
    struct seen seen = {.cancel_at = 1, .thread = pthread_self()};
    OK(boxlite_call_set_progress(call, note, &seen, &error));
    EXPECT(BOXLITE_CANCELLED, boxlite_box_start(box, call, &error));
    /* The one that cancelled, and the last. */
    CHECK_INT(seen.count, 2);
    CHECK_STR(seen.stage, "failed");
    boxlite_call_free(call);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    boxlite_box_free(box);
}

static void progress_is_told_on_this_thread(boxlite_box *box)
{
    boxlite_call *call = new_call(5 * PATIENCE_MS);
    struct seen seen = {.cancel_at = -1, .thread = pthread_self()};
    OK(boxlite_call_set_progress(call, note, &seen, &error));
    long long start = now_ms();
    OK(boxlite_box_start(box, call, &error));
    long long took = now_ms() - start + 1;
    /* At most twenty a second, and the last. */
    CHECK(seen.count >= 1 && seen.count <= took / 50 + 2);
    CHECK_STR(seen.stage, "done");
    check_status(box, BOXLITE_STATUS_RUNNING);

    boxlite_info *info;
    long long sum = 0;
    OK(boxlite_box_info(box, call, &info, &error));
    CHECK(boxlite_info_stage_len(info) > 0);
    CHECK(boxlite_info_started_at_ms(info) >= boxlite_info_created_at_ms(info));
    for (size_t i = 0; i < boxlite_info_stage_len(info); i++) {
        CHECK(boxlite_info_stage_name(info, i)[0] != '\0' && boxlite_info_stage_us(info, i) >= 0);
        /* Parts of a stage, by the guest's clock, have a slash in their names. */
        if (strchr(boxlite_info_stage_name(info, i), '/') == NULL) {
            sum += boxlite_info_stage_us(info, i);
        }
    }
    CHECK(sum > 0 && sum <= took * 1000);
    CHECK(boxlite_info_stage_name(info, boxlite_info_stage_len(info)) == NULL);
    boxlite_info_free(info);
    boxlite_call_free(call);
}

static void a_stop_goes_on_without_its_caller(boxlite_runtime *runtime, boxlite_box *box)
{
    boxlite_call *call = new_call(0);
    boxlite_code code = boxlite_box_stop(box, call, &error);
    CHECK(code == BOXLITE_TIMEOUT || code == BOXLITE_OK);
    EXPECT(code, code);
    boxlite_call_free(call);
    long long deadline = now_ms() + PATIENCE_MS;
    boxlite_info *info;
    int32_t status;
    do {
        sleep_ms(50);
        OK(boxlite_box_info(box, NULL, &info, &error));
        status = boxlite_info_status(info);
        boxlite_info_free(info);
    } while (status != BOXLITE_STATUS_STOPPED && now_ms() < deadline);
    check_status(box, BOXLITE_STATUS_STOPPED);
    OK(boxlite_remove(runtime, boxlite_box_id(box), 0, NULL, &error));
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    settings();
    a_cancelled_call_begins_nothing(runtime);
    a_callback_can_cancel(runtime);
    boxlite_box *box = a_start_that_is_cut_off_is_undone(runtime);
    progress_is_told_on_this_thread(box);
    a_stop_goes_on_without_its_caller(runtime, box);
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
