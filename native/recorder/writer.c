/* Appending records to the thread's chunk. */
#include "append.h"
#include <errno.h>
#include <sys/mman.h>

#define THREAD_SLOT_BYTES 8
#define RUN_SLOT_BYTES    8
#define RESUME_BYTES      24

void writer_drop_chunk(struct writer *w)
{
    w->chunk = NULL;
    w->base = w->back = NULL;
    w->word = 0;
    w->room = 0;
    w->run_open = false;
    w->ids = 0;
    memset(w->known, 0, sizeof w->known);
}

static void close_chunk(struct writer *w)
{
    w->chunk->ids = w->ids;
    chunk_close(&wbpf_map, (uint32_t)w->chunk_index, clock_ticks());
    writer_drop_chunk(w);
}

/* A chunk that an exited thread of this process left partly filled. */
static int64_t take_spare(void)
{
    int64_t chunk = -1;
    if (load_relaxed(&wbpf_state->spare_count) == 0)
        return -1;
    state_lock();
    uint32_t count = wbpf_state->spare_count;
    if (count) {
        chunk = wbpf_state->spare[count - 1];
        store_relaxed(&wbpf_state->spare_count, count - 1);
    }
    state_unlock();
    return chunk;
}

static bool leave_spare(uint32_t chunk)
{
    bool left = false;
    state_lock();
    uint32_t count = wbpf_state->spare_count;
    if (count < sizeof wbpf_state->spare / sizeof *wbpf_state->spare) {
        wbpf_state->spare[count] = chunk;
        store_relaxed(&wbpf_state->spare_count, count + 1);
        left = true;
    }
    state_unlock();
    return left;
}

/* When nobody has one to give, a chunk of a thread that is no more. */
static int64_t take_chunk(struct writer *w)
{
    int64_t chunk = -1, spare;
    int error = errno; /* the application's */
    uint64_t now = clock_ticks();
    if (now < w->retry_ticks)
        return -1;
    if (process_check(&wbpf_map, &wbpf_state->process) == 0) {
        chunk = chunk_take(&wbpf_map, &wbpf_state->process);
        if (chunk < 0 && (writer_reclaim(), (spare = take_spare()) >= 0)) {
            chunk_close(&wbpf_map, (uint32_t)spare, now);
            chunk = chunk_take(&wbpf_map, &wbpf_state->process);
        }
    }
    if (chunk < 0)
        w->retry_ticks = now + wbpf_map.fixed.ticks_hz / 1000;
    errno = error;
    return chunk;
}

/* `cleared_ids` and `ids` of a spare chunk are kept in its header. */
static bool get_chunk(struct writer *w, bool spare_too)
{
    int64_t chunk = spare_too ? take_spare() : -1;
    if (chunk < 0 && (chunk = take_chunk(w)) < 0)
        return false;
    w->chunk_index = chunk;
    w->chunk = &wbpf_map.chunks[chunk];
    w->base = chunk_data(&wbpf_map, (uint32_t)chunk);
    w->word = w->chunk->word;
    w->back = w->base + wbpf_map.fixed.chunk_bytes - 8 * word_slots(w->word);
    w->ids = w->chunk->ids;
    add_slots(w, (uint64_t[]){slot_of(w, WBPF_SLOT_THREAD, w->tid)}, 1);
    store_release(&w->chunk->word, w->word);
    return true;
}

void writer_retire(struct writer *w)
{
    if (w->chunk) {
        w->chunk->ids = w->ids;
        if (free_bytes(w) < 4096 || !leave_spare((uint32_t)w->chunk_index))
            close_chunk(w);
        else
            writer_drop_chunk(w);
    }
    if (w->slot != &w->own_slot)
        store_release(&w->slot->owner, 0);
}

static void resume(struct writer *w)
{
    uint8_t *at = record_place(w);
    uint64_t ticks = clock_ticks();
    put_header(at, WBPF_KIND_RESUME | WBPF_STAMPED, LEVEL_STRUCTURE, 0, RESUME_BYTES);
    memcpy(at + 8, &ticks, 8);
    memcpy(at + 16, &w->current.span_id, 8);
    w->word += RESUME_BYTES / 8 + WORD_ONE_RECORD;
    w->room -= RESUME_BYTES;
}

static const struct known_id *find_known(struct writer *w, uint64_t lo, uint64_t hi)
{
    const struct known_id *set = known_set(w, lo, hi);
    for (int i = 0; i < 2; i++)
        if (set[i].index && set[i].lo == lo && set[i].hi == hi)
            return &set[i];
    return NULL;
}

/* Start the run of the current trace, with room for a record of `need` bytes behind it. False: the chunk is
 * too full. */
static bool open_run(struct writer *w, uint32_t need, unsigned kind)
{
    uint64_t lo, hi;
    id_split(w->current.trace_id, &lo, &hi);
    const struct known_id *known = find_known(w, lo, hi);
    bool resumes = w->current.span_id && (kind & ~WBPF_STAMPED) != WBPF_KIND_BEGIN;
    uint32_t slots = known ? RUN_SLOT_BYTES : RUN_NEW_BYTES;
    if (free_bytes(w) < slots + (resumes ? RESUME_BYTES : 0) + need)
        return false;
    if (known) {
        add_slots(w, (uint64_t[]){slot_of(w, WBPF_SLOT_RUN, known->index - 1)}, 1);
        w->run_open = true;
        w->room = free_bytes(w);
    } else {
        open_new_run(w, lo, hi);
    }
    if (resumes)
        resume(w);
    return true;
}

bool writer_make_room(struct writer *w, uint32_t need, unsigned kind)
{
    for (int tries = 0; tries < 3; tries++) { /* ours, a spare one, one that surely has room */
        if (!w->chunk && !get_chunk(w, tries < 2))
            break;
        if (w->run_open ? need <= w->room : open_run(w, need, kind))
            return true;
        close_chunk(w);
    }
    writer_count_refused();
    return false;
}

size_t writer_longest_payload(void)
{
    return wbpf_map.fixed.chunk_bytes - THREAD_SLOT_BYTES - RUN_NEW_BYTES - RESUME_BYTES - 16;
}

void wbpf_event(wbpf_schema schema, unsigned level, const void *payload, size_t bytes)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || UNLIKELY(level < load_relaxed(&w->slot->level)) || !writer_enter(w))
        return;
    append(w, WBPF_KIND_EVENT | WBPF_STAMPED, level, schema, payload, bytes);
    writer_leave(w);
}

void wbpf_event_unstamped(wbpf_schema schema, unsigned level, const void *payload, size_t bytes)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || UNLIKELY(level < load_relaxed(&w->slot->level)) || !writer_enter(w))
        return;
    append(w, WBPF_KIND_EVENT, level, schema, payload, bytes);
    writer_leave(w);
}

size_t wbpf_longest_payload(void)
{
    return writer_here() ? writer_longest_payload() : 0;
}

/* Where an event's payload is put together that is too long for a record. Not malloc()'s memory: the caller
 * may be a signal handler. */
static uint8_t *aside(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static uint8_t *reserved_place(struct writer *w, size_t bytes)
{
    uint32_t need = (uint32_t)(16 + bytes + 7) & ~7u;
    if (UNLIKELY(bytes > writer_longest_payload())) {
        int error = errno; /* the application's */
        w->aside = aside(bytes);
        errno = error;
        if (w->aside)
            writer_count_truncated();
        else
            writer_count_refused();
        return w->aside;
    }
    return LIKELY(need <= w->room) || writer_make_room(w, need, WBPF_KIND_EVENT) ? record_place(w) + 16
                                                                                 : NULL;
}

void *wbpf_reserve(wbpf_schema schema, unsigned level, size_t bytes)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || UNLIKELY(level < load_relaxed(&w->slot->level)) || !writer_enter(w))
        return NULL;
    uint8_t *place = reserved_place(w, bytes);
    if (UNLIKELY(!place)) {
        writer_leave(w);
        return NULL;
    }
    w->reserved_schema = schema;
    w->reserved_level = (uint8_t)level;
    w->reserved_bytes = bytes;
    atomic_signal_fence(memory_order_seq_cst);
    w->busy = RESERVED;
    return place;
}

static void commit_from_aside(struct writer *w, size_t bytes)
{
    size_t longest = writer_longest_payload();
    append(w, WBPF_KIND_EVENT | WBPF_STAMPED, w->reserved_level, w->reserved_schema, w->aside,
           bytes < longest ? bytes : longest);
    munmap(w->aside, w->reserved_bytes);
    w->aside = NULL;
}

void wbpf_commit(size_t bytes)
{
    struct writer *w = writer_here();
    if (!w || w->busy != RESERVED)
        return;
    w->busy = BUSY;
    atomic_signal_fence(memory_order_seq_cst);
    if (bytes > w->reserved_bytes)
        bytes = w->reserved_bytes;
    if (UNLIKELY(w->aside)) {
        commit_from_aside(w, bytes);
        writer_leave(w);
        return;
    }
    uint32_t need = (uint32_t)(16 + bytes + 7) & ~7u;
    uint8_t *at = record_place(w);
    uint64_t ticks = clock_ticks();
    put_header(at, WBPF_KIND_EVENT | WBPF_STAMPED, w->reserved_level, w->reserved_schema, 16 + bytes);
    memcpy(at + 8, &ticks, 8);
    record_publish(w, need);
    writer_leave(w);
}

bool wbpf_enabled(unsigned level)
{
    struct writer *w = writer_here();
    return w && level >= load_relaxed(&w->slot->level);
}

static void append_simple(unsigned kind, unsigned level, uint32_t schema, const void *payload, size_t bytes)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || !writer_enter(w))
        return;
    if (level >= load_relaxed(&w->slot->level))
        append(w, kind, level, schema, payload, bytes);
    writer_leave(w);
}

void wbpf_attributes(wbpf_schema schema, const void *payload, size_t bytes)
{
    append_simple(WBPF_KIND_ATTRIBUTES, WBPF_LEVEL_INFO, schema, payload, bytes);
}

void wbpf_log(unsigned level, const char *text, size_t bytes)
{
    append_simple(WBPF_KIND_LOG | WBPF_STAMPED, level, 0, text, bytes);
}

void wbpf_metric(wbpf_schema name, double value)
{
    append_simple(WBPF_KIND_METRIC | WBPF_STAMPED, WBPF_LEVEL_INFO, name, &value, sizeof value);
}

/* ---- what the thread's slot shows ---- */

uint32_t writer_override(uint64_t lo, uint64_t hi)
{
    const struct wbpf_segment_header *h = wbpf_map.header;
    for (uint32_t i = 0; (lo | hi) && i < WBPF_LEVEL_OVERRIDES; i++) {
        uint32_t level = load_acquire(&h->overrides[i].level);
        if (level && load_relaxed(&h->overrides[i].trace_id_lo) == lo &&
            load_relaxed(&h->overrides[i].trace_id_hi) == hi)
            return level;
    }
    return 0;
}

void writer_publish(struct writer *w)
{
    uint64_t lo, hi;
    id_split(w->current.trace_id, &lo, &hi);
    publish_current(w, lo, hi);
}

void writer_switch(struct writer *w)
{
    uint64_t lo, hi;
    id_split(w->current.trace_id, &lo, &hi);
    switch_to(w, lo, hi);
}
