/* Objects that go on changing after their seal: single stretches of lines, written back and read again. */
#include "pool/internal.h"

/* The lines that some bytes of a payload touch. */
static bool lines_at(const struct pool_entry *entry, uint64_t offset, uint64_t bytes, uint32_t *first,
                     uint32_t *count)
{
    if (offset > entry->bytes || bytes > entry->bytes - offset)
        return false;
    *first = entry->first_line + ENVELOPE_LINES + (uint32_t)(offset / LINE_BYTES);
    *count = bytes ? (uint32_t)((offset % LINE_BYTES + bytes + LINE_BYTES - 1) / LINE_BYTES) : 0;
    return true;
}

int64_t wbpf_pool_write_back(wbpf_pool_writer *writer, uint64_t offset, uint64_t bytes)
{
    wbpf_pool_host *host = writer->host;
    uint32_t first, count;
    if (!host || writer->fork_epoch != pool_fork_epoch() ||
        !entry_is_current(host->pool, writer->entry, writer->generation))
        return -ESTALE;
    if (!lines_at(entry_of(host, writer->entry), offset, bytes, &first, &count))
        return -EINVAL;
    line_cache_dirty(host, first, count, writer->generation);
    return host->lines ? line_cache_write_back(host, first, count) : count;
}

int wbpf_pool_reread(wbpf_pool_view *view, uint64_t offset, uint64_t bytes)
{
    uint32_t first, count;
    struct line_counts lines;
    if (!wbpf_pool_view_valid(view))
        return -ESTALE;
    if (!lines_at(entry_of(view->host, view->entry), offset, bytes, &first, &count))
        return -EINVAL;
    line_cache_reread(view->host, first, count, &lines);
    return 0;
}
