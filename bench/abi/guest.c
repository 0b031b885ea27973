/*
 * One call of each kind, and the events of one ring by the ways of several ABIs: in place, in batches, a call
 * and a copy for each (wasm_bpf), a call for each field. Built by run.py; what it prints is read there.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wbpf.h>

#define IMPORT(name) __attribute__((import_module("wasm_bpf"), import_name(#name)))
typedef int (*sample_fn)(void *context, void *data, int size);
IMPORT(wasm_bpf_map_fd_by_name) int wasm_bpf_map_fd_by_name(uint64_t object, const char *name);
IMPORT(wasm_bpf_buffer_poll)
int wasm_bpf_buffer_poll(uint64_t object, int fd, sample_fn sample, void *context, void *data, int max_size,
                         int timeout_ms);

enum { EVENTS = 20000, FIELDS = 4, CALLS = 200000, SLOW_CALLS = 2000 };

struct event {
    uint64_t number, words[3];
};

static wbpf_object object;
static wbpf_program fill;
static wbpf_map events;
static uint64_t expected;
static uint32_t wrong;

static int check(int result, const char *what)
{
    if (result < 0)
        exit(wbpf_failed(what));
    return result;
}

static void report(const char *what, uint64_t start_ns, uint32_t count)
{
    printf("%s %.3f\n", what, (double)(wbpf_now_ns() - start_ns) / count);
}

static void take(const struct event *event)
{
    wrong += event->number != expected || event->words[2] != expected;
    expected++;
}

static int take_sample(void *context, void *data, int size)
{
    (void)context;
    wrong += size != sizeof(struct event);
    take(data);
    return 0;
}

static void refill(void)
{
    uint32_t count = EVENTS;
    check(wbpf_program_run(fill, &count, sizeof count, &(struct wbpf_run){0}), "fill");
}

/* ---- events ---- */

static void in_place(uint32_t rounds)
{
    struct wbpf_window window;
    const struct event *event;
    check(wbpf_window_open(&window, events), "window");
    for (uint32_t round = 0; round < rounds; round++) {
        refill();
        uint64_t start = wbpf_now_ns();
        while ((event = wbpf_window_next(&window, NULL)) != NULL)
            take(event);
        wbpf_window_release(&window);
        report("event", start, EVENTS);
    }
}

/* `calls` for each event: what an ABI pays that keeps events on its side and hands out fields. */
static void in_batches(uint32_t rounds, uint32_t calls)
{
    static struct wbpf_reader reader;
    const struct event *event;
    struct wbpf_map_info info;
    check(wbpf_reader_open(&reader, events), "ring");
    for (uint32_t round = 0; round < rounds; round++) {
        refill();
        uint64_t start = wbpf_now_ns();
        while ((event = wbpf_reader_next(&reader, NULL)) != NULL) {
            for (uint32_t call = 0; call < calls; call++)
                wrong += wbpf_abi_map_info(events, &info) != 0;
            take(event);
        }
        report("event", start, EVENTS);
    }
}

static void by_samples(uint32_t rounds)
{
    static _Alignas(8) uint8_t buffer[4096];
    int fd = check(wasm_bpf_map_fd_by_name(object, "events"), "events");
    for (uint32_t round = 0; round < rounds; round++) {
        refill();
        uint64_t start = wbpf_now_ns(), until = expected + EVENTS;
        while (expected < until)
            if (check(wasm_bpf_buffer_poll(object, fd, take_sample, NULL, buffer, sizeof buffer, 100),
                      "poll") == 0)
                break;
        report("event", start, EVENTS);
    }
}

/* ---- calls ---- */

static void calls(uint32_t rounds)
{
    struct wbpf_map_info info;
    struct timespec now;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t start = wbpf_now_ns();
        for (uint32_t at = 0; at < CALLS; at++)
            wrong += wbpf_abi_map_info(events, &info) != 0;
        report("native", start, CALLS);
        start = wbpf_now_ns();
        for (uint32_t at = 0; at < CALLS; at++)
            wrong += clock_gettime(CLOCK_MONOTONIC, &now) != 0;
        report("wasi", start, CALLS);
        start = wbpf_now_ns();
        for (uint32_t at = 0; at < SLOW_CALLS; at++)
            wrong += wbpf_event_find("none") != -WBPF_ENOENT;
        report("cold", start, SLOW_CALLS);
    }
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    uint32_t rounds = count > 2 ? strtoul(words[2], NULL, 10) : 1;
    object = check(wbpf_object_open(""), "open");
    check(wbpf_object_load(object), "load");
    fill = check(wbpf_program_find(object, "fill"), "fill");
    events = check(wbpf_map_find(object, "events"), "events");
    if (strcmp(what, "calls") == 0)
        calls(rounds);
    else if (strcmp(what, "in_place") == 0)
        in_place(rounds);
    else if (strcmp(what, "batch") == 0)
        in_batches(rounds, 0);
    else if (strcmp(what, "by_fields") == 0)
        in_batches(rounds, FIELDS);
    else if (strcmp(what, "wasm_bpf") == 0)
        by_samples(rounds);
    uint64_t wanted = strcmp(what, "calls") == 0 ? 0 : (uint64_t)rounds * EVENTS;
    printf("wrong %u\n", wrong + (expected != wanted));
}
