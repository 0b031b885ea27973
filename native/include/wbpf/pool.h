/*
 * A pool of shared memory with an object store in it, used by several emulated hosts.
 *
 *     wbpf_pool *pool;
 *     wbpf_pool_host *host;
 *     wbpf_pool_open("/dev/shm/pool", &pool);
 *     wbpf_pool_join(pool, "host1", &host);
 *     wbpf_pool_writer writer;
 *     wbpf_pool_create_object(host, "table/1", 4096, NULL, &writer);
 *     fill(writer.data);
 *     wbpf_pool_seal(&writer, false);
 *     wbpf_pool_view view;
 *     wbpf_pool_get(host, "table/1", 0, &view);
 *     use(view.data);
 *     wbpf_pool_release(&view);
 *
 * A host sees the payload of objects through a private cache of 64-byte lines with explicit write-back and
 * invalidation: shared memory without hardware coherence. Metadata is coherent. Several processes may be
 * members of one host and share its cache. All times are modelled: nothing sleeps.
 *
 * Functions that return int return 0 or a negative errno. All are thread-safe, but a writer or a view is used
 * by one thread at a time.
 */
#ifndef WBPF_POOL_H
#define WBPF_POOL_H

#include "wbpf/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WBPF_POOL_LINE_BYTES   64
#define WBPF_POOL_MAX_HOSTS    32
#define WBPF_POOL_MAX_ID_BYTES 63 /* of an id, of an object's tags joined by commas, of a host's name */

typedef struct wbpf_pool wbpf_pool;
typedef struct wbpf_pool_host wbpf_pool_host;

/* ---- the latency model ---- */

enum wbpf_access_class {
    WBPF_ACCESS_LOCAL_DRAM, /* a line that is valid in the host's own cache */
    WBPF_ACCESS_DIRECT_CXL,
    WBPF_ACCESS_MULTI_HEADED,
    WBPF_ACCESS_ONE_SWITCH,
    WBPF_ACCESS_TWO_SWITCHES,
    WBPF_ACCESS_CLASSES,
};

typedef struct wbpf_access_cost {
    double latency_ns;
    double bytes_per_s; /* 0: not limited */
} wbpf_access_cost;

typedef struct wbpf_latency_model {
    wbpf_access_cost classes[WBPF_ACCESS_CLASSES];
    double shared_link_bytes_per_s; /* of the link that all hosts share; 0: not limited */
    double knee;                    /* utilisation of it beyond which accesses queue */
    double jitter;                  /* standard deviation of the service time, as a share of base */
} wbpf_latency_model;

/* What an operation cost: service = base + jitter + queue. */
typedef struct wbpf_pool_timing {
    uint64_t service_ns;
    uint64_t base_ns;    /* of an uncongested operation of this class and size */
    uint64_t queue_ns;   /* waiting for a link */
    uint64_t virtual_ns; /* the host's clock after the operation */
} wbpf_pool_timing;

/* ---- pools ---- */

typedef struct wbpf_pool_spec {
    uint64_t size_bytes;  /* of the whole segment */
    uint32_t max_objects; /* 0: one for 8 KiB of size_bytes */
    uint32_t host_count;
    const char *const *hosts;
    const uint8_t *access_classes; /* of each host: enum wbpf_access_class */
    wbpf_latency_model latency;
    uint64_t seed; /* of the jitter */
    bool coherent; /* hardware-coherent: hosts map the segment itself, no line caches */
} wbpf_pool_spec;

/* Make a pool: the segment PATH (mode 0660), the lock file PATH.lock and each host's state PATH.HOST, with
 * all their space allocated. PATH may be a DAX device; its companions are then in /dev/shm. -EEXIST, -ENOSPC,
 * -EINVAL. */
WBPF_API int wbpf_pool_create(const char *path, const wbpf_pool_spec *spec);
/* -ENOENT; -EACCES (also for a pool that everybody may write); -EPROTO for what is not a pool of this
 * version. */
WBPF_API int wbpf_pool_open(const char *path, wbpf_pool **pool);
/* Only after every host joined through it has been left. */
WBPF_API void wbpf_pool_close(wbpf_pool *pool);
/* Remove a pool's files (not a device); memory that processes have mapped lives on. */
WBPF_API int wbpf_pool_unlink(const char *path);
/* What the last failed create, open or join on this thread says; never NULL. */
WBPF_API const char *wbpf_pool_error(void);

typedef struct wbpf_pool_stats {
    uint64_t segment_bytes, capacity_bytes, used_bytes, free_bytes, largest_free_bytes;
    uint32_t max_objects, objects, unsealed, deleted_in_use, references;
    uint64_t recoveries; /* how often the metadata were rebuilt after a process died in an operation */
    bool coherent;
} wbpf_pool_stats;

typedef struct wbpf_pool_host_info {
    char name[WBPF_POOL_MAX_ID_BYTES + 1];
    uint64_t host_id, incarnation, virtual_ns;
    uint32_t access_class;
    bool alive; /* a process that is a member of it lives */
} wbpf_pool_host_info;

typedef struct wbpf_pool_reclaimed {
    uint32_t processes, references, objects;
} wbpf_pool_reclaimed;

WBPF_API int wbpf_pool_get_stats(wbpf_pool *pool, wbpf_pool_stats *stats);
/* Random, drawn when it was made. */
WBPF_API uint64_t wbpf_pool_get_id(const wbpf_pool *pool);
WBPF_API uint32_t wbpf_pool_host_count(const wbpf_pool *pool);
WBPF_API int wbpf_pool_get_host_info(wbpf_pool *pool, uint32_t index, wbpf_pool_host_info *info);
WBPF_API void wbpf_pool_get_latency(const wbpf_pool *pool, wbpf_latency_model *latency);
/* Drop what dead processes held: references, and objects they had not sealed. */
WBPF_API int wbpf_pool_reclaim(wbpf_pool *pool, wbpf_pool_reclaimed *reclaimed);
/* Do the metadata add up? -EUCLEAN and what is wrong (at least 160 bytes of room) if not. */
WBPF_API int wbpf_pool_check(wbpf_pool *pool, char *why);

/* ---- hosts ---- */

/* Become a member of a host. The first member after all others have died starts a new incarnation, with an
 * empty line cache. -ENOENT: no such host; -EUSERS: no process slot is free. */
WBPF_API int wbpf_pool_join(wbpf_pool *pool, const char *name, wbpf_pool_host **host);
/* Only after its writers and views are done with. */
WBPF_API void wbpf_pool_leave(wbpf_pool_host *host);
WBPF_API void wbpf_pool_get_own_info(wbpf_pool_host *host, wbpf_pool_host_info *info);

WBPF_API uint64_t wbpf_pool_virtual_ns(const wbpf_pool_host *host);
/* clock = max(clock, ns); clock += ns. Both return the clock. */
WBPF_API uint64_t wbpf_pool_advance_to(wbpf_pool_host *host, uint64_t ns);
WBPF_API uint64_t wbpf_pool_advance_by(wbpf_pool_host *host, uint64_t ns);

/* ---- objects ---- */

typedef struct wbpf_pool_writer {
    wbpf_pool_host *host; /* NULL: sealed or aborted */
    void *data;
    uint64_t bytes, generation, object_hash;
    uint32_t entry, held, fork_epoch;
    bool retained; /* sealed or aborted, its memory not given up yet */
    wbpf_pool_timing timing;
} wbpf_pool_writer;

typedef struct wbpf_pool_view {
    wbpf_pool_host *host; /* NULL: released */
    const void *data;
    uint64_t bytes, generation, object_hash;
    uint32_t entry, held, fork_epoch;
    wbpf_pool_timing timing;
} wbpf_pool_view;

/* `tags` is NULL or names joined by commas. -EEXIST; -ENOSPC: no free extent is that large; -ENFILE: no room
 * in the directory; -EMFILE: this process holds too many objects; -EINVAL for a bad id. */
WBPF_API int wbpf_pool_create_object(wbpf_pool_host *host, const char *id, uint64_t bytes, const char *tags,
                                     wbpf_pool_writer *writer);
/* Write the object's lines back and make it visible. With `retain`, its memory stays reserved for this
 * process until wbpf_pool_drop(). -ESTALE: it was freed by force. */
WBPF_API int wbpf_pool_seal(wbpf_pool_writer *writer, bool retain);
WBPF_API int wbpf_pool_abort(wbpf_pool_writer *writer, bool retain);
WBPF_API void wbpf_pool_drop(wbpf_pool_writer *writer);

/* Refer to a sealed object, waiting for its seal up to timeout_ns (UINT64_MAX: for ever). -ENOENT: there is
 * none; -EAGAIN: it is not sealed; -EINTR: a signal came; -EMFILE. The bytes come with wbpf_pool_fill(). */
WBPF_API int wbpf_pool_acquire(wbpf_pool_host *host, const char *id, uint64_t timeout_ns,
                               wbpf_pool_view *view);
/* Read the object's lines into the host's cache, as a get does. */
WBPF_API void wbpf_pool_fill(wbpf_pool_view *view);
/* acquire and fill */
WBPF_API int wbpf_pool_get(wbpf_pool_host *host, const char *id, uint64_t timeout_ns, wbpf_pool_view *view);
/* Read them again. -ESTALE: the object was freed by force. */
WBPF_API int wbpf_pool_refresh(wbpf_pool_view *view);
WBPF_API void wbpf_pool_release(wbpf_pool_view *view);
/* Is the view's object still what it was, i.e. not freed by force? */
WBPF_API bool wbpf_pool_view_valid(const wbpf_pool_view *view);
WBPF_API void wbpf_pool_view_names(const wbpf_pool_view *view, char id[WBPF_POOL_MAX_ID_BYTES + 1],
                                   char tags[WBPF_POOL_MAX_ID_BYTES + 1]);

/* The name is free at once; the memory when no view is left, or at once with `force`. *deferred tells which.
 * -ENOENT; -EAGAIN: not sealed. */
WBPF_API int wbpf_pool_delete(wbpf_pool_host *host, const char *id, bool force, bool *deferred,
                              wbpf_pool_timing *timing);
WBPF_API bool wbpf_pool_contains(wbpf_pool_host *host, const char *id);

/* ---- the line cache ---- */

/* Write back the dirty lines, or drop the valid ones that are not dirty, of an object or of a range of the
 * data area. Return how many lines, or a negative errno. */
WBPF_API int64_t wbpf_pool_flush(wbpf_pool_host *host, const char *id, wbpf_pool_timing *timing);
WBPF_API int64_t wbpf_pool_invalidate(wbpf_pool_host *host, const char *id, wbpf_pool_timing *timing);
WBPF_API int64_t wbpf_pool_flush_range(wbpf_pool_host *host, uint64_t offset, uint64_t bytes,
                                       wbpf_pool_timing *timing);
WBPF_API int64_t wbpf_pool_invalidate_range(wbpf_pool_host *host, uint64_t offset, uint64_t bytes,
                                            wbpf_pool_timing *timing);

/* ---- objects that go on changing ----
 *
 * A sealed object whose writer was retained may be written further, by that writer alone: what is stored at
 * `data` is in its host's cache, and in the pool when the lines were written back. Readers meet any mix of
 * old and new lines, so that the bytes have to say themselves what belongs together; verify is not for them.
 * Such traffic happens beside the host's work: it is not charged to its clock. -EINVAL: outside the object;
 * -ESTALE: it was freed by force. */

/* Write back the lines that these bytes touch. Returns how many. */
WBPF_API int64_t wbpf_pool_write_back(wbpf_pool_writer *writer, uint64_t offset, uint64_t bytes);
/* Drop the lines that these bytes touch from the reader's cache, and read them. */
WBPF_API int wbpf_pool_reread(wbpf_pool_view *view, uint64_t offset, uint64_t bytes);

/* ---- integrity ---- */

enum wbpf_verify_result {
    WBPF_VERIFY_OK,
    WBPF_VERIFY_GENERATION_MISMATCH, /* the envelope is another object's, or none */
    WBPF_VERIFY_CHECKSUM_MISMATCH,   /* the envelope is right, the bytes are not those it was made for */
};

/* What is written before the payload, as this host sees it. */
typedef struct wbpf_pool_envelope {
    uint64_t object_hash, generation, bytes, writer_host_id;
    uint32_t checksum; /* CRC-32C of the payload */
    uint8_t trace_id[16];
} wbpf_pool_envelope;

/* An enum wbpf_verify_result, or -ESTALE. */
WBPF_API int wbpf_pool_verify(const wbpf_pool_view *view);
/* False when the bytes in its place are no envelope. */
WBPF_API bool wbpf_pool_seen_envelope(const wbpf_pool_view *view, wbpf_pool_envelope *envelope);
WBPF_API uint32_t wbpf_crc32c(uint32_t crc, const void *data, size_t bytes);

/* ---- faults ---- */

enum wbpf_fault_kind {
    WBPF_FAULT_SKIP_INVALIDATE = 1, /* a get reads only lines that are not valid in the cache */
    WBPF_FAULT_CONGESTION,          /* an operation takes `factor` times base on the host's link */
};

#define WBPF_FAULT_TRACES 8

typedef struct wbpf_fault_spec {
    uint32_t kind;
    uint32_t operations;     /* how many operations to hit (skip_invalidate: 1) */
    double factor;           /* congestion */
    const char *id;          /* skip_invalidate: the object; NULL: any */
    const uint8_t *trace_id; /* only operations in this trace; NULL: any */
} wbpf_fault_spec;

typedef struct wbpf_fault_result {
    uint32_t kind;
    uint32_t operations; /* that were hit */
    bool finished, took_effect;
    uint64_t lines_stale;     /* delivered although older than the pool's version */
    uint64_t lines_differing; /* of these, how many have other bytes than the pool's */
    uint64_t lengthened_ns;
    uint64_t generation; /* of the object last hit */
    uint32_t trace_count;
    uint8_t traces[WBPF_FAULT_TRACES][16]; /* of the operations hit */
} wbpf_fault_result;

/* Arm a fault for operations of this host, in whichever of its processes. *ticket names it. -EAGAIN: too many
 * armed. */
WBPF_API int wbpf_fault_arm(wbpf_pool_host *host, const wbpf_fault_spec *spec, uint64_t *ticket);
/* -ENOENT: so many were armed since that this one is forgotten. */
WBPF_API int wbpf_fault_get_result(wbpf_pool_host *host, uint64_t ticket, wbpf_fault_result *result);
WBPF_API int wbpf_fault_disarm(wbpf_pool_host *host, uint64_t ticket, wbpf_fault_result *result);

#ifdef __cplusplus
}
#endif
#endif
