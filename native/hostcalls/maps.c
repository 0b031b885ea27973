/* Maps of guests: their sizes as the kernel tells them, and their entries, from the guest's memory to the
 * kernel and back without a copy. */
#include "maps/maps.h"
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int lookup(const struct guest_map *map, const void *key, void *value, uint64_t flags)
{
    return wbpf_map_lookup(map->fd, key, value, flags);
}

static int update(const struct guest_map *map, const void *key, const void *value, uint64_t flags)
{
    return wbpf_map_update(map->fd, key, value, flags);
}

static int erase(const struct guest_map *map, const void *key)
{
    return wbpf_map_delete(map->fd, key);
}

static int next_key(const struct guest_map *map, const void *key, void *next)
{
    return wbpf_map_next_key(map->fd, key, next);
}

static int lookup_and_delete(const struct guest_map *map, const void *key, void *value, uint64_t flags)
{
    return wbpf_map_lookup_and_delete(map->fd, key, value, flags);
}

static int batch(const struct guest_map *map, enum wbpf_batch what, wbpf_map_batch_spec *spec)
{
    return wbpf_map_batch(map->fd, what, spec);
}

static const struct map_backend kernel_maps = {.lookup = lookup,
                                               .update = update,
                                               .delete = erase,
                                               .next_key = next_key,
                                               .lookup_and_delete = lookup_and_delete,
                                               .batch = batch};

/* ---- what a map is like ---- */

/* Their values name things of this process by descriptor: no guest may write one. */
static bool holds_descriptors(uint32_t type)
{
    switch (type) {
    case BPF_MAP_TYPE_PROG_ARRAY:
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
    case BPF_MAP_TYPE_CGROUP_ARRAY:
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
    case BPF_MAP_TYPE_DEVMAP:
    case BPF_MAP_TYPE_DEVMAP_HASH:
    case BPF_MAP_TYPE_CPUMAP:
    case BPF_MAP_TYPE_XSKMAP:
    case BPF_MAP_TYPE_SOCKMAP:
    case BPF_MAP_TYPE_SOCKHASH:
    case BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:
    case BPF_MAP_TYPE_STRUCT_OPS:
        return true;
    default:
        return false;
    }
}

static bool keyed_by_descriptors(uint32_t type)
{
    return type == BPF_MAP_TYPE_SK_STORAGE || type == BPF_MAP_TYPE_INODE_STORAGE ||
           type == BPF_MAP_TYPE_TASK_STORAGE || type == 32 /* BPF_MAP_TYPE_CGRP_STORAGE, Linux 6.2 */;
}

int guest_map_init(struct guest_map *map, int fd, char *why)
{
    wbpf_map_facts facts;
    *map = (struct guest_map){.backend = &kernel_maps, .fd = -1};
    if (fd < 0)
        return 0;
    int error = wbpf_map_ask(fd, &facts);
    map->fd = error ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (map->fd < 0) {
        error = error ? error : -errno;
        snprintf(why, WBPF_WASM_WHY_BYTES, "the map can't be used: %s", strerror(-error));
        return error;
    }
    map->info =
        (struct abi_map_info){.type = facts.type,
                              .key_bytes = facts.key_bytes,
                              .value_bytes = (uint32_t)wbpf_map_value_span(facts.type, facts.value_bytes),
                              .max_entries = facts.entries,
                              .flags = facts.flags,
                              .cpus = wbpf_map_is_per_cpu(facts.type) ? (uint32_t)wbpf_cpu_count() : 1};
    map->has_keys = facts.key_bytes > 0;
    map->holds_descriptors = holds_descriptors(facts.type);
    map->keyed_by_descriptors = keyed_by_descriptors(facts.type);
    return 0;
}

void guest_map_init_user(struct guest_map *map, wbpf_user_map *user)
{
    wbpf_user_map_spec spec;
    wbpf_user_map_facts(user, &spec);
    *map = (struct guest_map){
        .backend = &user_maps,
        .fd = wbpf_user_map_fd(user),
        .user = wbpf_user_map_share(user),
        .info = {.type = spec.kind,
                 .key_bytes = spec.key_bytes,
                 .value_bytes = (uint32_t)wbpf_user_map_value_span(user),
                 .max_entries = spec.entries,
                 .flags = spec.flags,
                 .cpus = wbpf_map_is_per_cpu(spec.kind) ? spec.cpus : 1},
        .has_keys = spec.key_bytes > 0,
        .holds_descriptors = holds_descriptors(spec.kind),
    };
}

void guest_map_deinit(struct guest_map *map)
{
    if (map->user)
        wbpf_user_map_close(map->user);
    else if (map->fd >= 0)
        close(map->fd);
    map->fd = -1;
    map->user = NULL;
}

/* ---- what guests call ---- */

static struct guest_map *map_of(wbpf_guest *guest, const wbpf_guest_argument *argument, int *error)
{
    struct guest_map *map = guest_find(guest, (int32_t)argument->number, 'm')->map;
    *error = map->fd < 0 ? -EBADF : map->keyed_by_descriptors ? -EPERM : 0;
    if (map->fd < 0)
        wbpf_guest_refuse(guest, false, "the object of this map is not loaded");
    else if (*error)
        wbpf_guest_refuse(guest, false, "the keys of this map are descriptors of the host");
    return map;
}

static int wrong_size(wbpf_guest *guest, const char *what, uint32_t given, uint32_t wanted)
{
    wbpf_guest_refuse(guest, false, "the %s has %u bytes, the map's have %u", what, given, wanted);
    return -EINVAL;
}

static int check(wbpf_guest *guest, const struct guest_map *map, const wbpf_guest_argument *key,
                 const wbpf_guest_argument *value)
{
    if (key->bytes != map->info.key_bytes)
        return wrong_size(guest, "key", key->bytes, map->info.key_bytes);
    if (value && value->bytes != map->info.value_bytes)
        return wrong_size(guest, "value", value->bytes, map->info.value_bytes);
    return 0;
}

static const void *key_of(const struct guest_map *map, const wbpf_guest_argument *key)
{
    return map->has_keys ? key->data : NULL;
}

static int refuse_descriptors(wbpf_guest *guest)
{
    wbpf_guest_refuse(guest, false, "the values of this map are descriptors of the host: %s",
                      "use map_set_program or map_set_map");
    return -EPERM;
}

int64_t native_map_info(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    int error;
    struct guest_map *map = map_of(guest, &arguments[0], &error);
    if (map->fd < 0)
        return error;
    memcpy(arguments[1].data, &map->info, sizeof map->info);
    return 0;
}

int64_t native_map_lookup(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    int error;
    struct guest_map *map = map_of(guest, &arguments[0], &error);
    if (error || (error = check(guest, map, &arguments[1], &arguments[2])) != 0)
        return error;
    return map->backend->lookup(map, key_of(map, &arguments[1]), arguments[2].data,
                                (uint64_t)arguments[3].number);
}

int64_t native_map_update(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    int error;
    struct guest_map *map = map_of(guest, &arguments[0], &error);
    if (error || (error = check(guest, map, &arguments[1], &arguments[2])) != 0)
        return error;
    if (map->holds_descriptors)
        return refuse_descriptors(guest);
    return map->backend->update(map, key_of(map, &arguments[1]), arguments[2].data,
                                (uint64_t)arguments[3].number);
}

int64_t native_map_delete(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    int error;
    struct guest_map *map = map_of(guest, &arguments[0], &error);
    if (error || (error = check(guest, map, &arguments[1], NULL)) != 0)
        return error;
    return map->backend->delete(map, arguments[1].data);
}

int64_t native_map_next_key(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    int error;
    struct guest_map *map = map_of(guest, &arguments[0], &error);
    bool first = arguments[1].bytes == 0;
    if (!error && !first)
        error = check(guest, map, &arguments[1], NULL);
    if (!error && arguments[2].bytes != map->info.key_bytes)
        error = wrong_size(guest, "key", arguments[2].bytes, map->info.key_bytes);
    return error ? error : map->backend->next_key(map, first ? NULL : arguments[1].data, arguments[2].data);
}

int64_t native_map_lookup_and_delete(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    int error;
    struct guest_map *map = map_of(guest, &arguments[0], &error);
    if (error || (error = check(guest, map, &arguments[1], &arguments[2])) != 0)
        return error;
    return map->backend->lookup_and_delete(map, key_of(map, &arguments[1]), arguments[2].data,
                                           (uint64_t)arguments[3].number);
}

enum { KEY_BYTES_MOST = 512 };
enum { CURSOR_START, CURSOR_MORE, CURSOR_END };

static int64_t read_batch(wbpf_guest *guest, struct guest_map *map, const wbpf_guest_argument *arguments,
                          uint32_t count)
{
    uint32_t operation = (uint32_t)arguments[1].number, state;
    uint8_t *cursor = arguments[2].data, position[KEY_BYTES_MOST], next[KEY_BYTES_MOST];
    uint32_t bytes = map->info.key_bytes > 4 ? map->info.key_bytes : 4;
    if (arguments[2].bytes < bytes + 4 || bytes > sizeof position)
        return wrong_size(guest, "cursor", arguments[2].bytes, bytes + 4);
    memcpy(&state, cursor, sizeof state);
    if (state == CURSOR_END)
        return 0;
    memcpy(position, cursor + 4, bytes);
    wbpf_map_batch_spec spec = {state == CURSOR_START ? NULL : position,
                                next,
                                arguments[3].data,
                                arguments[4].data,
                                count,
                                (uint64_t)arguments[6].number};
    int error = map->backend->batch(map, operation, &spec);
    if (error && error != -ENOENT)
        return error;
    state = error ? CURSOR_END : CURSOR_MORE;
    memcpy(cursor, &state, sizeof state);
    if (!error)
        memcpy(cursor + 4, next, bytes);
    return spec.count;
}

int64_t native_map_batch(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    int error;
    struct guest_map *map = map_of(guest, &arguments[0], &error);
    uint32_t operation = (uint32_t)arguments[1].number, count = (uint32_t)arguments[5].number;
    bool has_values = operation != WBPF_BATCH_DELETE;
    if (error)
        return error;
    if (operation > WBPF_BATCH_DELETE || count > INT32_MAX)
        return -EINVAL;
    if (operation == WBPF_BATCH_UPDATE && map->holds_descriptors)
        return refuse_descriptors(guest);
    if (arguments[3].bytes < (uint64_t)count * map->info.key_bytes)
        return wrong_size(guest, "room for keys", arguments[3].bytes, count * map->info.key_bytes);
    if (has_values && arguments[4].bytes < (uint64_t)count * map->info.value_bytes)
        return wrong_size(guest, "room for values", arguments[4].bytes, count * map->info.value_bytes);
    if (count == 0)
        return 0;
    if (operation <= WBPF_BATCH_LOOKUP_AND_DELETE)
        return read_batch(guest, map, arguments, count);
    wbpf_map_batch_spec spec = {.keys = arguments[3].data,
                                .values = has_values ? arguments[4].data : NULL,
                                .count = count,
                                .flags = (uint64_t)arguments[6].number};
    error = map->backend->batch(map, operation, &spec);
    return error && !(spec.count && spec.count < count) ? error : (int64_t)spec.count;
}
