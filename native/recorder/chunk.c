/* Taking and recycling chunks: docs/record-format.md, "Take and recycle". Every step can be repeated by the
 * next taker. */
#include "internal.h"

static void raise_to(uint64_t *where, uint64_t value)
{
    uint64_t seen = load_relaxed(where);
    while (seen < value &&
           !__atomic_compare_exchange_n(where, &seen, value, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
}

/* Of a chunk whose writer died before closing it: how many traces it names and when the last could have been
 * written. */
void chunk_survey(const struct mapping *map, uint32_t chunk, uint64_t word, uint32_t *ids, uint32_t *cleared,
                  uint64_t *newest)
{
    const uint8_t *data = chunk_data(map, chunk);
    uint32_t bytes = map->fixed.chunk_bytes, end = word_front(word) * 8;
    *ids = *cleared = 0;
    for (uint32_t i = 0; i < word_slots(word) && 8 * (i + 1) <= bytes; i++) {
        const struct wbpf_directory_slot *slot = directory_at(data, bytes, i);
        if (slot->type != WBPF_SLOT_RUN_NEW)
            continue;
        uint64_t id[2];
        if (8 * (i + 3) > bytes)
            break;
        memcpy(&id[0], directory_at(data, bytes, i + 1), 8);
        memcpy(&id[1], directory_at(data, bytes, i + 2), 8);
        i += 2;
        if (id[0] | id[1]) {
            *ids += 1;
            *cleared += slot->flags & WBPF_FLAG_CLEARED;
        }
    }
    /* Stamps may go back: of a thread that read the clock, waited, and went on in what another one left. */
    uint64_t stamp = 0;
    bool last_has_one = false;
    *newest = 0;
    for (uint32_t at = 0; at + sizeof(struct wbpf_record_header) <= end;) {
        const struct wbpf_record_header *r = (const struct wbpf_record_header *)(data + at);
        if (r->bytes < sizeof *r)
            break;
        last_has_one = r->kind & WBPF_STAMPED && at + 16 <= end;
        if (last_has_one) {
            memcpy(&stamp, data + at + 8, 8);
            *newest = stamp > *newest ? stamp : *newest;
        }
        at += (r->bytes + 7u) & ~7u;
    }
    if (!last_has_one)
        *newest = clock_read_slow(map->fixed.clock_kind);
}

static void recycle(const struct mapping *map, uint32_t chunk, uint32_t process)
{
    struct wbpf_chunk_header *c = &map->chunks[chunk];
    uint64_t word = load_acquire(&c->word);
    if (!(word_generation(word) & 1)) {
        uint32_t ids = c->ids, cleared = load_relaxed(&c->cleared_ids);
        uint64_t newest = c->close_ticks;
        if (!newest && word_slots(word))
            chunk_survey(map, chunk, word, &ids, &cleared, &newest);
        if (ids > cleared)
            raise_to(&map->header->lost_until, newest);
        store_relaxed(&c->pending_records, c->recycled_records + word_records(word));
        store_relaxed(&c->pending_bytes, c->recycled_bytes + 8ull * word_front(word));
        word = word_of_generation(2 * c->uses + 1);
        store_release(&c->word, word);
    }
    atomic_thread_fence(memory_order_release);
    store_relaxed(&c->recycled_records, c->pending_records);
    store_relaxed(&c->recycled_bytes, c->pending_bytes);
    if (word == word_of_generation(2 * c->uses + 1)) /* else a taker died after this step */
        store_relaxed(&c->uses, c->uses + 1);
    store_relaxed(&c->open_ticks, clock_ticks());
    c->close_ticks = 0;
    c->ids = 0;
    store_relaxed(&c->cleared_ids, 0);
    c->kind = WBPF_CHUNK_THREAD;
    store_relaxed(&c->process, process);
    store_release(&c->word, word_of_generation(2 * c->uses));
}

static bool own(const struct mapping *map, const struct process *self, uint32_t chunk, struct census *census)
{
    uint64_t owner = load_acquire(&map->chunks[chunk].owner);
    if (owner == self->owner)
        return false; /* of another thread of ours */
    if (owner && process_alive(map, census, self, owner))
        return false;
    return __atomic_compare_exchange_n(&map->chunks[chunk].owner, &owner, self->owner, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

bool chunk_own(const struct mapping *map, const struct process *self, uint32_t chunk)
{
    struct census census = census_of(self->segment_path);
    bool ours = own(map, self, chunk, &census);
    census_end(&census);
    return ours;
}

static bool wholly_cleared(const struct wbpf_chunk_header *c)
{
    return c->close_ticks && c->ids && load_relaxed(&c->cleared_ids) >= c->ids;
}

static int64_t take_cleared(const struct mapping *map, const struct process *self, struct census *census)
{
    uint32_t words = (map->fixed.chunk_count + 63) / 64;
    for (uint32_t i = 0; i < words && load_relaxed(&map->header->cleared_chunks); i++) {
        for (uint64_t bits = load_relaxed(&map->bitmap[i]); bits; bits &= bits - 1) {
            uint32_t chunk = i * 64 + (uint32_t)__builtin_ctzll(bits);
            uint64_t bit = bits & -bits;
            if (chunk >= map->fixed.chunk_count)
                break;
            if (__atomic_fetch_and(&map->bitmap[i], ~bit, __ATOMIC_RELAXED) & bit)
                __atomic_fetch_sub(&map->header->cleared_chunks, 1, __ATOMIC_RELAXED);
            if (!own(map, self, chunk, census))
                continue;
            if (wholly_cleared(&map->chunks[chunk]))
                return chunk;
            store_release(&map->chunks[chunk].owner, 0); /* recycled since its bit was set */
        }
    }
    return -1;
}

int64_t chunk_take(const struct mapping *map, const struct process *self)
{
    struct census census = census_of(self->segment_path);
    uint32_t count = map->fixed.chunk_count;
    int64_t taken = -1;
    if (UNLIKELY(load_relaxed(&map->header->cleared_chunks)))
        taken = take_cleared(map, self, &census);
    for (uint32_t tries = 0; taken < 0 && tries < count; tries++) {
        uint32_t chunk = add_relaxed(&map->header->hand, 1) % count;
        if (own(map, self, chunk, &census))
            taken = chunk;
    }
    census_end(&census);
    if (taken >= 0)
        recycle(map, (uint32_t)taken, self->slot);
    return taken;
}

static void offer_if_cleared(const struct mapping *map, uint32_t chunk)
{
    uint64_t bit = 1ull << (chunk % 64);
    if (wholly_cleared(&map->chunks[chunk]) &&
        !(__atomic_fetch_or(&map->bitmap[chunk / 64], bit, __ATOMIC_RELAXED) & bit))
        add_relaxed(&map->header->cleared_chunks, 1);
}

void chunk_disown(const struct mapping *map, uint32_t chunk)
{
    offer_if_cleared(map, chunk);
    store_release(&map->chunks[chunk].owner, 0);
}

/* The writer gives the chunk up for good; `ids` is set. */
void chunk_close(const struct mapping *map, uint32_t chunk, uint64_t now)
{
    map->chunks[chunk].close_ticks = now;
    chunk_disown(map, chunk);
}
