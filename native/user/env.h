/*
 * What a translated eBPF program works with; src/wbpf/bpf/user/slots.py says the same to the translator.
 * A program is called as uint64_t entry(struct wbpf_env *env, uint64_t context).
 */
#ifndef WBPF_USER_ENV_H
#define WBPF_USER_ENV_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WBPF_FRAME_BYTES     512
#define WBPF_FRAMES_MOST     8
#define WBPF_STACK_BYTES     (WBPF_FRAME_BYTES * WBPF_FRAMES_MOST)
#define WBPF_TAIL_CALLS_MOST 33

struct wbpf_env;

typedef uint64_t (*wbpf_entry)(struct wbpf_env *env, uint64_t context);
typedef uint64_t (*wbpf_helper)(struct wbpf_env *env, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4,
                                uint64_t r5);

/* Why a program was stopped. */
enum wbpf_stop {
    WBPF_STOP_NONE,
    WBPF_STOP_FUEL,
    WBPF_STOP_MEMORY,
    WBPF_STOP_CALL,
    WBPF_STOP_DEPTH,
};

/* Bits of `what` in calls of `check`, above the number of bytes. */
#define WBPF_CHECK_WRITE   (1 << 8)
#define WBPF_CHECK_ALIGNED (1 << 9)

/* Where a thread is, and its frame pointer there: its stack is followed from here. */
struct wbpf_stack_start {
    uint64_t address, frame;
};

/* The offsets up to `cpu` are part of every blob. */
struct wbpf_env {
    int64_t fuel; /* jumps back, and calls of functions by helpers, that are left */
    uint64_t frame;
    uint64_t stack_low, stack_bytes;
    uint64_t context, context_bytes;
    void (*check)(struct wbpf_env *env, uint64_t address, uint64_t what, uint64_t at);
    void (*stop)(struct wbpf_env *env, uint64_t why, uint64_t at);
    const wbpf_helper *helpers;
    const uint64_t *maps;    /* what helpers know a map by */
    const uint64_t *values;  /* where an array's values begin */
    const uint64_t *entries; /* of an array; above the low 32 bits for how many processors it has values */
    const uint32_t *cpu;     /* the number of this thread's processor, now */

    /* The host's own. */
    uint32_t cpu_at_start; /* where the C library does not keep it up to date */
    uint64_t cookie;
    const uint64_t *registers;            /* of the thread, as struct pt_regs; NULL: not known */
    const struct wbpf_stack_start *start; /* where there are no registers; NULL: not known */
    int64_t fuel_checked;
    uint32_t map_count;
    uint32_t tail_calls;
    bool holds;    /* a helper that calls a function has what it gives back afterwards */
    uint32_t kind; /* of the context */
    enum wbpf_stop stopped;
    uint64_t stopped_at;
    uint64_t stopped_address;
    jmp_buf out;
};

#endif
