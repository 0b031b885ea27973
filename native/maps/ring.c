/*
 * Ring buffers with the kernel's pages: the consumer's position, the producer's, the data
 * (kernel/bpf/ringbuf.c). The second word of a record's header, the kernel's own there, says which thread
 * reserved it: what one that was killed left is discarded.
 */
#include "maps/internal.h"
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE     4096
#define DATA_AT  (WBPF_SHARED_RING_OFFSET + 2 * PAGE)
#define SPAN(n)  (((uint64_t)(n) + BPF_RINGBUF_HDR_SZ + 7) & ~7ull)
#define BYTES(h) ((h) & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT))

struct record_header {
    uint32_t bytes;
    uint32_t thread;
    uint8_t data[];
};

static int validate_size(uint32_t size)
{
    return size < PAGE || size & (size - 1) ? -EINVAL : 0;
}

static int validate(const wbpf_user_map_spec *spec)
{
    return spec->key_bytes || spec->value_bytes ? -EINVAL : validate_size(spec->entries);
}

static int validate_perf(const wbpf_user_map_spec *spec)
{
    return spec->key_bytes != 4 || spec->value_bytes != 4 ? -EINVAL : validate_size(spec->extra);
}

size_t map_ring_bytes(const wbpf_user_map_spec *spec)
{
    return spec->kind == BPF_MAP_TYPE_RINGBUF || spec->kind == BPF_MAP_TYPE_USER_RINGBUF ? spec->entries
           : spec->kind == BPF_MAP_TYPE_PERF_EVENT_ARRAY                                 ? spec->extra
                                                                                         : 0;
}

static size_t lay_out(wbpf_user_map *map)
{
    map->data = map->base + DATA_AT;
    return DATA_AT + map_ring_bytes(&map->spec);
}

static uint64_t *consumer_of(const wbpf_user_map *map)
{
    return (uint64_t *)(map->base + WBPF_SHARED_RING_OFFSET);
}

static uint64_t *producer_of(const wbpf_user_map *map)
{
    return (uint64_t *)(map->base + WBPF_SHARED_RING_OFFSET + PAGE);
}

static struct record_header *record_at(const wbpf_user_map *map, uint64_t position)
{
    return (struct record_header *)(map->data + (position & (map_ring_bytes(&map->spec) - 1)));
}

const struct map_kind map_ring = {.validate = validate, .lay_out = lay_out};
const struct map_kind map_perf = {.validate = validate_perf, .lay_out = lay_out};

void *wbpf_shared_ring_pages(const wbpf_user_map *map)
{
    return map->base + WBPF_SHARED_RING_OFFSET;
}

void wbpf_shared_ring_reap(wbpf_user_map *map)
{
    uint64_t at = load_published(consumer_of(map)), end = load_published(producer_of(map));
    if (end - at > map_ring_bytes(&map->spec)) /* a position that its reader can't have */
        return;
    while (at < end) {
        struct record_header *record = record_at(map, at);
        uint32_t bytes = load_published(&record->bytes);
        if (bytes & BPF_RINGBUF_BUSY_BIT) {
            if (!map_is_dead(load_word(&record->thread)))
                return;
            __atomic_compare_exchange_n(&record->bytes, &bytes, BYTES(bytes) | BPF_RINGBUF_DISCARD_BIT, false,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED);
        }
        at += SPAN(BYTES(bytes));
    }
}

/* Whether the next record to be read is not submitted: only then can reaping make room. */
static bool is_stuck(const wbpf_user_map *map)
{
    uint32_t bytes = load_published(&record_at(map, load_published(consumer_of(map)) & ~7ull)->bytes);
    return bytes & BPF_RINGBUF_BUSY_BIT;
}

void *wbpf_shared_ring_reserve(wbpf_user_map *map, uint64_t bytes)
{
    uint64_t size = map_ring_bytes(&map->spec);
    if (!size || !bytes || bytes > size - BPF_RINGBUF_HDR_SZ || map_lock(map))
        return NULL;
    uint64_t at = *producer_of(map), end = at + SPAN(bytes);
    struct record_header *record = NULL;
    if (end - load_published(consumer_of(map)) > size && is_stuck(map))
        wbpf_shared_ring_reap(map);
    /* The consumer is another process's to write: its position is only compared. */
    if (end - load_published(consumer_of(map)) <= size) {
        record = record_at(map, at);
        store_word(&record->thread, map_thread());
        store_word(&record->bytes, (uint32_t)bytes | BPF_RINGBUF_BUSY_BIT);
        publish(producer_of(map), end);
    }
    map_unlock(map);
    return record ? record->data : NULL;
}

void wbpf_shared_ring_submit(void *data, uint64_t flags, bool discard)
{
    struct record_header *record = (struct record_header *)((uint8_t *)data - BPF_RINGBUF_HDR_SZ);
    uint32_t bytes = record->bytes & ~BPF_RINGBUF_BUSY_BIT;
    bytes |= discard ? BPF_RINGBUF_DISCARD_BIT : 0;
    if ((flags & (BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP)) == BPF_RB_NO_WAKEUP) {
        publish(&record->bytes, bytes);
        return;
    }
    __atomic_store_n(&record->bytes, bytes, __ATOMIC_SEQ_CST);
    /* As the kernel: only if the consumer has come so far, and so may be waiting for it. */
    wbpf_user_map *map = map_ring_around(record);
    struct map_header *header = map->header;
    uint64_t size = map_ring_bytes(&map->spec);
    uint64_t place = (uint64_t)((uint8_t *)record - map->data) & (size - 1);
    uint64_t read = load_published(consumer_of(map)) & (size - 1);
    if (!(flags & BPF_RB_FORCE_WAKEUP) && place != read)
        return;
    __atomic_fetch_add(&header->rings, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&header->waiting, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &header->rings, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static int output(wbpf_user_map *map, const void *data, uint64_t bytes, const void *more, uint64_t more_bytes,
                  uint64_t flags)
{
    uint8_t *record = wbpf_shared_ring_reserve(map, bytes + more_bytes);
    if (!record)
        return -EAGAIN;
    memcpy(record, data, bytes);
    if (more_bytes)
        memcpy(record + bytes, more, more_bytes);
    wbpf_shared_ring_submit(record, flags, false);
    return 0;
}

int wbpf_shared_ring_output(wbpf_user_map *map, const void *data, uint64_t bytes, uint64_t flags)
{
    if (flags & ~(uint64_t)(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP))
        return -EINVAL;
    return output(map, data, bytes, NULL, 0, flags);
}

int wbpf_shared_ring_emit(wbpf_user_map *map, uint64_t flags, const void *data, uint64_t bytes,
                          const void *more, uint64_t more_bytes)
{
    uint64_t cpu = flags & BPF_F_INDEX_MASK;
    if (flags & ~BPF_F_INDEX_MASK)
        return -EINVAL;
    if (cpu != BPF_F_CURRENT_CPU && cpu >= map->spec.entries)
        return -E2BIG;
    if (!load_word(&map->header->is_read))
        return -ENOENT;
    int error = output(map, data, bytes, more, more_bytes, 0);
    if (error)
        __atomic_fetch_add(&map->header->lost, 1, __ATOMIC_RELAXED);
    return error ? -ENOSPC : 0;
}

uint64_t wbpf_shared_ring_lost(wbpf_user_map *map)
{
    store_word(&map->header->is_read, 1);
    return load_word(&map->header->lost);
}

uint64_t wbpf_shared_ring_query(const wbpf_user_map *map, uint64_t what)
{
    uint64_t consumer = load_published(consumer_of(map)), producer = load_published(producer_of(map));
    switch (what) {
    case BPF_RB_AVAIL_DATA:
        return producer - consumer;
    case BPF_RB_RING_SIZE:
        return map_ring_bytes(&map->spec);
    case BPF_RB_CONS_POS:
        return consumer;
    case BPF_RB_PROD_POS:
        return producer;
    default:
        return 0;
    }
}

bool wbpf_shared_ring_wait(wbpf_user_map *map, uint32_t *seen, uint64_t timeout_ns)
{
    struct map_header *header = map->header;
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    __atomic_fetch_add(&header->waiting, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&header->rings, __ATOMIC_SEQ_CST) == *seen)
        syscall(SYS_futex, &header->rings, FUTEX_WAIT, *seen, timeout_ns == UINT64_MAX ? NULL : &timeout,
                NULL, 0);
    __atomic_fetch_sub(&header->waiting, 1, __ATOMIC_SEQ_CST);
    uint32_t now = load_published(&header->rings);
    bool rang = now != *seen;
    if (!rang)
        wbpf_shared_ring_reap(map);
    *seen = now;
    return rang;
}

uint32_t *wbpf_shared_ring_arm(wbpf_user_map *map, uint32_t *seen)
{
    __atomic_fetch_add(&map->header->waiting, 1, __ATOMIC_SEQ_CST);
    *seen = __atomic_load_n(&map->header->rings, __ATOMIC_SEQ_CST);
    return &map->header->rings;
}

void wbpf_shared_ring_disarm(wbpf_user_map *map)
{
    __atomic_fetch_sub(&map->header->waiting, 1, __ATOMIC_SEQ_CST);
}

void wbpf_shared_ring_wake(wbpf_user_map *map)
{
    __atomic_fetch_add(&map->header->rings, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &map->header->rings, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}
