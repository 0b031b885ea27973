/*
 * Segments in the pool: a copy of a host's segment that outlives the host.
 *
 * The segment stays in the host's own memory, where recording costs what it costs. A flusher writes what is
 * new in it to a region (an object of the pool that goes on changing) through the host's line cache, in
 * groups: a chunk's bytes first, then the line that says what they are, with a generation and checksums. A
 * reader on another host believes a group only if all of that holds.
 */
#ifndef WBPF_POOLED_H
#define WBPF_POOLED_H

#include "recorder/reader.h"
#include "wbpf/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- writing ---- */

typedef struct wbpf_flusher wbpf_flusher;

typedef struct wbpf_flush_counts {
    uint64_t rounds, groups, bytes; /* bytes: of records and directories */
    uint64_t flushed_unix_ns;       /* what was written before that is in the pool */
    uint32_t slots;                 /* chunks that the region holds */
} wbpf_flush_counts;

/* Make region `id` of about `bytes` (less if the segment is smaller) for a segment, which has to stay open;
 * only what changes from here on is flushed without a call. -EEXIST; -ENOSPC; -EINVAL: too few bytes for a
 * chunk; -EOPNOTSUPP: its records are in the kernel. `why` (>= 256 bytes) explains. */
int wbpf_flusher_create(wbpf_segment *segment, wbpf_pool_host *host, const char *id, uint64_t bytes,
                        wbpf_flusher **out, char *why);
/* Flush what is new. 0, or what wbpf_pool_write_back says. Of one thread at a time. */
int wbpf_flusher_round(wbpf_flusher *flusher);
/* Do so every every_us, or sooner: when at the rate of late every_kib KiB (0: not counted) will be new. While
 * nothing has been new for a second, every 10 * every_us, up to 100 ms. Returns after wbpf_flusher_stop(),
 * having flushed once more, or with the error of a round. */
int wbpf_flusher_run(wbpf_flusher *flusher, uint32_t every_us, uint32_t every_kib);
void wbpf_flusher_stop(wbpf_flusher *flusher);
void wbpf_flusher_get_counts(const wbpf_flusher *flusher, wbpf_flush_counts *counts);
/* The region stays in the pool. */
void wbpf_flusher_destroy(wbpf_flusher *flusher);

/* ---- reading ---- */

typedef struct wbpf_recovery {
    uint64_t sequence;        /* of the last round that ended */
    uint64_t flushed_unix_ns; /* what was written before that was in the pool by then */
    uint32_t groups;          /* that were read */
    uint32_t torn;            /* that were not whole, and dropped */
} wbpf_recovery;

/* Read region `id` as this host sees it after reading its lines anew, and make a segment of what is whole, in
 * memory of this process. -ENOENT; -EALREADY: its last round is `known` (0: none), so nothing is new;
 * -EPROTO: what is there is no region, or not one that can be used. */
int wbpf_segment_recover(wbpf_pool_host *host, const char *id, uint64_t known, wbpf_segment **out,
                         wbpf_recovery *recovery, char *why);

#ifdef __cplusplus
}
#endif
#endif
