/* Reading segments: live ones, files, pools. Trusts nothing in them: every offset and length is checked. */
#ifndef WBPF_READER_H
#define WBPF_READER_H

#include "wbpf/format.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wbpf_segment wbpf_segment;

/* Map a segment. -ENOENT, -EACCES (also: writable by everybody), -EPROTO (not a segment, other version,
 * impossible layout). `why` (>= 256 bytes) explains. */
int wbpf_segment_open(const char *path, bool writable, wbpf_segment **out, char *why);
void wbpf_segment_close(wbpf_segment *segment);
/* Did the file become shorter, and was read behind its end? Then what was read may be zeros instead: ask
 * after reading. The process does not get SIGBUS for it. */
bool wbpf_segment_was_cut(const wbpf_segment *segment);
/* As it was at opening, and found possible: ATOMIC fields have changed since. */
const struct wbpf_segment_header *wbpf_segment_header(const wbpf_segment *segment);
const struct wbpf_process_slot *wbpf_segment_process(const wbpf_segment *segment, uint32_t index);
/* Does process slot `index` (of that generation; 0 = any) hold its lock? Always false for a file without a
 * lock file. */
bool wbpf_segment_process_alive(const wbpf_segment *segment, uint32_t index, uint32_t generation);

/* ---- schemas and clocks ---- */

/* Entry at *offset (start with 0) of the schema area; advances *offset. False at the end. `text` is not
 * NUL-terminated. */
bool wbpf_segment_next_schema(const wbpf_segment *segment, uint32_t *offset, uint32_t *schema_id,
                              const char **text, uint32_t *text_bytes);
/* Add a calibration (writable segments of this host only). */
int wbpf_segment_calibrate(wbpf_segment *segment);
/* Copy the calibrations in order of ticks; returns how many (<= WBPF_CALIBRATIONS). */
uint32_t wbpf_segment_calibrations(const wbpf_segment *segment, struct wbpf_calibration *out);
/* Ticks to CLOCK_REALTIME by those calibrations; 0 for ticks of 0. */
uint64_t wbpf_segment_ticks_to_unix_ns(const wbpf_segment *segment, uint64_t ticks);
uint64_t wbpf_segment_now_ticks(const wbpf_segment *segment);

/* ---- search and watch ---- */

typedef struct wbpf_breadcrumb {
    uint64_t peer_host_id, edge_span_id;
    uint32_t direction;
} wbpf_breadcrumb;

/* A stretch of one run: records that follow each other in one chunk, all of one trace and thread. */
typedef struct wbpf_piece {
    uint8_t trace_id[16];
    uint64_t uses;
    uint32_t chunk, start_unit, process, tid;
    uint32_t records, begins, ends; /* counted in the piece; begins and ends without child spans */
    bool starts_run;                /* false: goes on where the piece returned before it ended */
    bool cleared;
    const uint8_t *data;
    uint32_t bytes;
    const wbpf_breadcrumb *breadcrumbs;
    uint32_t breadcrumb_count;
    const uint8_t (*laterals)[16]; /* of TRIGGER records */
    uint32_t lateral_count;
} wbpf_piece;

/* A set of trace ids and how far each chunk was read for them. */
typedef struct wbpf_watch wbpf_watch;
int wbpf_watch_create(wbpf_segment *segment, wbpf_watch **out);
void wbpf_watch_destroy(wbpf_watch *watch);
int wbpf_watch_add(wbpf_watch *watch, const uint8_t (*ids)[16], size_t count);
void wbpf_watch_remove(wbpf_watch *watch, const uint8_t (*ids)[16], size_t count);
/*
 * Collect what was written for the ids since the last poll: for ids added since then in all chunks, for the
 * others only in chunks whose word changed. Pieces point into memory of the watch, valid until the next call.
 * *lost_until_ticks is the segment's, loaded after the copies.
 */
int wbpf_watch_poll(wbpf_watch *watch, const wbpf_piece **pieces, size_t *count, uint64_t *lost_until_ticks);

/* All pieces of the whole segment, whatever the trace, for dumps: call with *cursor = 0 until *count is 0. */
int wbpf_watch_dump(wbpf_watch *watch, uint32_t *cursor, const wbpf_piece **pieces, size_t *count);

/* ---- triggers, clears, levels (writable segments) ---- */

typedef struct wbpf_fired {
    uint32_t slot;
    uint64_t token; /* for wbpf_segment_ack_trigger */
    struct wbpf_trigger_slot what;
} wbpf_fired;

/* Take up to `max` READY triggers (and with `again` also TAKEN ones: after a restart). Returns how many;
 * frees slots CLAIMED by dead processes. */
uint32_t wbpf_segment_take_triggers(wbpf_segment *segment, bool again, wbpf_fired *out, uint32_t max);
void wbpf_segment_ack_trigger(wbpf_segment *segment, uint32_t slot, uint64_t token);
/* Cleared ids since *position (start with 0); lossy. Returns how many were copied. */
uint32_t wbpf_segment_cleared(wbpf_segment *segment, uint64_t *position, uint8_t (*ids)[16], uint32_t max);
/* Flag these traces' runs CLEARED wherever they are; returns how many directory slots were flagged. */
uint32_t wbpf_segment_clear(wbpf_segment *segment, const uint8_t (*ids)[16], size_t count);
/* The host's threshold; also corrects thread slots that missed a change: call it again from time to time. */
void wbpf_segment_set_level(wbpf_segment *segment, uint32_t level);
/* A trace's threshold (0 removes it). -ENOSPC when all entries are used. */
int wbpf_segment_set_trace_level(wbpf_segment *segment, const uint8_t trace_id[16], uint32_t level);

/* Wait until the futex word at `bell` differs from `seen` or the time is over; returns the word. */
uint32_t wbpf_bell_wait(const uint32_t *bell, uint32_t seen, uint64_t timeout_ns);

/* ---- counters ---- */

typedef struct wbpf_counters {
    uint64_t resident_records, recycled_records, resident_bytes, recycled_bytes;
    uint64_t refused, truncated, triggers_dropped;
    uint32_t chunks_owned, chunks_used, processes_alive, threads;
    uint64_t oldest_ticks, lost_until_ticks; /* oldest: when the oldest chunk still there was opened */
} wbpf_counters;
void wbpf_segment_counters(const wbpf_segment *segment, wbpf_counters *out);

#ifdef __cplusplus
}
#endif
#endif
