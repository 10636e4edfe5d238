/* Deadlines, cancels and progress of the calls that make and end boxes. */
#include "harness.h"

#include <pthread.h>

struct seen {
    int count, cancel_at;
    long long first, last;
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
    seen->last = now_ms();
    if (seen->count++ == 0) {
        seen->first = seen->last;
    }
    return seen->count == seen->cancel_at;
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

/* 200 ms are too few to boot: the start is undone, and the next one works. */
static void a_start_that_is_cut_off_is_undone(boxlite_box *box)
{
    boxlite_call *call = new_call(200);
    long long start = now_ms();
    EXPECT(BOXLITE_TIMEOUT, boxlite_box_start(box, call, &error));
    CHECK(now_ms() - start >= 200 && now_ms() - start < 5000);
    long long deadline = now_ms() + 5000;
    boxlite_info *info;
    int32_t pid;
    do {
        OK(boxlite_box_info(box, NULL, &info, &error));
        pid = boxlite_info_pid(info);
        boxlite_info_free(info);
        sleep_ms(50);
    } while (pid != 0 && now_ms() < deadline);
    CHECK_INT(pid, 0);
    boxlite_call_free(call);
}

static void a_callback_can_cancel(boxlite_box *box)
{
    boxlite_call *call = new_call(-1);
    struct seen seen = {.cancel_at = 1, .thread = pthread_self()};
    OK(boxlite_call_set_progress(call, note, &seen, &error));
    EXPECT(BOXLITE_CANCELLED, boxlite_box_start(box, call, &error));
    CHECK_INT(seen.count, 1);
    boxlite_call_free(call);
}

static void progress_is_told_on_this_thread(boxlite_box *box)
{
    boxlite_call *call = new_call(60000);
    struct seen seen = {.cancel_at = -1, .thread = pthread_self()};
    OK(boxlite_call_set_progress(call, note, &seen, &error));
    OK(boxlite_box_start(box, call, &error));
    CHECK(seen.count >= 1 && seen.count <= (seen.last - seen.first) / 50 + 2);
    CHECK_STR(seen.stage, "done");
    check_status(box, BOXLITE_STATUS_RUNNING);

    boxlite_info *info;
    long long sum = 0;
    OK(boxlite_box_info(box, call, &info, &error));
    CHECK(boxlite_info_stage_len(info) > 0);
    CHECK(boxlite_info_started_at_ms(info) >= boxlite_info_created_at_ms(info));
    for (size_t i = 0; i < boxlite_info_stage_len(info); i++) {
        CHECK(boxlite_info_stage_name(info, i)[0] != '\0' && boxlite_info_stage_us(info, i) >= 0);
        sum += boxlite_info_stage_us(info, i);
    }
    CHECK(sum > 100000 && sum < 60000000);
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
    long long deadline = now_ms() + 15000;
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
    boxlite_box *box = create_box(runtime, NULL);
    a_callback_can_cancel(box);
    a_start_that_is_cut_off_is_undone(box);
    progress_is_told_on_this_thread(box);
    a_stop_goes_on_without_its_caller(runtime, box);
    boxlite_box_free(box);
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
    return finish();
}
