/*
 * The same events through LTTng-UST and through wBPF, in turns.
 *
 *     lttng DIRECTORY MIB ROUNDS SLICE_US SEED
 *
 * A snapshot session with overwriting buffers must be recording user-space events of wbpf_bench. Prints the
 * slices, then {"name": "written", ...} with the number of the last LTTng event of each size.
 */
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "lttng_provider.h"

#include "payload.h"
#include "wbpf/trace.h"
#include <inttypes.h>
#include <stdio.h>

static struct payload_ring ours, theirs;
static wbpf_schema event_name, trace_name;
static wbpf_scope scope;

#define OPERATIONS(bytes)                                                                                    \
    static void ours_##bytes(struct worker *worker, uint64_t count)                                          \
    {                                                                                                        \
        wbpf_begin(&scope, trace_name, NULL);                                                                \
        slice_start(worker);                                                                                 \
        for (uint64_t i = 0; i < count; i++)                                                                 \
            wbpf_event(event_name, WBPF_LEVEL_INFO, ring_next(&ours, 0), bytes);                             \
        slice_stop(worker);                                                                                  \
        wbpf_end(&scope);                                                                                    \
    }                                                                                                        \
    static void theirs_##bytes(struct worker *worker, uint64_t count)                                        \
    {                                                                                                        \
        slice_start(worker);                                                                                 \
        for (uint64_t i = 0; i < count; i++) {                                                               \
            const uint8_t *payload = ring_next(&theirs, 0);                                                  \
            lttng_ust_tracepoint(wbpf_bench, event##bytes, payload);                                         \
        }                                                                                                    \
        slice_stop(worker);                                                                                  \
    }
OPERATIONS(8)
OPERATIONS(64)
OPERATIONS(256)
OPERATIONS(1024)

int main(int count, char **arguments)
{
    if (count != 6)
        die("lttng DIRECTORY MIB ROUNDS SLICE_US SEED");
    uint64_t seed = number(arguments[5]);
    struct plan plan = {(unsigned)number(arguments[3]), 1000 * number(arguments[4]), seed};
    wbpf_options options = {.directory = arguments[1],
                            .host = "bench",
                            .service = "lttng",
                            .size_mib = (uint32_t)number(arguments[2])};
    if (wbpf_open(&options) != 0)
        die("%s", wbpf_error());
    event_name = wbpf_schema_register("bench.event", NULL);
    trace_name = wbpf_schema_register("bench.trace", NULL);
    ring_fill(&ours, 0, MOST_PAYLOAD, seed);
    ring_fill(&theirs, 0, MOST_PAYLOAD, seed);
    if (!lttng_ust_tracepoint_enabled(wbpf_bench, event8) ||
        !lttng_ust_tracepoint_enabled(wbpf_bench, event1024))
        die("no LTTng session records the events of wbpf_bench");
    struct operation operations[] = {
        {"wbpf/8", 1, ours_8, 0},       {"lttng/8", 1, theirs_8, 0},       {"wbpf/64", 1, ours_64, 0},
        {"lttng/64", 1, theirs_64, 0},  {"wbpf/256", 1, ours_256, 0},      {"lttng/256", 1, theirs_256, 0},
        {"wbpf/1024", 1, ours_1024, 0}, {"lttng/1024", 1, theirs_1024, 0},
    };
    slices_run(operations, sizeof operations / sizeof *operations, &plan);
    printf("{\"name\": \"written\", \"segment\": \"%s\", \"ours\": %" PRIu64 ", \"theirs\": %" PRIu64 "}\n",
           wbpf_segment_path(), ours.sequence, theirs.sequence);
    fflush(stdout);
    getchar(); /* the session's buffers are per user; stay until the snapshot is taken */
    wbpf_close();
    return 0;
}
