/* Producing into a user ring buffer, kernel 6.1. */
#include "kernel.h"
#include "recorder/internal.h"
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TYPE_USER_RINGBUF = 31 };

struct wbpf_user_ring {
    const uint64_t *consumer;
    uint64_t *producer;
    uint8_t *data;
    uint64_t size;
};

static int made(void *consumer, void *producer, uint64_t size, wbpf_user_ring **out)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    wbpf_user_ring *ring = malloc(sizeof *ring);
    if (!ring) {
        munmap(consumer, page);
        munmap(producer, page + 2 * size);
        return -ENOMEM;
    }
    *ring = (wbpf_user_ring){consumer, producer, (uint8_t *)producer + page, size};
    *out = ring;
    return 0;
}

int wbpf_user_ring_open(int map_fd, wbpf_user_ring **out)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    wbpf_map_facts map;
    int error = wbpf_map_ask(map_fd, &map);
    if (error || map.type != TYPE_USER_RINGBUF)
        return error ? error : -EINVAL;
    void *consumer = mmap(NULL, page, PROT_READ, MAP_SHARED, map_fd, 0);
    if (consumer == MAP_FAILED)
        return -errno;
    void *producer =
        mmap(NULL, page + 2ull * map.entries, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, (off_t)page);
    if (producer == MAP_FAILED) {
        error = -errno;
        munmap(consumer, page);
        return error;
    }
    return made(consumer, producer, map.entries, out);
}

int wbpf_user_ring_open_file(int fd, uint64_t at, uint64_t size, wbpf_user_ring **out)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *consumer = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, (off_t)at);
    if (consumer == MAP_FAILED)
        return -errno;
    /* The data comes twice, the second time where there was nothing. */
    uint8_t *producer =
        mmap(NULL, page + 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(at + page));
    if (producer == MAP_FAILED || mmap(producer + page + size, size, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_FIXED, fd, (off_t)(at + 2 * page)) == MAP_FAILED) {
        int error = -errno;
        munmap(consumer, page);
        if (producer != MAP_FAILED)
            munmap(producer, page + 2 * size);
        return error;
    }
    return made(consumer, producer, size, out);
}

void wbpf_user_ring_close(wbpf_user_ring *ring)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    munmap((void *)ring->consumer, page);
    munmap(ring->producer, page + 2 * ring->size);
    free(ring);
}

int wbpf_user_ring_submit(wbpf_user_ring *ring, const void *data, uint32_t bytes)
{
    uint64_t span = (bytes + BPF_RINGBUF_HDR_SZ + 7ull) & ~7ull;
    uint64_t at = *ring->producer, taken = load_acquire(ring->consumer);
    if (span > ring->size)
        return -E2BIG;
    if (ring->size - (at - taken) < span)
        return -ENOSPC;
    uint8_t *record = ring->data + (at & (ring->size - 1));
    const uint32_t header[2] = {bytes, 0};
    memcpy(record, header, sizeof header);
    memcpy(record + sizeof header, data, bytes);
    store_release(ring->producer, at + span);
    return 0;
}
