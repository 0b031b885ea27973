/*
 * Consuming a ring buffer. The kernel maps its data twice in a row, so that every record is contiguous, and
 * lays records out as struct wbpf_frame does: a batch is one copy.
 */
#include "ring.h"
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNUSED_HEADER (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)

int ring_buffer_open(struct wbpf_ring_reader *ring, int map_fd, const wbpf_map_facts *map)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    ring->size = map->entries;
    void *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
    if (consumer == MAP_FAILED)
        return -errno;
    ring->consumer = consumer;
    void *producer = mmap(NULL, page + 2 * ring->size, PROT_READ, MAP_SHARED, map_fd, (off_t)page);
    if (producer == MAP_FAILED)
        return -errno;
    ring->producer = producer;
    ring->data = (const uint8_t *)producer + page;
    ring->poll_fd = map_fd;
    return 0;
}

void ring_buffer_close(struct wbpf_ring_reader *ring)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (ring->consumer)
        munmap(ring->consumer, page);
    if (ring->producer)
        munmap((void *)ring->producer, page + 2 * ring->size);
}

static inline uint32_t header_at(const struct wbpf_ring_reader *ring, uint64_t position)
{
    return load_acquire((const uint32_t *)(ring->data + (position & (ring->size - 1))));
}

static inline uint64_t span_of(uint32_t header)
{
    return ((header & ~UNUSED_HEADER) + BPF_RINGBUF_HDR_SZ + 7ull) & ~7ull;
}

/* Copy what lies between two positions; the second word of each header is the kernel's own. */
static void copy_out(const struct wbpf_ring_reader *ring, uint64_t from, uint64_t to, uint8_t *frames)
{
    memcpy(frames, ring->data + (from & (ring->size - 1)), to - from);
    for (uint64_t at = 0; at < to - from;) {
        struct wbpf_frame *frame = (struct wbpf_frame *)(frames + at);
        frame->cpu = 0;
        at += span_of(frame->bytes);
    }
}

int64_t ring_buffer_read(struct wbpf_ring_reader *ring, uint8_t *frames, size_t room)
{
    uint64_t start = *ring->consumer, end = load_acquire(ring->producer), at = start;
    size_t used = 0;
    bool full = false;
    if (end - at > ring->size) /* not from us: somebody else stored a position */
        start = at = end;
    while (at < end) {
        uint32_t header = header_at(ring, at);
        uint64_t span = span_of(header);
        if (header & BPF_RINGBUF_BUSY_BIT)
            break;
        if (span > end - at) {
            start = at = end;
            break;
        }
        if (header & BPF_RINGBUF_DISCARD_BIT) {
            copy_out(ring, start, at, frames + used);
            used += at - start;
            start = at += span;
            continue;
        }
        full = used + (at - start) + span > room;
        if (full) {
            ring->next_bytes = span;
            break;
        }
        at += span;
    }
    copy_out(ring, start, at, frames + used);
    used += at - start;
    store_release(ring->consumer, at);
    return full && !used ? -EMSGSIZE : (int64_t)used;
}

int64_t ring_buffer_for_each(struct wbpf_ring_reader *ring, uint32_t max, wbpf_ring_visit visit,
                             void *context)
{
    uint64_t at = *ring->consumer, end = load_acquire(ring->producer);
    int64_t count = 0;
    bool stop = false;
    if (end - at > ring->size)
        store_release(ring->consumer, at = end);
    while (at < end && !stop && count < max) {
        uint32_t header = header_at(ring, at);
        if (header & BPF_RINGBUF_BUSY_BIT)
            break;
        if (span_of(header) > end - at) {
            store_release(ring->consumer, end);
            break;
        }
        if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
            const uint8_t *data = ring->data + (at & (ring->size - 1)) + BPF_RINGBUF_HDR_SZ;
            stop = visit(context, data, header, 0) != 0;
            count++;
        }
        at += span_of(header);
        store_release(ring->consumer, at);
    }
    return count;
}

bool ring_buffer_pending(const struct wbpf_ring_reader *ring)
{
    uint64_t at = *ring->consumer, end = load_acquire(ring->producer);
    if (end - at > ring->size)
        return at != end;
    for (uint32_t header; at < end; at += span_of(header)) {
        header = header_at(ring, at);
        if (header & BPF_RINGBUF_BUSY_BIT)
            return false;
        if (!(header & BPF_RINGBUF_DISCARD_BIT))
            return true;
    }
    return false;
}
