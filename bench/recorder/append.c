/*
 * What a call costs: events against memcpy, begin and end against two readings of the clock.
 *
 *     append DIRECTORY MIB ROUNDS SLICE_US SEED event PAYLOAD
 *     append DIRECTORY MIB ROUNDS SLICE_US SEED begin_end
 *
 * Prints the slices, then {"name": "written", ...}: what verify has to find in the segment left behind.
 */
#include "payload.h"
#include "slices.h"
#include "wbpf/trace.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_BYTES 65536u

/* A memory of its own for each thread's counters: no line is shared. */
static struct own {
    uint64_t begins, ends, stamped, sum;
    uint8_t *at;
    size_t room;
    struct payload_ring events, copies;
} __attribute__((aligned(4096))) own[MOST_THREADS];

static volatile size_t payload_bytes; /* read at run time: the compiler knows as little as in a library */
static uint8_t *region;
static uint64_t blocks, hand;
static wbpf_schema event_name, trace_name;
static bool has_tsc;

/* The region that memcpy walks is made and walked like a segment: a shared file beside it, allocated and
 * touched beforehand, in blocks of 64 KiB that the threads take in turns. */
static void make_region(const char *directory, uint64_t mib)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/region", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)(mib << 20)) != 0)
        die("no room for a region of %" PRIu64 " MiB in %s", mib, directory);
    unlink(path);
    region = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (region == MAP_FAILED)
        die("the region cannot be mapped");
    madvise(region, mib << 20, MADV_POPULATE_WRITE);
    blocks = (mib << 20) / BLOCK_BYTES;
}

static void take_block(struct own *o)
{
    o->at = region + __atomic_fetch_add(&hand, 1, __ATOMIC_RELAXED) % blocks * BLOCK_BYTES;
    o->room = BLOCK_BYTES;
}

static void run_memcpy(struct worker *worker, uint64_t count)
{
    struct own *o = &own[worker->index];
    size_t bytes = payload_bytes;
    slice_start(worker);
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *payload = ring_next(&o->copies, worker->index);
        if (o->room < bytes)
            take_block(o);
        memcpy(o->at, payload, bytes);
        o->at += bytes;
        o->room -= bytes;
    }
    slice_stop(worker);
    if (memcmp(o->at - bytes, o->copies.payload[(o->copies.sequence - 1) % RING_PAYLOADS], bytes) != 0)
        die("memcpy did not copy");
}

static void begin_trace(struct own *o, wbpf_scope *scope)
{
    wbpf_begin(scope, trace_name, NULL);
    o->begins++;
}

static void end_trace(struct own *o, wbpf_scope *scope)
{
    wbpf_end(scope);
    o->ends++;
}

static void run_event(struct worker *worker, uint64_t count)
{
    struct own *o = &own[worker->index];
    size_t bytes = payload_bytes;
    wbpf_scope scope;
    begin_trace(o, &scope);
    slice_start(worker);
    for (uint64_t i = 0; i < count; i++) {
        wbpf_event_unstamped(event_name, WBPF_LEVEL_INFO, ring_next(&o->events, worker->index), bytes);
    }
    slice_stop(worker);
    end_trace(o, &scope);
}

static void run_event_stamped(struct worker *worker, uint64_t count)
{
    struct own *o = &own[worker->index];
    size_t bytes = payload_bytes;
    wbpf_scope scope;
    begin_trace(o, &scope);
    slice_start(worker);
    for (uint64_t i = 0; i < count; i++) {
        wbpf_event(event_name, WBPF_LEVEL_INFO, ring_next(&o->events, worker->index), bytes);
    }
    slice_stop(worker);
    o->stamped += count;
    end_trace(o, &scope);
}

static void run_begin_end(struct worker *worker, uint64_t count)
{
    struct own *o = &own[worker->index];
    wbpf_scope scope;
    slice_start(worker);
    for (uint64_t i = 0; i < count; i++) {
        begin_trace(o, &scope);
        end_trace(o, &scope);
    }
    slice_stop(worker);
}

/* The clock that the segment's stamps come from. */
static inline uint64_t read_clock(void)
{
#if defined(__x86_64__)
    if (has_tsc)
        return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#endif
    return now_ns();
}

static void run_clock_read(struct worker *worker, uint64_t count)
{
    struct own *o = &own[worker->index];
    slice_start(worker);
    for (uint64_t i = 0; i < count; i++)
        o->sum += read_clock();
    slice_stop(worker);
}

static void learn_clock(void)
{
    struct wbpf_segment_header header;
    int fd = open(wbpf_segment_path(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &header, sizeof header) != sizeof header)
        die("the segment cannot be read");
    close(fd);
    has_tsc = header.clock_kind == WBPF_CLOCK_TSC;
}

static void print_written(void)
{
    printf("{\"name\": \"written\", \"segment\": \"%s\", \"threads\": [", wbpf_segment_path());
    for (unsigned i = 0; i < MOST_THREADS; i++)
        printf("%s{\"begins\": %" PRIu64 ", \"ends\": %" PRIu64 ", \"events\": %" PRIu64
               ", \"stamped\": %" PRIu64 "}",
               i ? ", " : "", own[i].begins, own[i].ends, own[i].events.sequence, own[i].stamped);
    printf("]}\n");
}

int main(int count, char **arguments)
{
    if (count < 7 || (strcmp(arguments[6], "event") == 0) != (count == 8))
        die("append DIRECTORY MIB ROUNDS SLICE_US SEED event PAYLOAD | begin_end");
    uint64_t mib = number(arguments[2]), seed = number(arguments[5]);
    struct plan plan = {(unsigned)number(arguments[3]), 1000 * number(arguments[4]), seed};
    wbpf_options options = {
        .directory = arguments[1], .host = "bench", .service = "append", .size_mib = (uint32_t)mib};
    if (wbpf_open(&options) != 0)
        die("%s", wbpf_error());
    event_name = wbpf_schema_register("bench.event", NULL);
    trace_name = wbpf_schema_register("bench.trace", NULL);
    learn_clock();
    struct operation events[] = {{"memcpy", 1, run_memcpy, 0},
                                 {"memcpy", 2, run_memcpy, 0},
                                 {"event", 1, run_event, 0},
                                 {"event", 2, run_event, 0},
                                 {"event_stamped", 1, run_event_stamped, 0},
                                 {"event_stamped", 2, run_event_stamped, 0},
                                 {"clock_read", 1, run_clock_read, 0}};
    struct operation traces[] = {{"begin_end", 1, run_begin_end, 0},
                                 {"begin_end", 2, run_begin_end, 0},
                                 {"clock_read", 1, run_clock_read, 0}};
    if (count == 8) {
        payload_bytes = number(arguments[7]);
        if (payload_bytes < 8 || payload_bytes > MOST_PAYLOAD)
            die("a payload has 8 to %d bytes", MOST_PAYLOAD);
        make_region(arguments[1], mib);
        for (unsigned i = 0; i < MOST_THREADS; i++) {
            ring_fill(&own[i].events, i, payload_bytes, seed);
            ring_fill(&own[i].copies, i, payload_bytes, seed);
        }
        slices_run(events, sizeof events / sizeof *events, &plan);
    } else {
        slices_run(traces, sizeof traces / sizeof *traces, &plan);
    }
    print_written();
    wbpf_close();
    return 0;
}
