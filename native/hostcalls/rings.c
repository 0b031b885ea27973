/* Rings of guests: waiting for them, and reading by batch or in place. */
#include "guest.h"
#include "maps/maps.h"
#include "windows.h"
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <unistd.h>

/* So many records at most reach a callback in one call, however busy their writers are. */
#define POLL_RECORDS 65536

static struct handle *ring_of(wbpf_guest *guest, const wbpf_guest_argument *argument)
{
    return guest_find(guest, (int32_t)argument->number, 'r');
}

/* ---- opening and closing ---- */

static uint64_t page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A page that the guest writes, then a page and the data twice, which it reads. */
static int64_t map_in_place(wbpf_guest *guest, const struct guest_map *map)
{
    uint64_t page = page_bytes(), size = map->info.max_entries;
    uint64_t begin = map->user ? WBPF_SHARED_RING_OFFSET : 0;
    int64_t at = window_reserve(guest, 2 * page + 2 * size);
    if (at < 0)
        return at;
    uint32_t region = (uint32_t)at, twice = region + (uint32_t)(2 * page + size);
    int error = window_map(guest, region, region, page, map->fd, begin, true);
    if (!error) /* only the kernel has the data twice by itself */
        error = window_map(guest, region, region + (uint32_t)page, page + (map->user ? size : 2 * size),
                           map->fd, begin + page, false);
    if (!error && map->user)
        error = window_map(guest, region, twice, size, map->fd, begin + 2 * page, false);
    if (error) {
        window_unmap(guest, (uint32_t)at);
        return error;
    }
    return at;
}

static int open_reader(const struct guest_map *map, wbpf_ring_reader **out)
{
    if (!map->user)
        return wbpf_ring_open(map->fd, 0, out);
    if (map->info.type != BPF_MAP_TYPE_RINGBUF && map->info.type != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
        return -EINVAL;
    wbpf_shared_ring_lost(map->user); /* now somebody reads it */
    return wbpf_ring_open_file(map->fd, WBPF_SHARED_RING_OFFSET,
                               wbpf_shared_ring_query(map->user, BPF_RB_RING_SIZE), out);
}

static int wait_also_for(wbpf_wait_set *set, const struct guest_map *map, const wbpf_ring_reader *reader,
                         uint32_t tag)
{
    return map->user ? wbpf_wait_set_add_shared(set, reader, map->user, tag)
                     : wbpf_wait_set_add(set, reader, tag);
}

int32_t wbpf_guest_open_ring(wbpf_guest *guest, int32_t of_map, bool in_place)
{
    struct handle *entry = guest_find(guest, of_map, 'm');
    wbpf_ring_reader *reader;
    if (!entry || entry->map->fd < 0)
        return -EBADF;
    if (entry->ring_of_map)
        return -EBUSY;
    if (in_place && entry->map->info.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY)
        return -ENOTSUP;
    if (!in_place && entry->was_in_place) {
        wbpf_guest_refuse(guest, false, "the module may have moved the position of this ring");
        return -EINVAL;
    }
    int error = guest->waiting ? 0 : wbpf_wait_set_create(&guest->waiting);
    if (!error)
        error = open_reader(entry->map, &reader);
    if (error)
        return error;
    int64_t window = in_place ? map_in_place(guest, entry->map) : 0;
    int32_t handle = window < 0 ? (int32_t)window : wbpf_guest_add(guest, 'r', entry->owner);
    error = handle < 0 ? handle : wait_also_for(guest->waiting, entry->map, reader, (uint32_t)handle);
    if (error) {
        wbpf_ring_close(reader);
        if (window > 0)
            window_unmap(guest, (uint32_t)window);
        if (handle > 0)
            wbpf_guest_release(guest, handle);
        return error;
    }
    struct handle *ring = guest_find(guest, handle, 'r');
    ring->ring = reader;
    ring->map_of_ring = of_map;
    ring->window = (uint32_t)window;
    entry->ring_of_map = handle;
    entry->was_in_place |= in_place;
    return handle;
}

void guest_close_ring(wbpf_guest *guest, struct handle *entry)
{
    struct handle *map = guest_find(guest, entry->map_of_ring, 'm');
    if (map)
        map->ring_of_map = 0;
    wbpf_wait_set_remove(guest->waiting, entry->ring);
    if (entry->alone)
        wbpf_wait_set_destroy(entry->alone);
    wbpf_ring_close(entry->ring);
    if (entry->window)
        window_unmap(guest, entry->window);
}

bool guest_closes_polled(wbpf_guest *guest, int32_t handle)
{
    struct handle *polled = guest_find(guest, guest->polled, 'r');
    if (!polled || (guest->polled != handle && polled->owner != handle))
        return false;
    wbpf_guest_refuse(guest, true, "it closed a buffer from within the function that gets its samples");
    return true;
}

int64_t native_ring_close(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    if (guest_closes_polled(guest, (int32_t)arguments[0].number))
        return -EBUSY;
    wbpf_guest_release(guest, (int32_t)arguments[0].number);
    return 0;
}

/* ---- waiting and reading ---- */

/* In a way that wbpf_guest_stop() ends, and wbpf_guest_interrupt() if it is for records. */
int guest_wait_on(wbpf_guest *guest, wbpf_wait_set *set, int timeout_ms, uint32_t *ready, uint32_t room)
{
    const bool for_records = ready != NULL;
    uint32_t none;
    int found = 0;
    guest_pause(guest);
    if (guest->tells_waiting) {
        guest->tells_waiting = false;
        guest->call(guest->user, "waits", NULL, 0);
    }
    pthread_mutex_lock(&guest->mutex);
    guest->waits_on = set;
    bool stopped = atomic_load(&guest->is_stopped);
    if (for_records && atomic_load(&guest->is_interrupted))
        timeout_ms = 0;
    pthread_mutex_unlock(&guest->mutex);
    if (!stopped)
        found = wbpf_wait_set_wait(set, timeout_ms, for_records ? ready : &none, room);
    pthread_mutex_lock(&guest->mutex);
    guest->waits_on = NULL;
    pthread_mutex_unlock(&guest->mutex);
    guest_resume(guest);
    return found == 0 && for_records && atomic_load(&guest->is_interrupted) ? -EINTR : found;
}

int guest_sleep(wbpf_guest *guest, int timeout_ms)
{
    wbpf_wait_set *set;
    int error = wbpf_wait_set_create(&set);
    if (error)
        return error;
    error = guest_wait_on(guest, set, timeout_ms, NULL, 1);
    wbpf_wait_set_destroy(set);
    return error;
}

int64_t native_wait(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    uint32_t ready[64], room = arguments[1].bytes / 4;
    if (room == 0)
        return -EINVAL;
    int error = guest->waiting ? 0 : wbpf_wait_set_create(&guest->waiting);
    if (error)
        return error;
    int found = guest_wait_on(guest, guest->waiting, (int)arguments[0].number, ready, room < 64 ? room : 64);
    if (found > 0)
        memcpy(arguments[1].data, ready, (size_t)found * sizeof *ready);
    return found;
}

int64_t native_ring_read(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    struct handle *entry = ring_of(guest, &arguments[0]);
    if (entry->window) {
        wbpf_guest_refuse(guest, false, "this ring is read in place");
        return -EINVAL;
    }
    if (guest->polled == arguments[0].number) {
        wbpf_guest_refuse(guest, true, "it read a buffer from within the function that gets its samples");
        return -EBUSY;
    }
    int64_t bytes = wbpf_ring_read(entry->ring, arguments[1].data, arguments[1].bytes);
    if (bytes == -EMSGSIZE)
        wbpf_guest_refuse(guest, false, "the next record takes %llu bytes, the buffer has %u",
                          (unsigned long long)wbpf_ring_next_bytes(entry->ring), arguments[1].bytes);
    return bytes;
}

int64_t native_ring_window(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    struct handle *entry = ring_of(guest, &arguments[0]);
    struct handle *map = guest_find(guest, entry->map_of_ring, 'm');
    uint32_t page = (uint32_t)page_bytes();
    if (!entry->window) {
        wbpf_guest_refuse(guest, false, "this ring is read in batches");
        return -EINVAL;
    }
    struct abi_ring_window window = {entry->window, entry->window + page, entry->window + 2 * page,
                                     map->map->info.max_entries - 1};
    memcpy(arguments[1].data, &window, sizeof window);
    return 0;
}

int64_t native_ring_lost(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    const struct handle *entry = ring_of(guest, &arguments[0]);
    const struct guest_map *map = guest_find(guest, entry->map_of_ring, 'm')->map;
    if (map->user)
        return map->info.type == BPF_MAP_TYPE_RINGBUF ? 0 : (int64_t)wbpf_shared_ring_lost(map->user);
    int64_t lost = wbpf_ring_lost(entry->ring);
    return lost < 0 ? 0 : lost;
}

/* ---- polling with a callback ---- */

int64_t guest_poll(wbpf_guest *guest, int32_t of_map, int timeout_ms, wbpf_ring_visit visit, void *context)
{
    struct handle *map = guest_find(guest, of_map, 'm');
    if (!map)
        return -EBADF;
    int32_t number = map->ring_of_map ? map->ring_of_map : wbpf_guest_open_ring(guest, of_map, false);
    if (number < 0)
        return number;
    struct handle *ring = guest_find(guest, number, 'r');
    if (ring->window)
        return -EINVAL;
    int error = ring->alone ? 0 : wbpf_wait_set_create(&ring->alone);
    if (!error && !ring->is_alone)
        error = wait_also_for(ring->alone, map->map, ring->ring, 0);
    if (error)
        return error;
    ring->is_alone = true;
    uint32_t ready;
    error = guest_wait_on(guest, ring->alone, timeout_ms, &ready, 1);
    if (error == -EINTR) {
        wbpf_guest_stop(guest); /* modules for wasm_bpf don't expect it */
        return 0;
    }
    if (error < 0)
        return error;
    guest->polled = number;
    int64_t count = wbpf_ring_for_each(ring->ring, POLL_RECORDS, visit, context);
    guest->polled = 0;
    return count;
}
