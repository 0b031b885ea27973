/* Explicit flush and invalidate, of an object or of a range of the data area. */
#include "pool/probes.h"

struct range {
    uint32_t first, count;
    uint64_t object;
};

static int range_of_object(wbpf_pool_host *host, const char *id, struct range *range)
{
    size_t bytes = strnlen(id, WBPF_POOL_MAX_ID_BYTES + 1);
    range->object = object_hash(id, bytes);
    int error = membership_check(host);
    if (!error)
        error = pool_lock(host->pool);
    if (error)
        return error;
    const struct pool_entry *entry = directory_find(host->pool, id, bytes, range->object);
    if (entry) {
        range->first = entry->first_line;
        range->count = entry->line_count;
    }
    pool_unlock(host->pool);
    return entry ? 0 : -ENOENT;
}

/* Every line that the bytes touch. */
static int range_of_bytes(const wbpf_pool_host *host, uint64_t offset, uint64_t bytes, struct range *range)
{
    uint64_t end = (uint64_t)host->pool->header->line_count * LINE_BYTES;
    if (offset > end || bytes > end - offset)
        return -EINVAL;
    range->object = 0;
    range->first = (uint32_t)(offset / LINE_BYTES);
    range->count = bytes ? (uint32_t)((offset + bytes + LINE_BYTES - 1) / LINE_BYTES) - range->first : 0;
    return 0;
}

static int64_t flush(wbpf_pool_host *host, const struct range *range, wbpf_pool_timing *timing)
{
    uint32_t lines = line_cache_write_back(host, range->first, range->count);
    virtual_time_charge(host, &(struct pool_cost){.lines_written = lines}, timing);
    probe_flush(host, range->object, (uint64_t)range->first * LINE_BYTES, (uint64_t)range->count * LINE_BYTES,
                lines, timing);
    return lines;
}

static int64_t invalidate(wbpf_pool_host *host, const struct range *range, wbpf_pool_timing *timing)
{
    uint32_t lines = line_cache_invalidate(host, range->first, range->count);
    virtual_time_charge(host, &(struct pool_cost){.lines_hit = lines ? 1 : 0}, timing);
    probe_invalidate(host, range->object, (uint64_t)range->first * LINE_BYTES,
                     (uint64_t)range->count * LINE_BYTES, lines, timing);
    return lines;
}

int64_t wbpf_pool_flush(wbpf_pool_host *host, const char *id, wbpf_pool_timing *timing)
{
    struct range range;
    int error = range_of_object(host, id, &range);
    return error ? error : flush(host, &range, timing);
}

int64_t wbpf_pool_invalidate(wbpf_pool_host *host, const char *id, wbpf_pool_timing *timing)
{
    struct range range;
    int error = range_of_object(host, id, &range);
    return error ? error : invalidate(host, &range, timing);
}

int64_t wbpf_pool_flush_range(wbpf_pool_host *host, uint64_t offset, uint64_t bytes, wbpf_pool_timing *timing)
{
    struct range range;
    int error = range_of_bytes(host, offset, bytes, &range);
    return error ? error : flush(host, &range, timing);
}

int64_t wbpf_pool_invalidate_range(wbpf_pool_host *host, uint64_t offset, uint64_t bytes,
                                   wbpf_pool_timing *timing)
{
    struct range range;
    int error = range_of_bytes(host, offset, bytes, &range);
    return error ? error : invalidate(host, &range, timing);
}
