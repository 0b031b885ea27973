/*
 * Search and watch. One pass over the directories serves any number of ids: each RUN_NEW id is hashed and
 * looked up in a bit filter; only a chunk with a hit is copied, checked, and parsed. What a search has seen
 * in the directories serves the next ones (watch_summary.c).
 */
#include "watch.h"
#include <errno.h>
#include <stdlib.h>

static void *take(struct buffer *b, size_t bytes)
{
    if (b->size - b->used < bytes) {
        size_t size = b->size ? b->size : 4096;
        while (size - b->used < bytes)
            size *= 2;
        uint8_t *grown = realloc(b->bytes, size);
        if (!grown)
            return NULL;
        b->bytes = grown;
        b->size = size;
    }
    b->used += bytes;
    return b->bytes + b->used - bytes;
}

int wbpf_watch_create(wbpf_segment *segment, wbpf_watch **out)
{
    const struct wbpf_segment_header *fixed = &segment->map.fixed;
    wbpf_watch *w = calloc(1, sizeof *w);
    if (w) {
        w->segment = segment;
        w->words = calloc(fixed->chunk_count, sizeof *w->words);
        w->summaries = calloc(fixed->chunk_count, sizeof *w->summaries);
        w->copy = malloc(fixed->chunk_bytes);
        w->capacity = 64;
        w->entries = calloc(w->capacity, sizeof *w->entries);
        w->filter_bits = 15;
        w->filter = calloc(1, 1u << (w->filter_bits - 3));
        w->kernel = kernel_cursors_create(segment);
    }
    if (!w || !w->words || !w->summaries || !w->copy || !w->entries || !w->filter ||
        (segment->kernel && !w->kernel)) {
        if (w)
            wbpf_watch_destroy(w);
        return -ENOMEM;
    }
    *out = w;
    return 0;
}

void wbpf_watch_destroy(wbpf_watch *w)
{
    free(w->words);
    free(w->summaries);
    free(w->copy);
    free(w->entries);
    free(w->filter);
    free(w->pieces.bytes);
    free(w->data.bytes);
    free(w->breadcrumbs.bytes);
    free(w->laterals.bytes);
    kernel_cursors_destroy(w->kernel);
    free(w);
}

/* ---- the set of ids ---- */

static void set_filter(wbpf_watch *w, uint64_t hash)
{
    uint32_t bit = (uint32_t)hash & ((1u << w->filter_bits) - 1);
    w->filter[bit / 64] |= 1ull << (bit % 64);
}

/* Make room for `more` ids, forget removed ones, and build the filter anew. */
static int rebuild(wbpf_watch *w, size_t more)
{
    size_t live = w->count - w->removed, capacity = 64;
    uint32_t bits = 15;
    while (capacity < 2 * (live + more))
        capacity *= 2;
    while (bits < 24 && (1u << bits) < 64 * (live + more))
        bits++;
    struct entry *entries = calloc(capacity, sizeof *entries);
    uint64_t *filter = calloc(1, 1u << (bits - 3));
    if (!entries || !filter) {
        free(entries);
        free(filter);
        return -ENOMEM;
    }
    struct entry *old = w->entries;
    size_t old_capacity = w->capacity;
    free(w->filter);
    w->entries = entries;
    w->capacity = capacity;
    w->filter = filter;
    w->filter_bits = bits;
    w->count = live;
    w->removed = 0;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].used) {
            uint64_t hash = hash_in(w, old[i].lo, old[i].hi);
            *find(w, hash, old[i].lo, old[i].hi) = old[i];
            set_filter(w, hash);
        }
    free(old);
    return 0;
}

int wbpf_watch_add(wbpf_watch *w, const uint8_t (*ids)[16], size_t count)
{
    if (2 * (w->count + count) > w->capacity && rebuild(w, count) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        uint64_t lo, hi;
        id_split(ids[i], &lo, &hi);
        if (!(lo | hi))
            continue;
        uint64_t hash = hash_in(w, lo, hi);
        struct entry *e = find(w, hash, lo, hi);
        bool was_there = e->lo | e->hi;
        if (was_there && e->used)
            continue;
        w->count += !was_there;
        w->removed -= was_there;
        *e = (struct entry){lo, hi, true, true};
        set_filter(w, hash);
        w->any_fresh = true;
    }
    return 0;
}

void wbpf_watch_remove(wbpf_watch *w, const uint8_t (*ids)[16], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t lo, hi;
        id_split(ids[i], &lo, &hi);
        struct entry *e = find(w, hash_in(w, lo, hi), lo, hi);
        if (e->used) {
            e->used = e->fresh = false;
            w->removed++;
        }
    }
    if (w->removed > 64 && w->removed > w->count / 2)
        rebuild(w, 0);
}

/* ---- one chunk ---- */

/* Does the directory name an id of the set? Reads shared memory that may change: only a hint, and only within
 * the chunk. */
static bool has_hit(const wbpf_watch *w, const uint8_t *data, uint32_t chunk_bytes, uint32_t slots)
{
    for (uint32_t i = 0; i < slots;) {
        const uint64_t *at = (const uint64_t *)directory_at(data, chunk_bytes, i);
        if ((uint8_t)(load_unowned(at) >> 16) != WBPF_SLOT_RUN_NEW) {
            i++;
            continue;
        }
        if (i + 3 > slots)
            return true;
        if (lookup(w, load_unowned(at - 1), load_unowned(at - 2)))
            return true;
        i += 3;
    }
    return false;
}

/* Walk the records of a piece: count, and collect what leads to other hosts and traces. Stops at what can't
 * be a record. */
static int parse_records(wbpf_watch *w, wbpf_piece *piece, const uint8_t *data)
{
    size_t crumbs = w->breadcrumbs.used, laterals = w->laterals.used;
    uint32_t at = 0;
    while (piece->bytes - at >= sizeof(struct wbpf_record_header)) {
        struct wbpf_record_header r;
        memcpy(&r, data + at, sizeof r);
        uint32_t header = r.kind & WBPF_STAMPED ? 16 : 8, padded = (r.bytes + 7u) & ~7u;
        if (r.bytes < header || padded > piece->bytes - at)
            break;
        const uint8_t *payload = data + at + header;
        uint32_t bytes = r.bytes - header, kind = r.kind & ~WBPF_STAMPED;
        piece->records++;
        piece->begins += kind == WBPF_KIND_BEGIN;
        piece->ends += kind == WBPF_KIND_END;
        if (kind == WBPF_KIND_BREADCRUMB && bytes >= sizeof(struct wbpf_breadcrumb_payload)) {
            struct wbpf_breadcrumb_payload p;
            memcpy(&p, payload, sizeof p);
            wbpf_breadcrumb *crumb = take(&w->breadcrumbs, sizeof *crumb);
            if (!crumb)
                return -ENOMEM;
            *crumb = (wbpf_breadcrumb){p.peer_host_id, p.edge_span_id, p.direction};
        } else if (kind == WBPF_KIND_TRIGGER && bytes >= sizeof(struct wbpf_trigger_payload)) {
            struct wbpf_trigger_payload p;
            memcpy(&p, payload, sizeof p);
            uint32_t fit = (bytes - (uint32_t)sizeof p) / 16;
            uint32_t n = p.lateral_count < fit ? p.lateral_count : fit;
            uint8_t *ids = n ? take(&w->laterals, 16 * (size_t)n) : NULL;
            if (n && !ids)
                return -ENOMEM;
            if (n)
                memcpy(ids, payload + sizeof p, 16 * (size_t)n);
        }
        at += padded;
    }
    piece->bytes = at;
    piece->breadcrumb_count = (uint32_t)((w->breadcrumbs.used - crumbs) / sizeof(wbpf_breadcrumb));
    piece->lateral_count = (uint32_t)((w->laterals.used - laterals) / 16);
    return 0;
}

struct range {
    uint32_t from, to, run_from; /* units */
};

int watch_add_piece(wbpf_watch *w, const wbpf_piece *what, const uint8_t *records, uint32_t bytes)
{
    uint8_t *data = take(&w->data, bytes);
    wbpf_piece *piece = take(&w->pieces, sizeof *piece);
    if (!data || !piece)
        return -ENOMEM;
    *piece = *what;
    piece->bytes = bytes;
    memcpy(data, records, bytes);
    piece->data = (const uint8_t *)(uintptr_t)(data - w->data.bytes); /* an offset until settle() */
    return parse_records(w, piece, data);
}

static int add_range(wbpf_watch *w, wbpf_piece *what, struct range r)
{
    what->start_unit = r.from;
    what->starts_run = r.from == r.run_from;
    return watch_add_piece(w, what, w->copy + 8 * (size_t)r.from, 8 * (r.to - r.from));
}

/* Of a chunk's header, copied with the chunk. */
struct use {
    uint64_t uses;
    uint32_t process;
};

/* Parse the copied chunk; `old_front`: what was read before, for ids that are not fresh. `everything`: for
 * dumps. */
static int parse_chunk(wbpf_watch *w, uint32_t chunk, uint64_t word, uint32_t old_front, bool everything,
                       struct use use)
{
    const struct wbpf_segment_header *fixed = &w->segment->map.fixed;
    uint32_t slots = word_slots(word), front = word_front(word), tid = 0;
    for (uint32_t i = 0; i < slots;) {
        struct wbpf_directory_slot slot = *directory_at(w->copy, fixed->chunk_bytes, i);
        uint32_t origin = i, step = slot.type == WBPF_SLOT_RUN_NEW ? 3 : 1, next = i + step;
        if (slot.type == WBPF_SLOT_THREAD) {
            tid = slot.value;
            i = next;
            continue;
        }
        if (slot.type == WBPF_SLOT_RUN)
            origin = slot.value;
        if (next > slots || origin >= slots || slots - origin < 3)
            break;
        const struct wbpf_directory_slot *named = directory_at(w->copy, fixed->chunk_bytes, origin);
        if ((slot.type != WBPF_SLOT_RUN && slot.type != WBPF_SLOT_RUN_NEW) ||
            named->type != WBPF_SLOT_RUN_NEW)
            break;
        struct range r = {.from = slot.start, .to = front, .run_from = slot.start};
        if (next < slots)
            r.to = directory_at(w->copy, fixed->chunk_bytes, next)->start;
        uint64_t lo, hi;
        memcpy(&lo, named - 1, 8);
        memcpy(&hi, named - 2, 8);
        const struct entry *e = everything ? NULL : lookup(w, lo, hi);
        i = next;
        if (!everything && !e)
            continue;
        if (r.from > r.to || r.to > front)
            break;
        if (e && !e->fresh && r.from < old_front)
            r.from = old_front;
        if (r.from >= r.to)
            continue;
        wbpf_piece what = {.uses = use.uses,
                           .chunk = chunk,
                           .process = use.process,
                           .tid = tid,
                           .cleared = named->flags & WBPF_FLAG_CLEARED};
        id_join(what.trace_id, lo, hi);
        int error = add_range(w, &what, r);
        if (error)
            return error;
    }
    return 0;
}

/* Copy what `word` covers; false if the chunk was recycled meanwhile. */
static bool copy_chunk(wbpf_watch *w, uint32_t chunk, uint64_t word, struct use *use)
{
    const struct mapping *map = &w->segment->map;
    uint32_t bytes = map->fixed.chunk_bytes, front = 8 * word_front(word), back = 8 * word_slots(word);
    const uint8_t *data = chunk_data(map, chunk);
    if (front > bytes || back > bytes - front)
        return false;
    copy_unowned(w->copy, data, front);
    copy_unowned(w->copy + bytes - back, data + bytes - back, back);
    use->uses = load_relaxed(&map->chunks[chunk].uses);
    use->process = load_relaxed(&map->chunks[chunk].process);
    atomic_thread_fence(memory_order_acquire);
    return word_generation(load_relaxed(&map->chunks[chunk].word)) == word_generation(word);
}

static int poll_chunk(wbpf_watch *w, uint32_t chunk)
{
    const struct mapping *map = &w->segment->map;
    for (int tries = 0; tries < 3; tries++) {
        uint64_t word = load_acquire(&map->chunks[chunk].word), old = w->words[chunk];
        struct use use;
        if (word == old && !w->any_fresh)
            return 0;
        uint32_t old_front = word_generation(word) == word_generation(old) ? word_front(old) : 0;
        w->words[chunk] = word;
        if (word_generation(word) & 1 || !word_front(word) || 8 * word_slots(word) > map->fixed.chunk_bytes)
            return 0;
        if (word == old && !watch_may_have_fresh(w, chunk, word))
            return 0;
        if (w->any_fresh ? !watch_summarise(w, chunk, word)
                         : !has_hit(w, chunk_data(map, chunk), map->fixed.chunk_bytes, word_slots(word)))
            return 0;
        if (copy_chunk(w, chunk, word, &use))
            return parse_chunk(w, chunk, word, old_front, false, use);
    }
    return 0; /* recycled under our eyes: lost_until tells */
}

/* Buffers may have moved while they grew: pieces get their pointers last. */
static void settle(wbpf_watch *w, const wbpf_piece **pieces, size_t *count)
{
    wbpf_piece *all = (wbpf_piece *)w->pieces.bytes;
    size_t n = w->pieces.used / sizeof *all;
    const wbpf_breadcrumb *crumbs = (const wbpf_breadcrumb *)w->breadcrumbs.bytes;
    const uint8_t (*laterals)[16] = (const uint8_t (*)[16])w->laterals.bytes;
    for (size_t i = 0; i < n; i++) {
        all[i].data = w->data.bytes + (uintptr_t)all[i].data;
        all[i].breadcrumbs = crumbs;
        crumbs += all[i].breadcrumb_count;
        all[i].laterals = laterals;
        laterals += all[i].lateral_count;
    }
    *pieces = all;
    *count = n;
}

static void empty(wbpf_watch *w)
{
    w->pieces.used = w->data.used = w->breadcrumbs.used = w->laterals.used = 0;
}

int wbpf_watch_poll(wbpf_watch *w, const wbpf_piece **pieces, size_t *count, uint64_t *lost_until_ticks)
{
    const struct wbpf_segment_header *h = w->segment->map.header;
    int error = 0;
    empty(w);
    watch_note_fresh(w);
    if (w->count > w->removed)
        for (uint32_t chunk = 0; chunk < w->segment->map.fixed.chunk_count && !error; chunk++)
            error = poll_chunk(w, chunk);
    if (!error && w->kernel)
        error = kernel_poll(w);
    if (error) { /* read everything again next time: identities make that harmless */
        memset(w->words, 0, w->segment->map.fixed.chunk_count * sizeof *w->words);
        kernel_cursors_reset(w->kernel);
        return error;
    }
    if (w->any_fresh)
        for (size_t i = 0; i < w->capacity; i++)
            w->entries[i].fresh = false;
    w->any_fresh = false;
    atomic_thread_fence(memory_order_acquire);
    *lost_until_ticks = load_acquire(&h->lost_until);
    if (w->kernel) {
        uint64_t lost = kernel_lost_until(w);
        *lost_until_ticks = lost > *lost_until_ticks ? lost : *lost_until_ticks;
    }
    settle(w, pieces, count);
    return 0;
}

int wbpf_watch_dump(wbpf_watch *w, uint32_t *cursor, const wbpf_piece **pieces, size_t *count)
{
    const struct mapping *map = &w->segment->map;
    int error = 0;
    empty(w);
    while (*cursor < map->fixed.chunk_count && !w->pieces.used && !error) {
        uint32_t chunk = (*cursor)++;
        if (kernel_is_chunk(w->segment, chunk)) {
            error = kernel_dump(w, chunk);
            continue;
        }
        for (int tries = 0; tries < 3; tries++) {
            uint64_t word = load_acquire(&map->chunks[chunk].word);
            struct use use;
            if (word_generation(word) & 1 || !word_front(word) || !copy_chunk(w, chunk, word, &use))
                continue;
            error = parse_chunk(w, chunk, word, 0, true, use);
            break;
        }
    }
    settle(w, pieces, count);
    return error;
}

/* ---- clearing: in chunks that nobody alive writes ---- */

static uint32_t flag_chunk(wbpf_watch *w, uint32_t chunk)
{
    const struct mapping *map = &w->segment->map;
    struct wbpf_chunk_header *c = &map->chunks[chunk];
    uint64_t word = load_acquire(&c->word), newest;
    uint32_t slots = word_slots(word), bytes = map->fixed.chunk_bytes, flagged = 0, ids, cleared;
    uint8_t *data = chunk_data(map, chunk);
    if (word_generation(word) & 1 || 8 * slots > bytes)
        return 0;
    for (uint32_t i = 0; i < slots;) {
        struct wbpf_directory_slot *slot = directory_at(data, bytes, i);
        uint64_t lo, hi;
        i += slot->type == WBPF_SLOT_RUN_NEW ? 3 : 1;
        if (slot->type != WBPF_SLOT_RUN_NEW || i > slots || slot->flags & WBPF_FLAG_CLEARED)
            continue;
        memcpy(&lo, slot - 1, 8);
        memcpy(&hi, slot - 2, 8);
        if (lookup(w, lo, hi)) {
            store_relaxed(&slot->flags, slot->flags | WBPF_FLAG_CLEARED);
            flagged++;
        }
    }
    chunk_survey(map, chunk, word, &ids, &cleared, &newest);
    c->ids = ids;
    store_relaxed(&c->cleared_ids, cleared);
    if (!c->close_ticks) /* its writer is dead */
        c->close_ticks = newest;
    return flagged;
}

uint32_t wbpf_segment_clear(wbpf_segment *segment, const uint8_t (*ids)[16], size_t count)
{
    const struct mapping *map = &segment->map;
    wbpf_watch *w = NULL;
    uint32_t flagged = 0;
    if (segment->kernel) /* its records can't be flagged, and its process slots are the loader's */
        return 0;
    if (!count || !segment_join(segment) || wbpf_watch_create(segment, &w) != 0)
        return 0;
    if (wbpf_watch_add(w, ids, count) == 0)
        for (uint32_t chunk = 0; chunk < map->fixed.chunk_count; chunk++) {
            uint64_t word = load_acquire(&map->chunks[chunk].word);
            if (word_generation(word) & 1 || !word_slots(word) ||
                8 * word_slots(word) > map->fixed.chunk_bytes ||
                !has_hit(w, chunk_data(map, chunk), map->fixed.chunk_bytes, word_slots(word)) ||
                !chunk_own(map, &segment->process, chunk))
                continue;
            flagged += flag_chunk(w, chunk);
            chunk_disown(map, chunk);
        }
    wbpf_watch_destroy(w);
    return flagged;
}
