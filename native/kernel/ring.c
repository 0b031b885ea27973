/* Ring buffers and perf buffers, as one kind of ring. */
#include "ring.h"
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>

enum { DEFAULT_PERF_PAGES = 64 };

int wbpf_ring_open(int map_fd, uint32_t perf_pages, wbpf_ring_reader **out)
{
    wbpf_map_facts map;
    int error = wbpf_map_ask(map_fd, &map);
    if (error)
        return error;
    if (map.type != BPF_MAP_TYPE_RINGBUF && map.type != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
        return -EINVAL;
    perf_pages = perf_pages ? perf_pages : DEFAULT_PERF_PAGES;
    if (perf_pages & (perf_pages - 1))
        return -EINVAL;
    wbpf_ring_reader *ring = calloc(1, sizeof *ring);
    if (!ring)
        return -ENOMEM;
    ring->is_perf = map.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY;
    ring->poll_fd = -1;
    error = ring->is_perf ? perf_buffer_open(ring, map_fd, &map, perf_pages)
                          : ring_buffer_open(ring, map_fd, 0, map.entries);
    if (error) {
        wbpf_ring_close(ring);
        return error;
    }
    *out = ring;
    return 0;
}

int wbpf_ring_open_file(int fd, size_t at, uint64_t bytes, wbpf_ring_reader **out)
{
    wbpf_ring_reader *ring = calloc(1, sizeof *ring);
    if (!ring)
        return -ENOMEM;
    int error = ring_buffer_open(ring, fd, at, bytes);
    ring->poll_fd = -1;
    if (error) {
        wbpf_ring_close(ring);
        return error;
    }
    *out = ring;
    return 0;
}

void wbpf_ring_close(wbpf_ring_reader *ring)
{
    if (ring->is_perf)
        perf_buffer_close(ring);
    else
        ring_buffer_close(ring);
    free(ring);
}

int64_t wbpf_ring_read(wbpf_ring_reader *ring, void *frames, size_t room)
{
    return ring->is_perf ? perf_buffer_read(ring, frames, room) : ring_buffer_read(ring, frames, room);
}

uint64_t wbpf_ring_next_bytes(const wbpf_ring_reader *ring)
{
    return ring->next_bytes;
}

int64_t wbpf_ring_for_each(wbpf_ring_reader *ring, uint32_t max, wbpf_ring_visit visit, void *context)
{
    return ring->is_perf ? perf_buffer_for_each(ring, max, visit, context)
                         : ring_buffer_for_each(ring, max, visit, context);
}

bool wbpf_ring_pending(const wbpf_ring_reader *ring)
{
    return ring->is_perf ? perf_buffer_pending(ring) : ring_buffer_pending(ring);
}

int64_t wbpf_ring_lost(const wbpf_ring_reader *ring)
{
    return ring->is_perf ? (int64_t)ring->lost : -EOPNOTSUPP;
}
