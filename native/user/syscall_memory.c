/*
 * Reading an application's memory, which may not be there: as it is, with a handler of SIGSEGV and SIGBUS
 * that sends the few instructions below to their end. A fault in a thread that blocks its signal, or where
 * another handles it, would end the process: so it is done only while it is certain that neither is the case,
 * and through the kernel (process_vm_readv, which takes a microsecond) elsewhere. Certain it is if
 *   - all threads of the process are traced, for then all calls that change masks and handlers are seen;
 *   - the application has no handlers of these signals: they are its own as soon as it wants them;
 *   - no handler of another signal has them in its mask: that one begins is not seen;
 *   - the thread does not block them, and waits by no call that lets handlers run with them blocked;
 *   - it has its memory and its handlers to itself, unlike a child of vfork;
 *   - it is at a system call, on our stack, where there is room for the signal's frame.
 */
#include "user/syscall_state.h"
#include "user/syscalls.h"

#if defined(WBPF_HAVE_SYSCALLS)
#include <asm/unistd.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <linux/uio.h>
#include <ucontext.h>

#define SA_RESTORER_BIT 0x04000000
#define MASK_BYTES      8
#define SIGNALS         64
#define YIELDS_MOST     1000

extern const char wbpf_guarded_low[], wbpf_guarded_high[], wbpf_guarded_fault[];
/* 0, or -EFAULT. */
int64_t wbpf_guarded_copy(void *to, uint64_t from, uint64_t bytes);
/* Up to the first 0: how many bytes with it, or all that there is room for; -EFAULT. */
int64_t wbpf_guarded_text(void *to, uint64_t from, uint64_t room);

__asm__(".pushsection .text.wbpf_guarded,\"ax\",@progbits\n"
        ".globl wbpf_guarded_low\n.hidden wbpf_guarded_low\n"
        "wbpf_guarded_low:\n"
        ".globl wbpf_guarded_copy\n.hidden wbpf_guarded_copy\n.type wbpf_guarded_copy,@function\n"
        "wbpf_guarded_copy:\n"
        ".cfi_startproc\n"
        "  mov %rdx, %rcx\n"
        "  rep movsb\n"
        "  xor %eax, %eax\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".size wbpf_guarded_copy, .-wbpf_guarded_copy\n"
        ".globl wbpf_guarded_text\n.hidden wbpf_guarded_text\n.type wbpf_guarded_text,@function\n"
        "wbpf_guarded_text:\n"
        ".cfi_startproc\n"
        "  xor %eax, %eax\n"
        "1:\n"
        "  cmp %rdx, %rax\n"
        "  je 2f\n"
        "  movzbl (%rsi,%rax), %ecx\n"
        "  mov %cl, (%rdi,%rax)\n"
        "  inc %rax\n"
        "  test %cl, %cl\n"
        "  jne 1b\n"
        "2:\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".size wbpf_guarded_text, .-wbpf_guarded_text\n"
        ".globl wbpf_guarded_high\n.hidden wbpf_guarded_high\n"
        "wbpf_guarded_high:\n"
        ".globl wbpf_guarded_fault\n.hidden wbpf_guarded_fault\n"
        "wbpf_guarded_fault:\n" /* both have nothing on the stack but where they return to */
        "  mov $-14, %rax\n"
        "  ret\n"
        ".popsection\n");
_Static_assert(EFAULT == 14, "the code above");

static const int signals[] = {SIGSEGV, SIGBUS};
static struct kernel_sigaction application[2]; /* what it wants, while the handlers are ours */
static bool ours, direct, refused;

static void on_fault(int signal, siginfo_t *info, void *context);

static bool is_ours(const struct kernel_sigaction *action)
{
    return action->handler == (uint64_t)(uintptr_t)on_fault;
}

static long set_action(int signal, const struct kernel_sigaction *action, struct kernel_sigaction *before)
{
    return WBPF_DIRECT(__NR_rt_sigaction, signal, action, before, MASK_BYTES);
}

static void give_back(void)
{
    struct kernel_sigaction now;
    __atomic_store_n(&direct, false, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        if (set_action(signals[i], NULL, &now) == 0 && is_ours(&now))
            (void)set_action(signals[i], &application[i], NULL);
    __atomic_store_n(&ours, false, __ATOMIC_SEQ_CST);
}

/* What is not ours comes again, to where it would have gone without us. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uint64_t at = (uint64_t)registers[REG_RIP];
    if (info->si_code > 0 && at >= (uint64_t)(uintptr_t)wbpf_guarded_low &&
        at < (uint64_t)(uintptr_t)wbpf_guarded_high) {
        registers[REG_RIP] = (greg_t)(uintptr_t)wbpf_guarded_fault;
        return;
    }
    wbpf_memory_refuse();
    give_back();
    if (info->si_code <= 0)
        (void)WBPF_DIRECT(__NR_rt_tgsigqueueinfo, WBPF_DIRECT(__NR_getpid), WBPF_DIRECT(__NR_gettid), signal,
                          info);
}

/* ---- whether ---- */

void wbpf_memory_refuse(void)
{
    __atomic_store_n(&refused, true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&direct, false, __ATOMIC_SEQ_CST);
}

void wbpf_memory_check_action(const struct kernel_sigaction *action)
{
    if (action->handler > (uint64_t)(uintptr_t)SIG_IGN && action->mask & FAULT_BITS)
        wbpf_memory_refuse();
}

void wbpf_memory_begin(void)
{
    struct kernel_sigaction action = {WBPF_WORD_(on_fault), SA_SIGINFO | SA_RESTORER_BIT,
                                      WBPF_WORD_(wbpf_syscall_restorer), ~(uint64_t)0},
                            there;
    if (ours || refused || wbpf_threads_share_memory)
        return;
    for (int signal = 1; signal <= SIGNALS; signal++)
        if (signal != SIGSYS && signal != SIGSEGV && signal != SIGBUS &&
            set_action(signal, NULL, &there) == 0)
            wbpf_memory_check_action(&there);
    for (int i = 0; i < 2 && !refused; i++) {
        if (set_action(signals[i], NULL, &application[i]) < 0 || application[i].handler)
            refused = true;
        else if (set_action(signals[i], &action, &there) < 0 || there.handler) {
            (void)set_action(signals[i], &there, NULL);
            refused = true;
        }
    }
    __atomic_store_n(&ours, true, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&refused, __ATOMIC_SEQ_CST))
        give_back();
    else
        __atomic_store_n(&direct, true, __ATOMIC_SEQ_CST);
}

/* False: one does not come to an end, or is what this thread was interrupted in. */
static bool wait_for_copies(void)
{
    bool done = false;
    __atomic_store_n(&direct, false, __ATOMIC_SEQ_CST);
    (void)WBPF_DIRECT(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    for (int yields = 0; !done && yields < YIELDS_MOST; yields++) {
        done = true;
        for (uint32_t i = 0; i < THREADS_MOST; i++)
            done &= !__atomic_load_n(&wbpf_traced_threads[i].copying, __ATOMIC_ACQUIRE);
        if (!done)
            (void)WBPF_DIRECT(__NR_sched_yield);
    }
    return done;
}

void wbpf_memory_stop(void)
{
    if (ours && wait_for_copies())
        give_back();
}

void wbpf_memory_forget(void)
{
    if (ours)
        give_back();
    refused = false;
}

/* ---- the application's actions; the new one is in frame->scratch ---- */

bool wbpf_memory_care_action(const struct traced_thread *thread, struct frame *frame)
{
    struct kernel_sigaction *old = (void *)(uintptr_t)frame->rdx, *action = (void *)frame->scratch;
    struct kernel_sigaction *kept = &application[frame->rdi == SIGBUS];
    if (thread->borrowed) { /* its actions are a copy */
        if (frame->rsi)
            action->mask &= ~SIGSYS_BIT;
        frame->result = (uint64_t)set_action((int)frame->rdi, frame->rsi ? action : NULL, old);
        if (!frame->result && old && is_ours(old))
            *old = *kept;
        return true;
    }
    if (frame->rsi && (action->handler || !__atomic_load_n(&ours, __ATOMIC_SEQ_CST)))
        wbpf_memory_refuse();
    if (__atomic_load_n(&ours, __ATOMIC_SEQ_CST) && frame->rsi && action->handler)
        wbpf_memory_stop();
    if (!__atomic_load_n(&ours, __ATOMIC_SEQ_CST))
        return false;
    frame->result = old ? (uint64_t)set_action((int)frame->rdi, NULL, old) : 0;
    if (frame->result)
        return true;
    if (old && is_ours(old))
        *old = *kept;
    if (frame->rsi)
        *kept = *action;
    return true;
}

/* ---- reading ---- */

/* Between begin and end, if it is true, faults are survived. */
static bool begin_copy(struct traced_thread *thread)
{
    if (!thread || !thread->taken || !thread->inside || thread->borrowed || thread->blocks_faults ||
        !__atomic_load_n(&direct, __ATOMIC_RELAXED))
        return false;
    __atomic_store_n(&thread->copying, thread->copying + 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* wait_for_copies() has a barrier for both */
    if (__atomic_load_n(&direct, __ATOMIC_ACQUIRE) && !wbpf_threads_share_memory)
        return true;
    __atomic_store_n(&thread->copying, thread->copying - 1, __ATOMIC_RELEASE);
    return false;
}

static void end_copy(struct traced_thread *thread)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&thread->copying, thread->copying - 1, __ATOMIC_RELEASE);
}

int wbpf_memory_read(void *to, uint64_t from, uint64_t bytes)
{
    struct traced_thread *thread = wbpf_traced_thread;
    if (begin_copy(thread)) {
        int error = (int)wbpf_guarded_copy(to, from, bytes);
        end_copy(thread);
        return error;
    }
    struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)from, bytes};
    return WBPF_DIRECT(__NR_process_vm_readv, wbpf_current_ids() >> 32, &here, 1, &there, 1, 0) == (long)bytes
               ? 0
               : -EFAULT;
}

bool wbpf_memory_read_text(void *to, uint64_t from, uint64_t room, int64_t *bytes)
{
    struct traced_thread *thread = wbpf_traced_thread;
    if (!begin_copy(thread))
        return false;
    *bytes = wbpf_guarded_text(to, from, room);
    end_copy(thread);
    return true;
}
#endif
