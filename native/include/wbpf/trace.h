/*
 * wBPF tracing API for C and C++.
 *
 *     wbpf_open(NULL);                                     // once a process; reads WBPF_* variables
 *     wbpf_scope scope;
 *     wbpf_begin(&scope, WBPF_NAME("request"), NULL);      // a new trace, current on this thread
 *     WBPF_EVENT(WBPF_LEVEL_INFO, "cache.miss", "key:u64", &key, sizeof key);
 *     if (slow) wbpf_trigger(WBPF_NAME("slow"), latency_ms, NULL, 0);
 *     wbpf_end(&scope);
 *
 * Everything is written to shared memory on this host and read by nobody until a trigger fires.
 * All functions may be called before wbpf_open() or after it failed: they then do nothing.
 * Functions that return int return 0 or a negative errno. None blocks; none allocates after a thread's first
 * call. Record layout: docs/record-format.md.
 */
#ifndef WBPF_TRACE_H
#define WBPF_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wbpf/format.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(WBPF_STATIC)
#define WBPF_API
#else
#define WBPF_API __attribute__((visibility("default")))
#endif

/* A name and the fields of a payload, registered once: see "Schemas" in docs/record-format.md. 0 = none. */
typedef uint32_t wbpf_schema;

/* Where a trace is: carried between threads and hosts. All zero: no trace. */
typedef struct wbpf_context {
    uint8_t trace_id[16];
    uint64_t span_id;
    uint64_t start_unix_ns; /* when the trace began, by the clock of the host where it began; 0 = not known */
    uint64_t from_host_id;  /* set by wbpf_extract: the host it came from; 0 = not known */
    uint8_t flags;          /* W3C trace-flags */
    uint8_t level;          /* threshold of this trace; 0 = the host's */
    uint8_t reserved[6];
} wbpf_context;

/* Storage for what a begin replaces; lives on the caller's stack until the matching end. */
typedef struct wbpf_scope {
    wbpf_context outer;
    uint64_t span_id;
    uint32_t active;
    uint32_t reserved;
} wbpf_scope;

typedef struct wbpf_options {
    const char *directory; /* NULL: $WBPF_DIR, else /dev/shm/wbpf-UID */
    const char *host;      /* NULL: $WBPF_HOST, else the host's name */
    const char *service;   /* NULL: $WBPF_SERVICE, else the program's name */
    uint32_t size_mib;     /* 0: $WBPF_SEGMENT_MB, else 64. Ignored when the segment exists */
    uint32_t chunk_bytes;  /* 0: 65528. Ignored when the segment exists */
    uint32_t level;        /* 0: $WBPF_LEVEL, else record everything. Ignored when the segment exists */
} wbpf_options;

/* ---- opening ---- */

/* Open (or make) this process's segment. -EEXIST if open already; -ENOSPC if the memory can't be allocated;
 * -EACCES; -EPROTO for another format version. */
WBPF_API int wbpf_open(const wbpf_options *options);
WBPF_API void wbpf_close(void);
/* What the last failed wbpf_open() on this thread says and advises; never NULL. */
WBPF_API const char *wbpf_error(void);
/* Path of the open segment, or NULL. */
WBPF_API const char *wbpf_segment_path(void);
WBPF_API uint64_t wbpf_host_id(const char *host);

/* ---- schemas ---- */

/* Register a descriptor; fields as in "key:str count:i64", or NULL. 0 if the schema area is full. Slow: keep
 * the result (the macros do). */
WBPF_API wbpf_schema wbpf_schema_register(const char *name, const char *fields);

#ifdef __cplusplus
#define WBPF_STATIC_SCHEMA(name, fields)                                                                     \
    ([]() -> wbpf_schema {                                                                                   \
        static wbpf_schema cached;                                                                           \
        wbpf_schema s = __atomic_load_n(&cached, __ATOMIC_RELAXED);                                          \
        if (__builtin_expect(s == 0, 0))                                                                     \
            __atomic_store_n(&cached, s = wbpf_schema_register(name, fields), __ATOMIC_RELAXED);             \
        return s;                                                                                            \
    }())
#else
#define WBPF_STATIC_SCHEMA(name, fields)                                                                     \
    __extension__({                                                                                          \
        static wbpf_schema wbpf_cached_;                                                                     \
        wbpf_schema wbpf_s_ = __atomic_load_n(&wbpf_cached_, __ATOMIC_RELAXED);                              \
        if (__builtin_expect(wbpf_s_ == 0, 0))                                                               \
            __atomic_store_n(&wbpf_cached_, wbpf_s_ = wbpf_schema_register(name, fields), __ATOMIC_RELAXED); \
        wbpf_s_;                                                                                             \
    })
#endif
#define WBPF_NAME(name) WBPF_STATIC_SCHEMA(name, NULL)

/* ---- traces and spans ---- */

/* Take part in a trace: `parent` continues one (from wbpf_extract, wbpf_detach …), NULL starts a new one.
 * Becomes current on this thread until wbpf_end(). Nests: the outer trace is current again afterwards. */
WBPF_API void wbpf_begin(wbpf_scope *scope, wbpf_schema name, const wbpf_context *parent);
WBPF_API void wbpf_end(wbpf_scope *scope);
/* A child span of the current one. */
WBPF_API void wbpf_span_begin(wbpf_scope *scope, wbpf_schema name);
WBPF_API void wbpf_span_end(wbpf_scope *scope);
/* Take the current trace off this thread; `context` then names it. No record is written. */
WBPF_API void wbpf_detach(wbpf_context *context);
/* Make a detached trace (or none: all zero) current on this thread. What was current before is forgotten:
 * detach it first to keep it. */
WBPF_API void wbpf_attach(const wbpf_context *context);
/* The current trace, without taking it off; false and all zero when there is none. */
WBPF_API bool wbpf_current(wbpf_context *context);
/* Close a span from another place than its scope: for traces begun on one thread and ended on another. The
 * trace must be current here. */
WBPF_API void wbpf_end_detached(uint64_t span_id, uint64_t parent_span_id);

/* ---- records ---- */

/* A level by its name, in any case: "trace", "debug" … "fatal", "off". 0: there is none. */
WBPF_API unsigned wbpf_level_named(const char *name);
/* Would a record of this level be written now? One relaxed load. */
WBPF_API bool wbpf_enabled(unsigned level);
/* Bytes of payload that surely fit a record; 0 when nothing is open. A longer payload is cut to that, and
 * counted as truncated. */
WBPF_API size_t wbpf_longest_payload(void);
/* An event with a time stamp; without one (cheaper: its time lies between its neighbours'). */
WBPF_API void wbpf_event(wbpf_schema schema, unsigned level, const void *payload, size_t bytes);
WBPF_API void wbpf_event_unstamped(wbpf_schema schema, unsigned level, const void *payload, size_t bytes);
/* Room for an event's payload, to be written in place and published by wbpf_commit(). NULL if refused.
 * Nothing else may be recorded by this thread in between. More than wbpf_longest_payload() counts as
 * truncated, and what is committed beyond that is cut. */
WBPF_API void *wbpf_reserve(wbpf_schema schema, unsigned level, size_t bytes);
WBPF_API void wbpf_commit(size_t bytes);
WBPF_API void wbpf_attributes(wbpf_schema schema, const void *payload, size_t bytes);
WBPF_API void wbpf_log(unsigned level, const char *text, size_t bytes);
WBPF_API void wbpf_metric(wbpf_schema name, double value);

#define WBPF_EVENT(level, name, fields, payload, bytes)                                                      \
    do {                                                                                                     \
        if (wbpf_enabled(level))                                                                             \
            wbpf_event(WBPF_STATIC_SCHEMA(name, fields), level, payload, bytes);                             \
    } while (0)

/* ---- across hosts ---- */

/* W3C Trace Context. Room needed by wbpf_inject: */
#define WBPF_TRACEPARENT_BYTES 56
#define WBPF_TRACESTATE_BYTES  512
/* Write the headers for a request to `peer` (a host's name, or NULL when not known) and leave a breadcrumb.
 * `tracestate` holds the incoming tracestate (or "") and is updated in place. -ENOENT without a current
 * trace. */
WBPF_API int wbpf_inject(const char *peer, char traceparent[WBPF_TRACEPARENT_BYTES],
                         char tracestate[WBPF_TRACESTATE_BYTES]);
/* Read the headers of an incoming request; either may be NULL. -EINVAL for a malformed traceparent: `context`
 * is then all zero. wbpf_begin() with it leaves the breadcrumb. */
WBPF_API int wbpf_extract(const char *traceparent, const char *tracestate, wbpf_context *context);
/* For transports that carry a wbpf_context themselves (a struct in shared memory): a context for `peer`, with
 * the breadcrumb left. Receiver: set nothing, call wbpf_begin(). */
WBPF_API int wbpf_send(const char *peer, wbpf_context *context);
WBPF_API int wbpf_send_id(uint64_t peer_host_id, wbpf_context *context);

/* ---- verbs: reach every host of the trace ---- */

/* dump: gather the current trace, and the traces in `laterals` (16 bytes each), and keep them. -ENOENT
 * without a current trace; -EAGAIN when the ring is full (counted). */
WBPF_API int wbpf_trigger(wbpf_schema name, double value, const uint8_t (*laterals)[16],
                          size_t lateral_count);
/* The same for any trace; start_unix_ns 0 when not known. */
WBPF_API int wbpf_trigger_trace(const uint8_t trace_id[16], uint64_t start_unix_ns, wbpf_schema name,
                                double value, const uint8_t (*laterals)[16], size_t lateral_count);
/* reduce: from now on only records of at least `level` are written for the current trace, here at once. */
WBPF_API int wbpf_reduce(unsigned level);
/* clear: the current trace is known to be good; its space is reused first. */
WBPF_API void wbpf_clear(void);

#ifdef __cplusplus
}
#endif
#endif
