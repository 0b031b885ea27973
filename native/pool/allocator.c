/* Which lines are free: extents in address order, the free ones also in lists by size, four to a power of
 * two. Lists are last in, first out, and an object's own size is looked for first, so that space freed lately
 * is used again soon, as caches like it. Neighbouring free extents are joined at once. Everything here is
 * derived from the entries. */
#include "pool/internal.h"

#define FIRST_FIT_DEPTH 16 /* extents of the request's own bin tried before the next bin */

static struct pool_extent *extent_at(const wbpf_pool *pool, uint32_t index)
{
    return &pool->extents[index - 1];
}

static uint32_t bin_of(uint32_t lines)
{
    if (lines < 4)
        return lines;
    uint32_t power = 31 - (uint32_t)__builtin_clz(lines);
    return 4 * (power - 1) + ((lines >> (power - 2)) & 3);
}

static void bin_insert(wbpf_pool *pool, uint32_t index)
{
    struct pool_header *header = pool->header;
    struct pool_extent *extent = extent_at(pool, index);
    uint32_t bin = bin_of(extent->line_count);
    extent->free_before = 0;
    extent->free_after = header->bins[bin];
    if (extent->free_after)
        extent_at(pool, extent->free_after)->free_before = index;
    header->bins[bin] = index;
    header->bin_map[bin / 64] |= 1ull << (bin % 64);
}

static void bin_remove(wbpf_pool *pool, uint32_t index)
{
    struct pool_header *header = pool->header;
    struct pool_extent *extent = extent_at(pool, index);
    uint32_t bin = bin_of(extent->line_count);
    if (extent->free_after)
        extent_at(pool, extent->free_after)->free_before = extent->free_before;
    if (extent->free_before)
        extent_at(pool, extent->free_before)->free_after = extent->free_after;
    else
        header->bins[bin] = extent->free_after;
    if (!header->bins[bin])
        header->bin_map[bin / 64] &= ~(1ull << (bin % 64));
}

/* There is always an unused node: extents are at most the objects and the gaps around them. */
static uint32_t node_take(wbpf_pool *pool)
{
    uint32_t index = pool->header->free_extent;
    struct pool_extent *extent = extent_at(pool, index);
    pool->header->free_extent = extent->free_after;
    *extent = (struct pool_extent){0};
    return index;
}

static void node_give(wbpf_pool *pool, uint32_t index)
{
    extent_at(pool, index)->free_after = pool->header->free_extent;
    pool->header->free_extent = index;
}

/* Put `index` after `before` (0: first) in address order. */
static void link_after(wbpf_pool *pool, uint32_t index, uint32_t before)
{
    struct pool_extent *extent = extent_at(pool, index);
    extent->before = before;
    extent->after = before ? extent_at(pool, before)->after : pool->header->first_extent;
    if (extent->after)
        extent_at(pool, extent->after)->before = index;
    if (before)
        extent_at(pool, before)->after = index;
    else
        pool->header->first_extent = index;
}

static void unlink_extent(wbpf_pool *pool, uint32_t index)
{
    struct pool_extent *extent = extent_at(pool, index);
    if (extent->after)
        extent_at(pool, extent->after)->before = extent->before;
    if (extent->before)
        extent_at(pool, extent->before)->after = extent->after;
    else
        pool->header->first_extent = extent->after;
}

static uint32_t search_bin(const wbpf_pool *pool, uint32_t bin, uint32_t lines, uint32_t depth)
{
    uint32_t index = pool->header->bins[bin];
    while (index && depth-- && extent_at(pool, index)->line_count < lines)
        index = extent_at(pool, index)->free_after;
    return index && extent_at(pool, index)->line_count >= lines ? index : 0;
}

/* The first bin after `bin` that is not empty: anything in it is large enough. */
static uint32_t search_larger(const wbpf_pool *pool, uint32_t bin)
{
    for (uint32_t word = (bin + 1) / 64; word < POOL_BINS / 64; word++) {
        uint64_t map = pool->header->bin_map[word];
        if (word == (bin + 1) / 64)
            map &= ~0ull << ((bin + 1) % 64);
        if (map)
            return pool->header->bins[word * 64 + (uint32_t)__builtin_ctzll(map)];
    }
    return 0;
}

uint32_t allocator_take(wbpf_pool *pool, uint32_t lines)
{
    uint32_t bin = bin_of(lines);
    uint32_t index = search_bin(pool, bin, lines, FIRST_FIT_DEPTH);
    if (!index)
        index = search_larger(pool, bin);
    if (!index)
        index = search_bin(pool, bin, lines, UINT32_MAX);
    if (!index)
        return 0;
    struct pool_extent *extent = extent_at(pool, index);
    bin_remove(pool, index);
    if (extent->line_count > lines) {
        uint32_t rest = node_take(pool);
        extent_at(pool, rest)->first_line = extent->first_line + lines;
        extent_at(pool, rest)->line_count = extent->line_count - lines;
        extent->line_count = lines;
        link_after(pool, rest, index);
        bin_insert(pool, rest);
    }
    pool->header->used_lines += lines;
    return index;
}

void allocator_give(wbpf_pool *pool, uint32_t index)
{
    struct pool_extent *extent = extent_at(pool, index);
    pool->header->used_lines -= extent->line_count;
    extent->entry = 0;
    uint32_t after = extent->after, before = extent->before;
    if (after && !extent_at(pool, after)->entry) {
        bin_remove(pool, after);
        extent->line_count += extent_at(pool, after)->line_count;
        unlink_extent(pool, after);
        node_give(pool, after);
    }
    if (before && !extent_at(pool, before)->entry) {
        bin_remove(pool, before);
        extent_at(pool, before)->line_count += extent->line_count;
        unlink_extent(pool, index);
        node_give(pool, index);
        index = before;
    }
    bin_insert(pool, index);
}

uint32_t allocator_largest_free(const wbpf_pool *pool)
{
    uint32_t largest = 0;
    for (uint32_t word = POOL_BINS / 64; word-- > 0;) {
        uint64_t map = pool->header->bin_map[word];
        if (!map)
            continue;
        uint32_t index = pool->header->bins[word * 64 + 63 - (uint32_t)__builtin_clzll(map)];
        for (; index; index = extent_at(pool, index)->free_after)
            if (extent_at(pool, index)->line_count > largest)
                largest = extent_at(pool, index)->line_count;
        break;
    }
    return largest;
}

/* ---- rebuilding ---- */

/* Heap sort by first line: in place, since the one who rebuilds may be killed too. */
static void sift(const wbpf_pool *pool, uint32_t *order, uint32_t root, uint32_t count)
{
    for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count &&
            pool->entries[order[child + 1]].first_line > pool->entries[order[child]].first_line)
            child++;
        if (pool->entries[order[root]].first_line >= pool->entries[order[child]].first_line)
            return;
        uint32_t swapped = order[root];
        order[root] = order[child];
        order[child] = swapped;
    }
}

static uint32_t used_in_address_order(wbpf_pool *pool)
{
    uint32_t *order = pool->order, count = 0;
    for (uint32_t i = 0; i < pool->header->entry_count; i++)
        if (pool->entries[i].state != ENTRY_FREE)
            order[count++] = i;
    for (uint32_t i = count / 2; i-- > 0;)
        sift(pool, order, i, count);
    for (uint32_t end = count; end-- > 1;) {
        uint32_t last = order[end];
        order[end] = order[0];
        order[0] = last;
        sift(pool, order, 0, end);
    }
    return count;
}

static uint32_t append(wbpf_pool *pool, uint32_t last, uint32_t first_line, uint32_t lines)
{
    uint32_t index = node_take(pool);
    extent_at(pool, index)->first_line = first_line;
    extent_at(pool, index)->line_count = lines;
    link_after(pool, index, last);
    return index;
}

void allocator_rebuild(wbpf_pool *pool)
{
    struct pool_header *header = pool->header;
    header->first_extent = header->used_lines = header->free_extent = 0;
    memset(header->bins, 0, sizeof header->bins);
    memset(header->bin_map, 0, sizeof header->bin_map);
    for (uint32_t i = header->extent_count; i > 0; i--)
        node_give(pool, i);
    uint32_t used = used_in_address_order(pool);
    uint32_t at = 0, last = 0;
    for (uint32_t i = 0; i <= used; i++) {
        struct pool_entry *entry = i < used ? &pool->entries[pool->order[i]] : NULL;
        uint32_t next = entry ? entry->first_line : header->line_count;
        if (next > at) {
            last = append(pool, last, at, next - at);
            bin_insert(pool, last);
        }
        if (entry) {
            last = append(pool, last, entry->first_line, entry->line_count);
            extent_at(pool, last)->entry = pool->order[i] + 1;
            entry->extent = last;
            header->used_lines += entry->line_count;
            at = entry->first_line + entry->line_count;
        }
    }
}

/* ---- checking ---- */

static bool in_bin(const wbpf_pool *pool, uint32_t index)
{
    uint32_t at = pool->header->bins[bin_of(extent_at(pool, index)->line_count)];
    while (at && at != index)
        at = extent_at(pool, at)->free_after;
    return at == index;
}

const char *allocator_check(const wbpf_pool *pool)
{
    const struct pool_header *header = pool->header;
    uint32_t at = 0, used = 0, nodes = 0, in_bins = 0, free_extents = 0, before = 0;
    bool before_free = false;
    for (uint32_t index = header->first_extent; index; index = extent_at(pool, index)->after) {
        const struct pool_extent *extent = extent_at(pool, index);
        if (++nodes > header->extent_count)
            return "the extents form a circle";
        if (extent->first_line != at || extent->line_count == 0 || extent->before != before)
            return "the extents don't cover the data area in order";
        if (extent->entry) {
            const struct pool_entry *entry = &pool->entries[extent->entry - 1];
            if (entry->state == ENTRY_FREE || entry->extent != index || entry->first_line != at ||
                entry->line_count != extent->line_count)
                return "an extent and its object disagree";
            used += extent->line_count;
        } else {
            free_extents++;
            if (before_free)
                return "two free extents lie side by side";
            if (!in_bin(pool, index))
                return "a free extent is in no list";
        }
        before_free = !extent->entry;
        before = index;
        at += extent->line_count;
    }
    if (at != header->line_count)
        return "the extents don't reach the end of the data area";
    if (used != header->used_lines)
        return "the count of used lines is wrong";
    for (uint32_t bin = 0; bin < POOL_BINS; bin++) {
        if (!header->bins[bin] != !(header->bin_map[bin / 64] >> (bin % 64) & 1))
            return "the map of free lists is wrong";
        for (uint32_t index = header->bins[bin]; index; index = extent_at(pool, index)->free_after)
            if (++in_bins > free_extents)
                return "a free list holds what is not free";
    }
    for (uint32_t index = header->free_extent; index; index = extent_at(pool, index)->free_after)
        if (++nodes > header->extent_count)
            return "the unused extents form a circle";
    return nodes == header->extent_count ? NULL : "an extent was lost";
}
