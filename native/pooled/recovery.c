/* The reading side of segments in the pool: whatever lies there, what comes out is whole or not at all. */
#include "pooled/region.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define WHY_BYTES   256
#define PAGE        4096u
#define MOST_CHUNKS (1u << 20)
#define MOST_BYTES  (1ull << 36) /* of address space; only what is filled takes memory */

struct reading {
    wbpf_pool_view view;
    struct region_header region; /* checked */
    struct region_mark mark;
    uint64_t *sequences; /* of the group that each chunk was read from */
    wbpf_recovery *recovery;
    char *why;
};

/* Bytes of the region as they are now. The copy is what is checked and used: the memory may change meanwhile.
 */
static int read_bytes(struct reading *r, uint64_t offset, void *to, uint64_t bytes)
{
    int error = wbpf_pool_reread(&r->view, offset, bytes);
    if (error)
        return error;
    copy_unowned(to, (const uint8_t *)r->view.data + offset, bytes);
    return 0;
}

static bool holds(const struct reading *r, const void *line)
{
    uint32_t check;
    memcpy(&check, (const uint8_t *)line + LINE - sizeof check, sizeof check);
    return check == line_check(line, r->region.nonce);
}

static int impossible(struct reading *r, const char *what)
{
    snprintf(r->why, WHY_BYTES, "%s", what);
    return -EPROTO;
}

static int read_header(struct reading *r)
{
    struct region_header *h = &r->region;
    if (r->view.bytes < sizeof *h)
        return impossible(r, "it is too small for a region");
    int error = read_bytes(r, 0, h, sizeof *h);
    if (error)
        return error;
    if (h->magic != REGION_MAGIC || h->version != REGION_VERSION || h->endian != WBPF_ENDIAN_MARK ||
        !holds(r, h))
        return impossible(r, "it is no region, or one of another version");
    if (h->chunk_bytes < 1024 || h->chunk_bytes % 8 || h->chunk_bytes > WBPF_MAX_CHUNK_BYTES ||
        h->chunk_count == 0 || h->chunk_count > MOST_CHUNKS || h->slot_count == 0 ||
        h->slot_count > h->chunk_count || h->facts_bytes % LINE || h->facts_bytes > 1u << 30 ||
        h->facts_bytes < sizeof(struct wbpf_segment_header) || h->bytes > r->view.bytes ||
        slot_offset(h, h->slot_count) != h->bytes)
        return impossible(r, "its header holds impossible sizes");
    return 0;
}

static int read_mark(struct reading *r)
{
    for (unsigned which = 0; which < 2; which++) {
        struct region_mark mark;
        int error = read_bytes(r, mark_offset(which), &mark, sizeof mark);
        if (error)
            return error;
        if (holds(r, &mark) && mark.sequence > r->mark.sequence)
            r->mark = mark;
    }
    return r->mark.sequence ? 0 : impossible(r, "nothing was ever flushed to it wholly");
}

/* The newer of the two that is whole, into memory of the caller's. */
static int read_facts(struct reading *r, struct region_facts *facts, uint8_t **bytes)
{
    struct region_facts lines[2];
    int error = read_bytes(r, facts_line_offset(0), &lines[0], LINE);
    if (!error)
        error = read_bytes(r, facts_line_offset(1), &lines[1], LINE);
    if (error)
        return error;
    unsigned first = lines[1].sequence > lines[0].sequence;
    for (unsigned turn = 0; turn < 2; turn++) {
        *facts = lines[first ^ turn];
        uint64_t used = sizeof(struct wbpf_segment_header) +
                        facts->process_count * (uint64_t)sizeof(struct wbpf_process_slot) +
                        facts->schema_bytes;
        if (!holds(r, facts) || used > r->region.facts_bytes || facts->process_count == 0)
            continue;
        *bytes = malloc(used);
        if (!*bytes)
            return -ENOMEM;
        error = read_bytes(r, facts_offset(&r->region, facts->sequence), *bytes, used);
        if (!error && wbpf_crc32c(0, *bytes, used) == facts->checksum)
            return 0;
        free(*bytes);
        *bytes = NULL;
        if (error)
            return error;
    }
    return impossible(r, "what it says of its segment is not whole");
}

/* ---- the segment ---- */

static uint64_t place(uint64_t *end, uint64_t bytes)
{
    uint64_t offset = (*end + PAGE - 1) / PAGE * PAGE;
    *end = offset + bytes;
    return offset;
}

/* A segment without chunks in use, from what the region says of the one it was copied from. */
static int build(struct reading *r, const struct region_facts *facts, const uint8_t *bytes, uint8_t **base)
{
    struct wbpf_segment_header h;
    uint64_t end = WBPF_SEGMENT_HEADER_BYTES, count = r->region.chunk_count;
    uint64_t processes = facts->process_count * (uint64_t)sizeof(struct wbpf_process_slot);
    memcpy(&h, bytes, sizeof h);
    if (h.chunk_bytes != r->region.chunk_bytes || h.chunk_count != count)
        return impossible(r, "its segment has other sizes than it");
    h.host[sizeof h.host - 1] = h.service[sizeof h.service - 1] = 0;
    h.chunk_stride = (h.chunk_bytes + PAGE - 1) / PAGE * PAGE;
    h.process_count = facts->process_count;
    h.thread_count = h.trigger_count = h.clear_count = 0;
    h.clear_next = h.override_count = h.cleared_chunks = 0;
    h.lost_until = r->mark.lost_until;
    h.process_offset = h.thread_offset = h.trigger_offset = h.clear_offset = place(&end, processes);
    h.schema_bytes = facts->schema_bytes;
    h.schema_offset = place(&end, facts->schema_bytes);
    h.bitmap_offset = place(&end, (count + 63) / 64 * 8);
    h.chunk_offset = place(&end, count * sizeof(struct wbpf_chunk_header));
    h.data_offset = place(&end, 0);
    h.segment_bytes = h.data_offset + count * h.chunk_stride;
    if (h.segment_bytes > MOST_BYTES)
        return impossible(r, "its segment is larger than any");
    *base = mmap(NULL, h.segment_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
    if (*base == MAP_FAILED)
        return -ENOMEM;
    memcpy(*base, &h, sizeof h);
    memcpy(*base + h.process_offset, bytes + sizeof h, processes);
    memcpy(*base + h.schema_offset, bytes + sizeof h + processes, facts->schema_bytes);
    return 0;
}

/* ---- groups ---- */

static bool is_unused(const struct region_group *group)
{
    static const struct region_group zeros;
    return memcmp(group, &zeros, sizeof zeros) == 0;
}

static uint32_t sum_directory(const uint8_t *data, uint32_t chunk_bytes, uint32_t slots)
{
    uint32_t checksum = 0;
    for (uint32_t i = 0; i < slots; i++)
        checksum = wbpf_crc32c(checksum, data + chunk_bytes - 8 * (size_t)(i + 1), 8);
    return checksum;
}

/* Are the group's bytes, copied to `data`, those it was written for? */
static bool is_whole(const struct reading *r, const struct region_group *g, const uint8_t *data)
{
    uint64_t used = 8ull * word_front(g->word) + 8ull * word_slots(g->word);
    return g->chunk < r->region.chunk_count && used <= r->region.chunk_bytes &&
           !(word_generation(g->word) & 1) &&
           wbpf_crc32c(0, data, 8 * (size_t)word_front(g->word)) == g->records_checksum &&
           sum_directory(data, r->region.chunk_bytes, word_slots(g->word)) == g->directory_checksum;
}

static void take_group(struct reading *r, const struct mapping *map, const struct region_group *g,
                       const uint8_t *data)
{
    struct wbpf_chunk_header *c = &map->chunks[g->chunk];
    uint8_t *to = chunk_data(map, g->chunk);
    uint32_t bytes = r->region.chunk_bytes, back = 8 * word_slots(g->word);
    r->recovery->groups++;
    if (g->sequence < r->sequences[g->chunk])
        return; /* of an earlier use of the chunk, in another slot */
    r->sequences[g->chunk] = g->sequence;
    memcpy(to, data, 8 * (size_t)word_front(g->word));
    memcpy(to + bytes - back, data + bytes - back, back);
    *c = (struct wbpf_chunk_header){.word = g->word,
                                    .uses = g->uses,
                                    .open_ticks = g->open_ticks,
                                    .kind = WBPF_CHUNK_THREAD,
                                    .process = g->process};
}

static int read_slot(struct reading *r, const struct mapping *map, uint32_t slot, uint8_t *data)
{
    struct region_group groups[2];
    int error = read_bytes(r, group_offset(slot, 0), groups, sizeof groups);
    if (error || (is_unused(&groups[0]) && is_unused(&groups[1])))
        return error;
    error = read_bytes(r, slot_offset(&r->region, slot), data, r->region.chunk_bytes);
    if (error)
        return error;
    unsigned first = groups[1].sequence > groups[0].sequence;
    if (!holds(r, &groups[first]) && holds(r, &groups[!first]))
        first = !first; /* what the torn line says of its age is worth nothing */
    unsigned torn = 0;
    for (unsigned turn = 0; turn < 2; turn++) {
        const struct region_group *g = &groups[first ^ turn];
        if (is_unused(g))
            continue;
        if (holds(r, g) && is_whole(r, g, data)) {
            take_group(r, map, g, data);
            /* The other one is older, or its line is torn. */
            torn += !turn && !is_unused(&groups[!first]) && !holds(r, &groups[!first]);
            break;
        }
        torn++;
    }
    r->recovery->torn += torn != 0;
    return 0;
}

static int read_groups(struct reading *r, const struct mapping *map)
{
    uint8_t *data = malloc(whole_lines(r->region.chunk_bytes));
    r->sequences = calloc(r->region.chunk_count, sizeof *r->sequences);
    int error = data && r->sequences ? 0 : -ENOMEM;
    for (uint32_t slot = 0; slot < r->region.slot_count && !error; slot++)
        error = read_slot(r, map, slot, data);
    free(data);
    free(r->sequences);
    return error;
}

static int recover(struct reading *r, uint64_t known, const char *id, wbpf_segment **out)
{
    struct region_facts facts;
    uint8_t *bytes = NULL, *base = NULL;
    int error = read_header(r);
    if (!error)
        error = read_mark(r);
    if (error)
        return error;
    if (known && r->mark.sequence == known)
        return -EALREADY;
    error = read_facts(r, &facts, &bytes);
    if (error)
        return error;
    error = build(r, &facts, bytes, &base);
    free(bytes);
    if (error)
        return error;
    uint64_t size = ((struct wbpf_segment_header *)base)->segment_bytes;
    error = segment_adopt(base, size, id, out, r->why);
    if (error) {
        munmap(base, size);
        return error;
    }
    error = read_groups(r, &(*out)->map);
    if (error) {
        wbpf_segment_close(*out);
        return error;
    }
    r->recovery->sequence = r->mark.sequence;
    r->recovery->flushed_unix_ns = r->mark.flushed_unix_ns;
    return 0;
}

int wbpf_segment_recover(wbpf_pool_host *host, const char *id, uint64_t known, wbpf_segment **out,
                         wbpf_recovery *recovery, char *why)
{
    struct reading r = {.recovery = recovery, .why = why};
    *recovery = (wbpf_recovery){0};
    *why = 0;
    int error = wbpf_pool_acquire(host, id, 0, &r.view);
    if (error)
        return error;
    error = recover(&r, known, id, out);
    wbpf_pool_release(&r.view);
    return error;
}
