/*
 * What is done before and behind a call that somebody wants, or that would take us out of the way: new
 * threads and processes, ends of threads, and what syscall_signals.c sees to.
 */
#include "user/syscall_state.h"
#include "user/syscalls.h"

#if defined(WBPF_HAVE_SYSCALLS)
#include <asm/unistd.h>
#include <errno.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <ucontext.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

#define VISIBLE __attribute__((visibility("hidden"), used))

bool wbpf_threads_share_memory;

static struct traced_thread *this_thread(void)
{
    struct traced_thread *thread = wbpf_traced_thread;
    return thread || !wbpf_syscalls_active ? thread : wbpf_thread_arm();
}

static uint8_t wanted(uint64_t number)
{
    if (number < NUMBERS)
        return __atomic_load_n(&wbpf_syscall_wanted[number], __ATOMIC_RELAXED);
    return WANT_ENTRY | WANT_EXIT | WANT_CARE; /* by those who want all */
}

void wbpf_syscall_tell(struct traced_thread *thread, const struct frame *frame, uint64_t number, bool exit,
                       uint64_t result)
{
    struct runs runs = {.thread = thread, .frame = frame, .number = number, .result = result, .exit = exit};
    if (!thread) {
        __atomic_fetch_add(&wbpf_syscalls_untold, 1, __ATOMIC_RELAXED);
        return;
    }
    if (thread->inside || (wbpf_threads_share_memory && WBPF_DIRECT(__NR_gettid) != thread->tid)) {
        thread->missed++;
        return;
    }
    thread->inside = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    wbpf_on_stack(wbpf_syscall_run_all, &runs, thread->stack_top);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread->inside = 0;
}

/* ---- new threads and processes ---- */

struct making {
    uint64_t flags, stack_top;
};

/* What a call of fork, vfork, clone or clone3 asks for; false: nothing that the kernel would do. */
static bool read_making(const struct frame *frame, struct making *making)
{
    struct clone_args args;
    making->flags = making->stack_top = 0;
    switch (frame->number) {
    case __NR_clone:
        making->flags = frame->rdi;
        making->stack_top = frame->rsi;
        return true;
    case __NR_clone3:
        if (frame->rsi < CLONE_ARGS_SIZE_VER0 || !wbpf_copy_in(&args, frame->rdi, CLONE_ARGS_SIZE_VER0))
            return false;
        making->flags = args.flags;
        making->stack_top = args.stack ? args.stack + args.stack_size : 0;
        return true;
    case __NR_vfork:
        making->flags = CLONE_VM | CLONE_VFORK;
        return true;
    }
    return frame->number == __NR_fork;
}

static int make(struct traced_thread *thread, const struct frame *frame)
{
    struct making making;
    if (!read_making(frame, &making))
        return GO_CALL;
    bool shares = making.flags & CLONE_VM;
    if (thread)
        thread->vfork_number = (uint32_t)frame->number;
    if (shares && !(making.flags & (CLONE_VFORK | CLONE_SETTLS)))
        wbpf_threads_share_memory = true;
    if (shares && !(making.flags & (CLONE_VFORK | CLONE_SIGHAND)))
        wbpf_memory_refuse();
    if (!making.stack_top)
        return shares ? GO_SHARED_STACK : GO_CALL;
    uint64_t *top = (uint64_t *)(uintptr_t)making.stack_top;
    top[-1] = frame->rip;
    top[-2] = making.flags;
    top[-3] = frame->number;
    return GO_NEW_STACK;
}

/* A child that has its parent's memory, and thread, while that waits. */
static void borrow(struct traced_thread *thread)
{
    if (!thread)
        return;
    thread->borrowed = true;
    wbpf_thread_learn_ids(thread);
    if (wbpf_syscalls_active)
        wbpf_dispatch_self(true);
}

static void take_back(struct traced_thread *thread)
{
    if (!thread)
        return;
    thread->borrowed = false;
    thread->copying = 0;
    if (thread->inside) { /* it was killed there */
        thread->inside = 0;
        __atomic_store_n(&thread->walks, (thread->walks + 1) & ~(uint64_t)1, __ATOMIC_RELEASE);
    }
    wbpf_thread_learn_ids(thread);
}

static void begin_in_child(uint64_t number)
{
    wbpf_syscalls_forget();
    wbpf_syscalls_born_by = (uint32_t)number;
}

/* ---- where syscall_entry.c calls ---- */

VISIBLE int wbpf_syscall_before(struct frame *frame)
{
    struct traced_thread *thread = this_thread();
    uint8_t want = wanted(frame->rax);
    frame->number = frame->rax;
    frame->args[0] = frame->rdi;
    frame->args[1] = frame->rsi;
    frame->args[2] = frame->rdx;
    frame->args[3] = frame->r10;
    frame->args[4] = frame->r8;
    frame->args[5] = frame->r9;
    if (want & WANT_ENTRY)
        wbpf_syscall_tell(thread, frame, frame->number, false, 0);
    if (!(want & WANT_CARE))
        return GO_CALL;
    wbpf_facts_before(thread, frame);
    switch (frame->number) {
    case __NR_rt_sigreturn:
        if (want & WANT_EXIT)
            wbpf_syscall_tell(thread, frame, __NR_rt_sigreturn, true,
                              (uint64_t)((ucontext_t *)(uintptr_t)((char *)frame + sizeof *frame + RED_ZONE))
                                  ->uc_mcontext.gregs[REG_RAX]);
        wbpf_signals_care(thread, frame);
        return GO_SIGRETURN;
    case __NR_clone:
    case __NR_clone3:
    case __NR_fork:
    case __NR_vfork:
        return make(thread, frame);
    case __NR_exit:
        if (thread && thread->taken && !thread->borrowed)
            wbpf_thread_release(thread);
        return GO_CALL;
    case __NR_prctl:
        if (frame->rdi != PR_SET_SYSCALL_USER_DISPATCH)
            return GO_CALL;
        frame->result = (uint64_t)-EINVAL; /* as of a kernel without it */
        break;
    default:
        if (!wbpf_signals_care(thread, frame))
            return GO_CALL;
    }
    if (want & WANT_EXIT)
        wbpf_syscall_tell(thread, frame, frame->number, true, frame->result);
    return GO_RETURN;
}

VISIBLE void wbpf_syscall_after(struct frame *frame)
{
    struct making making;
    uint8_t want = wanted(frame->number);
    if (want & WANT_CARE)
        wbpf_facts_after(wbpf_traced_thread, frame);
    if (want & WANT_CARE && read_making(frame, &making)) {
        if (frame->result == 0) {
            begin_in_child(frame->number);
            return;
        }
        if (making.flags & CLONE_VM && making.flags & CLONE_VFORK)
            take_back(wbpf_traced_thread);
    }
    if (want & WANT_EXIT)
        wbpf_syscall_tell(wbpf_traced_thread, frame, frame->number, true, frame->result);
    if (!wbpf_syscalls_active && wbpf_traced_thread && wbpf_traced_thread->taken)
        wbpf_thread_disarm(wbpf_traced_thread);
}

/* On the child's new stack, whose red zone make() wrote to. */
VISIBLE void wbpf_syscall_in_child(struct frame *frame)
{
    const uint64_t *top = (const uint64_t *)(uintptr_t)((char *)frame + sizeof *frame + RED_ZONE);
    uint64_t flags = top[-2], number = top[-3];
    frame->number = number;
    if (!(flags & CLONE_VM)) {
        begin_in_child(number);
        return;
    }
    if (!wbpf_traced_thread)
        (void)this_thread();
    else if (flags & CLONE_VFORK && !(flags & CLONE_SETTLS))
        borrow(wbpf_traced_thread);
    else
        return;
    if (wanted(number) & WANT_EXIT)
        wbpf_syscall_tell(wbpf_traced_thread, frame, number, true, 0);
}

VISIBLE void wbpf_syscall_shared_stack(struct frame *frame)
{
    struct traced_thread *thread = wbpf_traced_thread;
    frame->number = thread ? thread->vfork_number : __NR_vfork;
    if (frame->result == 0)
        borrow(thread);
    else
        take_back(thread);
    if (wanted(frame->number) & WANT_EXIT)
        wbpf_syscall_tell(thread, frame, frame->number, true, frame->result);
}
#endif
