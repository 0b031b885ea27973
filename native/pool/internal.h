/* What the files of the pool share: the handles of this process, and each file's functions for the others. */
#ifndef WBPF_POOL_INTERNAL_H
#define WBPF_POOL_INTERNAL_H

#include "pool/layout.h"
#include <errno.h>
#include <string.h>

#define load_relaxed(p)     __atomic_load_n(p, __ATOMIC_RELAXED)
#define load_acquire(p)     __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define add_relaxed(p, v)   __atomic_fetch_add(p, v, __ATOMIC_RELAXED)
#define likely(x)           __builtin_expect(!!(x), 1)
#define unlikely(x)         __builtin_expect(!!(x), 0)

struct lock_file; /* membership.c */

struct wbpf_pool {
    struct pool_header *header; /* start of the mapping */
    struct pool_entry *entries;
    uint32_t *buckets;
    struct pool_extent *extents;
    uint32_t *held;  /* held_per_process places a process slot: entry index + 1, or 0 */
    uint32_t *order; /* room for the rebuilding to sort entries in */
    struct pool_line *lines;
    uint8_t *data;
    uint64_t mapped_bytes;
    struct lock_file *lock_file;
    char path[256];
};

struct wbpf_pool_host {
    wbpf_pool *pool;
    struct pool_host_record *record;
    struct pool_host_file *file;
    struct pool_line *lines; /* NULL: the pool is coherent */
    uint8_t *mirror;         /* where this host sees the data area */
    uint64_t mapped_bytes;
    uint32_t index;
    uint32_t process; /* this process's slot */
    uint32_t fork_epoch;
    uint32_t held_hint;
};

/* ---- files.c ---- */

/* Keep a text for wbpf_pool_error(); returns `code`. */
int pool_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The path of a file beside the pool. */
int pool_companion_path(const char *path, const char *suffix, char out[320]);
int pool_random(void *out, size_t bytes);
bool pool_is_device(const char *path);
int pool_map_descriptor(int fd, const char *path, uint64_t bytes, void **map);
/* Map a file that is wholly allocated; refuses one that everybody may write. */
int pool_map_file(const char *path, void **map, uint64_t *bytes);
/* Make a file of `bytes`, all of them allocated, mode 0660. Returns its descriptor. */
int pool_make_file(const char *path, uint64_t bytes);

/* ---- host_file.c ---- */
int host_file_create(const char *path, const struct pool_header *header);
int host_file_open(wbpf_pool *pool, wbpf_pool_host *host);
void host_file_clear(wbpf_pool_host *host);

/* ---- lock.c ---- */
int pool_mutex_init(pthread_mutex_t *mutex);
/* Takes the lock, having rebuilt what a dead holder left half-done. -EBUSY: held for longer than any
 * operation takes; -ENOTRECOVERABLE. */
int pool_lock(wbpf_pool *pool);
void pool_unlock(wbpf_pool *pool);
/* Wait until the bell no longer reads `rings`. -ETIMEDOUT, -EINTR. */
int pool_bell_wait(struct pool_bell *bell, uint32_t rings, uint64_t timeout_ns);
void pool_bell_wake(struct pool_bell *bell);

/* ---- membership.c ---- */
int lock_file_open(wbpf_pool *pool);
void lock_file_close(wbpf_pool *pool);
/* Changes in a child of fork, where nothing of the parent's is held. */
uint32_t pool_fork_epoch(void);
/* Before each operation: a process slot for a child of fork. */
int membership_renew(wbpf_pool_host *host);
static inline int membership_check(wbpf_pool_host *host)
{
    return likely(host->fork_epoch == pool_fork_epoch()) ? 0 : membership_renew(host);
}
/* Reclaim from every dead process. With the lock held. */
void membership_reclaim(wbpf_pool *pool, wbpf_pool_reclaimed *reclaimed);

/* ---- allocator.c, all with the lock held ---- */
/* Index + 1 of an extent of that many lines, or 0. */
uint32_t allocator_take(wbpf_pool *pool, uint32_t lines);
void allocator_give(wbpf_pool *pool, uint32_t extent);
/* From the entries alone. */
void allocator_rebuild(wbpf_pool *pool);
uint32_t allocator_largest_free(const wbpf_pool *pool);
/* NULL, or what is wrong. */
const char *allocator_check(const wbpf_pool *pool);

/* ---- directory.c, all with the lock held, but for object_hash ---- */
uint64_t object_hash(const char *id, size_t bytes);
struct pool_entry *directory_find(const wbpf_pool *pool, const char *id, size_t bytes, uint64_t hash);
struct pool_entry *directory_take(wbpf_pool *pool); /* NULL: full */
void directory_link(wbpf_pool *pool, struct pool_entry *entry);
void directory_unlink(wbpf_pool *pool, struct pool_entry *entry);
/* Give up an entry and its extent; it is in no chain. */
void directory_free(wbpf_pool *pool, struct pool_entry *entry);
/* Everything marked DERIVED in layout.h, from what is not. */
void directory_rebuild(wbpf_pool *pool);
const char *directory_check(const wbpf_pool *pool);

/* ---- references.c, all but references_release with the lock held ---- */
/* A place in this process's table of held objects, or -EMFILE. */
int references_take(wbpf_pool_host *host, struct pool_entry *entry);
/* Frees a deleted entry with its last reference. */
void references_drop(wbpf_pool *pool, uint32_t process, uint32_t place);
/* The same by a writer's or a view's own place, if the entry is still what it was taken on. Takes the lock.
 */
void references_release(wbpf_pool_host *host, uint32_t entry, uint32_t place, uint64_t generation,
                        uint32_t epoch);
/* Forget every reference to an entry. */
void references_forget(wbpf_pool *pool, struct pool_entry *entry);
void references_rebuild(wbpf_pool *pool);
const char *references_check(const wbpf_pool *pool);

/* ---- line_cache.c: no-ops that count nothing in a coherent pool ---- */
struct line_counts {
    uint32_t filled, hit, stale, differing;
    /* Of the line furthest behind the pool, or, if none is, of the newest: */
    uint32_t seen_version, pool_version;
    uint64_t seen_generation;
    uint32_t writer; /* index of the host + 1 */
};
/* The host may write these lines: they are dirty. */
void line_cache_dirty(wbpf_pool_host *host, uint32_t first, uint32_t count, uint64_t generation);
uint32_t line_cache_write_back(wbpf_pool_host *host, uint32_t first, uint32_t count);
uint32_t line_cache_invalidate(wbpf_pool_host *host, uint32_t first, uint32_t count);
/* Drop lines, dirty or not. */
void line_cache_drop(wbpf_pool_host *host, uint32_t first, uint32_t count);
/* Read the lines that are not valid. */
void line_cache_fill(wbpf_pool_host *host, uint32_t first, uint32_t count, struct line_counts *counts);
/* Invalidate and fill. */
void line_cache_reread(wbpf_pool_host *host, uint32_t first, uint32_t count, struct line_counts *counts);

/* ---- virtual_time.c ---- */
/* Dependent accesses to metadata: the chain and the entry; the table of held objects or the lists of free
 * space. What an operation costs in the model, not on this machine. */
enum {
    CREATE_ACCESSES = 3,
    SEAL_ACCESSES = 1,
    GET_ACCESSES = 2,
    RELEASE_ACCESSES = 1,
    DELETE_ACCESSES = 2,
};
struct pool_cost {
    uint32_t accesses;
    uint32_t lines_read, lines_written, lines_hit;
};
void virtual_time_charge(wbpf_pool_host *host, const struct pool_cost *cost, wbpf_pool_timing *timing);

/* ---- checksum.c ---- */
uint32_t wbpf_crc32c_by_table(uint32_t crc, const void *data, size_t bytes);

/* ---- envelope.c ---- */
void envelope_write(void *line, const wbpf_pool_envelope *envelope);
bool envelope_read(const void *line, wbpf_pool_envelope *envelope);

/* ---- faults.c ---- */
/* The fault that this operation runs into, or NULL; faults_report() must follow. */
struct pool_fault *faults_take(wbpf_pool_host *host, uint32_t kind, uint64_t object_hash);
void faults_report(struct pool_fault *fault, uint64_t generation, const struct line_counts *lines,
                   uint64_t lengthened_ns);
static inline bool faults_armed(const wbpf_pool_host *host)
{
    return unlikely(load_relaxed(&host->file->armed) != 0);
}

/* ---- small things that all need ---- */

static inline uint32_t entry_index(const wbpf_pool *pool, const struct pool_entry *entry)
{
    return (uint32_t)(entry - pool->entries);
}

static inline struct pool_entry *entry_of(const wbpf_pool_host *host, uint32_t index)
{
    return &host->pool->entries[index];
}

/* Is it the object of that generation still? Needs no lock: generations never come back. */
static inline bool entry_is_current(const wbpf_pool *pool, uint32_t index, uint64_t generation)
{
    const struct pool_entry *entry = &pool->entries[index];
    return load_acquire(&entry->generation) == generation && load_acquire(&entry->state) != ENTRY_FREE;
}

/* Length of an id, or 0 if it can't be one. */
static inline size_t object_id_bytes(const char *id)
{
    size_t length = strnlen(id, WBPF_POOL_MAX_ID_BYTES + 1);
    return length <= WBPF_POOL_MAX_ID_BYTES ? length : 0;
}

static inline uint8_t *host_line(const wbpf_pool_host *host, uint32_t line)
{
    return host->mirror + (uint64_t)line * LINE_BYTES;
}

static inline uint32_t lines_of(uint64_t bytes)
{
    return (uint32_t)((bytes + LINE_BYTES - 1) / LINE_BYTES) + ENVELOPE_LINES;
}

#endif
