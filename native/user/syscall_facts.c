/*
 * What the kernel would be asked for at each event: a thread's name, its user and its group. They are kept
 * with the thread that is traced, whose own calls alone change them:
 *   - the name by prctl(PR_SET_NAME), or by a file of /proc, which threads of its own process alone can write
 * to: once one of them has any file of /proc open for writing, or is not traced, no name is kept any more;
 *   - user and group by set*id, unshare and setns. What reads as nobody's may have no number in its
 * namespace, and get one from outside: it is not kept. Nothing is kept while such a call is under way: a
 * signal's handler may come between the kernel and us.
 */
#include "user/syscall_state.h"
#include "user/syscalls.h"

#if defined(WBPF_HAVE_SYSCALLS)
#include <asm/unistd.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/vfs.h>

#define PROC_MAGIC 0x9fa0
#define NOBODY     65534

enum { KNOWS_NAME = 1, KNOWS_IDS = 2 };

/* Somebody could write to a name. */
static bool names_are_open;

static struct traced_thread *knowing(void)
{
    struct traced_thread *thread = wbpf_traced_thread;
    return thread && thread->taken && !thread->changing && !wbpf_threads_share_memory ? thread : NULL;
}

/* Unless a handler that came meanwhile has changed what was found. */
static void keep(struct traced_thread *thread, uint32_t changes, uint32_t what)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (changes == __atomic_load_n(&thread->changes, __ATOMIC_RELAXED))
        thread->known |= what;
}

void wbpf_facts_refuse_names(void)
{
    __atomic_store_n(&names_are_open, true, __ATOMIC_RELEASE);
}

void wbpf_current_name(char name[16])
{
    struct traced_thread *thread = knowing();
    if (!thread || __atomic_load_n(&names_are_open, __ATOMIC_ACQUIRE)) {
        (void)WBPF_DIRECT(__NR_prctl, PR_GET_NAME, name);
        return;
    }
    if (!(thread->known & KNOWS_NAME)) {
        uint32_t changes = thread->changes;
        (void)WBPF_DIRECT(__NR_prctl, PR_GET_NAME, thread->name);
        keep(thread, changes, KNOWS_NAME);
    }
    for (int i = 0; i < 16; i++)
        name[i] = thread->name[i];
}

uint64_t wbpf_current_users(void)
{
    struct traced_thread *thread = knowing();
    if (thread && thread->known & KNOWS_IDS)
        return thread->users;
    uint32_t changes = thread ? thread->changes : 0;
    uint32_t user = (uint32_t)WBPF_DIRECT(__NR_getuid), group = (uint32_t)WBPF_DIRECT(__NR_getgid);
    uint64_t users = (uint64_t)group << 32 | user;
    if (thread && user != NOBODY && group != NOBODY) {
        thread->users = users;
        keep(thread, changes, KNOWS_IDS);
    }
    return users;
}

static void forget(struct traced_thread *thread)
{
    thread->known = 0;
    thread->changes++;
}

void wbpf_facts_forget(struct traced_thread *thread)
{
    thread->changing = 0;
    forget(thread);
}

/* ---- calls ---- */

static bool changes_facts(uint64_t number, uint64_t first)
{
    switch (number) {
    case __NR_prctl:
        return first == PR_SET_NAME;
    case __NR_setuid:
    case __NR_setgid:
    case __NR_setreuid:
    case __NR_setregid:
    case __NR_setresuid:
    case __NR_setresgid:
    case __NR_unshare:
    case __NR_setns:
        return true;
    }
    return number >= NUMBERS;
}

void wbpf_facts_before(struct traced_thread *thread, const struct frame *frame)
{
    if (frame->number >= NUMBERS) /* x32's, where the kernel has them */
        wbpf_memory_refuse();
    if (frame->number >= NUMBERS || frame->number == __NR_io_uring_setup || frame->number == __NR_pidfd_getfd)
        wbpf_facts_refuse_names();
    if (!thread || !changes_facts(frame->number, frame->rdi))
        return;
    thread->changing++;
    forget(thread);
}

static bool opens_to_write(const struct frame *frame)
{
    uint64_t flags;
    switch (frame->number) {
    case __NR_open:
        flags = frame->rsi;
        break;
    case __NR_openat:
        flags = frame->rdx;
        break;
    case __NR_creat:
    case __NR_openat2:
        return true;
    default:
        return false;
    }
    return (flags & O_ACCMODE) != O_RDONLY;
}

void wbpf_facts_check_file(int fd)
{
    struct statfs facts;
    if (WBPF_DIRECT(__NR_fstatfs, fd, &facts) == 0 && facts.f_type == PROC_MAGIC)
        wbpf_facts_refuse_names();
}

void wbpf_facts_after(struct traced_thread *thread, const struct frame *frame)
{
    if (opens_to_write(frame) && (int64_t)frame->result >= 0 && !names_are_open)
        wbpf_facts_check_file((int)frame->result);
    if (!thread || !changes_facts(frame->number, frame->rdi))
        return;
    forget(thread);
    if (thread->changing)
        thread->changing--;
}
#endif
