/* Queues, stacks and Bloom filters: maps without keys. */
#include "maps/internal.h"
#include <string.h>

/* ---- queues and stacks: slots from tail to head, one always empty; both count modulo the slots ---- */

static int validate(const wbpf_user_map_spec *spec)
{
    if (spec->key_bytes || !spec->value_bytes || !spec->entries)
        return -EINVAL;
    return spec->value_bytes > 1 << 30 ? -E2BIG : 0;
}

static size_t lay_out(wbpf_user_map *map)
{
    map->stride = round_up((size_t)map->spec.value_bytes, (size_t)8);
    map->values = map->base + 4096;
    return 4096 + map->stride * ((size_t)map->spec.entries + 1);
}

static uint64_t moved(const wbpf_user_map *map, uint64_t slot, int by)
{
    uint64_t slots = (uint64_t)map->spec.entries + 1;
    return (slot + slots + (uint64_t)(int64_t)by) % slots;
}

static int push(wbpf_user_map *map, const void *value, uint64_t flags)
{
    if (flags & BPF_NOEXIST || flags > BPF_EXIST)
        return -EINVAL;
    int error = map_lock(map);
    if (error)
        return error;
    struct map_header *header = map->header;
    uint64_t next = moved(map, header->head, 1);
    if (next == header->tail) {
        if (flags & BPF_EXIST)
            header->tail = moved(map, header->tail, 1);
        else
            error = -E2BIG;
    }
    if (!error) {
        memcpy(map->values + header->head * map->stride, value, map->spec.value_bytes);
        publish(&header->head, next);
    }
    map_unlock(map);
    return error;
}

static int take_from(wbpf_user_map *map, void *value, bool keep, bool newest)
{
    int error = map_lock(map);
    if (error)
        return error;
    struct map_header *header = map->header;
    if (header->head == header->tail) {
        memset(value, 0, map->spec.value_bytes);
        error = -ENOENT;
    } else {
        uint64_t last = moved(map, header->head, -1), slot = newest ? last : header->tail;
        memcpy(value, map->values + slot * map->stride, map->spec.value_bytes);
        if (!keep && newest)
            header->head = last;
        else if (!keep)
            header->tail = moved(map, header->tail, 1);
    }
    map_unlock(map);
    return error;
}

static int take_oldest(wbpf_user_map *map, void *value, bool keep)
{
    return take_from(map, value, keep, false);
}

static int take_newest(wbpf_user_map *map, void *value, bool keep)
{
    return take_from(map, value, keep, true);
}

const struct map_kind map_queue = {
    .validate = validate, .lay_out = lay_out, .push = push, .take = take_oldest};
const struct map_kind map_stack = {
    .validate = validate, .lay_out = lay_out, .push = push, .take = take_newest};

/* ---- Bloom filters: as many bits and hashes as the kernel takes ---- */

static uint32_t hashes_of(const wbpf_user_map_spec *spec)
{
    return spec->extra ? spec->extra : 5;
}

static int validate_bloom(const wbpf_user_map_spec *spec)
{
    return spec->extra > 15 ? -EINVAL : validate(spec);
}

static size_t lay_out_bloom(wbpf_user_map *map)
{
    /* entries * hashes / ln 2 */
    uint64_t wanted = (uint64_t)hashes_of(&map->spec) * map->spec.entries / 5 * 7, bits = 64;
    while (bits < wanted && bits < 1ull << 32)
        bits *= 2;
    map->mask = (uint32_t)(bits - 1);
    map->values = map->base + 4096;
    return 4096 + bits / 8;
}

static uint64_t *word_of(const wbpf_user_map *map, const void *value, uint32_t n, uint64_t *bit)
{
    uint64_t seed = map->header->seed + n * 0x9e3779b97f4a7c15u;
    uint32_t at = (uint32_t)map_hash_of(seed, value, map->spec.value_bytes) & map->mask;
    *bit = 1ull << at % 64;
    return (uint64_t *)map->values + at / 64;
}

static int add(wbpf_user_map *map, const void *value, uint64_t flags)
{
    uint64_t bit;
    if (flags)
        return -EINVAL;
    for (uint32_t n = 0; n < hashes_of(&map->spec); n++) {
        uint64_t *word = word_of(map, value, n, &bit);
        __atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
    }
    return 0;
}

static int contains(wbpf_user_map *map, void *value, bool keep)
{
    uint64_t bit;
    (void)keep;
    for (uint32_t n = 0; n < hashes_of(&map->spec); n++) {
        uint64_t *word = word_of(map, value, n, &bit);
        if (!(load_word(word) & bit))
            return -ENOENT;
    }
    return 0;
}

const struct map_kind map_bloom = {
    .validate = validate_bloom, .lay_out = lay_out_bloom, .push = add, .take = contains};
