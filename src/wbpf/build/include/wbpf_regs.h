/*
 * Arguments and return values of functions, from the registers that kprobes and uprobes are given. Which
 * architecture's registers they are is found when the program is loaded: one object serves x86-64 and arm64.
 * Each architecture's struct pt_regs stands here as a CO-RE flavour, of which libbpf finds the running kernel's.
 *
 *     SEC("uprobe") int on_call(struct pt_regs *ctx) { u64 first = wbpf_arg(ctx, 0); … }
 *
 * `n` has to be a constant, 0 … 5. On another architecture all values are 0.
 */
#ifndef WBPF_REGS_H
#define WBPF_REGS_H

#include <wbpf/program.bpf.h>

struct pt_regs___x86_64 {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip;
    unsigned long sp;
} __attribute__((preserve_access_index));

struct pt_regs___arm64 {
    unsigned long long regs[31];
    unsigned long long sp, pc;
    unsigned long long orig_x0;
} __attribute__((preserve_access_index));

#define WBPF_IS_X86_64_ bpf_core_field_exists(struct pt_regs___x86_64, di)
#define WBPF_IS_ARM64_  bpf_core_field_exists(struct pt_regs___arm64, regs)
#define WBPF_X86_(ctx)  ((struct pt_regs___x86_64 *)(void *)(ctx))
#define WBPF_ARM_(ctx)  ((struct pt_regs___arm64 *)(void *)(ctx))
/* Two empty assembler statements that differ keep the compiler from making one load of both: it would add to ctx,
 * which the verifier refuses. The branch of the other architecture is dead code to the verifier. */
#define WBPF_CHOOSE_(x86, arm)                                                                     \
    ({                                                                                             \
        unsigned long long wbpf_register_ = 0;                                                     \
        if (WBPF_IS_X86_64_) {                                                                     \
            wbpf_register_ = (x86);                                                                \
            __asm__ volatile("" : "+r"(wbpf_register_));                                           \
        } else if (WBPF_IS_ARM64_) {                                                               \
            wbpf_register_ = (arm);                                                                \
            __asm__ volatile("" : "+r"(wbpf_register_) : "i"(0));                                  \
        }                                                                                          \
        wbpf_register_;                                                                            \
    })
#define WBPF_REGISTER_(ctx, x86, arm) WBPF_CHOOSE_(WBPF_X86_(ctx)->x86, WBPF_ARM_(ctx)->arm)

/* Argument `n` of the function that was called. */
#define wbpf_arg(ctx, n) WBPF_ARG_##n##_(ctx)
#define WBPF_ARG_0_(ctx) WBPF_REGISTER_(ctx, di, regs[0])
#define WBPF_ARG_1_(ctx) WBPF_REGISTER_(ctx, si, regs[1])
#define WBPF_ARG_2_(ctx) WBPF_REGISTER_(ctx, dx, regs[2])
#define WBPF_ARG_3_(ctx) WBPF_REGISTER_(ctx, cx, regs[3])
#define WBPF_ARG_4_(ctx) WBPF_REGISTER_(ctx, r8, regs[4])
#define WBPF_ARG_5_(ctx) WBPF_REGISTER_(ctx, r9, regs[5])

/* What the function returned. */
#define wbpf_return_value(ctx) WBPF_REGISTER_(ctx, ax, regs[0])

/* Instruction, stack and frame pointer. */
#define wbpf_instruction(ctx)   WBPF_REGISTER_(ctx, ip, pc)
#define wbpf_stack(ctx)         WBPF_REGISTER_(ctx, sp, sp)
#define wbpf_frame(ctx)         WBPF_REGISTER_(ctx, bp, regs[29])

/* Argument `n` of a system call, from its registers: the first argument of raw_tp/sys_enter. */
#define WBPF_SYSCALL_REGISTER_(pt_regs, x86, arm) \
    WBPF_CHOOSE_(BPF_CORE_READ(WBPF_X86_(pt_regs), x86), BPF_CORE_READ(WBPF_ARM_(pt_regs), arm))
#define wbpf_syscall_arg(regs, n) WBPF_SYSCALL_ARG_##n##_(regs)
#define WBPF_SYSCALL_ARG_0_(r) WBPF_SYSCALL_REGISTER_(r, di, orig_x0)
#define WBPF_SYSCALL_ARG_1_(r) WBPF_SYSCALL_REGISTER_(r, si, regs[1])
#define WBPF_SYSCALL_ARG_2_(r) WBPF_SYSCALL_REGISTER_(r, dx, regs[2])
#define WBPF_SYSCALL_ARG_3_(r) WBPF_SYSCALL_REGISTER_(r, r10, regs[3])
#define WBPF_SYSCALL_ARG_4_(r) WBPF_SYSCALL_REGISTER_(r, r8, regs[4])
#define WBPF_SYSCALL_ARG_5_(r) WBPF_SYSCALL_REGISTER_(r, r9, regs[5])

#endif
