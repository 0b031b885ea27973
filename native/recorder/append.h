/* The hot path: putting records into the thread's chunk. The caller has entered the writer. */
#ifndef WBPF_APPEND_H
#define WBPF_APPEND_H

#include "copy.h"
#include "internal.h"

#define INLINED static inline __attribute__((always_inline))

#define RUN_NEW_BYTES 24

/* Make room for a record of `need` bytes in the run of the current trace, in a new chunk if need be. False:
 * refused and counted. What it writes is published with the record. */
bool writer_make_room(struct writer *w, uint32_t need, unsigned kind);
/* Payload bytes that surely fit a fresh chunk. */
size_t writer_longest_payload(void);

static inline uint8_t *record_place(const struct writer *w)
{
    return w->base + 8 * (size_t)word_front(w->word);
}

static inline void put_header(uint8_t *at, unsigned kind, unsigned level, uint32_t schema, size_t bytes)
{
    uint64_t header = (uint16_t)bytes | (uint64_t)(uint8_t)kind << 16 | (uint64_t)(uint8_t)level << 24 |
                      (uint64_t)schema << 32;
    memcpy(at, &header, 8);
}

INLINED uint32_t record_bytes(unsigned kind, size_t payload)
{
    return (uint32_t)((kind & WBPF_STAMPED ? 16 : 8) + payload + 7) & ~7u;
}

/* Room for a record, with its header and stamp (`ticks` 0: read the clock now). Returns where its payload
 * goes; NULL: refused. */
INLINED uint8_t *record_open(struct writer *w, uint64_t ticks, unsigned kind, unsigned level, uint32_t schema,
                             size_t bytes)
{
    uint32_t need = record_bytes(kind, bytes);
    if (UNLIKELY(need > w->room) && UNLIKELY(!writer_make_room(w, need, kind)))
        return NULL;
    uint8_t *at = record_place(w);
    if (!(kind & WBPF_STAMPED)) {
        put_header(at, kind, level, schema, 8 + bytes);
        return at + 8;
    }
    put_header(at, kind, level, schema, 16 + bytes);
    ticks = ticks ? ticks : clock_ticks();
    memcpy(at + 8, &ticks, 8);
    return at + 16;
}

/* The record counts from here on, and with it what was written before it. */
INLINED void record_publish(struct writer *w, uint32_t need)
{
    w->word += need / 8 + WORD_ONE_RECORD;
    w->room -= need;
    store_release(&w->chunk->word, w->word);
}

/* A record whose payload may have any size; cut if it can't fit a chunk. */
INLINED void append(struct writer *w, unsigned kind, unsigned level, uint32_t schema, const void *payload,
                    size_t bytes)
{
    if (UNLIKELY(bytes >= w->room) && UNLIKELY(bytes > writer_longest_payload())) {
        bytes = writer_longest_payload();
        writer_count_truncated();
    }
    uint8_t *to = record_open(w, 0, kind, level, schema, bytes);
    if (LIKELY(to)) {
        copy_payload(to, payload, bytes);
        record_publish(w, record_bytes(kind, bytes));
    }
}

/* A stamped record of a size that the caller knows, so that nothing is called. */
INLINED void append_fixed(struct writer *w, uint64_t ticks, unsigned kind, unsigned level, uint32_t schema,
                          const void *payload, size_t bytes)
{
    uint8_t *to = record_open(w, ticks, kind | WBPF_STAMPED, level, schema, bytes);
    if (LIKELY(to)) {
        memcpy(to, payload, bytes);
        record_publish(w, record_bytes(WBPF_STAMPED, bytes));
    }
}

/* The same, if records of its level are wanted now. */
INLINED void append_wanted(struct writer *w, uint64_t ticks, unsigned kind, unsigned level, uint32_t schema,
                           const void *payload, size_t bytes)
{
    if (LIKELY(level >= load_relaxed(&w->slot->level)))
        append_fixed(w, ticks, kind, level, schema, payload, bytes);
}

/* ---- runs ---- */

/* Bytes between records and directory. */
static inline uint32_t free_bytes(const struct writer *w)
{
    return (uint32_t)(w->back - record_place(w));
}

/* Slots count once the published word says so. */
static inline void add_slots(struct writer *w, const uint64_t *slots, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        memcpy(w->back - 8 * (i + 1), &slots[i], 8);
    w->back -= 8 * count;
    w->word += count * WORD_ONE_SLOT;
}

static inline uint64_t slot_of(const struct writer *w, unsigned type, uint32_t value)
{
    return word_front(w->word) | (uint64_t)type << 16 | (uint64_t)value << 32;
}

static inline struct known_id *known_set(struct writer *w, uint64_t lo, uint64_t hi)
{
    uint64_t both = lo ^ hi;
    return w->known[(both ^ both >> 32) % ID_SETS];
}

/* Start the run of a trace that the directory does not name; there must be room for its RUN_NEW. */
static inline void open_new_run(struct writer *w, uint64_t lo, uint64_t hi)
{
    known_set(w, lo, hi)[w->ids % 2] = (struct known_id){lo, hi, word_slots(w->word) + 1};
    add_slots(w, (uint64_t[]){slot_of(w, WBPF_SLOT_RUN_NEW, 0), lo, hi}, 3);
    w->ids += (lo | hi) != 0;
    w->run_open = true;
    w->room = free_bytes(w);
}

/* ---- what the thread's slot shows ---- */

/* The level of a trace that has one of its own; else 0. */
uint32_t writer_override(uint64_t lo, uint64_t hi);

static inline uint32_t threshold(const struct writer *w, uint64_t lo, uint64_t hi)
{
    const struct wbpf_segment_header *h = wbpf_map.header;
    uint32_t level = UNLIKELY(load_relaxed(&h->override_count)) ? writer_override(lo, hi) : 0;
    level = level ? level : w->current.level;
    return level ? level : load_relaxed(&h->level);
}

/* lo and hi: the id of `current`. */
static inline void publish_current(struct writer *w, uint64_t lo, uint64_t hi)
{
    struct wbpf_thread_slot *slot = w->slot;
    uint32_t sequence = slot->sequence;
    store_relaxed(&slot->sequence, sequence + 1);
    atomic_thread_fence(memory_order_release);
    store_relaxed(&slot->level, threshold(w, lo, hi));
    store_relaxed(&slot->trace_id_lo, lo);
    store_relaxed(&slot->trace_id_hi, hi);
    store_relaxed(&slot->span_id, w->current.span_id);
    store_release(&slot->sequence, sequence + 2);
}

/* The same, and the next record starts a new run. */
static inline void switch_to(struct writer *w, uint64_t lo, uint64_t hi)
{
    w->run_open = false;
    w->room = 0;
    publish_current(w, lo, hi);
}

#endif
