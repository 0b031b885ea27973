/* What the kinds of maps share. */
#ifndef WBPF_MAPS_INTERNAL_H
#define WBPF_MAPS_INTERNAL_H

#include "maps/maps.h"
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>

#define MAP_MAGIC 0x3250414d46504257u /* "WBPFMAP2" */

/* Words that others may change meanwhile: whoever reads them finds out by a sequence or does not care. */
#define load_word(p)          __atomic_load_n((p), __ATOMIC_RELAXED)
#define store_word(p, v)      __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define load_published(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define publish(p, v)         __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define ENOTSUPP              524 /* the kernel's own */
#define round_up(value, step) (((value) + (step) - 1) / (step) * (step))

struct map_header {
    uint64_t magic;
    wbpf_user_map_spec spec;
    uint32_t id;
    uint64_t bytes; /* of the file */
    uint64_t seed;
    pthread_mutex_t mutex;

    /* Of hashes: under the lock. */
    _Alignas(64) uint32_t free_first; /* element + 1 */
    uint32_t count, hand;
    /* Of LPM tries: nodes by their number from 1. The sequence is odd while the trie is changed. */
    uint32_t trie_sequence, trie_root, trie_free, trie_used;
    /* Of queues and stacks. */
    uint64_t head, tail;
    /* Of rings: rises with each wake-up. */
    _Alignas(64) uint32_t rings;
    uint32_t waiting;
    uint32_t is_read; /* of perf event arrays: somebody reads it */
    uint64_t lost;
    uint32_t reader; /* of a ring that programs read: the thread */
};

_Static_assert(sizeof(struct map_header) <= 4096, "it has a page");

struct map_kind;

struct wbpf_user_map {
    const struct map_kind *kind;
    struct map_header *header;
    uint8_t *base;
    size_t bytes;
    wbpf_user_map_spec spec; /* a copy: the shared one may be overwritten by others */
    int fd;
    uint32_t users;
    bool frozen; /* proofs go by its values: nobody changes them through this handle any more */
    uint8_t *values;
    size_t stride, cpu_stride; /* from one value to the next; from one processor's to the next's */
    /* Of hashes. */
    uint32_t *buckets;
    uint32_t mask, elements;
    uint8_t *first;
    size_t element_bytes, value_at, raw_at;
    struct trie_node *nodes; /* of LPM tries */
    /* Of rings. */
    uint8_t *data;
    wbpf_user_map *next_known;
};

/* What a kind of map does; NULL: -EOPNOTSUPP. */
struct map_kind {
    int (*validate)(const wbpf_user_map_spec *spec);
    /* Where everything is, from its spec; the size of the file. */
    size_t (*lay_out)(wbpf_user_map *map);
    void (*init)(wbpf_user_map *map);
    void (*repair)(wbpf_user_map *map);
    void *(*find)(wbpf_user_map *map, const void *key, uint32_t cpu);
    /* A copy that is not torn by updates of the element. */
    int (*read)(wbpf_user_map *map, const void *key, void *value, bool take);
    /* `all`: the value has those of all processors. */
    int (*update)(wbpf_user_map *map, const void *key, const void *value, uint64_t flags, bool all);
    int (*erase)(wbpf_user_map *map, const void *key);
    int (*next_key)(wbpf_user_map *map, const void *key, void *next);
    int64_t (*for_each)(wbpf_user_map *map, wbpf_user_map_visit visit, void *context);
    int (*read_batch)(wbpf_user_map *map, uint32_t *cursor, uint8_t *keys, uint8_t *values, uint32_t *count,
                      bool take);
    int (*push)(wbpf_user_map *map, const void *value, uint64_t flags);
    int (*take)(wbpf_user_map *map, void *value, bool keep);
    bool per_cpu, of_maps;
    bool lends; /* programs use its values where they are */
};

extern const struct map_kind map_array, map_prog_array, map_percpu_array, map_array_of_maps, map_hash,
    map_percpu_hash, map_lru_hash, map_percpu_lru_hash, map_hash_of_maps, map_lpm_trie, map_queue, map_stack,
    map_bloom, map_ring, map_perf, map_targets, map_devices_hash, map_stacks, map_user_ring;

/* -EBUSY: this thread was interrupted while it holds a lock, or the holder does not go on. */
int map_lock(wbpf_user_map *map);
void map_unlock(wbpf_user_map *map);

/* An element of a hash. */
struct element {
    uint32_t sequence;
    uint32_t next; /* element + 1; 0: the last */
    uint32_t hash;
    uint32_t used; /* of LRU: since the hand came by; while repairing: it is in a chain */
    uint64_t key[];
};

static inline struct element *element_at(const wbpf_user_map *map, uint32_t number)
{
    return (struct element *)(map->first + (size_t)(number - 1) * map->element_bytes);
}

/* ---- trie.c: which prefixes a key has; the elements are the hash's. Changes are made under the lock ---- */

size_t trie_bytes(const wbpf_user_map *map);
void trie_clear(wbpf_user_map *map);
void trie_insert(wbpf_user_map *map, uint32_t element);
void trie_remove(wbpf_user_map *map, uint32_t element);
/* The element with the longest prefix that a key has, and its sequence; NULL: there is none. */
struct element *trie_search(wbpf_user_map *map, const void *key, uint32_t *sequence);

/* 0: it is no ring. */
size_t map_ring_bytes(const wbpf_user_map_spec *spec);
/* The ring of this process that a record lies in. */
wbpf_user_map *map_ring_around(const void *record);
uint32_t map_cpu(const wbpf_user_map *map);
/* Values of which programs read and write parts meanwhile: by words. */
void map_copy_in(void *to, const void *from, size_t bytes);
void map_copy_out(void *to, const void *from, size_t bytes);
/* The same without the bpf_spin_lock in it; with `lock` while that is held. */
void map_copy_value(const wbpf_user_map *map, void *to, const void *from, bool into, bool lock);
uint64_t map_hash_of(uint64_t seed, const void *key, size_t bytes);

/* The number of this thread, and whether one is no more. */
uint32_t map_thread(void);
bool map_is_dead(uint32_t number);
#endif
