/*
 * What the files of syscalls share. Those that run outside of programs (syscall_care.c, syscall_threads.c,
 * syscall_signals.c, syscall_sites.c) are compiled for general registers alone, for they run between an
 * application's instructions with its vector registers in place: they call nothing of libc.
 */
#ifndef WBPF_USER_SYSCALL_STATE_H
#define WBPF_USER_SYSCALL_STATE_H

#include "user/direct.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBERS  512 /* greater ones are none */
#define RED_ZONE 128

/* What wbpf_syscall_wanted says of a number. */
enum { WANT_ENTRY = 1, WANT_EXIT = 2, WANT_CARE = 4 };
extern uint8_t wbpf_syscall_wanted[NUMBERS];

/* What an application's thread has on its stack, below the red zone, during a call that is wanted. */
struct frame {
    uint64_t args[6]; /* that the call is made with */
    uint64_t scratch[4];
    uint64_t number, result;
    uint64_t r15, r14, r13, r12, rbp, rbx, r9, r8, r10, rdx, rsi, rdi, rax, flags, rip;
};

/* How wbpf_syscall_before() says to go on. */
enum { GO_CALL, GO_RETURN, GO_NEW_STACK, GO_SHARED_STACK, GO_SIGRETURN };

/* A thread that is traced. A child of vfork has its parent's for as long as that waits. */
struct traced_thread {
    _Alignas(64) uint32_t taken;
    uint32_t inside; /* in a program */
    uint64_t walks;  /* odd: walks through lists of links */
    uint64_t missed;
    uint64_t stack_top, vectors; /* what programs run on; where vector registers are meanwhile */
    uint32_t pid, tid;
    uint32_t vfork_number;
    bool borrowed; /* by a child of vfork */
    bool blocks;   /* the application believes that SIGSYS is blocked */
    bool pending;  /* and that one waits */
    /* syscall_facts.c */
    uint32_t known, changing, changes;
    char name[16];
    uint64_t users;
    /* syscall_memory.c */
    uint32_t copying;       /* from memory that may not be there */
    uint64_t blocks_faults; /* those of FAULT_BITS that are blocked, or may be */
};

#define THREADS_MOST 1024
extern struct traced_thread wbpf_traced_threads[THREADS_MOST];
/* Some thread made one that has neither registers of its own for thread-local memory nor waits for it. */
extern bool wbpf_threads_share_memory;
/* That of our own thread: it is taken by nobody, and always inside. */
extern struct traced_thread wbpf_untraced_thread;
extern __thread struct traced_thread *wbpf_traced_thread __attribute__((tls_model("initial-exec")));

extern bool wbpf_syscalls_active;
extern uint32_t wbpf_syscalls_pid;    /* whose links they are */
extern uint64_t wbpf_syscalls_untold; /* missed, of threads that there was no room for */
/* What the call returns that begins this process. */
extern uint32_t wbpf_syscalls_born_by;

/* ---- syscall_entry.c ---- */
extern const char wbpf_syscalls_low[], wbpf_syscalls_high[]; /* whose calls the kernel does itself */
void wbpf_syscall_entry(void);                               /* for numbers below NUMBERS */
void wbpf_syscall_full(void);
void wbpf_syscall_restorer(void);
void wbpf_on_stack(void (*function)(void *), void *argument, uint64_t stack_top);

/* Links of entries, and of exits: by number; behind them those of all numbers, and those with other contexts.
 */
enum { ALL = NUMBERS, ALL_RAW, LISTS };
extern struct wbpf_syscall_link *wbpf_syscall_lists[2][LISTS];
extern uint32_t wbpf_syscall_links;
extern pthread_mutex_t wbpf_syscall_mutex;

/* ---- syscalls.c: with vector registers saved, on a stack of their own ---- */
struct runs {
    struct traced_thread *thread;
    const struct frame *frame;
    uint64_t number, result;
    bool exit;
};
void wbpf_syscall_run_all(void *runs);

/* ---- syscall_care.c ---- */
void wbpf_syscall_tell(struct traced_thread *thread, const struct frame *frame, uint64_t number, bool exit,
                       uint64_t result);

/* ---- syscall_facts.c ---- */
void wbpf_facts_before(struct traced_thread *thread, const struct frame *frame);
void wbpf_facts_after(struct traced_thread *thread, const struct frame *frame);
void wbpf_facts_forget(struct traced_thread *thread);
void wbpf_facts_refuse_names(void);
/* One that was open before. */
void wbpf_facts_check_file(int fd);

/* ---- syscall_memory.c ---- */
#define FAULT_BITS ((uint64_t)1 << (SIGSEGV - 1) | (uint64_t)1 << (SIGBUS - 1))
struct kernel_sigaction;
/* When all threads are traced: where nothing speaks against it, memory is read as it is from now on. */
void wbpf_memory_begin(void);
/* From now on through the kernel. When it returns, no other thread is at it any more. */
void wbpf_memory_stop(void);
/* For good: it can't be told any more what the application does with signals. */
void wbpf_memory_refuse(void);
void wbpf_memory_forget(void);
/* The mask of a handler that there is now. */
void wbpf_memory_check_action(const struct kernel_sigaction *action);
bool wbpf_memory_care_action(const struct traced_thread *thread, struct frame *frame);

/* ---- syscall_threads.c ---- */
/* Calls that do not return to the stack that they were made on: as long as there are stubs, they need care.
 */
bool wbpf_syscall_leaves_stack(uint32_t number);
/* NULL: there is no room. */
struct traced_thread *wbpf_thread_arm(void);
void wbpf_thread_disarm(struct traced_thread *thread);
/* At the end of a thread, which still is in our code. */
void wbpf_thread_release(struct traced_thread *thread);
void wbpf_thread_learn_ids(struct traced_thread *thread);
int wbpf_dispatch_self(bool on);

/* ---- syscall_signals.c ---- */
#define SIGSYS_BIT ((uint64_t)1 << (SIGSYS - 1))
struct kernel_sigaction {
    uint64_t handler, flags, restorer, mask;
};
int wbpf_sigsys_install(void);
void wbpf_sigsys_restore(void);
/* Calls that would block SIGSYS, or change what is done on it. True: frame->result is theirs. */
bool wbpf_signals_care(struct traced_thread *thread, struct frame *frame);
/* For the thread that is asked to arm itself: what it was found to wait in. */
struct asked {
    uint32_t tid, answered;
    int64_t number; /* -1: in none */
    uint64_t at;
};
extern struct asked wbpf_asked;

/* ---- syscall_sites.c ---- */
struct module {
    uint64_t low, high;
};
#define MODULES_MOST 512
/* The code of the modules that sites are rewritten in. */
extern struct module wbpf_syscall_modules[MODULES_MOST];
extern uint32_t wbpf_syscall_module_count;
/* Make room for stubs; without, no site is rewritten. */
void wbpf_sites_prepare(void);
/* `at` is behind the instruction. */
void wbpf_site_rewrite(uint64_t at, uint64_t number);
void wbpf_sites_restore(void);

/* Of memory that may not be there; from this process. */
bool wbpf_copy_in(void *to, uint64_t from, uint64_t bytes);

#endif
