/*
 * What is in a region: offsets from its start, all of them multiples of a line; little-endian.
 *
 *     region | marks 0, 1 | facts 0, 1 | slots: groups 0, 1 of each | facts' bytes 0, 1 | slots' bytes
 *
 * Each of mark, facts and group is one line, of which two places take turns: one that was cut off by death
 * leaves the one before it. Its check covers the other 60 bytes, seeded with the region's nonce, so that what
 * lay in this memory before is never taken for it.
 */
#ifndef WBPF_REGION_H
#define WBPF_REGION_H

#include "pooled/pooled.h"
#include "recorder/segment.h"

#define REGION_MAGIC   0x3147455250504277ULL /* the bytes wBPPREG1 */
#define REGION_VERSION 1u
#define LINE           64u

/* Written once, before the object is sealed. */
struct region_header {
    uint64_t magic;
    uint32_t version, endian;
    uint64_t nonce;
    uint64_t bytes;
    uint32_t chunk_bytes, chunk_count; /* of the segment */
    uint32_t slot_count;               /* chunks that fit: the newest are kept */
    uint32_t facts_bytes;              /* room for one copy of the facts */
    uint8_t pad[12];
    uint32_t check;
};

/* The end of a round. */
struct region_mark {
    uint64_t sequence;        /* of the round, from 1 */
    uint64_t flushed_ticks;   /* what was published before that is in groups that are whole */
    uint64_t flushed_unix_ns; /* the same moment */
    uint64_t lost_until;      /* the segment's, or of what had to make room here */
    uint8_t pad[28];
    uint32_t check;
};

/* The segment's header, process slots and schemas, one after another. */
struct region_facts {
    uint64_t sequence;
    uint32_t process_count, schema_bytes;
    uint32_t checksum;
    uint8_t pad[40];
    uint32_t check;
};

/* A chunk: the records and directory slots that the word covers, in its slot's bytes. */
struct region_group {
    uint64_t sequence; /* grows from group to group; 0 with a check of 0: never written */
    uint64_t word;
    uint64_t uses, open_ticks;
    uint32_t chunk, process;
    uint32_t records_checksum, directory_checksum;
    uint8_t pad[12];
    uint32_t check;
};

_Static_assert(sizeof(struct region_header) == LINE, "region_header");
_Static_assert(sizeof(struct region_mark) == LINE, "region_mark");
_Static_assert(sizeof(struct region_facts) == LINE, "region_facts");
_Static_assert(sizeof(struct region_group) == LINE, "region_group");

static inline uint32_t line_check(const void *line, uint64_t nonce)
{
    return wbpf_crc32c(wbpf_crc32c(0, &nonce, sizeof nonce), line, LINE - sizeof(uint32_t));
}

static inline uint64_t whole_lines(uint64_t bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

static inline uint64_t mark_offset(uint64_t sequence)
{
    return LINE * (1 + sequence % 2);
}
static inline uint64_t facts_line_offset(uint64_t sequence)
{
    return LINE * (3 + sequence % 2);
}
static inline uint64_t group_offset(uint32_t slot, unsigned which)
{
    return LINE * (5 + 2 * (uint64_t)slot + which);
}
static inline uint64_t facts_offset(const struct region_header *r, uint64_t sequence)
{
    return group_offset(r->slot_count, 0) + sequence % 2 * r->facts_bytes;
}
static inline uint64_t slot_offset(const struct region_header *r, uint32_t slot)
{
    return facts_offset(r, 0) + 2 * (uint64_t)r->facts_bytes + slot * whole_lines(r->chunk_bytes);
}

/* Directory slots as they are in the pool: without flags, the one thing that changes below a published word.
 */
static inline uint64_t without_flags(uint64_t slot)
{
    return slot & ~(0xffull << 24);
}
static inline unsigned slot_type(uint64_t slot)
{
    return (uint8_t)(slot >> 16);
}

#endif
