/* Maps of guests that are in user space: the memory that programs there use, without a call of the kernel. */
#include "guest.h"
#include "maps/maps.h"
#include <errno.h>
#include <string.h>

static int lookup(const struct guest_map *map, const void *key, void *value, uint64_t flags)
{
    return wbpf_user_map_lookup(map->user, key, value, flags);
}

static int update(const struct guest_map *map, const void *key, const void *value, uint64_t flags)
{
    return wbpf_user_map_update(map->user, key, value, flags);
}

static int erase(const struct guest_map *map, const void *key)
{
    return wbpf_user_map_delete(map->user, key);
}

static int next_key(const struct guest_map *map, const void *key, void *next)
{
    return wbpf_user_map_next_key(map->user, key, next);
}

static int lookup_and_delete(const struct guest_map *map, const void *key, void *value, uint64_t flags)
{
    return wbpf_user_map_lookup_and_delete(map->user, key, value, flags);
}

static int batch(const struct guest_map *map, enum wbpf_batch what, wbpf_map_batch_spec *spec)
{
    if (spec->flags && what != WBPF_BATCH_UPDATE)
        return -EINVAL;
    if (what <= WBPF_BATCH_LOOKUP_AND_DELETE) {
        uint32_t position = 0;
        if (spec->from)
            memcpy(&position, spec->from, sizeof position);
        int error = wbpf_user_map_read_batch(map->user, &position, spec->keys, spec->values, &spec->count,
                                             what == WBPF_BATCH_LOOKUP_AND_DELETE);
        memcpy(spec->cursor, &position, sizeof position);
        return error;
    }
    const uint8_t *key = spec->keys, *value = spec->values;
    uint32_t count = spec->count;
    int error = 0;
    for (spec->count = 0; spec->count < count; spec->count++, key += map->info.key_bytes) {
        error = what == WBPF_BATCH_UPDATE ? update(map, key, value, spec->flags) : erase(map, key);
        if (error)
            break;
        value += what == WBPF_BATCH_UPDATE ? map->info.value_bytes : 0;
    }
    return error;
}

const struct map_backend user_maps = {.lookup = lookup,
                                      .update = update,
                                      .delete = erase,
                                      .next_key = next_key,
                                      .lookup_and_delete = lookup_and_delete,
                                      .batch = batch};
