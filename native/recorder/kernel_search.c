/* What watches, dumps and counters get of a segment's kernel chunks. */
#include "kernel_ring.h"
#include "watch.h"
#include <stdlib.h>

struct kernel_cursors {
    uint32_t count;
    uint8_t *scratch;
    struct kernel_cursor cursors[];
};

struct kernel_cursors *kernel_cursors_create(const wbpf_segment *segment)
{
    if (!segment->kernel)
        return NULL;
    uint32_t count = segment->kernel->count;
    struct kernel_cursors *cursors = calloc(1, sizeof *cursors + count * sizeof *cursors->cursors);
    if (!cursors)
        return NULL;
    cursors->count = count;
    if (segment->kernel->scratch_bytes && !(cursors->scratch = malloc(segment->kernel->scratch_bytes))) {
        free(cursors);
        return NULL;
    }
    return cursors;
}

void kernel_cursors_destroy(struct kernel_cursors *cursors)
{
    if (cursors)
        free(cursors->scratch);
    free(cursors);
}

void kernel_cursors_reset(struct kernel_cursors *cursors)
{
    if (cursors)
        memset(cursors->cursors, 0, cursors->count * sizeof *cursors->cursors);
}

static uint64_t lost_until(const struct kernel_chunks *all, uint8_t *scratch)
{
    uint64_t newest = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        uint64_t lost = kernel_ring_lost_until(&all->chunks[i].ring, scratch);
        newest = lost > newest ? lost : newest;
    }
    return newest;
}

uint64_t kernel_lost_until(const wbpf_watch *w)
{
    return lost_until(w->segment->kernel, w->kernel->scratch);
}

/* ---- search ---- */

/* What a search gives its pieces to. */
struct search {
    wbpf_watch *watch;
    const struct kernel_chunk *chunk;
    bool everything;
    uint32_t tgid, process; /* the process slot found last */
};

static bool is_wanted(void *self, uint64_t lo, uint64_t hi, bool fresh_place)
{
    const struct search *s = self;
    if (s->everything)
        return true;
    const struct entry *e = lookup(s->watch, lo, hi);
    return e && (fresh_place || e->fresh);
}

/* The loader gives each process that it follows a slot. */
static uint32_t process_of(struct search *s, uint32_t tgid)
{
    const struct mapping *map = &s->watch->segment->map;
    if (s->process < map->fixed.process_count && s->tgid == tgid)
        return s->process;
    s->tgid = tgid;
    s->process = UINT32_MAX;
    /* From the back: the first slot is the loader's own, which may have another as one that traces. */
    for (uint32_t i = map->fixed.process_count; i-- && s->process == UINT32_MAX;)
        if (load_acquire(&map->processes[i].generation) && load_relaxed(&map->processes[i].pid) == tgid)
            s->process = i;
    return s->process;
}

static int take_record(void *self, const struct kernel_record *record)
{
    struct search *s = self;
    const struct wbpf_kernel_record_header *h = &record->header;
    uint64_t ring_bytes = s->chunk->ring.ring_bytes;
    uint8_t translated[KERNEL_TRANSLATED_BYTES];
    if (!is_wanted(self, h->trace_id_lo, h->trace_id_hi, true))
        return 0; /* its id changed before it was copied */
    uint32_t bytes = kernel_record_translate(record, translated);
    wbpf_piece what = {.uses = record->start / ring_bytes + 1,
                       .chunk = s->chunk->index,
                       .start_unit = (uint32_t)(record->start % ring_bytes / WBPF_UNIT_BYTES),
                       .process = process_of(s, (uint32_t)(h->pid_tgid >> 32)),
                       .tid = (uint32_t)h->pid_tgid,
                       .starts_run = true};
    id_join(what.trace_id, h->trace_id_lo, h->trace_id_hi);
    return watch_add_piece(s->watch, &what, translated, bytes);
}

static int search(wbpf_watch *w, const struct kernel_chunk *chunk, struct kernel_cursor *cursor,
                  bool everything)
{
    struct search s = {.watch = w, .chunk = chunk, .everything = everything, .process = UINT32_MAX};
    struct kernel_visitor visitor = {.wanted = is_wanted, .take = take_record, .self = &s};
    return kernel_ring_walk(&chunk->ring, cursor, everything || w->any_fresh, w->kernel->scratch, &visitor);
}

int kernel_poll(wbpf_watch *w)
{
    const struct kernel_chunks *all = w->segment->kernel;
    int error = 0;
    if (w->count == w->removed)
        return 0;
    for (uint32_t i = 0; i < all->count && !error; i++)
        error = search(w, &all->chunks[i], &w->kernel->cursors[i], false);
    return error;
}

int kernel_dump(wbpf_watch *w, uint32_t chunk)
{
    const struct kernel_chunks *all = w->segment->kernel;
    for (uint32_t i = 0; i < all->count; i++)
        if (all->chunks[i].index == chunk) {
            struct kernel_cursor from_start = {0};
            return search(w, &all->chunks[i], &from_start, true);
        }
    return 0;
}

/* ---- counters ---- */

struct tally {
    uint64_t records, oldest_ns;
};

static bool any(void *self, uint64_t lo, uint64_t hi, bool fresh_place)
{
    (void)self, (void)lo, (void)hi, (void)fresh_place;
    return true;
}

static int count_record(void *self, const struct kernel_record *record)
{
    struct tally *tally = self;
    tally->records++;
    if (!tally->oldest_ns || record->header.mono_ns < tally->oldest_ns)
        tally->oldest_ns = record->header.mono_ns;
    return 0;
}

static void count_ring(const struct kernel_ring *ring, uint8_t *scratch, wbpf_counters *out)
{
    struct tally tally = {0};
    struct kernel_cursor from_start = {0};
    struct kernel_visitor visitor = {.wanted = any, .take = count_record, .self = &tally};
    uint64_t refused = load_relaxed(&ring->header->refused);
    uint64_t written = kernel_ring_written(ring);
    uint64_t resident = written < ring->ring_bytes ? written : ring->ring_bytes;
    kernel_ring_walk(ring, &from_start, true, scratch, &visitor);
    uint64_t reserved = load_acquire(&ring->header->records) - refused;
    out->resident_records += tally.records;
    out->recycled_records += reserved > tally.records ? reserved - tally.records : 0;
    out->resident_bytes += resident;
    out->recycled_bytes += written - resident;
    out->refused += refused;
    out->chunks_used += written != 0;
    if (tally.oldest_ns && (!out->oldest_ticks || tally.oldest_ns < out->oldest_ticks))
        out->oldest_ticks = tally.oldest_ns;
}

void kernel_count(const wbpf_segment *segment, wbpf_counters *out)
{
    const struct kernel_chunks *all = segment->kernel;
    uint8_t *scratch = malloc(all->scratch_bytes + 1);
    uint64_t lost = scratch ? lost_until(all, scratch) : clock_monotonic_ns();
    out->lost_until_ticks = lost > out->lost_until_ticks ? lost : out->lost_until_ticks;
    for (uint32_t i = 0; scratch && i < all->count; i++)
        count_ring(&all->chunks[i].ring, scratch, out);
    free(scratch);
}
