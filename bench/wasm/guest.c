/* The guest's side of the benchmark: what native.c does, by the guest ABI. Built by run.py. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wbpf/guest_abi.h>

#define TEXT(text) text, sizeof text - 1

struct event {
    uint64_t number, words[3];
};

static int32_t object;

static int check(int32_t result, const char *what)
{
    if (result >= 0)
        return result;
    char why[512];
    int32_t bytes = wbpf_abi_last_error(why, sizeof why);
    fprintf(stderr, "%s: %d: %.*s\n", what, result, bytes < 512 ? bytes : 512, why);
    exit(1);
}

static int32_t program(const char *name)
{
    return check(wbpf_abi_program_find(object, name, strlen(name)), name);
}

static int32_t map(const char *name)
{
    return check(wbpf_abi_map_find(object, name, strlen(name)), name);
}

static void report(const char *what, int64_t start_ns, int64_t count)
{
    printf("%s %.3f\n", what, (double)(wbpf_abi_now_ns() - start_ns) / (double)count);
}

static void start(uint32_t tgid)
{
    object = check(wbpf_abi_object_open(NULL, 0), "open");
    check(wbpf_abi_object_set(object, TEXT("only_tgid"), &tgid, sizeof tgid), "set");
    int64_t at = wbpf_abi_now_ns();
    check(wbpf_abi_object_load(object), "load");
    report("load", at, 1);
}

static int32_t attach(void)
{
    int64_t at = wbpf_abi_now_ns();
    int32_t link = check(wbpf_abi_program_attach(program("on_enter"), NULL, 0, 0), "attach");
    report("attach", at, 1);
    printf("attached\n");
    fflush(stdout);
    return link;
}

/* ---- maps ---- */

/* A slice for each line that comes in. */
static void measure_maps(uint32_t rounds)
{
    enum { KEYS = 512 };
    int32_t table = map("table");
    uint64_t value, sum;
    uint32_t seen, key, next;
    while (getchar() != EOF) {
        int64_t at = wbpf_abi_now_ns();
        for (uint32_t round = 0; round < rounds; round++)
            for (key = 0; key < KEYS; key++) {
                value = key + round;
                check(wbpf_abi_map_update(table, &key, sizeof key, &value, sizeof value, 0), "update");
            }
        report("update", at, (int64_t)rounds * KEYS);
        at = wbpf_abi_now_ns();
        sum = 0;
        for (uint32_t round = 0; round < rounds; round++)
            for (key = 0; key < KEYS; key++) {
                check(wbpf_abi_map_lookup(table, &key, sizeof key, &value, sizeof value, 0), "lookup");
                sum += value;
            }
        report("lookup", at, (int64_t)rounds * KEYS);
        at = wbpf_abi_now_ns();
        seen = 0;
        for (uint32_t round = 0; round < rounds; round++) {
            int32_t error = wbpf_abi_map_next_key(table, NULL, 0, &key, sizeof key);
            for (; error == 0; seen++, key = next)
                error = wbpf_abi_map_next_key(table, &key, sizeof key, &next, sizeof next);
        }
        report("next_key", at, seen);
        int64_t spent = 0;
        for (uint32_t round = 0; round < rounds; round++) {
            at = wbpf_abi_now_ns();
            for (key = 0; key < KEYS; key++)
                check(wbpf_abi_map_delete(table, &key, sizeof key), "delete");
            spent += wbpf_abi_now_ns() - at;
            for (key = 0; key < KEYS; key++)
                check(wbpf_abi_map_update(table, &key, sizeof key, &value, sizeof value, 0), "update");
        }
        printf("delete %.3f\n", (double)spent / ((double)rounds * KEYS));
        printf("sum %llu seen %u\n", (unsigned long long)sum, seen);
        fflush(stdout);
    }
}

/* ---- rings ---- */

static uint64_t expected;
static uint32_t wrong;
static _Alignas(8) uint8_t frames[65536];

static inline void take(const struct event *event)
{
    wrong += event->number != expected || event->words[2] != expected;
    expected++;
}

static uint32_t drain_batches(int32_t ring)
{
    uint32_t count = 0;
    int32_t bytes;
    while ((bytes = check(wbpf_abi_ring_read(ring, frames, sizeof frames), "read")) > 0)
        for (const uint8_t *at = frames; at < frames + bytes; count++) {
            const struct wbpf_frame *frame = (const struct wbpf_frame *)at;
            take((const struct event *)(frame + 1));
            at += sizeof *frame + ((frame->bytes + 7) & ~7u);
        }
    return count;
}

static uint32_t drain_in_place(const struct wbpf_ring_window *window)
{
    volatile uint64_t *consumer = (volatile uint64_t *)(uintptr_t)window->consumer;
    const volatile uint64_t *producer = (const volatile uint64_t *)(uintptr_t)window->producer;
    uint64_t at = *consumer, end = *producer;
    uint32_t count = 0;
    while (at < end) {
        const uint32_t *header = (const uint32_t *)(uintptr_t)(window->data + (at & window->mask));
        uint32_t length = *(const volatile uint32_t *)header;
        if (length & WBPF_FRAME_BUSY)
            break;
        if (!(length & WBPF_FRAME_DISCARDED)) {
            take((const struct event *)(header + 2));
            count++;
        }
        at += ((length & ~WBPF_FRAME_DISCARDED) + 8 + 7) & ~7ull;
    }
    *consumer = at;
    return count;
}

static void measure_ring(int in_place, uint32_t rounds)
{
    int32_t ring = check(wbpf_abi_ring_open(map("events"), in_place), "ring"), fill = program("fill");
    uint32_t count = 20000, taken = 0;
    struct wbpf_ring_window window;
    struct wbpf_run run;
    if (in_place)
        check(wbpf_abi_ring_window(ring, &window), "window");
    for (uint32_t round = 0; round < rounds; round++) {
        check(wbpf_abi_program_run(fill, &count, sizeof count, NULL, 0, NULL, 0, &run), "fill");
        int64_t at = wbpf_abi_now_ns();
        taken = in_place ? drain_in_place(&window) : drain_batches(ring);
        report("drain", at, count);
        if (taken != count)
            wrong++;
    }
    printf("wrong %u expected %llu\n", wrong, (unsigned long long)expected);
}

/* Until `expect` events have come, or none for two seconds. */
static void measure_live(uint64_t expect)
{
    int32_t ring = check(wbpf_abi_ring_open(map("events"), 0), "ring"), ready;
    uint64_t refused = 0;
    attach();
    while (expected < expect && check(wbpf_abi_wait(2000, &ready, sizeof ready), "wait") > 0)
        drain_batches(ring);
    check(wbpf_abi_object_get(object, TEXT("refused"), &refused, sizeof refused), "get");
    printf("wrong %u expected %llu refused %llu\n", wrong, (unsigned long long)expected,
           (unsigned long long)refused);
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    uint32_t number = count > 2 ? strtoul(words[2], NULL, 10) : 0;
    start(strcmp(what, "live") == 0 ? strtoul(words[3], NULL, 10) : 1);
    if (strcmp(what, "startup") == 0) {
        int32_t ready, link = attach();
        wbpf_abi_wait(number, &ready, sizeof ready);
        int64_t at = wbpf_abi_now_ns();
        check(wbpf_abi_link_detach(link), "detach");
        report("detach", at, 1);
    } else if (strcmp(what, "maps") == 0) {
        measure_maps(number);
    } else if (strcmp(what, "batch") == 0 || strcmp(what, "in_place") == 0) {
        measure_ring(strcmp(what, "in_place") == 0, number);
    } else if (strcmp(what, "live") == 0) {
        measure_live(number);
    }
    return 0;
}
