/* Handles: a place in the guest's table and how often it was used, so that an old one never means another
 * thing. A place that was used too often is used no more. */
#include "guest.h"
#include "windows.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_BITS     12
#define MAX_GENERATION ((1u << (31 - PLACE_BITS)) - 1)
_Static_assert(ABI_MAX_HANDLES == 1u << PLACE_BITS, "places of the table");

int32_t guest_number(const wbpf_guest *guest, const struct handle *entry)
{
    return (int32_t)(entry->generation << PLACE_BITS | (uint32_t)(entry - guest->handles));
}

struct handle *guest_find(wbpf_guest *guest, int32_t handle, char kind)
{
    uint32_t place = (uint32_t)handle & (ABI_MAX_HANDLES - 1);
    struct handle *entry = &guest->handles[place];
    if (handle <= 0 || place >= guest->handle_room || entry->kind != kind ||
        entry->generation != (uint32_t)handle >> PLACE_BITS)
        return NULL;
    return entry;
}

/* One more place; those never used come after those that are free again. */
static struct handle *take_place(wbpf_guest *guest)
{
    if (guest->first_free) {
        struct handle *entry = &guest->handles[guest->first_free - 1];
        guest->first_free = entry->next_free;
        return entry;
    }
    if (guest->handle_room == ABI_MAX_HANDLES)
        return NULL;
    return &guest->handles[guest->handle_room++];
}

int32_t wbpf_guest_add(wbpf_guest *guest, char kind, int32_t owner)
{
    struct handle *entry = take_place(guest);
    if (!entry) {
        wbpf_guest_refuse(guest, true, "it holds %d handles and asked for one more", ABI_MAX_HANDLES);
        return INT32_MIN;
    }
    *entry = (struct handle){.kind = kind, .generation = entry->generation + 1, .owner = owner};
    guest->handle_count++;
    return guest_number(guest, entry);
}

int32_t wbpf_guest_add_map(wbpf_guest *guest, int32_t owner, int fd, char *why)
{
    struct guest_map *map = calloc(1, sizeof *map);
    int error = map ? guest_map_init(map, fd, why) : -ENOMEM;
    int32_t handle = error ? error : wbpf_guest_add(guest, 'm', owner);
    if (handle < 0) {
        if (map && !error)
            guest_map_deinit(map);
        free(map);
        return handle;
    }
    guest_find(guest, handle, 'm')->map = map;
    return handle;
}

int wbpf_guest_set_map(wbpf_guest *guest, int32_t handle, int fd, char *why)
{
    struct handle *entry = guest_find(guest, handle, 'm');
    if (!entry)
        return -EBADF;
    guest_map_deinit(entry->map);
    return guest_map_init(entry->map, fd, why);
}

int wbpf_guest_set_user_map(wbpf_guest *guest, int32_t handle, wbpf_user_map *map)
{
    struct handle *entry = guest_find(guest, handle, 'm');
    if (!entry)
        return -EBADF;
    guest_map_deinit(entry->map);
    guest_map_init_user(entry->map, map);
    return 0;
}

static void clear(wbpf_guest *guest, struct handle *entry)
{
    if (entry->kind == 'k')
        guest_close_socket(guest, entry);
    if (entry->ring)
        guest_close_ring(guest, entry);
    if (entry->map) {
        if (entry->window)
            window_unmap(guest, entry->window);
        guest_map_deinit(entry->map);
    }
    free(entry->map);
    entry->kind = 0;
    entry->map = NULL;
    entry->ring = NULL;
    guest->handle_count--;
    if (entry->generation < MAX_GENERATION) {
        entry->next_free = guest->first_free;
        guest->first_free = (uint32_t)(entry - guest->handles) + 1;
    }
}

void wbpf_guest_release(wbpf_guest *guest, int32_t handle)
{
    uint32_t place = (uint32_t)handle & (ABI_MAX_HANDLES - 1);
    struct handle *entry = &guest->handles[place];
    if (handle <= 0 || place >= guest->handle_room || !guest_find(guest, handle, entry->kind) || !entry->kind)
        return;
    clear(guest, entry);
    for (uint32_t i = 0; i < guest->handle_room; i++)
        if (guest->handles[i].kind &&
            (guest->handles[i].owner == handle || guest->handles[i].map_of_ring == handle))
            wbpf_guest_release(guest, guest_number(guest, &guest->handles[i]));
}

uint32_t wbpf_guest_handles(const wbpf_guest *guest)
{
    return guest->handle_count;
}

void guest_handles_deinit(wbpf_guest *guest)
{
    for (uint32_t i = 0; i < guest->handle_room; i++)
        if (guest->handles[i].kind)
            clear(guest, &guest->handles[i]);
    free(guest->handles);
}
