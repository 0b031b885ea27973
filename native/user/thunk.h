/* The machine's part of hooked functions. */
#ifndef WBPF_USER_THUNK_H
#define WBPF_USER_THUNK_H

#include "user/attach.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of what programs get, struct pt_regs of the machine's kernel is the first part; the rest is not cleared. */
#define WBPF_REGISTERS_BYTES 512
#define WBPF_THUNK_BYTES     4096

/* How the context begins for both machines' needs here. */
struct wbpf_registers;

/* The thunk knows its layout. */
struct wbpf_thunk_place {
    uint64_t where;
    uint64_t kept; /* which vector registers: WBPF_THUNK_ARGUMENTS or _ALL, with _CALLS or without */
};

/* For XSAVE: those that arguments and results may be in (SSE, AVX, the upper halves of AVX-512), and all. */
#define WBPF_THUNK_ARGUMENTS 0x46
#define WBPF_THUNK_ALL       0xe6
/* What runs calls helpers, which may clear the upper parts of those that are wider than SSE's: nothing else
 * that runs there touches them. */
#define WBPF_THUNK_CALLS (1u << 31)

/* Called by the thunks. */
void wbpf_function_entered(struct wbpf_registers *registers, struct wbpf_thunk_place *place, uint64_t kept);
void wbpf_function_returned(struct wbpf_registers *registers, uint64_t *slot);

/* Write a thunk for `place` into memory at `to`, which is to be run at the same address. -EDOM: something is
 * too far away from it. */
int wbpf_thunk_write(uint8_t *to, struct wbpf_thunk_place *place, const struct wbpf_attach_code *code);
/* The jump from a function to its thunk; how many bytes. 0: they are too far from each other. */
uint32_t wbpf_thunk_jump(uint64_t where, const uint8_t *thunk, uint8_t jump[16]);
/* Where a thunk may be. */
#define WBPF_THUNK_FARTHEST ((uint64_t)0x70000000)

/* At its begin: where the function's return address is kept, and have it return to this library. NULL: that
 * is not to be had. */
uint64_t *wbpf_registers_return_slot(struct wbpf_registers *registers);
uint64_t wbpf_thunk_return_address(void);
/* What a program sees where the function has returned to. */
void wbpf_registers_set_address(struct wbpf_registers *registers, uint64_t address);

/* Put back what the jump took the place of, while threads may run it. */
void wbpf_thunk_restore(uint8_t *at, const uint8_t *original, uint32_t bytes);

#endif
