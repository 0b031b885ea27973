/*
 * Maps of eBPF programs in user space, with the kernel's semantics, in memory that several processes share.
 * Functions that return int return 0 or a negative errno, the kernel's where there is one.
 *
 * A map is a file of its own (a memfd, or any that was opened). All places in it are offsets. Values are
 * handed out as addresses, as the kernel does. Reading never waits; who changes a hash, a queue or a ring
 * holds its robust lock, and whoever comes after a writer that was killed puts the map right.
 */
#ifndef WBPF_MAPS_H
#define WBPF_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WBPF_USER_MAP_NO_LOCK UINT32_MAX

typedef struct wbpf_user_map wbpf_user_map;

typedef struct wbpf_user_map_spec {
    uint32_t kind; /* enum bpf_map_type */
    uint32_t key_bytes, value_bytes, entries, flags;
    uint32_t extra;       /* hash functions of a Bloom filter, bytes of a perf event array; 0: as usual */
    uint32_t lock_offset; /* of a bpf_spin_lock in its values, or WBPF_USER_MAP_NO_LOCK */
    uint32_t cpus;        /* values in a per-CPU map; 0: as this machine has */
    /* Of maps of maps: what those in it are like, as the verifier takes them to be. */
    uint32_t inner_kind, inner_key_bytes, inner_value_bytes;
} wbpf_user_map_spec;

/* In the file `fd`, which is made as large as it takes; < 0: in a memfd. The descriptor is the map's then. */
int wbpf_user_map_create(const wbpf_user_map_spec *spec, int fd, wbpf_user_map **out);
/* One that is there, maybe another process's. The descriptor is the map's then. */
int wbpf_user_map_open(int fd, wbpf_user_map **out);
/* Let go of it; the last one frees it. */
void wbpf_user_map_close(wbpf_user_map *map);
/* One more who has to close it. */
wbpf_user_map *wbpf_user_map_share(wbpf_user_map *map);

/* From now on updates through this handle are -EPERM. */
void wbpf_user_map_freeze(wbpf_user_map *map);
/* Whether its values may be in the memory of somebody else, who writes what he likes: they are neither frozen
 * nor have they locks. */
bool wbpf_user_map_is_open(const wbpf_user_map *map);
void wbpf_user_map_facts(const wbpf_user_map *map, wbpf_user_map_spec *out);
int wbpf_user_map_fd(const wbpf_user_map *map);
/* What maps of maps know it by: the same in all processes. */
uint32_t wbpf_user_map_id(const wbpf_user_map *map);
/* The one of that id that this process has open, or NULL. */
wbpf_user_map *wbpf_user_map_by_id(uint32_t id);
/* Where values of arrays are in this process, NULL for other kinds, and how far apart; of per-CPU arrays
 * those of the first processor, behind which those of the next begin at a multiple of 64 bytes. */
void *wbpf_user_map_row(const wbpf_user_map *map, uint32_t *stride);
/* For `entries` of struct wbpf_env. */
uint64_t wbpf_user_map_entries(const wbpf_user_map *map);
/* Of a value as the functions below read and write it: of all processors in per-CPU maps. */
size_t wbpf_user_map_value_span(const wbpf_user_map *map);

/* ---- what programs do: values by address, per-CPU values those of this processor ---- */

/* NULL: there is none. For maps of maps it is a wbpf_user_map. */
void *wbpf_user_map_find(wbpf_user_map *map, const void *key);
void *wbpf_user_map_find_on(wbpf_user_map *map, const void *key, uint32_t cpu);
/* Whether bytes lie in one of its values, where programs may use them: not in a bpf_spin_lock. */
bool wbpf_user_map_holds(const wbpf_user_map *map, uint64_t address, uint64_t bytes, bool write);
int wbpf_user_map_put(wbpf_user_map *map, const void *key, const void *value, uint64_t flags);

/* A bpf_spin_lock in a value; BPF_F_LOCK takes it too. That of a thread that died is free. */
void wbpf_value_lock(uint32_t *lock);
void wbpf_value_unlock(uint32_t *lock);

/* Calls `visit` for each element until it returns something; how many it was called for. */
typedef uint64_t (*wbpf_user_map_visit)(void *context, const void *key, void *value);
int64_t wbpf_user_map_for_each(wbpf_user_map *map, wbpf_user_map_visit visit, void *context);

/* ---- as bpf(2): values are copied. Queues, stacks and Bloom filters have no keys ---- */

int wbpf_user_map_lookup(wbpf_user_map *map, const void *key, void *value, uint64_t flags);
int wbpf_user_map_update(wbpf_user_map *map, const void *key, const void *value, uint64_t flags);
int wbpf_user_map_delete(wbpf_user_map *map, const void *key);
int wbpf_user_map_lookup_and_delete(wbpf_user_map *map, const void *key, void *value, uint64_t flags);
/* `key` NULL, or not there: the first. -ENOENT: it was the last. */
int wbpf_user_map_next_key(wbpf_user_map *map, const void *key, void *next);

/* Several, from where `*cursor` is: 0 in front of the first. `*count`: room for so many; afterwards how many
 * there were. -ENOENT: these were the last; -ENOSPC: elements that come together need more room. */
int wbpf_user_map_read_batch(wbpf_user_map *map, uint32_t *cursor, void *keys, void *values, uint32_t *count,
                             bool take);

/* ---- queues, stacks, Bloom filters ---- */

int wbpf_user_map_push(wbpf_user_map *map, const void *value, uint64_t flags);
int wbpf_user_map_pop(wbpf_user_map *map, void *value);
int wbpf_user_map_peek(wbpf_user_map *map, void *value);

/* ---- stack traces ---- */

/* The id of a stack, innermost frame first; flags: BPF_F_FAST_STACK_CMP, BPF_F_REUSE_STACKID. */
int64_t wbpf_user_map_put_stack(wbpf_user_map *map, const uint64_t *addresses, uint32_t frames,
                                uint64_t flags);

/* ---- ring buffers: the kernel's pages, one behind the other from here in the file ---- */

enum { WBPF_SHARED_RING_OFFSET = 4096 };

/* Discard what threads that were killed have reserved and not submitted, as far as it is next to be read. */
void wbpf_shared_ring_reap(wbpf_user_map *map);
/* The consumer's page, in this process. */
void *wbpf_shared_ring_pages(const wbpf_user_map *map);
/* NULL: there is no room, or it is locked by who was interrupted here. */
void *wbpf_shared_ring_reserve(wbpf_user_map *map, uint64_t bytes);
/* What was reserved; flags: BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP. */
void wbpf_shared_ring_submit(void *record, uint64_t flags, bool discard);
int wbpf_shared_ring_output(wbpf_user_map *map, const void *data, uint64_t bytes, uint64_t flags);
/* bpf_perf_event_output: all processors' records go through one ring. `more` is put behind the data. */
int wbpf_shared_ring_emit(wbpf_user_map *map, uint64_t flags, const void *data, uint64_t bytes,
                          const void *more, uint64_t more_bytes);
/* Of a perf event array, which is read from now on: records for which there was no room. */
uint64_t wbpf_shared_ring_lost(wbpf_user_map *map);
/* enum BPF_RB_AVAIL_DATA… */
uint64_t wbpf_shared_ring_query(const wbpf_user_map *map, uint64_t what);
/* Whether a record was submitted with a wake-up since `*seen`, waiting for it; `*seen` becomes now. */
bool wbpf_shared_ring_wait(wbpf_user_map *map, uint32_t *seen, uint64_t timeout_ns);
void wbpf_shared_ring_wake(wbpf_user_map *map);
/* For waiting in other ways: between arm and disarm its word, a futex that several processes share, changes
 * with each wake-up; `seen` is what it was before. */
uint32_t *wbpf_shared_ring_arm(wbpf_user_map *map, uint32_t *seen);
void wbpf_shared_ring_disarm(wbpf_user_map *map);

/* ---- ring buffers that programs read, of the same pages ---- */

/* Calls `visit` for each record until it returns something; how many it was called for. */
typedef uint64_t (*wbpf_user_ring_visit)(void *context, const void *data, uint32_t bytes);
int64_t wbpf_user_ring_drain(wbpf_user_map *map, wbpf_user_ring_visit visit, void *context);

#ifdef __cplusplus
}
#endif
#endif
