/*
 * What the directory of a chunk names, kept by the watch: a search reads the directories of chunks that were
 * written since the search before, and of those that its ids may be in. What a published word covers does not
 * change while its generation stands, so a summary holds as long as the word is the same. (Ids that are
 * cleared are flagged in place; a summary then says "maybe" where the directory says no.)
 */
#include "watch.h"

/* One bit an id: with the 330 ids of a usual chunk, one chunk in thirteen is looked at in vain. */
static uint32_t bit_of(uint64_t hash)
{
    return (uint32_t)(hash >> 52) % SUMMARY_BITS;
}

void watch_note_fresh(wbpf_watch *w)
{
    w->fresh_count = 0;
    if (w->any_fresh)
        for (size_t i = 0; i < w->capacity && w->fresh_count <= FRESH_MOST; i++)
            if (w->entries[i].fresh && w->fresh_count++ < FRESH_MOST)
                w->fresh[w->fresh_count - 1] = hash_in(w, w->entries[i].lo, w->entries[i].hi);
}

bool watch_may_have_fresh(wbpf_watch *w, uint32_t chunk, uint64_t word)
{
    struct summary *s = &w->summaries[chunk];
    if (w->fresh_count > FRESH_MOST || s->word != word)
        return true;
    for (uint32_t i = 0; i < w->fresh_count; i++)
        if (s->bits[bit_of(w->fresh[i]) / 64] >> bit_of(w->fresh[i]) % 64 & 1)
            return true;
    return false;
}

bool watch_summarise(wbpf_watch *w, uint32_t chunk, uint64_t word)
{
    const struct mapping *map = &w->segment->map;
    const uint8_t *data = chunk_data(map, chunk);
    struct summary *s = &w->summaries[chunk];
    uint32_t slots = word_slots(word);
    bool has_hit = false;
    *s = (struct summary){0};
    for (uint32_t i = 0; i < slots;) {
        const uint64_t *at = (const uint64_t *)directory_at(data, map->fixed.chunk_bytes, i);
        if ((uint8_t)(load_unowned(at) >> 16) != WBPF_SLOT_RUN_NEW) {
            i++;
            continue;
        }
        if (i + 3 > slots)
            return true; /* damaged: to be looked at each time */
        uint64_t lo = load_unowned(at - 1), hi = load_unowned(at - 2), hash = hash_in(w, lo, hi);
        has_hit |= lookup_hash(w, hash, lo, hi) != NULL;
        s->bits[bit_of(hash) / 64] |= 1ull << bit_of(hash) % 64;
        i += 3;
    }
    atomic_thread_fence(memory_order_acquire);
    if (word_generation(load_relaxed(&map->chunks[chunk].word)) == word_generation(word))
        s->word = word;
    return has_hit;
}
