/*
 * Find traces in full segments, as the agent does when a trigger fires.
 *
 *     search DIRECTORY MIB ROUNDS SEED
 *
 * Two segments full of traces of 200 bytes: one with random ids, one with ids of 64 bits padded with zeros.
 * Every search starts with a new watch; what it returns is checked against what was written.
 */
#include "recorder/segment.h"
#include "slices.h"
#include "wbpf/trace.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_IDS    1000
#define EVENT_BYTES 96 /* begin 40 + event 16 + 96 + end 24 + directory 24 = 200 bytes a trace */
#define TRACE_BYTES 200

static uint64_t seed;

static struct full {
    const char *name;
    bool padded;
    wbpf_segment *segment;
    uint64_t traces;
    uint64_t wanted[MOST_IDS];
    uint8_t ids[MOST_IDS][16];
} segments[2] = {{.name = "random"}, {.name = "zero_padded", .padded = true}};

static void id_of(const struct full *f, uint64_t trace, uint8_t id[16])
{
    uint64_t front = f->padded ? 0 : mix(seed ^ 2 * trace), back = mix(seed ^ (2 * trace + 1));
    memcpy(id, &front, 8);
    memcpy(id + 8, &back, 8);
}

static void write_trace(const struct full *f, uint64_t trace)
{
    wbpf_context parent = {.span_id = 1, .start_unix_ns = 1};
    uint8_t payload[EVENT_BYTES] = {0};
    wbpf_scope scope;
    id_of(f, trace, parent.trace_id);
    memcpy(payload, &trace, 8);
    wbpf_begin(&scope, 0, &parent);
    wbpf_event(0, WBPF_LEVEL_INFO, payload, sizeof payload);
    wbpf_end(&scope);
}

static void fill(struct full *f, const char *directory, uint64_t mib)
{
    char why[256] = "", path[4096];
    wbpf_options options = {
        .directory = directory, .host = "bench", .service = f->name, .size_mib = (uint32_t)mib};
    if (wbpf_open(&options) != 0)
        die("%s", wbpf_error());
    snprintf(path, sizeof path, "%s", wbpf_segment_path());
    int error = wbpf_segment_open(path, false, &f->segment, why);
    if (error)
        die("%s: %s", path, why);
    const struct wbpf_segment_header *header = wbpf_segment_header(f->segment);
    f->traces = (uint64_t)(header->chunk_count - 1) * (header->chunk_bytes / TRACE_BYTES);
    for (uint64_t i = 0; i < f->traces; i++)
        write_trace(f, i);
    wbpf_close();
    wbpf_counters counters;
    wbpf_segment_counters(f->segment, &counters);
    if (counters.recycled_records || counters.refused || counters.chunks_used + 32 < header->chunk_count)
        die("the segment is not just full: %u chunks of %u", counters.chunks_used, header->chunk_count);
    for (unsigned i = 0; i < MOST_IDS; i++) { /* one of each thousandth: distinct */
        uint64_t part = f->traces / MOST_IDS;
        f->wanted[i] = i * part + mix(seed + i) % part;
        id_of(f, f->wanted[i], f->ids[i]);
    }
}

static uint64_t find_wanted(const struct full *f, const wbpf_piece *piece, unsigned ids)
{
    for (unsigned i = 0; i < ids; i++)
        if (memcmp(piece->trace_id, f->ids[i], 16) == 0)
            return i;
    die("a trace that nobody asked for was found");
}

/* Each trace wholly there, with its own event, and nothing else. */
static void check(const struct full *f, const wbpf_piece *pieces, size_t count, unsigned ids)
{
    static struct {
        unsigned begins, ends, events;
    } seen[MOST_IDS];
    memset(seen, 0, sizeof seen);
    for (size_t p = 0; p < count; p++) {
        uint64_t which = find_wanted(f, &pieces[p], ids);
        seen[which].begins += pieces[p].begins;
        seen[which].ends += pieces[p].ends;
        for (uint32_t at = 0; at < pieces[p].bytes;) {
            struct wbpf_record_header header;
            memcpy(&header, pieces[p].data + at, sizeof header);
            if ((header.kind & ~WBPF_STAMPED) == WBPF_KIND_EVENT)
                seen[which].events += memcmp(pieces[p].data + at + 16, &f->wanted[which], 8) == 0;
            at += (header.bytes + 7u) & ~7u;
        }
    }
    for (unsigned i = 0; i < ids; i++)
        if (seen[i].begins != 1 || seen[i].ends != 1 || seen[i].events != 1)
            die("trace %u of %u was not found wholly", i, ids);
}

static void search(struct worker *worker, const struct full *f, unsigned ids)
{
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count;
    uint64_t lost_until;
    slice_start(worker);
    if (wbpf_watch_create(f->segment, &watch) != 0 || wbpf_watch_add(watch, f->ids, ids) != 0 ||
        wbpf_watch_poll(watch, &pieces, &count, &lost_until) != 0)
        die("no memory to search");
    slice_stop(worker);
    check(f, pieces, count, ids);
    wbpf_watch_destroy(watch);
}

/* What the search cannot do without: to read every directory once. */
static void read_directories(struct worker *worker, const struct full *f)
{
    const struct wbpf_segment_header *h = wbpf_segment_header(f->segment);
    const uint8_t *base = f->segment->map.base;
    const struct wbpf_chunk_header *chunks = f->segment->map.chunks;
    volatile uint64_t result;
    uint64_t sum = 0;
    slice_start(worker);
    for (uint32_t i = 0; i < h->chunk_count; i++) {
        uint64_t slots = chunks[i].word >> WBPF_WORD_FRONT_BITS & ((1 << WBPF_WORD_DIRECTORY_BITS) - 1);
        const uint64_t *end =
            (const uint64_t *)(base + h->data_offset + (uint64_t)i * h->chunk_stride + h->chunk_bytes);
        for (uint64_t slot = 1; slot <= slots; slot++)
            sum += end[-(int64_t)slot];
    }
    slice_stop(worker);
    result = sum;
    (void)result;
}

#define OPERATIONS(suffix, index)                                                                            \
    static void one_##suffix(struct worker *w, uint64_t count)                                               \
    {                                                                                                        \
        (void)count;                                                                                         \
        search(w, &segments[index], 1);                                                                      \
    }                                                                                                        \
    static void hundred_##suffix(struct worker *w, uint64_t count)                                           \
    {                                                                                                        \
        (void)count;                                                                                         \
        search(w, &segments[index], 100);                                                                    \
    }                                                                                                        \
    static void thousand_##suffix(struct worker *w, uint64_t count)                                          \
    {                                                                                                        \
        (void)count;                                                                                         \
        search(w, &segments[index], 1000);                                                                   \
    }                                                                                                        \
    static void read_##suffix(struct worker *w, uint64_t count)                                              \
    {                                                                                                        \
        (void)count;                                                                                         \
        read_directories(w, &segments[index]);                                                               \
    }
OPERATIONS(random, 0)
OPERATIONS(zero_padded, 1)

int main(int count, char **arguments)
{
    if (count != 5)
        die("search DIRECTORY MIB ROUNDS SEED");
    seed = number(arguments[4]);
    struct plan plan = {.rounds = (unsigned)number(arguments[3]), .seed = seed};
    for (unsigned i = 0; i < 2; i++)
        fill(&segments[i], arguments[1], number(arguments[2]));
    struct operation operations[] = {
        {"random", 1, hundred_random, 1},          {"zero_padded", 1, hundred_zero_padded, 1},
        {"random/1id", 1, one_random, 1},          {"zero_padded/1id", 1, one_zero_padded, 1},
        {"random/1000ids", 1, thousand_random, 1}, {"zero_padded/1000ids", 1, thousand_zero_padded, 1},
        {"random/directories", 1, read_random, 1}, {"zero_padded/directories", 1, read_zero_padded, 1},
    };
    slices_run(operations, sizeof operations / sizeof *operations, &plan);
    printf("{\"name\": \"traces\", \"count\": %" PRIu64 "}\n", segments[0].traces);
    for (unsigned i = 0; i < 2; i++)
        wbpf_segment_close(segments[i].segment);
    return 0;
}
