/* A watch, inside: what search in thread chunks and in kernel chunks share. */
#ifndef WBPF_WATCH_H
#define WBPF_WATCH_H

#include "kernel_ring.h"
#include "segment.h"

struct entry {
    uint64_t lo, hi;
    bool used, fresh; /* fresh: added since the last poll, so wanted from the start of every chunk */
};

/* Growing arrays, kept from poll to poll. */
struct buffer {
    uint8_t *bytes;
    size_t used, size;
};

enum { SUMMARY_BITS = 4096 };

/* The ids that a chunk's directory names. */
struct summary {
    uint64_t bits[SUMMARY_BITS / 64];
    uint64_t word; /* what it was read under; 0: not read */
};

enum { FRESH_MOST = 64 }; /* more are looked for in the directories: that takes less then */

struct wbpf_watch {
    wbpf_segment *segment;
    struct entry *entries; /* open addressing, a power of two */
    size_t capacity, count, removed;
    bool any_fresh;
    uint64_t *filter;
    uint32_t filter_bits; /* log2 */
    uint64_t *words;      /* as last read, a chunk */
    struct summary *summaries;
    uint64_t fresh[FRESH_MOST]; /* their hashes */
    uint32_t fresh_count;       /* above FRESH_MOST: not all */
    uint8_t *copy;              /* of one chunk's records and directory */
    struct buffer pieces, data, breadcrumbs, laterals;
    struct kernel_cursors *kernel; /* NULL: no kernel chunks */
};

static inline uint64_t hash_in(const wbpf_watch *w, uint64_t lo, uint64_t hi)
{
    const struct wbpf_segment_header *fixed = &w->segment->map.fixed;
    return id_hash(lo, hi, fixed->hash_key0, fixed->hash_key1);
}

static inline struct entry *find(const wbpf_watch *w, uint64_t hash, uint64_t lo, uint64_t hi)
{
    for (size_t i = (hash >> 32) & (w->capacity - 1);; i = (i + 1) & (w->capacity - 1)) {
        struct entry *e = &w->entries[i];
        if (!(e->lo | e->hi) || (e->lo == lo && e->hi == hi))
            return e;
    }
}

static inline const struct entry *lookup_hash(const wbpf_watch *w, uint64_t hash, uint64_t lo, uint64_t hi)
{
    uint32_t bit = (uint32_t)hash & ((1u << w->filter_bits) - 1);
    if (__builtin_expect(!(w->filter[bit / 64] >> (bit % 64) & 1), 1))
        return NULL;
    const struct entry *e = find(w, hash, lo, hi);
    return e->used ? e : NULL;
}

static inline const struct entry *lookup(const wbpf_watch *w, uint64_t lo, uint64_t hi)
{
    return lookup_hash(w, hash_in(w, lo, hi), lo, hi);
}

/* Give `bytes` of records to the caller of the poll, as the piece that `what` describes but for its counts.
 */
int watch_add_piece(wbpf_watch *w, const wbpf_piece *what, const uint8_t *records, uint32_t bytes);

/* ---- watch_summary.c ---- */

/* At the beginning of a poll. */
void watch_note_fresh(wbpf_watch *w);
/* False: what the word covers names no fresh id. */
bool watch_may_have_fresh(wbpf_watch *w, uint32_t chunk, uint64_t word);
/* Reads the directory, of at most a chunk, for that; whether it names an id of the set: a hint, for it may be
 * recycled meanwhile. */
bool watch_summarise(wbpf_watch *w, uint32_t chunk, uint64_t word);

#endif
