/*
 * Stack traces by a hash of them, as the kernel's (kernel/bpf/stackmap.c). Who adds one holds the lock; a
 * bucket's sequence is odd while it is changed.
 */
#include "maps/internal.h"
#include <string.h>

enum { FRAMES_MOST = 127 };

struct bucket {
    uint32_t sequence, frames; /* 0 frames: it is empty */
    uint32_t hash, unused;
    uint64_t addresses[];
};

static int validate(const wbpf_user_map_spec *spec)
{
    if (spec->key_bytes != 4 || spec->flags || !spec->entries || spec->value_bytes < 8 ||
        spec->value_bytes % 8)
        return -EINVAL;
    return spec->value_bytes / 8 > FRAMES_MOST ? -EINVAL : spec->entries > 1u << 30 ? -E2BIG : 0;
}

static size_t lay_out(wbpf_user_map *map)
{
    uint32_t buckets = 1;
    while (buckets < map->spec.entries)
        buckets *= 2;
    map->mask = buckets - 1;
    map->first = map->base + 4096;
    map->element_bytes = sizeof(struct bucket) + map->spec.value_bytes;
    return 4096 + buckets * map->element_bytes;
}

static struct bucket *bucket_at(const wbpf_user_map *map, uint32_t number)
{
    return (struct bucket *)(map->first + number * map->element_bytes);
}

static struct bucket *bucket_of(const wbpf_user_map *map, const void *key)
{
    uint32_t number;
    memcpy(&number, key, sizeof number);
    return number <= map->mask ? bucket_at(map, number) : NULL;
}

/* A writer that was killed leaves an empty bucket. */
static void repair(wbpf_user_map *map)
{
    for (uint32_t number = 0; number <= map->mask; number++) {
        struct bucket *bucket = bucket_at(map, number);
        if (!(bucket->sequence & 1))
            continue;
        store_word(&bucket->frames, 0);
        publish(&bucket->sequence, bucket->sequence + 1);
    }
}

static void set(wbpf_user_map *map, struct bucket *bucket, uint32_t hash, const uint64_t *addresses,
                uint32_t frames)
{
    (void)map;
    store_word(&bucket->sequence, bucket->sequence + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    store_word(&bucket->hash, hash);
    map_copy_in(bucket->addresses, addresses, frames * sizeof *addresses);
    store_word(&bucket->frames, frames);
    publish(&bucket->sequence, bucket->sequence + 1);
}

int64_t wbpf_user_map_put_stack(wbpf_user_map *map, const uint64_t *addresses, uint32_t frames,
                                uint64_t flags)
{
    uint32_t most = map->spec.value_bytes / 8;
    if (map->kind != &map_stacks)
        return -EINVAL;
    frames = frames < most ? frames : most;
    if (!frames)
        return -EFAULT;
    size_t bytes = frames * sizeof *addresses;
    uint32_t hash = (uint32_t)map_hash_of(map->header->seed, addresses, bytes), number = hash & map->mask;
    struct bucket *bucket = bucket_at(map, number);
    int error = map_lock(map);
    if (error)
        return error;
    int64_t id = number;
    bool same = bucket->frames && bucket->hash == hash;
    if (same && !(flags & BPF_F_FAST_STACK_CMP))
        same = bucket->frames == frames && !memcmp(bucket->addresses, addresses, bytes);
    if (!same) {
        if (bucket->frames && !(flags & BPF_F_REUSE_STACKID))
            id = -EEXIST;
        else
            set(map, bucket, hash, addresses, frames);
    }
    map_unlock(map);
    return id;
}

static int erase(wbpf_user_map *map, const void *key)
{
    struct bucket *bucket = bucket_of(map, key);
    if (!bucket)
        return -E2BIG;
    int error = map_lock(map);
    if (error)
        return error;
    error = bucket->frames ? 0 : -ENOENT;
    if (!error)
        set(map, bucket, 0, NULL, 0);
    map_unlock(map);
    return error;
}

static int read_all(wbpf_user_map *map, const void *key, void *value, bool take)
{
    struct bucket *bucket = bucket_of(map, key);
    if (take)
        return -ENOTSUPP;
    if (!bucket)
        return -ENOENT;
    for (;;) {
        uint32_t before = load_published(&bucket->sequence), frames = load_word(&bucket->frames);
        if (before & 1) { /* whoever changes it, or was killed at it */
            int error = map_lock(map);
            if (error)
                return error;
            map_unlock(map);
            continue;
        }
        frames = frames < map->spec.value_bytes / 8 ? frames : map->spec.value_bytes / 8;
        memset(value, 0, map->spec.value_bytes);
        map_copy_out(value, bucket->addresses, frames * 8);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (load_word(&bucket->sequence) == before)
            return frames ? 0 : -ENOENT;
    }
}

static int update(wbpf_user_map *map, const void *key, const void *value, uint64_t flags, bool all)
{
    (void)map, (void)key, (void)value, (void)flags, (void)all;
    return -EINVAL;
}

static int next_key(wbpf_user_map *map, const void *key, void *next)
{
    uint32_t number = 0;
    if (key) {
        memcpy(&number, key, sizeof number);
        number = number > map->mask ? 0 : number + 1;
    }
    while (number <= map->mask && !load_word(&bucket_at(map, number)->frames))
        number++;
    if (number > map->mask)
        return -ENOENT;
    memcpy(next, &number, sizeof number);
    return 0;
}

const struct map_kind map_stacks = {.validate = validate,
                                    .lay_out = lay_out,
                                    .repair = repair,
                                    .read = read_all,
                                    .update = update,
                                    .erase = erase,
                                    .next_key = next_key};
