/* Threads that are traced: each asks the kernel for itself to raise SIGSYS at its system calls. */
#include "user/syscall_state.h"
#include "user/syscalls.h"

#if defined(WBPF_HAVE_SYSCALLS)
#include <asm/unistd.h>
#include <errno.h>
#include <linux/uio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define STACK_BYTES   (256 << 10) /* with nested tail calls */
#define VECTORS_BYTES 4096
#define GUARD_BYTES   4096

struct traced_thread wbpf_traced_threads[THREADS_MOST];
struct traced_thread wbpf_untraced_thread = {.inside = 1};
__thread struct traced_thread *wbpf_traced_thread __attribute__((tls_model("initial-exec")));

bool wbpf_syscall_leaves_stack(uint32_t number)
{
    return number == __NR_clone || number == __NR_clone3 || number == __NR_vfork;
}

bool wbpf_copy_in(void *to, uint64_t from, uint64_t bytes)
{
    struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)from, bytes};
    return wbpf_direct(__NR_process_vm_readv, (uint64_t)WBPF_DIRECT(__NR_getpid), WBPF_WORD_(&here), 1,
                       WBPF_WORD_(&there), 1, 0) == (long)bytes;
}

int wbpf_dispatch_self(bool on)
{
    return on ? (int)WBPF_DIRECT(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, 1, wbpf_syscalls_low,
                                 wbpf_syscalls_high - wbpf_syscalls_low, 0)
              : (int)WBPF_DIRECT(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
}

void wbpf_thread_learn_ids(struct traced_thread *thread)
{
    thread->pid = (uint32_t)WBPF_DIRECT(__NR_getpid);
    thread->tid = (uint32_t)WBPF_DIRECT(__NR_gettid);
    wbpf_facts_forget(thread);
}

static bool give_stack(struct traced_thread *thread)
{
    if (thread->stack_top)
        return true;
    long at = WBPF_DIRECT(__NR_mmap, 0, GUARD_BYTES + STACK_BYTES + VECTORS_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at < 0 && at > -4096)
        return false;
    (void)WBPF_DIRECT(__NR_mprotect, at, GUARD_BYTES, PROT_NONE);
    thread->vectors = (uint64_t)at + GUARD_BYTES + STACK_BYTES;
    thread->stack_top = thread->vectors;
    return true;
}

static struct traced_thread *claim(void)
{
    for (uint32_t i = 0; i < THREADS_MOST; i++) {
        struct traced_thread *thread = &wbpf_traced_threads[i];
        uint32_t none = 0;
        if (__atomic_load_n(&thread->taken, __ATOMIC_RELAXED) ||
            !__atomic_compare_exchange_n(&thread->taken, &none, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        if (give_stack(thread)) {
            thread->inside = 0;
            thread->borrowed = thread->pending = false;
            thread->copying = 0;
            wbpf_thread_learn_ids(thread);
            return thread;
        }
        __atomic_store_n(&thread->taken, 0, __ATOMIC_RELEASE);
        return NULL;
    }
    return NULL;
}

/* A thread is not traced: what it does is not known. */
static void refuse(void)
{
    wbpf_memory_refuse();
    wbpf_facts_refuse_names();
}

struct traced_thread *wbpf_thread_arm(void)
{
    uint64_t all = ~(uint64_t)0, before = 0;
    (void)WBPF_DIRECT(__NR_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    struct traced_thread *thread = wbpf_traced_thread;
    if (!thread && WBPF_DIRECT(__NR_getpid) != wbpf_syscalls_pid)
        wbpf_syscalls_forget(); /* a child that nobody told */
    else if (!thread && !(thread = claim()))
        refuse();
    else if (!wbpf_traced_thread) {
        thread->blocks = before & SIGSYS_BIT;
        thread->blocks_faults = before & FAULT_BITS;
        before &= ~SIGSYS_BIT;
        wbpf_traced_thread = thread;
        if (wbpf_dispatch_self(true) < 0) {
            wbpf_thread_release(thread);
            refuse();
            thread = NULL;
        }
    }
    (void)WBPF_DIRECT(__NR_rt_sigprocmask, SIG_SETMASK, &before, 0, sizeof before);
    return thread;
}

void wbpf_thread_release(struct traced_thread *thread)
{
    wbpf_traced_thread = NULL;
    __atomic_store_n(&thread->taken, 0, __ATOMIC_RELEASE);
}

void wbpf_thread_disarm(struct traced_thread *thread)
{
    uint64_t mask = SIGSYS_BIT;
    wbpf_dispatch_self(false);
    if (wbpf_syscalls_active)
        refuse();
    if (thread->borrowed)
        return;
    if (thread->blocks)
        (void)WBPF_DIRECT(__NR_rt_sigprocmask, SIG_BLOCK, &mask, 0, sizeof mask);
    wbpf_thread_release(thread);
}

void wbpf_syscalls_forget(void)
{
    if (!wbpf_syscalls_active) {
        if (wbpf_syscalls_born_by == __NR_execve)
            wbpf_syscalls_born_by = __NR_clone; /* by libc's fork() */
        return;
    }
    bool blocks = wbpf_traced_thread && wbpf_traced_thread->blocks;
    wbpf_syscalls_active = false;
    for (uint32_t i = 0; i < NUMBERS; i++)
        wbpf_syscall_wanted[i] = wbpf_syscall_leaves_stack(i) ? WANT_CARE : 0;
    for (uint32_t i = 0; i < LISTS; i++)
        wbpf_syscall_lists[0][i] = wbpf_syscall_lists[1][i] = NULL;
    for (uint32_t i = 0; i < THREADS_MOST; i++) {
        struct traced_thread *thread = &wbpf_traced_threads[i];
        thread->taken = 0;
        thread->walks = thread->missed = 0;
    }
    wbpf_syscalls_untold = 0;
    wbpf_traced_thread = NULL;
    wbpf_syscall_links = 0;
    wbpf_syscall_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    wbpf_memory_forget();
    wbpf_sigsys_restore();
    if (blocks) {
        uint64_t mask = SIGSYS_BIT;
        (void)WBPF_DIRECT(__NR_rt_sigprocmask, SIG_BLOCK, &mask, 0, sizeof mask);
    }
}
#endif
