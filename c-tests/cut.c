#include "cut.h"

#include <pthread.h>
#include <unistd.h>

/* No deadline is shorter. */
enum { AT_ONCE_MS = 50 };

bool is_not_begun;
static unsigned seed;

struct canceller {
    boxlite_call *call;
    useconds_t after_us;
};

void seed_instants(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    seed = (unsigned)number_from("SEED", (int)now_ms() & 0xffffff);
    printf("SEED=%u\n", seed);
}

unsigned random_below(unsigned bound)
{
    return (unsigned)rand_r(&seed) % bound;
}

static void *cancel_later(void *argument)
{
    struct canceller *canceller = argument;
    usleep(canceller->after_us);
    boxlite_call_cancel(canceller->call, NULL);
    return NULL;
}

boxlite_code note_begin(boxlite_code code)
{
    is_not_begun = code == BOXLITE_CANCELLED && strstr(boxlite_error_message(error), "was not begun") != NULL;
    return code;
}

void cut(const char *name, int rounds, void (*prepare)(void), boxlite_code (*work)(boxlite_call *),
         void (*check_left)(boxlite_code))
{
    prepare();
    long long began = now_ms();
    CHECK_INT(work(NULL), BOXLITE_OK);
    long long span_ms = now_ms() - began;
    check_left(BOXLITE_OK);
    int cut_off = 0;
    for (int round = 0; round < rounds; round++) {
        bool by_deadline = round % 2 == 1 && span_ms > AT_ONCE_MS;
        useconds_t instant = (useconds_t)random_below((unsigned)(1 + span_ms * 1000));
        prepare();
        boxlite_call *call = new_call(by_deadline ? (int64_t)instant / 1000 : -1);
        struct canceller canceller = {call, instant};
        pthread_t thread;
        if (!by_deadline) {
            CHECK_INT(pthread_create(&thread, NULL, cancel_later, &canceller), 0);
        }
        long long start = now_ms();
        boxlite_code code = work(call);
        /* The first time took longer than it usually does. */
        if (code == BOXLITE_OK && now_ms() - start < span_ms) {
            span_ms = now_ms() - start;
        }
        if (!by_deadline) {
            pthread_join(thread, NULL);
        }
        bool is_cut = code == (by_deadline ? BOXLITE_TIMEOUT : BOXLITE_CANCELLED);
        CHECK(is_cut || code == BOXLITE_OK);
        if (!is_cut && code != BOXLITE_OK) {
            printf("%s: code %d at %u us\n", name, (int)code, (unsigned)instant);
        }
        cut_off += is_cut;
        boxlite_call_free(call);
        check_left(code);
    }
    printf("%s: takes %lld ms, %d of %d cut off, %lld ms in all\n", name, span_ms, cut_off, rounds, now_ms() - began);
}

void no_preparation(void)
{
}

void nothing_left(boxlite_code code)
{
    (void)code;
}

/* How many looks in a row, 10 ms apart, have to find nothing: what is being undone may come up a moment after its call. */
#define LOOKS 15

void check_made_or_undone(boxlite_runtime *runtime, const char *name, boxlite_code code)
{
    boxlite_box *found = NULL;
    if (code == BOXLITE_OK) {
        OK(boxlite_get(runtime, name, NULL, &found, &error));
        boxlite_box_free(found);
        OK(boxlite_remove(runtime, name, 1, NULL, &error));
        return;
    }
    long long deadline = now_ms() + PATIENCE_MS;
    int absent = 0;
    while (absent < LOOKS && now_ms() < deadline) {
        absent = boxlite_get(runtime, name, NULL, &found, NULL) == BOXLITE_NOT_FOUND ? absent + 1 : 0;
        boxlite_box_free(found);
        sleep_ms(10);
    }
    CHECK_INT(absent, LOOKS);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_get(runtime, name, NULL, &found, &error));
}

void close_runtime(boxlite_runtime *runtime)
{
    OK(boxlite_runtime_shutdown(runtime, 1000, NULL, &error));
    boxlite_runtime_free(runtime);
}
