/* Consuming a ring buffer. The kernel maps its data twice in a row, so that every record is contiguous. */
#include "ring.h"
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNUSED_HEADER (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)

int ring_buffer_open(struct wbpf_ring_reader *ring, int fd, size_t at, uint64_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    ring->size = size;
    void *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
    if (consumer == MAP_FAILED)
        return -errno;
    ring->consumer = consumer;
    void *producer = mmap(NULL, page + 2 * size, PROT_READ, MAP_SHARED, fd, (off_t)(at + page));
    if (producer == MAP_FAILED)
        return -errno;
    ring->producer = producer;
    ring->data = (const uint8_t *)producer + page;
    /* Only the kernel has the data twice by itself. */
    if (at && mmap((uint8_t *)producer + page + size, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
                   (off_t)(at + 2 * page)) == MAP_FAILED)
        return -errno;
    ring->poll_fd = fd;
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

/* Room for a frame of a small record, and the step in which those are copied. */
enum { SMALL_BYTES = 72, STEP_BYTES = 32 };

/* Small ones by copies of a fixed size, which may go beyond the record: half the time of exact ones. */
static inline void copy_record(const struct wbpf_ring_reader *ring, uint64_t offset, uint64_t span,
                               uint8_t *frame, size_t room)
{
    const uint8_t *record = ring->data + offset;
    const size_t header = sizeof(struct wbpf_frame);
    if (span <= SMALL_BYTES && room >= SMALL_BYTES && offset + SMALL_BYTES <= 2 * ring->size) {
        memcpy(frame + header, record + header, STEP_BYTES);
        if (span > header + STEP_BYTES)
            memcpy(frame + header + STEP_BYTES, record + header + STEP_BYTES, STEP_BYTES);
    } else {
        memcpy(frame + header, record + header, span - header);
    }
}

int64_t ring_buffer_read(struct wbpf_ring_reader *ring, uint8_t *frames, size_t room)
{
    uint64_t at = *ring->consumer, end = load_acquire(ring->producer);
    size_t used = 0;
    bool full = false;
    if (end - at > ring->size) /* not from here: somebody else who maps the ring stored a position */
        at = end;
    while (at < end) {
        uint32_t header = header_at(ring, at);
        uint64_t span = span_of(header);
        if (header & BPF_RINGBUF_BUSY_BIT)
            break;
        if (span > end - at) {
            at = end;
            break;
        }
        if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
            full = span > room - used;
            if (full) {
                ring->next_bytes = span;
                break;
            }
            copy_record(ring, at & (ring->size - 1), span, frames + used, room - used);
            const struct wbpf_frame frame = {.bytes = header};
            memcpy(frames + used, &frame, sizeof frame);
            used += span;
        }
        at += span;
    }
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
