/*
 * Programs at the system calls of this process, without the kernel's help but Syscall User Dispatch (Linux
 * 5.11, x86-64). Errors are negative errnos. docs/syscalls.md says how it works.
 */
#ifndef WBPF_USER_SYSCALLS_H
#define WBPF_USER_SYSCALLS_H

#include "user/program.h"

#define WBPF_SYSCALL_ENTRY 4 /* the kinds of wbpf_attach_request */
#define WBPF_SYSCALL_EXIT  5

#define WBPF_SYSCALL_ALL     UINT64_MAX       /* in place of a number; contexts as of tp/raw_syscalls */
#define WBPF_SYSCALL_ALL_RAW (UINT64_MAX - 1) /* contexts as of raw_tp/sys_enter and raw_tp/sys_exit */

typedef struct wbpf_syscall_link wbpf_syscall_link;

/* The program must stay until the link is destroyed. All threads that can take a signal are traced when it
 * returns, others from the time on that they do. -EOPNOTSUPP: neither this machine nor this kernel has it. */
int wbpf_syscall_link_create(uint32_t kind, uint64_t number, const wbpf_user_program *program,
                             uint64_t cookie, wbpf_syscall_link **out);
/* When it returns, no thread is in the program any more. Runs that a check ended in *stopped. */
void wbpf_syscall_link_destroy(wbpf_syscall_link *link, uint64_t *stopped);
/* Calls out of signal handlers that interrupted a program, and of threads that there was no room for. */
uint64_t wbpf_syscalls_missed(void);
/* In a process that was traced from its first instruction on, by its only thread, when all links are there:
 * the call that made it (execve, or fork in the parent) returns 0. */
void wbpf_syscalls_begin(void);
/* Of the thread that runs: its process in the upper half, itself in the lower. */
uint64_t wbpf_current_ids(void);
/* comm, as the kernel has it; and its group in the upper half, its user in the lower. */
void wbpf_current_name(char name[16]);
uint64_t wbpf_current_users(void);
/* Memory that may not be there: 0, or -EFAULT. */
int wbpf_memory_read(void *to, uint64_t from, uint64_t bytes);
/* The same up to the first 0: *bytes with it, or `room`, or -EFAULT. False: it can't be done here. */
bool wbpf_memory_read_text(void *to, uint64_t from, uint64_t room, int64_t *bytes);
/* In a child after fork: nothing is attached there. */
void wbpf_syscalls_forget(void);

#endif
