/*
 * Records from eBPF programs: "Kernel chunks" in docs/record-format.md, and docs/kernel-chunks.md.
 *
 *     WBPF_SCHEMA(file_opened, "file.opened flags:u32 dfd:i32");
 *
 *     SEC("raw_tp/sys_enter") int on_enter(void *ctx)
 *     {
 *         struct wbpf_now now;
 *         if (wbpf_now(&now) != WBPF_IN_TRACE || !wbpf_enabled(&now, WBPF_LEVEL_INFO))
 *             return 0;
 *         struct wbpf_record record;
 *         struct opened *payload = wbpf_reserve(&record, sizeof *payload);
 *         if (!payload)
 *             return 0;
 *         payload->flags = ...;
 *         wbpf_commit(ctx, &record, &now, WBPF_KIND_EVENT, WBPF_LEVEL_INFO, file_opened());
 *         return 0;
 *     }
 *
 * Nothing else needs to be included; vmlinux.h and libbpf's headers may be. The kernel keeps the newest
 * records of each CPU, and nobody has to read them. Programs may interrupt each other on a CPU. With
 * WBPF_PERF_RING defined, the same source serves kernels before 5.12 (arm64: 5.18). The maps and constants
 * below are set by the loader, by name.
 */
#ifndef WBPF_KERNEL_BPF_H
#define WBPF_KERNEL_BPF_H

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#include "format.h"

#define WBPF_INLINE           static inline __attribute__((always_inline, unused))
#define WBPF_VOLATILE(lvalue) (*(volatile __typeof__(lvalue) *)&(lvalue))
#define WBPF_HELPER(number)   ((void *)(number##ul))

/* Helpers, by the numbers that are part of the kernel's interface. */
static void *(*const wbpf_helper_map_lookup)(void *map, const void *key) = WBPF_HELPER(1);
static uint64_t (*const wbpf_helper_ktime_ns)(void) = WBPF_HELPER(5);
static uint32_t (*const wbpf_helper_cpu)(void) = WBPF_HELPER(8);
static uint64_t (*const wbpf_helper_pid_tgid)(void) = WBPF_HELPER(14);
static long (*const wbpf_helper_perf_output)(void *ctx, void *map, uint64_t flags, void *data,
                                             uint64_t bytes) = WBPF_HELPER(25);
static uint64_t (*const wbpf_helper_task)(void) = WBPF_HELPER(35);
static long (*const wbpf_helper_read_user)(void *to, uint32_t bytes, const void *from) = WBPF_HELPER(112);
static void *(*const wbpf_helper_task_storage)(void *map, void *task, void *value,
                                               uint64_t flags) = WBPF_HELPER(156);
static void *(*const wbpf_helper_task_btf)(void) = WBPF_HELPER(158);
static long (*const wbpf_helper_read_kernel)(void *to, uint32_t bytes, const void *from) = WBPF_HELPER(113);

/* ---- what the loader provides ---- */

/* A process that takes part in traces, by its tgid. */
struct wbpf_process_entry {
    uint64_t owner;         /* of its thread slots: thread_slot.owner */
    uint64_t writer_offset; /* as in process_slot */
    uint32_t slot_offset;
    uint32_t reserved;
};

#define WBPF_MAP      __attribute__((section(".maps"), used))
#define WBPF_CONSTANT __attribute__((weak))

struct {
    int (*type)[1 /* BPF_MAP_TYPE_HASH */];
    int (*max_entries)[4096];
    uint32_t *key;
    struct wbpf_process_entry *value;
} wbpf_processes WBPF_MAP;

struct {
    int (*type)[2 /* BPF_MAP_TYPE_ARRAY */];
    int (*map_flags)[1024 /* BPF_F_MMAPABLE */];
    int (*max_entries)[1]; /* the loader asks for one a CPU */
    int (*key_size)[4];
#ifdef WBPF_PERF_RING
    int (*value_size)[sizeof(struct wbpf_kernel_ring_header)];
#else
    int (*value_size)[sizeof(struct wbpf_kernel_ring_header) + 4096 + WBPF_KERNEL_MAX_RECORD_BYTES];
#endif
} wbpf_rings WBPF_MAP;

#ifdef WBPF_PERF_RING
struct {
    int (*type)[4 /* BPF_MAP_TYPE_PERF_EVENT_ARRAY */];
    int (*key_size)[4];
    int (*value_size)[4];
} wbpf_perf_rings WBPF_MAP;
#else
/* What was found out of a thread: the kernel keeps it as long as the thread. */
struct wbpf_thread_entry {
    uint64_t slot; /* address in the process; 0: not found yet */
    uint32_t tid;  /* as in the slot */
    uint32_t reserved;
};

struct {
    int (*type)[29 /* BPF_MAP_TYPE_TASK_STORAGE */];
    int (*map_flags)[1 /* BPF_F_NO_PREALLOC */];
    int *key;
    struct wbpf_thread_entry *value;
} wbpf_threads WBPF_MAP;

const volatile uint32_t wbpf_task_storage WBPF_CONSTANT = 1; /* tracing programs have it: kernel 5.13 */
#endif

/* The verifier knows their values. */
const volatile uint64_t wbpf_ring_mask WBPF_CONSTANT = 4096 - WBPF_KERNEL_SLOT_BYTES; /* ring_bytes - that */
const volatile uint32_t wbpf_weak_order WBPF_CONSTANT = 1; /* stores of a CPU may be seen in another order */

/* ---- schemas ---- */

WBPF_INLINE uint32_t wbpf_schema_hash(const char *descriptor, uint32_t bytes)
{
    uint32_t hash = 0x811c9dc5u;
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < bytes; i++)
        hash = (hash ^ (uint8_t)descriptor[i]) * 0x01000193u;
    hash &= WBPF_SCHEMA_ID_MASK;
    return hash ? hash : 1;
}

/* A schema: `name()` gives its id, a constant; the loader registers the descriptor. */
#define WBPF_SCHEMA(name, descriptor)                                                                        \
    static const char name##_descriptor[] __attribute__((section(".wbpf.schemas"), used)) = descriptor;      \
    WBPF_INLINE uint32_t name(void)                                                                          \
    {                                                                                                        \
        return wbpf_schema_hash(descriptor, sizeof(descriptor) - 1);                                         \
    }                                                                                                        \
    struct wbpf_schema_##name

/* ---- the trace that the thread works on ---- */

struct wbpf_now {
    uint64_t trace_id_lo, trace_id_hi, span_id;
    uint64_t pid_tgid;
    uint32_t level; /* from which records are wanted here */
    uint32_t reserved;
};

enum {
    WBPF_UNKNOWN_PROCESS = 0, /* it does not trace, or the loader does not know of it yet */
    WBPF_NO_TRACE = 1,        /* its thread works on no trace now */
    WBPF_IN_TRACE = 2,
};

/* Names with three underscores stand for the kernel's own structures; offsets are put in at loading. */
struct thread_struct___wbpf_x86 {
    unsigned long fsbase;
} __attribute__((preserve_access_index));
struct task_struct___wbpf_x86 {
    struct thread_struct___wbpf_x86 thread;
} __attribute__((preserve_access_index));
struct user_words___wbpf_arm64 {
    unsigned long tp_value;
} __attribute__((preserve_access_index));
struct thread_struct___wbpf_arm64 {
    struct user_words___wbpf_arm64 uw;
} __attribute__((preserve_access_index));
struct task_struct___wbpf_arm64 {
    struct thread_struct___wbpf_arm64 thread;
} __attribute__((preserve_access_index));

WBPF_INLINE uint64_t wbpf_thread_pointer(void)
{
    struct task_struct___wbpf_x86 *x86 = (void *)wbpf_helper_task();
    struct task_struct___wbpf_arm64 *arm64 = (void *)x86;
    const void *where = 0;
    uint64_t pointer = 0;
    if (__builtin_preserve_field_info(x86->thread.fsbase, 2 /* BPF_FIELD_EXISTS */))
        where = &x86->thread.fsbase;
    else if (__builtin_preserve_field_info(arm64->thread.uw.tp_value, 2))
        where = &arm64->thread.uw.tp_value;
    if (!where || wbpf_helper_read_kernel(&pointer, sizeof pointer, where) != 0)
        return 0;
    return pointer;
}

/* The front of a wbpf_thread_slot. */
struct wbpf_slot_front {
    uint64_t owner;
    uint32_t sequence, tid, level, reserved;
    uint64_t trace_id_lo, trace_id_hi, span_id;
};

WBPF_INLINE int wbpf_read_slot(struct wbpf_slot_front *slot, uint64_t address, uint64_t owner)
{
    return wbpf_helper_read_user(slot, sizeof *slot, (void *)address) == 0 && slot->owner == owner;
}

/*
 * The thread's slot, by way of three places of the process's memory: its pointer to its writer, the writer's
 * pointer to the slot, the slot. The slot says whose it is, so that whatever the pointers have become (after
 * exec, in a child, in another process of the same pid) a foreign trace is never taken for ours. Once found,
 * the address is kept for the thread; another thread may have the slot only after ours has given it back, and
 * is told by its tid.
 */
WBPF_INLINE int wbpf_find_slot(struct wbpf_slot_front *slot, const struct wbpf_process_entry *process)
{
    uint64_t pointer;
#ifndef WBPF_PERF_RING
    struct wbpf_thread_entry *thread = 0;
    if (wbpf_task_storage) {
        thread = wbpf_helper_task_storage(&wbpf_threads, wbpf_helper_task_btf(), 0, 1 /* create */);
        if (thread && thread->slot && wbpf_read_slot(slot, thread->slot, process->owner) &&
            slot->tid == thread->tid)
            return 1;
    }
#endif
    pointer = wbpf_thread_pointer();
    if (!pointer ||
        wbpf_helper_read_user(&pointer, sizeof pointer, (void *)(pointer + process->writer_offset)) != 0 ||
        !pointer ||
        wbpf_helper_read_user(&pointer, sizeof pointer, (void *)(pointer + process->slot_offset)) != 0 ||
        !wbpf_read_slot(slot, pointer, process->owner))
        return 0;
#ifndef WBPF_PERF_RING
    if (thread) {
        thread->slot = pointer;
        thread->tid = slot->tid;
    }
#endif
    return 1;
}

/* Find out what the current thread works on: one of the three above. */
WBPF_INLINE int wbpf_now(struct wbpf_now *now)
{
    struct wbpf_slot_front slot;
    uint64_t pid_tgid = wbpf_helper_pid_tgid();
    uint32_t tgid = pid_tgid >> 32;
    *now = (struct wbpf_now){.pid_tgid = pid_tgid};
    struct wbpf_process_entry *process = wbpf_helper_map_lookup(&wbpf_processes, &tgid);
    if (!process)
        return WBPF_UNKNOWN_PROCESS;
    if (!wbpf_find_slot(&slot, process))
        return WBPF_NO_TRACE;
    now->level = slot.level;
    if (slot.sequence & 1 || !(slot.trace_id_lo | slot.trace_id_hi)) /* odd: we interrupted a change */
        return WBPF_NO_TRACE;
    now->trace_id_lo = slot.trace_id_lo;
    now->trace_id_hi = slot.trace_id_hi;
    now->span_id = slot.span_id;
    return WBPF_IN_TRACE;
}

WBPF_INLINE int wbpf_enabled(const struct wbpf_now *now, uint32_t level)
{
    return level >= now->level;
}

/* ---- records ---- */

/* One record between wbpf_reserve() and wbpf_commit() or wbpf_discard(), of which every path calls one. */
#ifdef WBPF_PERF_RING

#define WBPF_MAX_PAYLOAD 192
#define WBPF_OPEN_NS     10000000 /* no program runs longer: an older mark is of one that forgot to commit */

struct wbpf_record {
    struct wbpf_kernel_ring_header *ring;
    uint64_t outer;
    struct wbpf_kernel_record_header header[1];
    uint8_t payload[WBPF_MAX_PAYLOAD];
};

#else

#define WBPF_MAX_PAYLOAD (WBPF_KERNEL_MAX_RECORD_BYTES - sizeof(struct wbpf_kernel_record_header))

struct wbpf_record {
    struct wbpf_kernel_ring_header *ring;
    struct wbpf_kernel_record_header *header;
    uint64_t position, outer;
};

WBPF_INLINE struct wbpf_kernel_record_header *wbpf_place(struct wbpf_kernel_ring_header *ring,
                                                         uint64_t position)
{
    return (void *)((uint8_t *)(ring + 1) + (position & wbpf_ring_mask));
}

#endif

extern void wbpf_payload_too_long(void) __attribute__((error("the payload is longer than WBPF_MAX_PAYLOAD")));

#define WBPF_RECORD_SLOTS(payload_bytes)                                                                     \
    ((sizeof(struct wbpf_kernel_record_header) + (payload_bytes) + WBPF_KERNEL_SLOT_BYTES - 1) /             \
     WBPF_KERNEL_SLOT_BYTES)

/* Room for a payload of a constant size, to be filled: 0 only if the rings are not set up. */
WBPF_INLINE void *wbpf_reserve(struct wbpf_record *record, uint32_t payload_bytes)
{
    uint32_t cpu = wbpf_helper_cpu();
    struct wbpf_kernel_ring_header *ring = wbpf_helper_map_lookup(&wbpf_rings, &cpu);
    uint8_t flags = 0;
    if (payload_bytes > WBPF_MAX_PAYLOAD)
        wbpf_payload_too_long();
    if (!ring)
        return 0;
    uint64_t outer = WBPF_VOLATILE(ring->open);
#ifdef WBPF_PERF_RING
    struct wbpf_kernel_record_header *header = record->header;
    __builtin_memset(header, 0, sizeof *header + sizeof record->payload);
    header->mono_ns = wbpf_helper_ktime_ns();
    WBPF_VOLATILE(ring->open) = header->mono_ns;
    if (outer && header->mono_ns - outer < WBPF_OPEN_NS)
        flags = WBPF_KERNEL_FLAG_NESTED;
    else
        outer = 0;
    void *payload = record->payload;
#else
    /* Who comes between the mark and the reservation finds a mark at its own position: we are not open yet.
     */
    uint64_t guess = WBPF_VOLATILE(ring->tail);
    WBPF_VOLATILE(ring->open) = guess + 1;
    uint64_t position =
        __sync_fetch_and_add(&ring->tail, WBPF_RECORD_SLOTS(payload_bytes) * WBPF_KERNEL_SLOT_BYTES);
    if (position != guess)
        WBPF_VOLATILE(ring->open) = position + 1;
    if (outer) { /* of a program that we interrupt, or that forgot to commit long ago */
        uint64_t at = outer - 1;
        if (at != position && position - at <= wbpf_ring_mask &&
            WBPF_VOLATILE(wbpf_place(ring, at)->commit) != (at ^ ring->key))
            flags = WBPF_KERNEL_FLAG_NESTED;
        else
            outer = 0;
    }
    struct wbpf_kernel_record_header *header = wbpf_place(ring, position);
    WBPF_VOLATILE(header->commit) = 0;
    header->mono_ns = wbpf_helper_ktime_ns();
    record->header = header;
    record->position = position;
    void *payload = header + 1;
#endif
    __atomic_fetch_add(&ring->records, 1, __ATOMIC_RELAXED);
    if (flags)
        __atomic_fetch_add(&ring->nested, 1, __ATOMIC_RELAXED);
    record->ring = ring;
    record->outer = outer;
    header->bytes = sizeof *header + payload_bytes;
    header->slots = WBPF_RECORD_SLOTS(payload_bytes);
    header->flags = flags;
    return payload;
}

/* Cut the payload to what was filled of it. */
WBPF_INLINE void wbpf_shorten(struct wbpf_record *record, uint32_t payload_bytes)
{
    if (payload_bytes < record->header->bytes - sizeof *record->header)
        record->header->bytes = sizeof *record->header + payload_bytes;
}

WBPF_INLINE void wbpf_publish(void *ctx, struct wbpf_record *record)
{
    struct wbpf_kernel_ring_header *ring = record->ring;
    struct wbpf_kernel_record_header *header = record->header;
    __asm__ volatile("" ::: "memory");
#ifdef WBPF_PERF_RING
    header->commit = header->mono_ns ^ ring->key;
    uint64_t bytes = sizeof *header + WBPF_MAX_PAYLOAD, used = header->bytes;
    if (used < bytes)
        bytes = used;
    if (wbpf_helper_perf_output(ctx, &wbpf_perf_rings, 0xffffffff /* BPF_F_CURRENT_CPU */, header, bytes) !=
        0) {
        WBPF_VOLATILE(ring->tail) = header->mono_ns;
        __atomic_fetch_add(&ring->refused, 1, __ATOMIC_RELAXED);
    }
#else
    uint64_t commit = record->position ^ ring->key;
    (void)ctx;
    if (wbpf_weak_order)
        __sync_lock_test_and_set(&header->commit,
                                 commit); /* a full barrier; eBPF has no plain release store */
    else
        WBPF_VOLATILE(header->commit) = commit;
#endif
    WBPF_VOLATILE(ring->open) = record->outer;
}

/* Publish a record. `now` says whose it is; with ids of zero it is outside any trace. */
WBPF_INLINE void wbpf_commit(void *ctx, struct wbpf_record *record, const struct wbpf_now *now, uint8_t kind,
                             uint8_t level, uint32_t schema)
{
    struct wbpf_kernel_record_header *header = record->header;
    header->kind = kind;
    header->level = level;
    header->trace_id_lo = now->trace_id_lo;
    header->trace_id_hi = now->trace_id_hi;
    header->span_id = now->span_id;
    header->pid_tgid = now->pid_tgid;
    header->schema_id = schema;
    header->reserved2 = 0;
    wbpf_publish(ctx, record);
}

/* Give a record up: readers pass over it. */
WBPF_INLINE void wbpf_discard(void *ctx, struct wbpf_record *record)
{
    record->header->kind = 0;
    wbpf_publish(ctx, record);
}

#endif
