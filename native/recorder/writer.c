/* Appending records to the thread's chunk. */
#include "internal.h"
#include <stdio.h>

#define THREAD_SLOTS  1
#define RUN_NEW_SLOTS 3
#define RESUME_BYTES  24

static void publish_word(struct writer *w)
{
    store_release(&w->chunk->word, w->word);
}

static uint32_t slots_room(const struct writer *w)
{
    return wbpf_map.header->chunk_bytes - 8 * (word_front(w->word) + word_slots(w->word));
}

/* Put slots behind the directory; they count once the word says so. */
static void add_slot(struct writer *w, unsigned type, uint32_t value)
{
    *directory_at(w->base, wbpf_map.header->chunk_bytes, word_slots(w->word)) = (struct wbpf_directory_slot){
        .start = (uint16_t)word_front(w->word), .type = (uint8_t)type, .value = value};
    w->word += WORD_ONE_SLOT;
}

static void add_id_half(struct writer *w, uint64_t half)
{
    memcpy(directory_at(w->base, wbpf_map.header->chunk_bytes, word_slots(w->word)), &half, 8);
    w->word += WORD_ONE_SLOT;
}

void writer_drop_chunk(struct writer *w)
{
    w->chunk = NULL;
    w->room = 0;
    w->run_open = false;
    w->ids = 0;
    memset(w->cache, 0, sizeof w->cache);
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
    if (wbpf_state->spare_count)
        chunk = wbpf_state->spare[--wbpf_state->spare_count];
    state_unlock();
    return chunk;
}

static bool leave_spare(uint32_t chunk)
{
    bool left = false;
    state_lock();
    if (wbpf_state->spare_count < sizeof wbpf_state->spare / sizeof *wbpf_state->spare) {
        wbpf_state->spare[wbpf_state->spare_count++] = chunk;
        left = true;
    }
    state_unlock();
    return left;
}

/* `cleared_ids` and `ids` of a spare chunk are kept in its header. */
static bool get_chunk(struct writer *w)
{
    int64_t chunk = take_spare();
    if (chunk < 0) {
        uint64_t now = clock_ticks();
        if (now < w->retry_ticks)
            return false;
        if (process_check(&wbpf_map, &wbpf_state->process) == 0)
            chunk = chunk_take(&wbpf_map, &wbpf_state->process);
        if (chunk < 0) {
            w->retry_ticks = now + wbpf_map.header->ticks_hz / 1000;
            return false;
        }
    }
    w->chunk_index = chunk;
    w->chunk = &wbpf_map.chunks[chunk];
    w->base = chunk_data(&wbpf_map, (uint32_t)chunk);
    w->word = w->chunk->word;
    w->ids = w->chunk->ids;
    add_slot(w, WBPF_SLOT_THREAD, w->tid);
    publish_word(w);
    return true;
}

void writer_retire(struct writer *w)
{
    if (w->chunk) {
        w->chunk->ids = w->ids;
        if (slots_room(w) < 4096 || !leave_spare((uint32_t)w->chunk_index))
            close_chunk(w);
        else
            writer_drop_chunk(w);
    }
    if (w->slot != &w->own_slot)
        store_release(&w->slot->owner, 0);
}

static uint8_t *record_place(const struct writer *w)
{
    return w->base + 8 * (size_t)word_front(w->word);
}

static void put_header(uint8_t *at, unsigned kind, unsigned level, uint32_t schema, size_t bytes)
{
    uint64_t header = (uint16_t)bytes | (uint64_t)(uint8_t)kind << 16 | (uint64_t)(uint8_t)level << 24 |
                      (uint64_t)schema << 32;
    memcpy(at, &header, 8);
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
    publish_word(w);
}

/* Start the run of the current trace, with room for a record of `need` bytes behind it. False: the chunk is
 * too full. */
static bool open_run(struct writer *w, uint32_t need, unsigned kind)
{
    uint64_t lo, hi;
    id_split(w->current.trace_id, &lo, &hi);
    unsigned place = (unsigned)(lo ^ (lo >> 32)) % ID_CACHE;
    bool known = w->cache[place].index && w->cache[place].lo == lo && w->cache[place].hi == hi;
    bool resumes = w->current.span_id && (kind & ~WBPF_STAMPED) != WBPF_KIND_BEGIN;
    uint32_t room = slots_room(w), slots = known ? 1 : RUN_NEW_SLOTS;
    if (room < 8 * slots + (resumes ? RESUME_BYTES : 0) + need)
        return false;
    if (known) {
        add_slot(w, WBPF_SLOT_RUN, w->cache[place].index - 1);
    } else {
        w->cache[place].lo = lo;
        w->cache[place].hi = hi;
        w->cache[place].index = word_slots(w->word) + 1;
        add_slot(w, WBPF_SLOT_RUN_NEW, 0);
        add_id_half(w, lo);
        add_id_half(w, hi);
        w->ids += (lo | hi) != 0;
    }
    publish_word(w);
    w->run_open = true;
    w->room = room - 8 * slots;
    if (resumes)
        resume(w);
    return true;
}

static __attribute__((noinline)) bool make_room(struct writer *w, uint32_t need, unsigned kind)
{
    for (int fresh = 0; fresh < 2; fresh++) {
        if (!w->chunk && !get_chunk(w))
            break;
        if (w->run_open ? need <= w->room : open_run(w, need, kind))
            return true;
        close_chunk(w);
    }
    writer_count_refused();
    return false;
}

/* Payload bytes that surely fit a fresh chunk. */
static size_t longest_payload(void)
{
    return wbpf_map.header->chunk_bytes - 8 * (THREAD_SLOTS + RUN_NEW_SLOTS) - RESUME_BYTES - 16;
}

static inline __attribute__((always_inline)) void append(struct writer *w, uint64_t ticks, unsigned kind,
                                                         unsigned level, uint32_t schema, const void *payload,
                                                         size_t bytes)
{
    bool stamp = kind & WBPF_STAMPED;
    size_t header = stamp ? 16 : 8;
    if (UNLIKELY(bytes >= w->room) && UNLIKELY(bytes > longest_payload())) {
        bytes = longest_payload();
        writer_count_truncated();
    }
    uint32_t need = (uint32_t)(header + bytes + 7) & ~7u;
    if (UNLIKELY(need > w->room) && !make_room(w, need, kind))
        return;
    uint8_t *at = record_place(w);
    put_header(at, kind, level, schema, header + bytes);
    if (stamp) {
        ticks = ticks ? ticks : clock_ticks();
        memcpy(at + 8, &ticks, 8);
    }
    memcpy(at + header, payload, bytes);
    w->word += need / 8 + WORD_ONE_RECORD;
    w->room -= need;
    publish_word(w);
}

void writer_append_at(struct writer *w, uint64_t ticks, unsigned kind, unsigned level, uint32_t schema,
                      const void *payload, size_t bytes)
{
    if (level >= load_relaxed(&w->slot->level))
        append(w, ticks, kind, level, schema, payload, bytes);
}

void wbpf_event(wbpf_schema schema, unsigned level, const void *payload, size_t bytes)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || UNLIKELY(level < load_relaxed(&w->slot->level)) || !writer_enter(w))
        return;
    append(w, 0, WBPF_KIND_EVENT | WBPF_STAMPED, level, schema, payload, bytes);
    writer_leave(w);
}

void wbpf_event_unstamped(wbpf_schema schema, unsigned level, const void *payload, size_t bytes)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || UNLIKELY(level < load_relaxed(&w->slot->level)) || !writer_enter(w))
        return;
    append(w, 0, WBPF_KIND_EVENT, level, schema, payload, bytes);
    writer_leave(w);
}

void *wbpf_reserve(wbpf_schema schema, unsigned level, size_t bytes)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || UNLIKELY(level < load_relaxed(&w->slot->level)) || !writer_enter(w))
        return NULL;
    uint32_t need = (uint32_t)(16 + bytes + 7) & ~7u;
    if (UNLIKELY(bytes > longest_payload())) {
        writer_count_refused();
    } else if (LIKELY(need <= w->room) || make_room(w, need, WBPF_KIND_EVENT)) {
        w->reserved_schema = schema;
        w->reserved_level = (uint8_t)level;
        w->reserved_bytes = (uint32_t)bytes;
        return record_place(w) + 16;
    }
    writer_leave(w);
    return NULL;
}

void wbpf_commit(size_t bytes)
{
    struct writer *w = writer_here();
    if (!w || !w->busy || !w->chunk)
        return;
    if (bytes > w->reserved_bytes)
        bytes = w->reserved_bytes;
    uint32_t need = (uint32_t)(16 + bytes + 7) & ~7u;
    uint8_t *at = record_place(w);
    uint64_t ticks = clock_ticks();
    put_header(at, WBPF_KIND_EVENT | WBPF_STAMPED, w->reserved_level, w->reserved_schema, 16 + bytes);
    memcpy(at + 8, &ticks, 8);
    w->word += need / 8 + WORD_ONE_RECORD;
    w->room -= need;
    publish_word(w);
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
    writer_append_at(w, 0, kind, level, schema, payload, bytes);
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

static uint32_t threshold(const struct writer *w)
{
    const struct wbpf_segment_header *h = wbpf_map.header;
    uint32_t used = load_relaxed(&h->override_count);
    if (UNLIKELY(used)) {
        uint64_t lo, hi;
        id_split(w->current.trace_id, &lo, &hi);
        for (uint32_t i = 0; (lo | hi) && i < WBPF_LEVEL_OVERRIDES; i++) {
            uint32_t level = load_acquire(&h->overrides[i].level);
            if (level && load_relaxed(&h->overrides[i].trace_id_lo) == lo &&
                load_relaxed(&h->overrides[i].trace_id_hi) == hi)
                return level;
        }
    }
    return w->current.level ? w->current.level : load_relaxed(&h->level);
}

void writer_publish(struct writer *w)
{
    struct wbpf_thread_slot *slot = w->slot;
    uint64_t lo, hi;
    uint32_t sequence = slot->sequence;
    id_split(w->current.trace_id, &lo, &hi);
    store_relaxed(&slot->sequence, sequence + 1);
    atomic_thread_fence(memory_order_release);
    store_relaxed(&slot->level, threshold(w));
    store_relaxed(&slot->trace_id_lo, lo);
    store_relaxed(&slot->trace_id_hi, hi);
    store_relaxed(&slot->span_id, w->current.span_id);
    store_release(&slot->sequence, sequence + 2);
}

void writer_switch(struct writer *w)
{
    w->run_open = false;
    w->room = 0;
    writer_publish(w);
}
