/*
 * Hashes, per-CPU hashes, least-recently-used ones, and tries of prefixes (hashes of prefixes, whose lookups
 * go through a trie).
 *
 * Writers hold the map's lock. An element becomes visible, and vanishes, by one store, so that a chain is
 * right after each instruction; `repair` finds again what a killed writer had taken out of the list of free
 * ones. Readers take no lock: an element's sequence is odd while it is free or being filled, and changes
 * before it is used again; a reader that finds it changed, or itself in another chain, begins anew.
 */
#include "maps/internal.h"
#include <arpa/inet.h>
#include <string.h>

#define RETRIES_MOST 1000 /* then a reader waits for the writers */

static bool is_lru(const wbpf_user_map *map)
{
    return map->kind == &map_lru_hash || map->kind == &map_percpu_lru_hash;
}

static bool is_trie(const wbpf_user_map *map)
{
    return map->kind == &map_lpm_trie;
}

static uint32_t number_of(const wbpf_user_map *map, const struct element *e)
{
    return (uint32_t)(((const uint8_t *)e - map->first) / map->element_bytes) + 1;
}

static uint8_t *value_of(const wbpf_user_map *map, const struct element *e, uint32_t cpu)
{
    if (!map->kind->per_cpu)
        return (uint8_t *)(uintptr_t)e + map->value_at;
    return map->values + cpu * map->cpu_stride + (number_of(map, e) - 1) * map->stride;
}

/* ---- layout ---- */

static int validate(const wbpf_user_map_spec *spec)
{
    if (!spec->key_bytes || !spec->value_bytes || !spec->entries)
        return -EINVAL;
    return spec->key_bytes > 4096 || spec->value_bytes > 1 << 30 || spec->entries > 1u << 30 ? -E2BIG : 0;
}

static int validate_of_maps(const wbpf_user_map_spec *spec)
{
    return spec->value_bytes == 4 ? validate(spec) : -EINVAL;
}

static int validate_devices(const wbpf_user_map_spec *spec)
{
    bool sized = spec->value_bytes == 4 || spec->value_bytes == 8;
    return spec->key_bytes == 4 && sized ? validate(spec) : -EINVAL;
}

static int validate_trie(const wbpf_user_map_spec *spec)
{
    bool sized = spec->key_bytes >= 5 && spec->key_bytes <= 260;
    return sized && spec->flags & BPF_F_NO_PREALLOC ? validate(spec) : -EINVAL;
}

static size_t lay_out(wbpf_user_map *map)
{
    size_t key = round_up((size_t)map->spec.key_bytes, (size_t)8);
    uint64_t buckets = 1;
    while (buckets < map->spec.entries)
        buckets *= 2;
    map->mask = (uint32_t)buckets - 1;
    map->elements = map->spec.entries + 1; /* one to fill while the map is full */
    map->raw_at = sizeof(struct element) + key;
    map->value_at = map->raw_at + (is_trie(map) ? key : 0);
    map->stride = round_up((size_t)map->spec.value_bytes, (size_t)8);
    map->element_bytes = map->value_at + (map->kind->per_cpu ? 0 : map->stride);
    size_t at = 4096;
    map->nodes = (struct trie_node *)(map->base + at);
    at += is_trie(map) ? round_up(trie_bytes(map), (size_t)64) : 0;
    map->buckets = (uint32_t *)(map->base + at);
    at = round_up(at + buckets * sizeof(uint32_t), (size_t)64);
    map->first = map->base + at;
    at = round_up(at + map->elements * map->element_bytes, (size_t)64);
    map->values = map->base + at;
    map->cpu_stride = round_up(map->elements * map->stride, (size_t)64);
    return at + (map->kind->per_cpu ? map->cpu_stride * map->spec.cpus : 0);
}

static void put_free(wbpf_user_map *map, struct element *e)
{
    if (!(e->sequence & 1))
        __atomic_store_n(&e->sequence, e->sequence + 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    store_word(&e->next, map->header->free_first);
    map->header->free_first = number_of(map, e);
}

static void init(wbpf_user_map *map)
{
    for (uint32_t number = map->elements; number; number--)
        put_free(map, element_at(map, number));
}

/* ---- keys ---- */

/* As it is compared and hashed: of a prefix only what it covers. */
struct sought {
    const void *key;
    uint32_t hash;
    uint8_t masked[264];
};

static uint32_t prefix_of(const void *key)
{
    uint32_t bits;
    memcpy(&bits, key, sizeof bits);
    return bits;
}

static void mask_key(const wbpf_user_map *map, struct sought *sought, const void *key, uint32_t bits)
{
    if (map->spec.key_bytes == 8) { /* an IPv4 address */
        uint32_t address;
        memcpy(&address, (const uint8_t *)key + 4, sizeof address);
        address &= bits ? htonl(~0u << (32 - bits)) : 0;
        memcpy(sought->masked, &bits, sizeof bits);
        memcpy(sought->masked + 4, &address, sizeof address);
        return;
    }
    memset(sought->masked, 0, map->spec.key_bytes);
    memcpy(sought->masked, &bits, sizeof bits);
    memcpy(sought->masked + 4, (const uint8_t *)key + 4, (bits + 7) / 8);
    if (bits % 8)
        sought->masked[4 + bits / 8] &= (uint8_t)(0xff00 >> bits % 8);
}

static inline void seek(const wbpf_user_map *map, struct sought *sought, const void *key)
{
    sought->key = key;
    if (is_trie(map)) {
        mask_key(map, sought, key, prefix_of(key));
        sought->key = sought->masked;
    }
    sought->hash = (uint32_t)map_hash_of(map->header->seed, sought->key, map->spec.key_bytes);
}

static inline bool has_key(const wbpf_user_map *map, const struct element *e, const void *key)
{
    size_t bytes = map->spec.key_bytes, i = 0;
    uint64_t word;
    for (; bytes >= 8; bytes -= 8, i++) {
        memcpy(&word, (const uint64_t *)key + i, 8);
        if (load_word(&e->key[i]) != word)
            return false;
    }
    if (!bytes)
        return true;
    word = 0;
    memcpy(&word, (const uint64_t *)key + i, bytes);
    return load_word(&e->key[i]) == word;
}

/* ---- reading ---- */

enum step { FOUND, NEXT, ANEW };

/* One element of a chain: is it the one? The next is in *next. */
static inline enum step look(const wbpf_user_map *map, const struct sought *sought, struct element *e,
                             uint32_t *sequence, uint32_t *next)
{
    *sequence = load_published(&e->sequence);
    uint32_t hash = load_word(&e->hash);
    *next = load_published(&e->next);
    bool same = hash == sought->hash && has_key(map, e, sought->key);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (*sequence & 1 || load_word(&e->sequence) != *sequence || (hash ^ sought->hash) & map->mask)
        return ANEW;
    return same ? FOUND : NEXT;
}

static inline struct element *search(wbpf_user_map *map, const struct sought *sought, uint32_t *sequence)
{
    bool locked = false;
    struct element *found = NULL;
    for (uint32_t tries = 0;; tries++) {
        if (tries == RETRIES_MOST)
            locked = map_lock(map) == 0;
        uint32_t number = load_published(&map->buckets[sought->hash & map->mask]), next;
        enum step step = NEXT;
        while (number && step == NEXT) {
            found = element_at(map, number);
            step = look(map, sought, found, sequence, &next);
            number = next;
        }
        if (step == FOUND || (step == NEXT && !number)) {
            if (step == NEXT)
                found = NULL;
            break;
        }
    }
    if (locked)
        map_unlock(map);
    return found;
}

static struct element *search_key(wbpf_user_map *map, const void *key, uint32_t *sequence)
{
    if (is_trie(map))
        return trie_search(map, key, sequence);
    struct sought sought;
    seek(map, &sought, key);
    return search(map, &sought, sequence);
}

static void *find(wbpf_user_map *map, const void *key, uint32_t cpu)
{
    uint32_t sequence;
    struct element *e = search_key(map, key, &sequence);
    if (!e)
        return NULL;
    if (is_lru(map) && !load_word(&e->used))
        store_word(&e->used, 1);
    return value_of(map, e, cpu);
}

static void copy_values(wbpf_user_map *map, struct element *e, void *value)
{
    if (!map->kind->per_cpu)
        map_copy_value(map, value, value_of(map, e, 0), false, false);
    else
        for (uint32_t cpu = 0; cpu < map->spec.cpus; cpu++)
            map_copy_out((uint8_t *)value + cpu * map->stride, value_of(map, e, cpu), map->stride);
}

/* ---- writing, under the lock ---- */

/* What points to an element, or to where it would be; of the first in its chain the bucket. */
static uint32_t *link_to(wbpf_user_map *map, const struct sought *sought, bool any_hash, uint32_t number)
{
    uint32_t *link = &map->buckets[sought->hash & map->mask];
    while (*link) {
        struct element *e = element_at(map, *link);
        if (any_hash ? *link == number : e->hash == sought->hash && has_key(map, e, sought->key))
            break;
        link = &e->next;
    }
    return link;
}

static void unlink_element(wbpf_user_map *map, uint32_t *link)
{
    struct element *e = element_at(map, *link);
    if (is_trie(map))
        trie_remove(map, *link);
    publish(link, e->next);
    map->header->count--;
    put_free(map, e);
}

/* The next that was not used since the hand came by last. */
static void evict(wbpf_user_map *map)
{
    struct map_header *header = map->header;
    for (uint32_t turns = 0; turns <= 2 * map->elements; turns++) {
        header->hand = header->hand % map->elements + 1;
        struct element *e = element_at(map, header->hand);
        if (e->sequence & 1)
            continue;
        if (load_word(&e->used)) {
            store_word(&e->used, 0);
            continue;
        }
        struct sought sought = {.hash = e->hash};
        unlink_element(map, link_to(map, &sought, true, header->hand));
        return;
    }
}

static void fill_values(wbpf_user_map *map, struct element *e, const void *value, bool all, bool is_new)
{
    if (!map->kind->per_cpu) {
        if (is_new && map->spec.lock_offset != WBPF_USER_MAP_NO_LOCK)
            store_word((uint32_t *)(value_of(map, e, 0) + map->spec.lock_offset), 0);
        map_copy_value(map, value_of(map, e, 0), value, true, false);
        return;
    }
    uint32_t self = all ? 0 : map_cpu(map);
    for (uint32_t cpu = 0; cpu < map->spec.cpus; cpu++) {
        uint8_t *there = value_of(map, e, cpu);
        if (all)
            map_copy_in(there, (const uint8_t *)value + cpu * map->stride, map->stride);
        else if (cpu == self)
            map_copy_in(there, value, map->spec.value_bytes);
        else if (is_new)
            for (size_t i = 0; i < map->stride; i += 8)
                store_word((uint64_t *)(there + i), 0);
    }
}

/* Put one in front of its chain; it takes the place of `old`. */
static void insert(wbpf_user_map *map, const struct sought *sought, const void *raw, const void *value,
                   bool all, uint32_t old)
{
    struct map_header *header = map->header;
    uint32_t number = header->free_first, *bucket = &map->buckets[sought->hash & map->mask];
    struct element *e = element_at(map, number);
    header->free_first = e->next;
    size_t words = round_up((size_t)map->spec.key_bytes, (size_t)8) / 8;
    store_word(&e->key[words - 1], 0);
    map_copy_in(e->key, sought->key, map->spec.key_bytes);
    if (is_trie(map))
        map_copy_in((uint8_t *)e + map->raw_at, raw, map->spec.key_bytes);
    store_word(&e->hash, sought->hash);
    store_word(&e->used, old != 0);
    fill_values(map, e, value, all, true);
    store_word(&e->next, *bucket);
    publish(&e->sequence, e->sequence + 1);
    publish(bucket, number);
    header->count++;
    if (is_trie(map))
        trie_insert(map, number);
    if (old)
        unlink_element(map, link_to(map, sought, true, old));
}

static int update_locked(wbpf_user_map *map, const struct sought *sought, const void *raw, const void *value,
                         uint64_t flags, bool all)
{
    uint32_t old = *link_to(map, sought, false, 0);
    if (old && flags & BPF_NOEXIST)
        return -EEXIST;
    if (!old && flags & BPF_EXIST)
        return -ENOENT;
    if (old && (map->kind->per_cpu || flags & BPF_F_LOCK)) {
        struct element *e = element_at(map, old);
        if (map->kind->per_cpu)
            fill_values(map, e, value, all, false);
        else
            map_copy_value(map, value_of(map, e, 0), value, true, true);
        store_word(&e->used, 1);
        return 0;
    }
    if (!old && map->header->count >= map->spec.entries) {
        if (!is_lru(map))
            return is_trie(map) ? -ENOSPC : -E2BIG;
        evict(map);
    }
    insert(map, sought, raw, value, all, old);
    return 0;
}

static int update(wbpf_user_map *map, const void *key, const void *value, uint64_t flags, bool all)
{
    struct sought sought;
    if (is_trie(map) && prefix_of(key) > (map->spec.key_bytes - 4) * 8)
        return -EINVAL;
    seek(map, &sought, key);
    int error = map_lock(map);
    if (error)
        return error;
    error = update_locked(map, &sought, key, value, flags, all);
    map_unlock(map);
    return error;
}

static int take_out(wbpf_user_map *map, const void *key, void *value)
{
    struct sought sought;
    if (is_trie(map) && prefix_of(key) > (map->spec.key_bytes - 4) * 8)
        return -EINVAL;
    seek(map, &sought, key);
    int error = map_lock(map);
    if (error)
        return error;
    uint32_t *link = link_to(map, &sought, false, 0);
    if (*link) {
        if (value)
            copy_values(map, element_at(map, *link), value);
        unlink_element(map, link);
    } else {
        error = -ENOENT;
    }
    map_unlock(map);
    return error;
}

static int erase(wbpf_user_map *map, const void *key)
{
    return take_out(map, key, NULL);
}

static int read_all(wbpf_user_map *map, const void *key, void *value, bool take)
{
    if (take)
        return take_out(map, key, value);
    struct element *e;
    uint32_t sequence;
    do {
        e = search_key(map, key, &sequence);
        if (!e)
            return -ENOENT;
        copy_values(map, e, value);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (load_word(&e->sequence) != sequence);
    return 0;
}

/* ---- all elements ---- */

static struct element *first_from(const wbpf_user_map *map, uint64_t bucket)
{
    for (; bucket <= map->mask; bucket++)
        if (map->buckets[bucket])
            return element_at(map, map->buckets[bucket]);
    return NULL;
}

static int next_key(wbpf_user_map *map, const void *key, void *next)
{
    struct sought sought;
    bool sensible = key && (!is_trie(map) || prefix_of(key) <= (map->spec.key_bytes - 4) * 8);
    if (sensible)
        seek(map, &sought, key);
    int error = map_lock(map);
    if (error)
        return error;
    uint32_t number = sensible ? *link_to(map, &sought, false, 0) : 0;
    struct element *e = NULL;
    if (number) {
        uint32_t following = element_at(map, number)->next;
        e = following ? element_at(map, following) : first_from(map, (uint64_t)(sought.hash & map->mask) + 1);
    } else {
        e = first_from(map, 0);
    }
    if (e)
        map_copy_out(next, is_trie(map) ? (uint8_t *)e + map->raw_at : (uint8_t *)e->key,
                     map->spec.key_bytes);
    map_unlock(map);
    return e ? 0 : -ENOENT;
}

static uint32_t chain_length(const wbpf_user_map *map, uint32_t bucket)
{
    uint32_t length = 0;
    for (uint32_t number = map->buckets[bucket]; number && length <= map->elements;
         number = element_at(map, number)->next)
        length++;
    return length;
}

/* As the kernel does: whole buckets, so that what stays there comes once, whatever happens to others. */
static int read_batch(wbpf_user_map *map, uint32_t *cursor, uint8_t *keys, uint8_t *values, uint32_t *count,
                      bool take)
{
    uint32_t room = *count, done = 0;
    size_t span = wbpf_user_map_value_span(map);
    int error = take && is_trie(map) ? -ENOTSUPP : 0;
    *count = 0;
    for (; !error && *cursor <= map->mask; ++*cursor) {
        if (!load_published(&map->buckets[*cursor]))
            continue;
        error = map_lock(map);
        if (error)
            break;
        uint32_t *link = &map->buckets[*cursor];
        if (chain_length(map, *cursor) > room - done)
            error = -ENOSPC;
        while (!error && *link) {
            struct element *e = element_at(map, *link);
            map_copy_out(keys + (size_t)done * map->spec.key_bytes,
                         is_trie(map) ? (uint8_t *)e + map->raw_at : (uint8_t *)e->key, map->spec.key_bytes);
            copy_values(map, e, values + done++ * span);
            if (take)
                unlink_element(map, link);
            else
                link = &e->next;
        }
        map_unlock(map);
        if (error)
            break;
    }
    *count = done;
    return error && done ? 0 : error ? error : -ENOENT;
}

/* Without the lock: what is visited may change the map. */
static int64_t for_each(wbpf_user_map *map, wbpf_user_map_visit visit, void *context)
{
    uint32_t cpu = map->kind->per_cpu ? map_cpu(map) : 0;
    int64_t count = 0;
    for (uint64_t bucket = 0; bucket <= map->mask; bucket++) {
        uint32_t number = load_published(&map->buckets[bucket]);
        for (uint32_t next; number && count <= map->elements; number = next) {
            struct element *e = element_at(map, number);
            bool here = !(load_published(&e->sequence) & 1) && (load_word(&e->hash) & map->mask) == bucket;
            next = load_published(&e->next);
            if (!here)
                break;
            count++;
            if (visit(context, e->key, value_of(map, e, cpu)))
                return count;
        }
    }
    return count;
}

/* After a writer was killed: what is in no chain is free; of two with the same key the newer one stays. */
static void repair(wbpf_user_map *map)
{
    struct map_header *header = map->header;
    for (uint32_t number = 1; number <= map->elements; number++) {
        struct element *e = element_at(map, number);
        e->next = load_word(&e->next);
        if (e->sequence & 1)
            continue;
        struct sought sought = {.hash = e->hash};
        uint32_t *link = link_to(map, &sought, true, number);
        struct sought same = {.hash = e->hash, .key = e->key};
        if (*link && link_to(map, &same, false, 0) != link)
            publish(link, e->next); /* an older one */
        else if (*link)
            continue;
        __atomic_store_n(&e->sequence, e->sequence + 1, __ATOMIC_SEQ_CST);
    }
    header->free_first = 0;
    header->count = 0;
    if (is_trie(map))
        trie_clear(map);
    for (uint32_t number = map->elements; number; number--) {
        struct element *e = element_at(map, number);
        if (e->sequence & 1) {
            put_free(map, e);
            continue;
        }
        header->count++;
        if (is_trie(map))
            trie_insert(map, number);
    }
}

#define HASH                                                                                                 \
    .lay_out = lay_out, .init = init, .repair = repair, .find = find, .read = read_all, .update = update,    \
    .erase = erase, .next_key = next_key, .read_batch = read_batch

#define LENDS .validate = validate, HASH, .for_each = for_each, .lends = true
const struct map_kind map_hash = {LENDS};
const struct map_kind map_percpu_hash = {LENDS, .per_cpu = true};
const struct map_kind map_lru_hash = {LENDS};
const struct map_kind map_percpu_lru_hash = {LENDS, .per_cpu = true};
const struct map_kind map_hash_of_maps = {.validate = validate_of_maps, HASH, .of_maps = true};
const struct map_kind map_devices_hash = {.validate = validate_devices, HASH};
const struct map_kind map_lpm_trie = {.validate = validate_trie, HASH, .lends = true};
