/* Translated eBPF programs: mapping their code and running them. Errors are negative errnos. */
#ifndef WBPF_USER_PROGRAM_H
#define WBPF_USER_PROGRAM_H

#include "user/env.h"

/* Jumps back of one run whose number was not proved to be limited; and of one that is wholly proved, in
 * functions that helpers call, and those calls: as many as verifier/loops.py allows of all others. */
#define WBPF_FUEL_CHECKED (1 << 20)
#define WBPF_FUEL_PROVED  (1 << 26)

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wbpf_user_program wbpf_user_program;

typedef struct wbpf_user_spec {
    const void *code;
    size_t bytes, entry;
    const wbpf_helper *helpers;
    const uint64_t *maps, *values, *entries;
    uint32_t helper_count, map_count;
    bool checked;  /* parts of it are not proved: it gets a clean stack at every run */
    uint32_t kind; /* of its context: it goes on by tail calls with its like alone */
} wbpf_user_spec;

typedef struct wbpf_user_run {
    void *context;
    size_t context_bytes;                 /* that the program may use where it is checked */
    int64_t fuel;                         /* 0: as above, by the programs that run */
    uint64_t cookie;                      /* bpf_get_attach_cookie */
    const struct wbpf_stack_start *start; /* of stacks, where the context is no registers */
    /* out */
    uint64_t result;
    enum wbpf_stop stopped;
    uint64_t stopped_at, stopped_address;
} wbpf_user_run;

/* The code is copied into memory that can be run and not be written. */
int wbpf_user_program_create(const wbpf_user_spec *spec, wbpf_user_program **out);
void wbpf_user_program_destroy(wbpf_user_program *program);
/* What program arrays know it by. */
uint32_t wbpf_user_program_id(const wbpf_user_program *program);
/* Whether it is wholly proved and calls no helpers. */
bool wbpf_user_program_is_plain(const wbpf_user_program *program);
/* 0, or -EFAULT if it was stopped: then the members `stopped…` say why. */
int wbpf_user_program_run(const wbpf_user_program *program, wbpf_user_run *run);
/* The same `count` times, for measuring; nanoseconds for all in *total_ns. */
int wbpf_user_program_repeat(const wbpf_user_program *program, wbpf_user_run *run, uint64_t count,
                             uint64_t *total_ns);

#ifdef __cplusplus
}
#endif
#endif
