/* A host's private cache: a mirror of the whole data area, with a state for each line. Bytes pass between
 * mirror and pool only here; a line that is valid in the mirror shows what was there when it was read,
 * whatever the pool holds by now.
 *
 * In a coherent pool there is no mirror: a store is in the pool at once, and nothing is ever flushed or
 * invalidated. */
#include "pool/internal.h"
#define WBPF_PROBES_INTERNAL
#include "wbpf/probe.h"

static void copy_lines(uint8_t *to, const uint8_t *from, uint32_t first, uint32_t count)
{
    memcpy(to + (uint64_t)first * LINE_BYTES, from + (uint64_t)first * LINE_BYTES,
           (uint64_t)count * LINE_BYTES);
}

void line_cache_dirty(wbpf_pool_host *host, uint32_t first, uint32_t count, uint64_t generation)
{
    struct pool_line *pool = host->pool->lines, *own = host->lines;
    uint16_t writer = (uint16_t)(host->index + 1);
    for (uint32_t i = first; i < first + count; i++)
        if (own && own[i].flags & LINE_DIRTY && own[i].generation == generation)
            continue; /* keeps its base version */
        else if (own)
            own[i] = (struct pool_line){generation, pool[i].version, writer, LINE_VALID | LINE_DIRTY};
        else
            pool[i] = (struct pool_line){generation, pool[i].version + 1, writer, LINE_VALID};
}

/* Bytes before their version, as a reader loads the version before the bytes: it may take new bytes for old
 * ones, never the reverse. */
static void publish_run(wbpf_pool_host *host, uint32_t first, uint32_t count)
{
    copy_lines(host->pool->data, host->mirror, first, count);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    for (uint32_t i = first; i < first + count; i++) {
        struct pool_line written = host->lines[i];
        written.version = host->pool->lines[i].version + 1;
        written.flags = LINE_VALID;
        host->pool->lines[i] = host->lines[i] = written;
    }
}

static uint32_t run_with(const struct pool_line *lines, uint32_t at, uint32_t end, uint16_t flag,
                         uint16_t value)
{
    uint32_t from = at;
    while (at < end && (lines[at].flags & flag) == value)
        at++;
    return at - from;
}

uint32_t line_cache_write_back(wbpf_pool_host *host, uint32_t first, uint32_t count)
{
    uint32_t written = 0, end = first + count;
    for (uint32_t at = first; host->lines && at < end;) {
        uint32_t run = run_with(host->lines, at, end, LINE_DIRTY, LINE_DIRTY);
        if (run)
            publish_run(host, at, run);
        written += run;
        at += run ? run : run_with(host->lines, at, end, LINE_DIRTY, 0);
    }
    WBPF_PROBE(wbpf_pool, flush, host->record->host_id, (uint64_t)first * LINE_BYTES, count, written);
    return written;
}

uint32_t line_cache_invalidate(wbpf_pool_host *host, uint32_t first, uint32_t count)
{
    uint32_t dropped = 0;
    for (uint32_t i = first; host->lines && i < first + count; i++)
        if (host->lines[i].flags == LINE_VALID) {
            host->lines[i].flags = 0;
            dropped++;
        }
    WBPF_PROBE(wbpf_pool, invalidate, host->record->host_id, (uint64_t)first * LINE_BYTES, count, dropped);
    return dropped;
}

void line_cache_drop(wbpf_pool_host *host, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; host->lines && i < first + count; i++)
        host->lines[i].flags = 0;
}

static void note_newest(struct line_counts *counts, const struct pool_line *line)
{
    if (counts->stale == 0 && line->version >= counts->seen_version) {
        counts->seen_version = counts->pool_version = line->version;
        counts->seen_generation = line->generation;
        counts->writer = line->writer;
    }
}

static void fill_run(wbpf_pool_host *host, uint32_t first, uint32_t count, struct line_counts *counts)
{
    for (uint32_t i = first; i < first + count; i++) {
        host->lines[i] = host->pool->lines[i];
        host->lines[i].flags = 0;
        note_newest(counts, &host->lines[i]);
    }
    __atomic_thread_fence(__ATOMIC_ACQ_REL);
    copy_lines(host->mirror, host->pool->data, first, count);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* who dies in between leaves lines that are not valid */
    for (uint32_t i = first; i < first + count; i++)
        host->lines[i].flags = LINE_VALID;
    counts->filled += count;
}

/* A line that is valid already: perhaps older than the pool's. */
static void hit_line(const wbpf_pool_host *host, uint32_t line, struct line_counts *counts)
{
    struct pool_line own = host->lines[line], pool = host->pool->lines[line];
    counts->hit++;
    uint32_t behind = pool.version - own.version;
    if (behind == 0 || own.flags & LINE_DIRTY) {
        note_newest(counts, &own);
        return;
    }
    if (counts->stale++ == 0 || behind > counts->pool_version - counts->seen_version) {
        counts->seen_version = own.version;
        counts->pool_version = pool.version;
        counts->seen_generation = own.generation;
        counts->writer = own.writer;
    }
    uint64_t offset = (uint64_t)line * LINE_BYTES;
    counts->differing += memcmp(host->mirror + offset, host->pool->data + offset, LINE_BYTES) != 0;
}

static void fill(wbpf_pool_host *host, uint32_t first, uint32_t count, struct line_counts *counts)
{
    *counts = (struct line_counts){0};
    uint32_t end = first + count;
    if (!host->lines) {
        counts->filled = count;
        for (uint32_t i = first; i < end; i++)
            note_newest(counts, &host->pool->lines[i]);
        return;
    }
    for (uint32_t at = first; at < end;) {
        uint32_t run = run_with(host->lines, at, end, LINE_VALID, 0);
        if (run) {
            fill_run(host, at, run, counts);
            at += run;
        } else {
            hit_line(host, at++, counts);
        }
    }
}

void line_cache_fill(wbpf_pool_host *host, uint32_t first, uint32_t count, struct line_counts *counts)
{
    fill(host, first, count, counts);
    WBPF_PROBE(wbpf_pool, fetch, host->record->host_id, (uint64_t)first * LINE_BYTES, count, counts->filled,
               counts->hit, counts->stale);
}

void line_cache_reread(wbpf_pool_host *host, uint32_t first, uint32_t count, struct line_counts *counts)
{
    line_cache_invalidate(host, first, count);
    line_cache_fill(host, first, count, counts);
}
