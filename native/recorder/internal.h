/* What the files of the recorder share. */
#ifndef WBPF_INTERNAL_H
#define WBPF_INTERNAL_H

#include "cut.h"
#include "wbpf/format.h"
#include "wbpf/trace.h"
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Fields of the format that are marked ATOMIC are plain integers there (it is also read by C++ and BPF). */
#define load_relaxed(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define add_relaxed(p, v)   __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)

/*
 * Bytes that their owner may be writing: whether they were read right, the published word tells afterwards.
 * The thread sanitiser, which knows neither such words nor fences, does not look at these reads, and is told
 * what it can't see.
 */
#if defined(__SANITIZE_THREAD__)
#define UNSEEN __attribute__((no_sanitize("thread"), noinline, unused)) static
UNSEEN uint64_t load_unowned(const volatile uint64_t *from)
{
    return *from;
}
UNSEEN void copy_unowned(uint8_t *to, const volatile uint8_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = from[i];
}
void __tsan_acquire(void *);
void __tsan_release(void *);
#define HAPPENS_BEFORE(what) __tsan_release(what)
#define HAPPENS_AFTER(what)  __tsan_acquire(what)
#else
static inline uint64_t load_unowned(const uint64_t *from)
{
    return load_relaxed(from);
}
static inline void copy_unowned(uint8_t *to, const uint8_t *from, size_t bytes)
{
    memcpy(to, from, bytes);
}
#define HAPPENS_BEFORE(what) ((void)0)
#define HAPPENS_AFTER(what)  ((void)0)
#endif

/* ---- the published word ---- */

#define WORD_RECORDS_SHIFT    (WBPF_WORD_FRONT_BITS + WBPF_WORD_DIRECTORY_BITS)
#define WORD_GENERATION_SHIFT (WORD_RECORDS_SHIFT + WBPF_WORD_RECORDS_BITS)
#define WORD_ONE_SLOT         (1ULL << WBPF_WORD_FRONT_BITS)
#define WORD_ONE_RECORD       (1ULL << WORD_RECORDS_SHIFT)

static inline uint32_t word_front(uint64_t word)
{
    return word & ((1u << WBPF_WORD_FRONT_BITS) - 1);
}
static inline uint32_t word_slots(uint64_t word)
{
    return (word >> WBPF_WORD_FRONT_BITS) & ((1u << WBPF_WORD_DIRECTORY_BITS) - 1);
}
static inline uint32_t word_records(uint64_t word)
{
    return (word >> WORD_RECORDS_SHIFT) & ((1u << WBPF_WORD_RECORDS_BITS) - 1);
}
static inline uint32_t word_generation(uint64_t word)
{
    return (uint32_t)(word >> WORD_GENERATION_SHIFT);
}
static inline uint64_t word_of_generation(uint64_t generation)
{
    return generation << WORD_GENERATION_SHIFT;
}
static inline struct wbpf_directory_slot *directory_at(const uint8_t *data, uint32_t chunk_bytes,
                                                       uint32_t index)
{
    return (struct wbpf_directory_slot *)(data + chunk_bytes - 8 * (index + 1));
}

/* ---- ids ---- */

static inline void id_split(const uint8_t id[16], uint64_t *lo, uint64_t *hi)
{
    memcpy(lo, id, 8);
    memcpy(hi, id + 8, 8);
}
static inline void id_join(uint8_t id[16], uint64_t lo, uint64_t hi)
{
    memcpy(id, &lo, 8);
    memcpy(id + 8, &hi, 8);
}
static inline bool is_trace(const wbpf_context *context)
{
    uint64_t lo, hi;
    id_split(context->trace_id, &lo, &hi);
    return (lo | hi) != 0;
}
/* Keyed: a sender of ids can't choose collisions. All 16 bytes count: padded 64-bit ids are common. */
static inline uint64_t id_hash(uint64_t lo, uint64_t hi, uint64_t key0, uint64_t key1)
{
    __extension__ unsigned __int128 product = (unsigned __int128)(lo ^ key0) * (hi ^ key1);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* ---- clock.c ---- */

extern uint32_t wbpf_clock_kind; /* of this process; set before the first tick is read */
uint32_t clock_best_kind(void);
uint64_t clock_monotonic_ns(void);
uint64_t clock_unix_ns(void);
uint64_t clock_read_slow(uint32_t kind);
/* One reading of the counter against both clocks; the narrowest of a few windows. */
void clock_calibrate(uint32_t kind, struct wbpf_calibration *out);
uint64_t clock_measure_hz(uint32_t kind);
/* Add a reading to a segment's ring. */
void clock_record_calibration(struct wbpf_segment_header *header, const struct wbpf_calibration *reading);
uint32_t clock_calibrations(const struct wbpf_segment_header *header, struct wbpf_calibration *out);
uint64_t clock_to_unix_ns(const struct wbpf_calibration *sorted, uint32_t count, uint64_t ticks_hz,
                          uint64_t ticks);

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
    if (LIKELY(wbpf_clock_kind == WBPF_CLOCK_TSC))
        return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    if (LIKELY(wbpf_clock_kind == WBPF_CLOCK_CNTVCT)) {
        uint64_t ticks;
        __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
        return ticks;
    }
#endif
    return clock_read_slow(wbpf_clock_kind);
}

/* ---- layout.c: making and mapping segments ---- */

struct mapping {
    uint8_t *base;
    uint64_t bytes;
    struct wbpf_segment_header fixed;   /* as checked; others may write to the memory */
    struct wbpf_segment_header *header; /* what changes */
    struct wbpf_process_slot *processes;
    struct wbpf_thread_slot *threads;
    struct wbpf_trigger_slot *triggers;
    struct wbpf_clear_slot *clears;
    uint64_t *bitmap;
    struct wbpf_chunk_header *chunks;
    uint8_t *data;
};
struct layout_spec {
    const char *host, *service;
    uint64_t incarnation, bytes;
    uint32_t chunk_bytes, level;
};
static inline uint8_t *chunk_data(const struct mapping *map, uint32_t chunk)
{
    return map->data + (uint64_t)chunk * map->fixed.chunk_stride;
}
/* Is this a segment whose every area lies inside it? 0 or -EPROTO; `why` (>= 256 bytes) explains. */
/* Find the areas of a segment in memory, if its header, of which a copy is checked, is possible. */
int layout_adopt(uint8_t *base, uint64_t bytes, struct mapping *out, char *why);
/* Fill a zeroed mapping of spec->bytes; the magic comes last. -EINVAL if too small. */
int layout_initialise(uint8_t *base, const struct layout_spec *spec, char *why);
/* Refuses links, other owners' world-writable files. Returns an fd or -errno. */
int layout_open_file(const char *path, bool writable, char *why);
/* `watched`: NULL in applications, which keep their own answer to SIGBUS. */
int layout_map_file(int fd, bool writable, struct mapping *out, struct watched_mapping **watched, char *why);
uint64_t random_u64(void);
uint64_t fnv1a(const char *text, size_t bytes);

/* ---- process.c: process slots and who lives ---- */

struct process {
    const char *segment_path;
    void *hold; /* the mapping that keeps the lock */
    int pid;
    uint32_t slot, generation;
    uint64_t owner; /* {slot + 1, generation}: what chunks, thread slots and triggers are marked with */
    uint64_t lock_device, lock_inode;
};
static inline uint64_t owner_of(uint32_t slot, uint32_t generation)
{
    return (uint64_t)generation << 32 | (slot + 1);
}
/* Claim a slot; `segment_path` has to stay. -EUSERS when all are taken by live processes. */
int process_join(const struct mapping *map, const char *segment_path, struct process *out);
/* Give the slot back; nothing may be written by this process any more. */
void process_leave(const struct mapping *map, struct process *self);
/* -ESTALE: another process has our slot, because the lock file was replaced. */
int process_check(const struct mapping *map, const struct process *self);

/* ---- pid_namespace.c ---- */

/* Inode number of a pid namespace, from its link in /proc; 0 if that can't be read. */
uint32_t pid_namespace_of(const char *link);
/* The pid that a live process has in our namespace; 0 if it has none there. */
int process_pid_here(const struct wbpf_process_slot *slot);

/* A few questions about who is alive. The lock file is opened at the first one and closed by census_end():
 * the application may close any descriptor that is kept, and its number may then be another file's. */
#define CENSUS_NOT_OPEN INT32_MIN
struct census {
    const char *segment_path;
    int fd; /* or -errno */
    unsigned alive_count;
    uint64_t alive[8]; /* owners found alive */
};
static inline struct census census_of(const char *segment_path)
{
    return (struct census){.segment_path = segment_path, .fd = CENSUS_NOT_OPEN};
}
void census_end(struct census *census);
/* Is that owner alive? `self` NULL: of somebody who owns nothing. What can't be told is taken for alive. */
bool process_alive(const struct mapping *map, struct census *census, const struct process *self,
                   uint64_t owner);

/* ---- chunk.c: taking, closing, recycling ---- */

/* Make `chunk` ours if nobody alive owns it. */
bool chunk_own(const struct mapping *map, const struct process *self, uint32_t chunk);
/* Own the oldest chunk (cleared ones first), recycle what is in it. -1: every chunk is owned by somebody
 * alive. */
int64_t chunk_take(const struct mapping *map, const struct process *self);
void chunk_close(const struct mapping *map, uint32_t chunk, uint64_t now);
/* How many traces the chunk names, how many are cleared, and the tick after which nothing was written to it.
 */
void chunk_survey(const struct mapping *map, uint32_t chunk, uint64_t word, uint32_t *ids, uint32_t *cleared,
                  uint64_t *newest);
void chunk_disown(const struct mapping *map, uint32_t chunk);

/* ---- schema.c ---- */

uint32_t schema_add(const struct mapping *map, const struct process *self, const char *name,
                    const char *fields);
bool schema_next(const struct mapping *map, uint32_t *offset, uint32_t *schema_id, const char **text,
                 uint32_t *text_bytes);

/* ---- recorder.c, threads.c, host.c: this process's recorder, and a writer a thread ---- */

#define ID_SETS 8

#define BUSY     1
#define RESERVED 2

/* A trace that our chunk's directory names. */
struct known_id {
    uint64_t lo, hi;
    uint32_t index; /* of the RUN_NEW slot + 1; 0 = not used */
};

/* One a thread, in memory that a forked child finds zeroed: it then starts afresh. */
struct writer {
    uint64_t word;  /* of our chunk; published after each record */
    uint8_t *base;  /* data of our chunk: records grow up from here */
    uint8_t *back;  /* where its directory starts: slots grow down to here */
    uint32_t room;  /* bytes that fit between them; 0 while no run is open */
    uint32_t alive; /* 0 after a fork */
    struct wbpf_chunk_header *chunk;
    struct wbpf_thread_slot *slot; /* what we publish; a private dummy when all are taken */
    volatile uint8_t busy;         /* BUSY in a call, RESERVED between wbpf_reserve and wbpf_commit */
    uint8_t reserved_level;        /* of an event between wbpf_reserve and wbpf_commit */
    bool run_open;                 /* the records that follow belong to the run of `current` */
    uint32_t ids;                  /* RUN_NEW slots of real traces in our chunk */
    wbpf_context current;          /* the trace this thread works on; all zero: none */
    uint64_t random;
    uint64_t calibrated_ticks, calibrated_unix_ns; /* for times in BEGIN records */
    uint64_t ns_per_tick;                          /* in units of 2^-32 */
    struct known_id known[ID_SETS][2];
    uint32_t reserved_schema;
    size_t reserved_bytes;
    uint8_t *aside; /* payload of a reserved event that is too long for a record */
    int64_t chunk_index;
    uint64_t retry_ticks; /* no chunk was to be had: not before this */
    uint32_t tid;
    struct wbpf_thread_slot own_slot;
    struct writer *next; /* all writers of the process */
    struct writer *next_free;
};

/* This process's recorder: one. `map` and paths outlive a fork, `state` does not. */
struct recorder_state {
    uint32_t alive;
    uint32_t lock; /* spin lock of slow paths; free again in a forked child */
    uint32_t reclaiming;
    struct process process;
    struct writer *writers, *free_writers;
    uint32_t spare[64]; /* partly filled chunks that exited threads left, + 1 */
    uint32_t spare_count;
    uint32_t join_failures; /* after a fork */
    uint64_t early_refused; /* before there was a process slot to count them in */
};
extern struct mapping wbpf_map;
extern struct recorder_state *wbpf_state;
extern const char *wbpf_path;
extern uint32_t *wbpf_doorbell;
extern uint64_t wbpf_own_host_id;

/* Of the slow paths alone: threads, schemas, spare chunks. */
static inline void state_lock(void)
{
    while (__atomic_exchange_n(&wbpf_state->lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}
static inline void state_unlock(void)
{
    store_release(&wbpf_state->lock, 0);
}
void wbpf_ring(uint32_t *bell);
/* Of the host whose folder this is: random, the same for all its segments. */
uint64_t host_incarnation(const char *directory);

struct writer *writer_slow(void);
extern __thread struct writer *tls_writer __attribute__((tls_model("initial-exec")));
static inline struct writer *writer_here(void)
{
    struct writer *w = tls_writer;
    return LIKELY(w && w->alive) ? w : writer_slow();
}
/* Take back writers of threads that ended without a word: not made by pthreads, or they traced when their
 * last destructor had run. True: there was one. */
bool writer_reclaim(void);
void writer_count_refused(void);
void writer_count_truncated(void);

/* ---- writer.c: the caller has entered ---- */

#define LEVEL_STRUCTURE 24 /* of BEGIN, END, breadcrumbs, triggers: written unless the level is OFF */

/* `current` changed: publish it; the next record starts a new run. */
void writer_switch(struct writer *w);
/* Only the span or the level of `current` changed. */
void writer_publish(struct writer *w);
/* Forget our chunk, which is somebody else's or closed from here on. */
void writer_drop_chunk(struct writer *w);
/* Leave the chunk to the process (or close it) and the slots to others. */
void writer_retire(struct writer *w);
/* A private hold against signal handlers that trace; false: refused and counted. */
static inline bool writer_enter(struct writer *w)
{
    if (UNLIKELY(w->busy)) {
        writer_count_refused();
        return false;
    }
    w->busy = BUSY;
    atomic_signal_fence(memory_order_seq_cst);
    return true;
}
static inline void writer_leave(struct writer *w)
{
    atomic_signal_fence(memory_order_seq_cst);
    w->busy = 0;
    HAPPENS_BEFORE(w); /* that its thread is found gone */
}
static inline uint64_t writer_random(struct writer *w)
{
    __extension__ unsigned __int128 product;
    w->random += 0xa0761d6478bd642fULL;
    product = (unsigned __int128)w->random * (w->random ^ 0xe7037ed1a0b428dbULL);
    uint64_t value = (uint64_t)product ^ (uint64_t)(product >> 64);
    return value ? value : 1;
}
void writer_calibrate(struct writer *w);
static inline uint64_t writer_unix_ns(struct writer *w, uint64_t ticks)
{
    if (UNLIKELY(ticks - w->calibrated_ticks > wbpf_map.fixed.ticks_hz))
        writer_calibrate(w);
    /* At most a second's ticks: the product stays below 2^62. */
    int64_t delta = (int64_t)(ticks - w->calibrated_ticks) * (int64_t)w->ns_per_tick;
    return w->calibrated_unix_ns + (uint64_t)(delta >> 32);
}

#endif
