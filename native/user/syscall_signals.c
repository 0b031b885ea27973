/*
 * SIGSYS: it says that a traced thread makes a system call, and that a thread is to be traced. What the
 * application wants of SIGSYS for itself is kept here; it is never really blocked in a traced thread, for the
 * kernel kills a process whose thread can't take it.
 */
#include "user/syscall_state.h"

#if defined(WBPF_HAVE_SYSCALLS)
#include <asm/unistd.h>
#include <errno.h>
#include <ucontext.h>

#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif
#define SA_RESTORER_BIT 0x04000000
#define AUDIT_X86_64    0xc000003eu
#define MASK_BYTES      8
#define SIGNALS         64
#define FRAME_RED_BYTES (sizeof(struct frame) + RED_ZONE)

struct asked wbpf_asked;
static struct kernel_sigaction application; /* what it wants to be done on SIGSYS */
static bool installed;

static void set_mask(uint64_t mask)
{
    (void)WBPF_DIRECT(__NR_rt_sigprocmask, SIG_SETMASK, &mask, 0, MASK_BYTES);
}

/* The application's part of a signal that is not ours. */
static void forward(int signal, siginfo_t *info, ucontext_t *context)
{
    struct traced_thread *thread = wbpf_traced_thread;
    struct kernel_sigaction action = application;
    void (*handler)(int, siginfo_t *, void *);
    if (thread && thread->blocks && info->si_code <= 0) {
        thread->pending = true;
        return;
    }
    if (action.handler == (uint64_t)(uintptr_t)SIG_IGN && info->si_code <= 0)
        return;
    if (action.handler <= (uint64_t)(uintptr_t)SIG_IGN) {
        struct kernel_sigaction none = {0, SA_RESTORER_BIT, WBPF_WORD_(wbpf_syscall_restorer), 0};
        (void)WBPF_DIRECT(__NR_rt_sigaction, SIGSYS, &none, 0, MASK_BYTES);
        (void)WBPF_DIRECT(__NR_tgkill, WBPF_DIRECT(__NR_getpid), WBPF_DIRECT(__NR_gettid), SIGSYS);
        return; /* and it comes */
    }
    if (action.flags & SA_RESETHAND)
        application = (struct kernel_sigaction){0, 0, 0, 0};
    uint64_t mask = *(uint64_t *)(void *)&context->uc_sigmask | action.mask;
    set_mask(mask & ~SIGSYS_BIT);
    handler = (void (*)(int, siginfo_t *, void *))(uintptr_t)action.handler;
    handler(signal, info, context);
    set_mask(~(uint64_t)0);
}

/* A waiting call that our signal interrupted is made again. */
static void mend(ucontext_t *context)
{
    greg_t *registers = context->uc_mcontext.gregs;
    if (registers[REG_RAX] != -EINTR || wbpf_asked.number < 0 ||
        (uint64_t)registers[REG_RIP] != wbpf_asked.at)
        return;
    registers[REG_RAX] = wbpf_asked.number;
    registers[REG_RIP] -= 2;
}

static void answer(ucontext_t *context)
{
    uint64_t *mask = (uint64_t *)(void *)&context->uc_sigmask;
    if (__atomic_load_n(&wbpf_asked.tid, __ATOMIC_ACQUIRE) != (uint32_t)WBPF_DIRECT(__NR_gettid))
        return;
    mend(context);
    if (wbpf_syscalls_active && !wbpf_traced_thread && wbpf_thread_arm())
        wbpf_traced_thread->blocks = false; /* it came through */
    if (wbpf_traced_thread)
        wbpf_traced_thread->blocks_faults = *mask & FAULT_BITS;
    *mask &= ~SIGSYS_BIT;
    __atomic_store_n(&wbpf_asked.answered, wbpf_asked.tid, __ATOMIC_RELEASE);
}

static void dispatch(const siginfo_t *info, ucontext_t *context)
{
    greg_t *registers = context->uc_mcontext.gregs;
    uint64_t at = (uint64_t)registers[REG_RIP], number = (uint64_t)registers[REG_RAX];
    struct traced_thread *thread = wbpf_traced_thread;
    if (!wbpf_syscalls_active || info->si_arch != AUDIT_X86_64) {
        /* Calls of 32-bit programs (int $0x80) take two bytes as well; who makes one is not traced. */
        if (thread)
            wbpf_thread_disarm(thread);
        else
            wbpf_dispatch_self(false);
        if (wbpf_syscalls_active) {
            wbpf_memory_refuse();
            wbpf_facts_refuse_names();
        }
        if (thread && thread->blocks)
            *(uint64_t *)(void *)&context->uc_sigmask |= SIGSYS_BIT;
        registers[REG_RIP] -= 2;
        return;
    }
    wbpf_site_rewrite(at, number);
    registers[REG_RCX] = (greg_t)at;
    registers[REG_R11] = registers[REG_EFL];
    registers[REG_RIP] = (greg_t)(uintptr_t)(number < NUMBERS ? wbpf_syscall_entry : wbpf_syscall_full);
}

static void handle(int signal, siginfo_t *info, void *context)
{
    if (info->si_code == SYS_USER_DISPATCH)
        dispatch(info, context);
    else if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &wbpf_asked)
        answer(context);
    else
        forward(signal, info, context);
}

/* Handlers that were there before would run with SIGSYS blocked, and their first call would end the process.
 */
static void unmask_in_handlers(void)
{
    struct kernel_sigaction action;
    for (uint64_t signal = 1; signal <= SIGNALS; signal++) {
        if (signal == SIGSYS || WBPF_DIRECT(__NR_rt_sigaction, signal, 0, &action, MASK_BYTES) != 0 ||
            action.handler <= WBPF_WORD_(SIG_IGN) || !(action.mask & SIGSYS_BIT))
            continue;
        action.mask &= ~SIGSYS_BIT;
        (void)WBPF_DIRECT(__NR_rt_sigaction, signal, &action, 0, MASK_BYTES);
    }
}

int wbpf_sigsys_install(void)
{
    struct kernel_sigaction ours = {WBPF_WORD_(handle),
                                    SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_RESTORER_BIT,
                                    WBPF_WORD_(wbpf_syscall_restorer), ~(uint64_t)0};
    unmask_in_handlers();
    if (installed)
        return 0;
    int error = (int)WBPF_DIRECT(__NR_rt_sigaction, SIGSYS, &ours, &application, MASK_BYTES);
    installed = error == 0;
    wbpf_memory_check_action(&application);
    return error;
}

void wbpf_sigsys_restore(void)
{
    if (installed)
        (void)WBPF_DIRECT(__NR_rt_sigaction, SIGSYS, &application, 0, MASK_BYTES);
    installed = false;
}

/* ---- calls ---- */

static bool care_sigaction(const struct traced_thread *thread, struct frame *frame)
{
    struct kernel_sigaction *old = (void *)(uintptr_t)frame->rdx;
    struct kernel_sigaction *action = (void *)frame->scratch;
    _Static_assert(sizeof *action == sizeof frame->scratch, "an action fits");
    if (frame->r10 != MASK_BYTES || (frame->rsi && !wbpf_copy_in(action, frame->rsi, sizeof *action)))
        return false;
    if (frame->rsi)
        wbpf_memory_check_action(action);
    if ((frame->rdi == SIGSEGV || frame->rdi == SIGBUS) && wbpf_memory_care_action(thread, frame))
        return true;
    if (frame->rdi != SIGSYS) {
        if (!frame->rsi || !(action->mask & SIGSYS_BIT))
            return false;
        action->mask &= ~SIGSYS_BIT;
        frame->args[1] = WBPF_WORD_(action);
        return false;
    }
    if (old)
        *old = application;
    if (frame->rsi)
        application = *action;
    frame->result = 0;
    return true;
}

static bool care_sigprocmask(struct traced_thread *thread, struct frame *frame)
{
    uint64_t given = 0, *old = (void *)(uintptr_t)frame->rdx;
    bool blocked = thread->blocks;
    if (frame->r10 != MASK_BYTES)
        return false;
    if (frame->rsi && !wbpf_copy_in(&given, frame->rsi, MASK_BYTES)) {
        thread->blocks_faults = FAULT_BITS; /* the kernel may find more there */
        return false;
    }
    uint64_t passed = given & ~SIGSYS_BIT, faults = thread->blocks_faults;
    if (frame->rsi)
        thread->blocks_faults |= given & FAULT_BITS;
    frame->result = (uint64_t)wbpf_direct(__NR_rt_sigprocmask, frame->rdi,
                                          frame->rsi ? WBPF_WORD_(&passed) : 0, frame->rdx, MASK_BYTES, 0, 0);
    if (frame->result) {
        thread->blocks_faults = faults;
        return true;
    }
    if (old && blocked)
        *old |= SIGSYS_BIT;
    if (!frame->rsi)
        return true;
    if (frame->rdi == SIG_SETMASK)
        thread->blocks_faults = given & FAULT_BITS;
    else if (frame->rdi == SIG_UNBLOCK)
        thread->blocks_faults &= ~given;
    if (frame->rdi == SIG_SETMASK)
        thread->blocks = given & SIGSYS_BIT;
    else if (given & SIGSYS_BIT)
        thread->blocks = frame->rdi == SIG_BLOCK;
    if (thread->pending && !thread->blocks) {
        thread->pending = false;
        (void)WBPF_DIRECT(__NR_tgkill, thread->pid, thread->tid, SIGSYS);
    }
    return true;
}

/* A mask for the time of a call: the address of it in an argument. */
static void care_mask(struct traced_thread *thread, struct frame *frame, int argument, uint64_t bytes)
{
    uint64_t *mask = &frame->scratch[0];
    if (!frame->args[argument] || bytes != MASK_BYTES ||
        !wbpf_copy_in(mask, frame->args[argument], MASK_BYTES))
        return;
    thread->blocks_faults |= *mask & FAULT_BITS; /* a handler may come meanwhile */
    if (!(*mask & SIGSYS_BIT))
        return;
    *mask &= ~SIGSYS_BIT;
    frame->args[argument] = WBPF_WORD_(mask);
}

/* That of pselect6 is a structure of the mask's address and size. */
static void care_pselect(struct traced_thread *thread, struct frame *frame)
{
    uint64_t *given = &frame->scratch[1];
    if (!frame->args[5] || !wbpf_copy_in(given, frame->args[5], 16))
        return;
    if (!given[0] || given[1] != MASK_BYTES || !wbpf_copy_in(&frame->scratch[0], given[0], MASK_BYTES))
        return;
    thread->blocks_faults |= frame->scratch[0] & FAULT_BITS;
    if (!(frame->scratch[0] & SIGSYS_BIT))
        return;
    frame->scratch[0] &= ~SIGSYS_BIT;
    given[0] = WBPF_WORD_(&frame->scratch[0]);
    frame->args[5] = WBPF_WORD_(given);
}

bool wbpf_signals_care(struct traced_thread *thread, struct frame *frame)
{
    if (!thread || !thread->taken)
        return false;
    switch (frame->number) {
    case __NR_rt_sigaction:
        return care_sigaction(thread, frame);
    case __NR_rt_sigprocmask:
        return care_sigprocmask(thread, frame);
    case __NR_rt_sigsuspend:
        care_mask(thread, frame, 0, frame->rsi);
        break;
    case __NR_ppoll:
        care_mask(thread, frame, 3, frame->r8);
        break;
    case __NR_epoll_pwait:
    case __NR_epoll_pwait2:
        care_mask(thread, frame, 4, frame->r9);
        break;
    case __NR_pselect6:
        care_pselect(thread, frame);
        break;
    case __NR_io_pgetevents:
        thread->blocks_faults = FAULT_BITS;
        break;
    case __NR_rt_sigreturn: {
        /* What a handler wrote into the mask that it returns to. */
        ucontext_t *context = (void *)((char *)frame + FRAME_RED_BYTES);
        *(uint64_t *)(void *)&context->uc_sigmask &= ~SIGSYS_BIT;
        thread->blocks_faults |= *(uint64_t *)(void *)&context->uc_sigmask & FAULT_BITS;
        break;
    }
    }
    return false;
}
#endif
