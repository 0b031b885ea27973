/* An opened segment: header, clocks, triggers, levels, counters. Searching is in watch.c. */
#include "segment.h"
#include "kernel_ring.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void unmap(wbpf_segment *segment)
{
    if (segment->watched)
        mapping_unwatch(segment->watched);
    munmap(segment->map.base, segment->map.bytes);
}

int wbpf_segment_open(const char *path, bool writable, wbpf_segment **out, char *why)
{
    wbpf_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return -ENOMEM;
    int fd = layout_open_file(path, writable, why), error = fd < 0 ? fd : 0;
    if (!error) {
        error = layout_map_file(fd, writable, &segment->map, &segment->watched, why);
        close(fd);
    }
    if (!error && !(segment->path = realpath(path, NULL)))
        error = -errno;
    if (error) {
        if (segment->map.base)
            unmap(segment);
        free(segment);
        return error;
    }
    segment->writable = writable;
    if ((error = kernel_chunks_open(segment, why)) != 0) {
        wbpf_segment_close(segment);
        return error;
    }
    *out = segment;
    return 0;
}

int segment_adopt(uint8_t *base, uint64_t bytes, const char *name, wbpf_segment **out, char *why)
{
    struct mapping map;
    int error = layout_adopt(base, bytes, &map, why);
    wbpf_segment *segment = error ? NULL : calloc(1, sizeof *segment);
    if (!segment || !(segment->path = strdup(name))) {
        free(segment);
        return error ? error : -ENOMEM;
    }
    segment->map = map;
    *out = segment;
    return 0;
}

void wbpf_segment_close(wbpf_segment *segment)
{
    kernel_chunks_close(segment->kernel);
    if (segment->joined)
        process_leave(&segment->map, &segment->process);
    unmap(segment);
    free(segment->path);
    free(segment);
}

bool wbpf_segment_was_cut(const wbpf_segment *segment)
{
    return segment->watched && mapping_was_cut(segment->watched);
}

const struct wbpf_segment_header *wbpf_segment_header(const wbpf_segment *segment)
{
    return &segment->map.fixed;
}

const struct wbpf_process_slot *wbpf_segment_process(const wbpf_segment *segment, uint32_t index)
{
    return index < segment->map.fixed.process_count ? &segment->map.processes[index] : NULL;
}

bool wbpf_segment_process_alive(const wbpf_segment *segment, uint32_t index, uint32_t generation)
{
    if (index >= segment->map.fixed.process_count)
        return false;
    uint32_t now = load_acquire(&segment->map.processes[index].generation);
    if (!now || (generation && generation != now))
        return false;
    struct census census = census_of(segment->path);
    bool alive = process_alive(&segment->map, &census, NULL, owner_of(index, now));
    census_end(&census);
    return alive;
}

bool wbpf_segment_next_schema(const wbpf_segment *segment, uint32_t *offset, uint32_t *schema_id,
                              const char **text, uint32_t *text_bytes)
{
    const struct mapping *map = &segment->map;
    return schema_next(map, offset, schema_id, text, text_bytes);
}

/* ---- clocks ---- */

int wbpf_segment_calibrate(wbpf_segment *segment)
{
    struct wbpf_calibration now;
    if (!segment->writable)
        return -EACCES;
    clock_calibrate(segment->map.fixed.clock_kind, &now);
    clock_record_calibration(segment->map.header, &now);
    return 0;
}

uint32_t wbpf_segment_calibrations(const wbpf_segment *segment, struct wbpf_calibration *out)
{
    return clock_calibrations(segment->map.header, out);
}

uint64_t wbpf_segment_ticks_to_unix_ns(const wbpf_segment *segment, uint64_t ticks)
{
    struct wbpf_calibration sorted[WBPF_CALIBRATIONS];
    uint32_t count = clock_calibrations(segment->map.header, sorted);
    return clock_to_unix_ns(sorted, count, segment->map.fixed.ticks_hz, ticks);
}

uint64_t wbpf_segment_now_ticks(const wbpf_segment *segment)
{
    return clock_read_slow(segment->map.fixed.clock_kind);
}

/* ---- triggers ---- */

#define MASK_STATE 0xffu

static bool claimant_is_dead(const wbpf_segment *segment, uint64_t state)
{
    uint32_t slot = (uint32_t)(state >> 16 & 0xffff) - 1, generation = (uint32_t)(state >> 32);
    struct census census = census_of(segment->path);
    bool alive = process_alive(&segment->map, &census, NULL, owner_of(slot, generation));
    census_end(&census);
    return !alive;
}

uint32_t wbpf_segment_take_triggers(wbpf_segment *segment, bool again, wbpf_fired *out, uint32_t max)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < segment->map.fixed.trigger_count && taken < max; i++) {
        struct wbpf_trigger_slot *slot = &segment->map.triggers[i];
        uint64_t state = load_acquire(&slot->state);
        unsigned kind = state & MASK_STATE;
        if (kind == WBPF_TRIGGER_STATE_CLAIMED && claimant_is_dead(segment, state))
            __atomic_compare_exchange_n(&slot->state, &state, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        if (kind != WBPF_TRIGGER_STATE_READY && !(again && kind == WBPF_TRIGGER_STATE_TAKEN))
            continue;
        uint64_t token = (state & ~(uint64_t)MASK_STATE) | WBPF_TRIGGER_STATE_TAKEN;
        out[taken].what = *slot;
        if (out[taken].what.lateral_count > WBPF_TRIGGER_LATERALS)
            out[taken].what.lateral_count = WBPF_TRIGGER_LATERALS;
        if (!__atomic_compare_exchange_n(&slot->state, &state, token, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED))
            continue;
        out[taken].slot = i;
        out[taken].token = token;
        taken++;
    }
    return taken;
}

void wbpf_segment_ack_trigger(wbpf_segment *segment, uint32_t slot, uint64_t token)
{
    if (slot < segment->map.fixed.trigger_count)
        __atomic_compare_exchange_n(&segment->map.triggers[slot].state, &token, 0, false, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED);
}

uint32_t wbpf_bell_wait(const uint32_t *bell, uint32_t seen, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                               .tv_nsec = (long)(timeout_ns % 1000000000u)};
    if (load_acquire(bell) == seen)
        syscall(SYS_futex, bell, FUTEX_WAIT, seen, &timeout, NULL, 0);
    return load_acquire(bell);
}

/* ---- clears ---- */

uint32_t wbpf_segment_cleared(wbpf_segment *segment, uint64_t *position, uint8_t (*ids)[16], uint32_t max)
{
    const struct wbpf_segment_header *h = segment->map.header;
    uint64_t end = load_acquire(&h->clear_next);
    uint32_t count = 0;
    if (*position > end || end - *position > segment->map.fixed.clear_count)
        *position = end > segment->map.fixed.clear_count ? end - segment->map.fixed.clear_count : 0;
    for (; *position < end && count < max; ++*position) {
        const struct wbpf_clear_slot *slot = &segment->map.clears[*position % segment->map.fixed.clear_count];
        if (load_acquire(&slot->sequence) != *position + 1)
            continue;
        id_join(ids[count], load_relaxed(&slot->trace_id_lo), load_relaxed(&slot->trace_id_hi));
        atomic_thread_fence(memory_order_acquire);
        count += load_relaxed(&slot->sequence) == *position + 1;
    }
    return count;
}

/* To flag slots one has to own the chunk: it might be recycled under our hands. Chunks in use by live writers
 * are passed over. */
bool segment_join(wbpf_segment *segment)
{
    if (!segment->joined && segment->writable)
        segment->joined = process_join(&segment->map, segment->path, &segment->process) == 0;
    return segment->joined && segment->process.pid == getpid() &&
           process_check(&segment->map, &segment->process) == 0;
}

/* ---- levels ---- */

static uint32_t level_of_trace(const struct wbpf_segment_header *h, uint64_t lo, uint64_t hi)
{
    for (uint32_t i = 0; (lo | hi) && i < WBPF_LEVEL_OVERRIDES; i++)
        if (load_relaxed(&h->overrides[i].level) && h->overrides[i].trace_id_lo == lo &&
            h->overrides[i].trace_id_hi == hi)
            return h->overrides[i].level;
    return 0;
}

/* Threads that are in the middle of something are shown the new level; one that changes its trace right now
 * may miss it until the next call. */
static void correct_threads(wbpf_segment *segment, uint32_t old_level)
{
    const struct wbpf_segment_header *h = segment->map.header;
    for (uint32_t i = 0; i < segment->map.fixed.thread_count; i++) {
        struct wbpf_thread_slot *slot = &segment->map.threads[i];
        if (!load_relaxed(&slot->owner))
            continue;
        uint32_t sequence = load_acquire(&slot->sequence), seen = load_relaxed(&slot->level);
        uint32_t own = level_of_trace(h, load_relaxed(&slot->trace_id_lo), load_relaxed(&slot->trace_id_hi));
        uint32_t want = own ? own : seen == old_level ? h->level : seen;
        atomic_thread_fence(memory_order_acquire);
        if (!(sequence & 1) && sequence == load_relaxed(&slot->sequence) && want != seen)
            __atomic_compare_exchange_n(&slot->level, &seen, want, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

void wbpf_segment_set_level(wbpf_segment *segment, uint32_t level)
{
    struct wbpf_segment_header *h = segment->map.header;
    if (!segment->writable)
        return;
    uint32_t old = load_relaxed(&h->level);
    if (old != level) {
        segment->old_level = old;
        store_relaxed(&h->level, level);
    }
    correct_threads(segment, segment->old_level);
}

int wbpf_segment_set_trace_level(wbpf_segment *segment, const uint8_t trace_id[16], uint32_t level)
{
    struct wbpf_segment_header *h = segment->map.header;
    struct wbpf_level_override *entry = NULL;
    uint64_t lo, hi;
    if (!segment->writable)
        return -EACCES;
    id_split(trace_id, &lo, &hi);
    for (uint32_t i = 0; i < WBPF_LEVEL_OVERRIDES; i++) {
        struct wbpf_level_override *one = &h->overrides[i];
        bool used = load_relaxed(&one->level) != 0;
        if (used && one->trace_id_lo == lo && one->trace_id_hi == hi) {
            entry = one;
            break;
        }
        if (!used && !entry)
            entry = one;
    }
    if (!entry)
        return -ENOSPC;
    bool used = load_relaxed(&entry->level) != 0;
    if (!used && !level)
        return 0;
    entry->trace_id_lo = lo;
    entry->trace_id_hi = hi;
    store_release(&entry->level, level);
    if (used != (level != 0))
        __atomic_fetch_add(&h->override_count, level ? 1 : -1, __ATOMIC_RELEASE);
    correct_threads(segment, h->level);
    return 0;
}

/* ---- counters ---- */

/* What one chunk has and had. Recycled meanwhile, its records would count twice, or not at all: once more. */
static void count_chunk(const struct wbpf_chunk_header *c, wbpf_counters *out)
{
    uint64_t word, recycled, bytes, opened;
    bool recycling;
    int tries = 0; /* hostile memory may change for ever */
    do {
        word = load_acquire(&c->word);
        recycling = word_generation(word) & 1;
        opened = load_relaxed(&c->open_ticks);
        recycled = load_relaxed(recycling ? &c->pending_records : &c->recycled_records);
        bytes = load_relaxed(recycling ? &c->pending_bytes : &c->recycled_bytes);
        atomic_thread_fence(memory_order_acquire);
    } while (word_generation(load_relaxed(&c->word)) != word_generation(word) && ++tries < 100);
    out->resident_records += recycling ? 0 : word_records(word);
    out->resident_bytes += recycling ? 0 : 8ull * word_front(word);
    out->recycled_records += recycled;
    out->recycled_bytes += bytes;
    out->chunks_used += word != 0;
    if (word_records(word) && (!out->oldest_ticks || opened < out->oldest_ticks))
        out->oldest_ticks = opened;
}

void wbpf_segment_counters(const wbpf_segment *segment, wbpf_counters *out)
{
    const struct wbpf_segment_header *h = segment->map.header;
    *out = (wbpf_counters){.triggers_dropped = load_relaxed(&h->triggers_dropped),
                           .lost_until_ticks = load_relaxed(&h->lost_until)};
    struct census census = census_of(segment->path);
    for (uint32_t i = 0; i < segment->map.fixed.chunk_count; i++) {
        uint64_t owner = load_relaxed(&segment->map.chunks[i].owner);
        out->chunks_owned += owner && process_alive(&segment->map, &census, NULL, owner);
        count_chunk(&segment->map.chunks[i], out);
    }
    for (uint32_t i = 0; i < segment->map.fixed.process_count; i++) {
        const struct wbpf_process_slot *p = &segment->map.processes[i];
        out->refused += load_relaxed(&p->refused);
        out->truncated += load_relaxed(&p->truncated);
        uint32_t generation = load_acquire(&p->generation);
        out->processes_alive +=
            generation && process_alive(&segment->map, &census, NULL, owner_of(i, generation));
    }
    census_end(&census);
    for (uint32_t i = 0; i < segment->map.fixed.thread_count; i++)
        out->threads += load_relaxed(&segment->map.threads[i].owner) != 0;
    if (segment->kernel)
        kernel_count(segment, out);
}
