/* Consuming perf buffers: one for each processor that is on, each with its own order. */
#include "ring.h"
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sample {
    struct perf_event_header header;
    uint32_t bytes;
};

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static int open_one(struct wbpf_ring_reader *ring, int map_fd, struct perf_buffer *out)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_SW_BPF_OUTPUT,
                                   .sample_type = PERF_SAMPLE_RAW,
                                   .sample_period = 1,
                                   .wakeup_events = 1};
    out->fd = (int)syscall(SYS_perf_event_open, &attr, -1, out->cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (out->fd < 0)
        return errno == ENODEV ? 0 : -errno;
    void *memory = mmap(NULL, page_bytes() + ring->size, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    out->memory = memory;
    struct epoll_event event = {.events = EPOLLIN};
    if (ioctl(out->fd, PERF_EVENT_IOC_ENABLE, 0) != 0 ||
        epoll_ctl(ring->poll_fd, EPOLL_CTL_ADD, out->fd, &event) != 0)
        return -errno;
    return wbpf_map_update(map_fd, &out->cpu, &out->fd, BPF_ANY);
}

int perf_buffer_open(struct wbpf_ring_reader *ring, int map_fd, const wbpf_map_facts *map, uint32_t pages)
{
    int cpus = wbpf_possible_cpus();
    if (cpus < 0)
        return cpus;
    uint32_t count = (uint32_t)cpus < map->entries ? (uint32_t)cpus : map->entries;
    ring->size = pages * page_bytes();
    ring->buffers = calloc(count, sizeof *ring->buffers);
    ring->aside = malloc(ring->size);
    ring->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!ring->buffers || !ring->aside)
        return -ENOMEM;
    if (ring->poll_fd < 0)
        return -errno;
    for (uint32_t cpu = 0; cpu < count; cpu++) {
        ring->buffers[cpu] = (struct perf_buffer){.fd = -1, .cpu = cpu};
        ring->buffer_count = cpu + 1;
        int error = open_one(ring, map_fd, &ring->buffers[cpu]);
        if (error)
            return error;
    }
    return 0;
}

void perf_buffer_close(struct wbpf_ring_reader *ring)
{
    for (uint32_t i = 0; i < ring->buffer_count; i++) {
        if (ring->buffers[i].memory)
            munmap(ring->buffers[i].memory, page_bytes() + ring->size);
        if (ring->buffers[i].fd >= 0)
            close(ring->buffers[i].fd);
    }
    if (ring->poll_fd >= 0)
        close(ring->poll_fd);
    free(ring->buffers);
    free(ring->aside);
}

/* ---- one buffer ---- */

static struct perf_event_mmap_page *control(const struct perf_buffer *buffer)
{
    return (struct perf_event_mmap_page *)buffer->memory;
}

static void copy_from(const struct wbpf_ring_reader *ring, const struct perf_buffer *buffer, uint64_t at,
                      void *out, uint64_t bytes)
{
    const uint8_t *data = buffer->memory + page_bytes();
    uint64_t offset = at & (ring->size - 1);
    uint64_t first = bytes < ring->size - offset ? bytes : ring->size - offset;
    memcpy(out, data + offset, first);
    memcpy((uint8_t *)out + first, data, bytes - first);
}

/* The next sample, with those that were lost before it counted; false: there is none. */
static bool next_sample(struct wbpf_ring_reader *ring, const struct perf_buffer *buffer, uint64_t *at,
                        struct sample *out)
{
    uint64_t head = load_acquire(&control(buffer)->data_head);
    while (*at < head) {
        copy_from(ring, buffer, *at, out, sizeof *out);
        if (out->header.type == PERF_RECORD_SAMPLE)
            return true;
        if (out->header.type == PERF_RECORD_LOST) {
            uint64_t lost;
            copy_from(ring, buffer, *at + sizeof(struct perf_event_header) + 8, &lost, sizeof lost);
            ring->lost += lost;
        }
        *at += out->header.size;
        store_release(&control(buffer)->data_tail, *at);
    }
    return false;
}

static size_t read_one(struct wbpf_ring_reader *ring, const struct perf_buffer *buffer, uint8_t *frames,
                       size_t room)
{
    uint64_t at = control(buffer)->data_tail;
    size_t used = 0;
    struct sample sample;
    while (next_sample(ring, buffer, &at, &sample)) {
        size_t padded = (sample.bytes + 7ull) & ~7ull;
        if (sizeof(struct wbpf_frame) + padded > room - used) {
            ring->next_bytes = sizeof(struct wbpf_frame) + padded;
            break;
        }
        const struct wbpf_frame frame = {sample.bytes, buffer->cpu};
        memcpy(frames + used, &frame, sizeof frame);
        used += sizeof frame;
        copy_from(ring, buffer, at + sizeof sample, frames + used, sample.bytes);
        memset(frames + used + sample.bytes, 0, padded - sample.bytes);
        used += padded;
        at += sample.header.size;
    }
    store_release(&control(buffer)->data_tail, at);
    return used;
}

static int64_t visit_one(struct wbpf_ring_reader *ring, const struct perf_buffer *buffer, uint32_t max,
                         wbpf_ring_visit visit, void *context, bool *stop)
{
    uint64_t at = control(buffer)->data_tail;
    const uint8_t *contents = buffer->memory + page_bytes();
    int64_t count = 0;
    struct sample sample;
    while (!*stop && count < max && next_sample(ring, buffer, &at, &sample)) {
        uint64_t offset = (at + sizeof sample) & (ring->size - 1);
        const uint8_t *data = contents + offset;
        if (sample.bytes > ring->size - offset) {
            copy_from(ring, buffer, at + sizeof sample, ring->aside, sample.bytes);
            data = ring->aside;
        }
        *stop = visit(context, data, sample.bytes, buffer->cpu) != 0;
        count++;
        at += sample.header.size;
        store_release(&control(buffer)->data_tail, at);
    }
    return count;
}

/* ---- all of them, a different one first each time ---- */

static const struct perf_buffer *buffer_in_turn(struct wbpf_ring_reader *ring, uint32_t i)
{
    const struct perf_buffer *buffer = &ring->buffers[(ring->turn + i) % ring->buffer_count];
    return buffer->fd >= 0 ? buffer : NULL;
}

int64_t perf_buffer_read(struct wbpf_ring_reader *ring, uint8_t *frames, size_t room)
{
    size_t used = 0;
    ring->next_bytes = 0;
    for (uint32_t i = 0; i < ring->buffer_count; i++) {
        const struct perf_buffer *buffer = buffer_in_turn(ring, i);
        if (buffer)
            used += read_one(ring, buffer, frames + used, room - used);
    }
    ring->turn++;
    return ring->next_bytes && !used ? -EMSGSIZE : (int64_t)used;
}

int64_t perf_buffer_for_each(struct wbpf_ring_reader *ring, uint32_t max, wbpf_ring_visit visit,
                             void *context)
{
    int64_t count = 0;
    bool stop = false;
    for (uint32_t i = 0; i < ring->buffer_count && !stop && count < max; i++) {
        const struct perf_buffer *buffer = buffer_in_turn(ring, i);
        if (buffer)
            count += visit_one(ring, buffer, max - (uint32_t)count, visit, context, &stop);
    }
    ring->turn++;
    return count;
}

bool perf_buffer_pending(const struct wbpf_ring_reader *ring)
{
    for (uint32_t i = 0; i < ring->buffer_count; i++) {
        const struct perf_buffer *buffer = &ring->buffers[i];
        if (buffer->fd >= 0 && load_acquire(&control(buffer)->data_head) != control(buffer)->data_tail)
            return true;
    }
    return false;
}
