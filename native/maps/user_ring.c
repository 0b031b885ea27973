/* Rings that programs read and others write, with the kernel's pages (kernel/bpf/ringbuf.c). */
#include "maps/internal.h"
#include <string.h>

enum { PAGE = 4096, DATA_AT = WBPF_SHARED_RING_OFFSET + 2 * PAGE, RECORDS_MOST = 128 * 1024 };

static int validate(const wbpf_user_map_spec *spec)
{
    bool sized = spec->entries >= PAGE && !(spec->entries & (spec->entries - 1));
    return spec->key_bytes || spec->value_bytes || !sized ? -EINVAL : 0;
}

static size_t lay_out(wbpf_user_map *map)
{
    map->data = map->base + DATA_AT;
    return DATA_AT + map_ring_bytes(&map->spec);
}

const struct map_kind map_user_ring = {.validate = validate, .lay_out = lay_out};

/* The next record. -ENODATA: there is none; -EAGAIN: it is discarded; *end: where the one after it begins. */
static int peek(const wbpf_user_map *map, uint64_t at, const uint8_t **data, uint32_t *bytes, uint64_t *end)
{
    uint64_t size = map_ring_bytes(&map->spec);
    uint64_t produced = load_published((const uint64_t *)(map->base + WBPF_SHARED_RING_OFFSET + PAGE));
    if (produced % 8)
        return -EINVAL;
    if (at >= produced)
        return -ENODATA;
    const uint8_t *record = map->data + (at & (size - 1));
    uint32_t header = load_published((const uint32_t *)(const void *)record);
    *bytes = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    uint64_t span = ((uint64_t)*bytes + BPF_RINGBUF_HDR_SZ + 7) & ~7ull;
    if (span > produced - at)
        return -EINVAL;
    if (span > size)
        return -E2BIG;
    *data = record + BPF_RINGBUF_HDR_SZ;
    *end = at + span;
    return header & BPF_RINGBUF_DISCARD_BIT ? -EAGAIN : header & BPF_RINGBUF_BUSY_BIT ? -EBUSY : 0;
}

/* One reader at a time; that of a thread that died is over. */
static bool claim(uint32_t *reader)
{
    uint32_t holder = 0;
    if (__atomic_compare_exchange_n(reader, &holder, map_thread(), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return true;
    return map_is_dead(holder) && __atomic_compare_exchange_n(reader, &holder, map_thread(), false,
                                                              __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

int64_t wbpf_user_ring_drain(wbpf_user_map *map, wbpf_user_ring_visit visit, void *context)
{
    uint64_t *consumer = (uint64_t *)(map->base + WBPF_SHARED_RING_OFFSET);
    int64_t count = 0;
    if (map->kind != &map_user_ring)
        return -EINVAL;
    if (!claim(&map->header->reader))
        return -EBUSY;
    for (uint32_t i = 0; i < RECORDS_MOST; i++) {
        const uint8_t *data;
        uint32_t bytes;
        uint64_t end;
        int error = peek(map, load_word(consumer), &data, &bytes, &end);
        if (error == -ENODATA)
            break;
        if (error && error != -EAGAIN) {
            count = error;
            break;
        }
        uint64_t stop = 0;
        if (!error) {
            stop = visit(context, data, bytes);
            count++;
        }
        publish(consumer, end);
        if (stop)
            break;
    }
    publish(&map->header->reader, 0);
    return count;
}
