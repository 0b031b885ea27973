/* Kernel chunks, inside: rings that eBPF programs write (docs/record-format.md, "Kernel chunks"). */
#ifndef WBPF_KERNEL_RING_H
#define WBPF_KERNEL_RING_H

#include "internal.h"
#include "reader.h"

/* ---- kernel_ring.c: one ring, in memory that anybody may write at any moment ---- */

struct kernel_ring {
    uint32_t variant; /* enum wbpf_kernel_ring */
    const struct wbpf_kernel_ring_header *header;
    const uint8_t *data;       /* ring_bytes (ARRAY: and KERNEL_MAX_RECORD_BYTES behind them) */
    uint64_t ring_bytes;       /* a power of two */
    const uint64_t *perf_head; /* PERF: where the kernel publishes how far it got, downwards from 0 */
};

/* A record that was found whole. */
struct kernel_record {
    uint64_t start; /* position of its first byte; never the same again */
    struct wbpf_kernel_record_header header;
    uint8_t payload[WBPF_KERNEL_MAX_RECORD_BYTES - sizeof(struct wbpf_kernel_record_header)];
    uint32_t payload_bytes;
};

#define KERNEL_GAPS 64
/* How far a ring was read, and the places before that where a record may still appear. */
struct kernel_cursor {
    uint64_t next;
    uint32_t gap_count;
    struct {
        uint64_t from, to;
    } gaps[KERNEL_GAPS];
};

/* `wanted` is asked first, with ids that may be torn; `take` gets whole records, and ends the walk if it
 * returns not 0. */
struct kernel_visitor {
    bool (*wanted)(void *self, uint64_t lo, uint64_t hi, bool fresh_place);
    int (*take)(void *self, const struct kernel_record *record);
    void *self;
};

/* Can a ring be where `ring` says, with so many bytes behind its header? 0 or -EPROTO. */
int kernel_ring_check(const struct kernel_ring *ring, uint64_t bytes_behind_header);
/* Visit the records of the whole ring (`everything`) or those since the last walk with this cursor.
 * `scratch`: ring_bytes, for PERF. */
int kernel_ring_walk(const struct kernel_ring *ring, struct kernel_cursor *cursor, bool everything,
                     uint8_t *scratch, const struct kernel_visitor *visitor);
/* A time before which every lost record was written; 0 if none was lost. */
uint64_t kernel_ring_lost_until(const struct kernel_ring *ring, uint8_t *scratch);
/* Bytes ever written. */
uint64_t kernel_ring_written(const struct kernel_ring *ring);
#define KERNEL_TRANSLATED_BYTES (WBPF_KERNEL_MAX_RECORD_BYTES + 8)
/* The record as it would stand in a thread chunk, behind a RESUME; returns the bytes. */
uint32_t kernel_record_translate(const struct kernel_record *record, uint8_t out[KERNEL_TRANSLATED_BYTES]);

/* ---- kernel_source.c: where the rings of a segment are ---- */

struct kernel_chunk {
    uint32_t index; /* of the segment's chunk */
    struct kernel_ring ring;
    uint8_t *perf; /* mapping of a perf ring with its first page, or NULL */
    uint64_t perf_bytes;
};

struct kernel_chunks {
    uint8_t *array; /* mapping of the BPF array, which all chunks share */
    uint64_t array_bytes;
    uint32_t count;
    uint64_t scratch_bytes; /* that reading takes: perf rings are copied whole */
    struct kernel_chunk chunks[];
};

int kernel_chunks_open(wbpf_segment *segment, char *why);
void kernel_chunks_close(struct kernel_chunks *chunks);
bool kernel_is_chunk(const wbpf_segment *segment, uint32_t chunk);

/* ---- kernel_search.c: what watches and counters get of them ---- */

struct kernel_cursors;
struct kernel_cursors *kernel_cursors_create(const wbpf_segment *segment);
void kernel_cursors_destroy(struct kernel_cursors *cursors);
void kernel_cursors_reset(struct kernel_cursors *cursors);
int kernel_poll(wbpf_watch *watch);
int kernel_dump(wbpf_watch *watch, uint32_t chunk);
/* Of all rings. */
uint64_t kernel_lost_until(const wbpf_watch *watch);
/* Adds to what thread chunks gave. */
void kernel_count(const wbpf_segment *segment, wbpf_counters *out);

#endif
