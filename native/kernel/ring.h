/* The two kinds of rings behind wbpf_ring_reader. */
#ifndef WBPF_RING_H
#define WBPF_RING_H

#include "kernel.h"
#include "recorder/internal.h"

struct perf_buffer {
    int fd; /* < 0: the processor is off */
    uint32_t cpu;
    uint8_t *memory; /* control page first */
};

struct wbpf_ring_reader {
    bool is_perf;
    int poll_fd; /* the map's, or an epoll over `buffers` */
    uint64_t size;
    uint64_t next_bytes;
    /* of a ring buffer */
    uint64_t *consumer;
    const uint64_t *producer;
    const uint8_t *data;
    /* of perf buffers */
    struct perf_buffer *buffers;
    uint32_t buffer_count, turn;
    uint64_t lost;
    uint8_t *aside; /* for a record that is not contiguous */
};

/* Its pages begin `at` in a map of the kernel (0), or in a file. */
int ring_buffer_open(struct wbpf_ring_reader *ring, int fd, size_t at, uint64_t size);
void ring_buffer_close(struct wbpf_ring_reader *ring);
int64_t ring_buffer_read(struct wbpf_ring_reader *ring, uint8_t *frames, size_t room);
int64_t ring_buffer_for_each(struct wbpf_ring_reader *ring, uint32_t max, wbpf_ring_visit visit,
                             void *context);
bool ring_buffer_pending(const struct wbpf_ring_reader *ring);

int perf_buffer_open(struct wbpf_ring_reader *ring, int map_fd, const wbpf_map_facts *map, uint32_t pages);
void perf_buffer_close(struct wbpf_ring_reader *ring);
int64_t perf_buffer_read(struct wbpf_ring_reader *ring, uint8_t *frames, size_t room);
int64_t perf_buffer_for_each(struct wbpf_ring_reader *ring, uint32_t max, wbpf_ring_visit visit,
                             void *context);
bool perf_buffer_pending(const struct wbpf_ring_reader *ring);

#endif
