/* Maps of a guest's objects: found, sized, and given what they hold by descriptor; what is in them is
 * maps.c's. */
#include "host.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COPY_BYTES 64 /* of the largest value that holds a descriptor */

bool host_find_map(const struct held *held, const char *name, wbpf_map_info *out)
{
    for (uint32_t i = 0; wbpf_object_map(held->object, i, out) == 0; i++)
        if (strcmp(out->name, name) == 0)
            return true;
    return false;
}

int64_t answer_map_find(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = host_held_of(host, arguments);
    char room[HOST_TEXT_BYTES], why[WBPF_WASM_WHY_BYTES] = "";
    wbpf_map_info map;
    if (!host_find_map(held, text_of(&arguments[1], room), &map)) {
        host_fail_missing(host, "map", held->name, &arguments[1]);
        for (uint32_t i = 0; wbpf_object_map(held->object, i, &map) == 0; i++)
            host_add_text(host, map.name);
        return -ENOENT;
    }
    int32_t handle = host_find_kept(host, 'm', held, map.name);
    if (handle)
        return handle;
    handle = wbpf_guest_add_map(host->guest, held->handle, held->is_loaded ? map.fd : -1, why);
    if (handle == INT32_MIN)
        return WBPF_GUEST_END;
    if (handle < 0)
        return host_refuse(host, "map '%s' can't be used", map.name, why, -EINVAL);
    return host_keep(host, 'm', handle, held, map.name);
}

int64_t answer_map_window(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    return wbpf_guest_map_window(host->guest, (int32_t)arguments[0].number,
                                 arguments[1].number & ABI_WINDOW_WRITE);
}

/* Put what a descriptor stands for into a map of such. */
static int64_t put(struct wbpf_host *host, struct thing *thing, const wbpf_guest_argument *key, int fd)
{
    wbpf_map_info map;
    uint8_t value[COPY_BYTES] = {0};
    if (!host_find_map(thing->held, thing->name, &map) || map.fd < 0 || fd < 0)
        return host_refuse(host, "map '%s' can't be written", thing->name, "the object is not loaded",
                           -EINVAL);
    if (key->bytes != map.key_bytes || map.value_bytes > COPY_BYTES || map.value_bytes < sizeof fd)
        return host_refuse(host, "map '%s' can't be written", thing->name, "its keys or values are others",
                           -EINVAL);
    memcpy(value, &fd, sizeof fd);
    int error = wbpf_map_update(map.fd, key->data, value, 0);
    return error ? host_refuse_number(host, "map '%s' can't be written", thing->name, error) : 0;
}

int64_t answer_map_set_program(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, &arguments[2]);
    wbpf_program_info program;
    bool found = host_find_program(thing->held, thing->name, &program);
    return put(host, thing_of(host, arguments), &arguments[1], found ? program.fd : -1);
}

int64_t answer_map_set_map(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, &arguments[2]);
    wbpf_map_info inner;
    bool found = host_find_map(thing->held, thing->name, &inner);
    return put(host, thing_of(host, arguments), &arguments[1], found ? inner.fd : -1);
}

int64_t answer_map_resize(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *map = thing_of(host, arguments);
    if (map->held->is_loaded)
        return -EBUSY;
    int error = wbpf_object_resize_map(map->held->object, map->name, (uint32_t)arguments[2].number,
                                       (uint32_t)arguments[1].number);
    return error ? host_refuse_number(host, "map '%s' can't be resized", map->name, error) : 0;
}

int64_t answer_ring_open(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    int32_t ring = wbpf_guest_open_ring(host->guest, (int32_t)arguments[0].number,
                                        arguments[1].number & ABI_RING_IN_PLACE);
    return ring == INT32_MIN ? WBPF_GUEST_END : ring;
}

int64_t answer_user_ring_submit(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, arguments);
    wbpf_map_info map;
    static const char what[] = "ring '%s' can't be written";
    if (!host_find_map(thing->held, thing->name, &map) || map.fd < 0)
        return host_refuse(host, what, thing->name, "the object is not loaded", -EINVAL);
    int error = thing->user_ring ? 0 : wbpf_user_ring_open(map.fd, &thing->user_ring);
    if (error == -EINVAL)
        return host_refuse(host, what, thing->name,
                           "the map is of another kind, or the number of pages is no power of two", -EINVAL);
    if (error)
        return host_refuse_number(host, what, thing->name, error);
    error = wbpf_user_ring_submit(thing->user_ring, arguments[1].data, arguments[1].bytes);
    if (error && error != -ENOSPC) {
        char why[64];
        snprintf(why, sizeof why, "%u bytes never fit", arguments[1].bytes);
        return host_refuse(host, what, thing->name, why, error);
    }
    return error;
}
