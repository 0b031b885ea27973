/* Arrays and per-CPU arrays: values in a row, one row a processor. */
#include "maps/internal.h"
#include <string.h>

static int validate(const wbpf_user_map_spec *spec)
{
    bool numbers = spec->kind == BPF_MAP_TYPE_PROG_ARRAY || spec->kind == BPF_MAP_TYPE_ARRAY_OF_MAPS;
    if (spec->key_bytes != 4 || !spec->value_bytes || !spec->entries || (numbers && spec->value_bytes != 4))
        return -EINVAL;
    return spec->value_bytes > 1 << 30 ? -E2BIG : 0;
}

/* Of devices and sockets a number, or that and a program's; of processors the length of their queue. */
static int validate_targets(const wbpf_user_map_spec *spec)
{
    bool sized = spec->value_bytes == 4 || (spec->value_bytes == 8 && spec->kind != BPF_MAP_TYPE_XSKMAP);
    return spec->key_bytes == 4 && sized && spec->entries ? 0 : -EINVAL;
}

static size_t lay_out(wbpf_user_map *map)
{
    map->stride = round_up((size_t)map->spec.value_bytes, (size_t)8);
    map->cpu_stride = round_up(map->stride * map->spec.entries, (size_t)64);
    map->values = map->base + 4096;
    return 4096 + map->cpu_stride * (map->kind->per_cpu ? map->spec.cpus : 1);
}

static uint32_t index_of(const void *key)
{
    uint32_t index;
    memcpy(&index, key, sizeof index);
    return index;
}

static void *find(wbpf_user_map *map, const void *key, uint32_t cpu)
{
    uint32_t index = index_of(key);
    return index < map->spec.entries ? map->values + cpu * map->cpu_stride + index * map->stride : NULL;
}

static int read_all(wbpf_user_map *map, const void *key, void *value, bool take)
{
    if (take)
        return -ENOTSUPP;
    if (index_of(key) >= map->spec.entries)
        return -ENOENT;
    if (map->kind->per_cpu)
        for (uint32_t cpu = 0; cpu < map->spec.cpus; cpu++)
            map_copy_out((uint8_t *)value + cpu * map->stride, find(map, key, cpu), map->stride);
    else
        map_copy_value(map, value, find(map, key, 0), false, false);
    return 0;
}

static int update(wbpf_user_map *map, const void *key, const void *value, uint64_t flags, bool all)
{
    if (index_of(key) >= map->spec.entries)
        return -E2BIG;
    if (flags & BPF_NOEXIST)
        return -EEXIST;
    if (!map->kind->per_cpu)
        map_copy_value(map, find(map, key, 0), value, true, flags & BPF_F_LOCK);
    else if (!all)
        map_copy_in(find(map, key, map_cpu(map)), value, map->spec.value_bytes);
    else
        for (uint32_t cpu = 0; cpu < map->spec.cpus; cpu++)
            map_copy_in(find(map, key, cpu), (const uint8_t *)value + cpu * map->stride, map->stride);
    return 0;
}

static int next_key(wbpf_user_map *map, const void *key, void *next)
{
    uint32_t index = key ? index_of(key) : UINT32_MAX;
    index = index < map->spec.entries ? index + 1 : 0;
    if (index == map->spec.entries)
        return -ENOENT;
    memcpy(next, &index, sizeof index);
    return 0;
}

static int64_t for_each(wbpf_user_map *map, wbpf_user_map_visit visit, void *context)
{
    uint32_t cpu = map->kind->per_cpu ? map_cpu(map) : 0;
    for (uint32_t i = 0; i < map->spec.entries; i++)
        if (visit(context, &i, find(map, &i, cpu)))
            return i + 1;
    return map->spec.entries;
}

static int read_batch(wbpf_user_map *map, uint32_t *cursor, uint8_t *keys, uint8_t *values, uint32_t *count,
                      bool take)
{
    uint32_t room = *count, done = 0;
    size_t span = wbpf_user_map_value_span(map);
    *count = 0;
    if (take)
        return -ENOTSUPP;
    for (; done < room && *cursor < map->spec.entries; ++*cursor) {
        if (map->kind->read(map, cursor, values + done * span, false) == -ENOENT)
            continue;
        memcpy(keys + 4 * (size_t)done++, cursor, 4);
    }
    *count = done;
    return *cursor < map->spec.entries ? 0 : -ENOENT;
}

/* Of numbers of maps and programs: 0 is none. */
static int read_number(wbpf_user_map *map, const void *key, void *value, bool take)
{
    int error = read_all(map, key, value, take);
    return error ? error : index_of(value) ? 0 : -ENOENT;
}

static int erase_number(wbpf_user_map *map, const void *key)
{
    uint32_t *number = find(map, key, 0);
    if (!number)
        return -E2BIG;
    return __atomic_exchange_n(number, 0, __ATOMIC_ACQ_REL) ? 0 : -ENOENT;
}

static int erase_target(wbpf_user_map *map, const void *key)
{
    uint64_t *target = find(map, key, 0);
    if (!target)
        return -EINVAL;
    publish(target, 0);
    return 0;
}

static int update_number(wbpf_user_map *map, const void *key, const void *value, uint64_t flags, bool all)
{
    return flags ? -EINVAL : update(map, key, value, flags, all);
}

const struct map_kind map_array = {.validate = validate,
                                   .lends = true,
                                   .lay_out = lay_out,
                                   .find = find,
                                   .read = read_all,
                                   .update = update,
                                   .next_key = next_key,
                                   .read_batch = read_batch,
                                   .for_each = for_each};
const struct map_kind map_percpu_array = {.validate = validate,
                                          .lends = true,
                                          .lay_out = lay_out,
                                          .find = find,
                                          .read = read_all,
                                          .update = update,
                                          .next_key = next_key,
                                          .read_batch = read_batch,
                                          .for_each = for_each,
                                          .per_cpu = true};
const struct map_kind map_array_of_maps = {.validate = validate,
                                           .lay_out = lay_out,
                                           .find = find,
                                           .read = read_number,
                                           .update = update_number,
                                           .erase = erase_number,
                                           .next_key = next_key,
                                           .read_batch = read_batch,
                                           .of_maps = true};
const struct map_kind map_prog_array = {.validate = validate,
                                        .lay_out = lay_out,
                                        .read = read_number,
                                        .update = update_number,
                                        .erase = erase_number,
                                        .next_key = next_key};
const struct map_kind map_targets = {.validate = validate_targets,
                                     .lay_out = lay_out,
                                     .read = read_number,
                                     .update = update,
                                     .erase = erase_target,
                                     .next_key = next_key};
