/*
 * Links of programs to system calls, and running the programs. Each number has lists of links, which threads
 * walk without locks. A thread's word is odd while it walks: detaching takes the link out of its list, sees
 * to it that all threads see that (membarrier), and waits until each word was even or has changed.
 */
#include "user/syscalls.h"
#include "user/syscall_state.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#if !defined(WBPF_HAVE_SYSCALLS)
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int wbpf_syscall_link_create(uint32_t kind, uint64_t number, const wbpf_user_program *program,
                             uint64_t cookie, wbpf_syscall_link **out)
{
    (void)kind, (void)number, (void)program, (void)cookie, (void)out;
    return -EOPNOTSUPP;
}
void wbpf_syscall_link_destroy(wbpf_syscall_link *link, uint64_t *stopped)
{
    (void)link;
    *stopped = 0;
}
uint64_t wbpf_syscalls_missed(void)
{
    return 0;
}
void wbpf_syscalls_begin(void) {}
void wbpf_syscalls_forget(void) {}
uint64_t wbpf_current_ids(void)
{
    return (uint64_t)getpid() << 32 | (uint32_t)WBPF_DIRECT(SYS_gettid);
}
void wbpf_current_name(char name[16])
{
    (void)WBPF_DIRECT(SYS_prctl, PR_GET_NAME, name);
}
uint64_t wbpf_current_users(void)
{
    return (uint64_t)WBPF_DIRECT(SYS_getgid) << 32 | (uint32_t)WBPF_DIRECT(SYS_getuid);
}
int wbpf_memory_read(void *to, uint64_t from, uint64_t bytes)
{
    struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)from, bytes};
    return WBPF_DIRECT(SYS_process_vm_readv, getpid(), &here, 1, &there, 1, 0) == (long)bytes ? 0 : -EFAULT;
}
bool wbpf_memory_read_text(void *to, uint64_t from, uint64_t room, int64_t *bytes)
{
    (void)to, (void)from, (void)room, (void)bytes;
    return false;
}
#else

#include <asm/ptrace.h>
#include <cpuid.h>
#include <dirent.h>
#include <fcntl.h>
#include <link.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define ARMING_NS 1000000000 /* how long one thread is waited for: it may be stopped */
#define VECTORS   0xe6       /* SSE, AVX and AVX-512; programs use no others */
#define PAUSE_NS  20000

struct wbpf_syscall_link {
    struct wbpf_syscall_link *next;
    const wbpf_user_program *program;
    uint64_t number, cookie, stopped;
    bool exit;
};

struct wbpf_syscall_link *wbpf_syscall_lists[2][LISTS];
uint32_t wbpf_syscall_links;
pthread_mutex_t wbpf_syscall_mutex = PTHREAD_MUTEX_INITIALIZER;
static enum { SAVE_FXSAVE, SAVE_XSAVE, SAVE_XSAVEC } how_to_save;

uint8_t wbpf_syscall_wanted[NUMBERS];
bool wbpf_syscalls_active;
uint32_t wbpf_syscalls_pid;
uint64_t wbpf_syscalls_untold;
uint32_t wbpf_syscalls_born_by = SYS_execve;

/* Calls that are never left to the application alone while it is traced. */
static const uint16_t cared_for[] = {
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_clone,
    SYS_fork,
    SYS_vfork,
    SYS_exit,
    SYS_rt_sigsuspend,
    SYS_prctl,
    SYS_clone3,
    SYS_pselect6,
    SYS_ppoll,
    SYS_epoll_pwait,
    441 /* epoll_pwait2 */,
    SYS_io_pgetevents,
    /* syscall_facts.c */
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_unshare,
    SYS_setns,
    SYS_open,
    SYS_openat,
    SYS_creat,
    437 /* openat2 */,
    SYS_io_uring_setup,
    438 /* pidfd_getfd */,
};

/* ---- running ---- */

static void find_how_to_save(void)
{
    uint32_t a, b, c, d;
    how_to_save = SAVE_FXSAVE;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return;
    how_to_save = SAVE_XSAVE;
    if (__get_cpuid_count(13, 1, &a, &b, &c, &d) && a & 2)
        how_to_save = SAVE_XSAVEC;
}

static void save_vectors(uint64_t to)
{
    if (how_to_save == SAVE_XSAVEC)
        __asm__ volatile("xsavec64 (%0)" : : "r"(to), "a"(VECTORS), "d"(0) : "memory");
    else if (how_to_save == SAVE_XSAVE)
        __asm__ volatile("xsave64 (%0)" : : "r"(to), "a"(VECTORS), "d"(0) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(to) : "memory");
}

static void restore_vectors(uint64_t from)
{
    if (how_to_save == SAVE_FXSAVE)
        __asm__ volatile("fxrstor64 (%0)" : : "r"(from) : "memory");
    else
        __asm__ volatile("xrstor64 (%0)" : : "r"(from), "a"(VECTORS), "d"(0) : "memory");
}

enum { TRACEPOINT_MOST = 8192 }; /* contexts.py */

/* What tracepoints give: 8 bytes that belong to the kernel, then numbers. */
struct tracepoint_context {
    uint64_t head, number, values[6];
};

static void run(struct wbpf_syscall_link *link, const struct frame *frame, void *context, size_t bytes)
{
    struct wbpf_stack_start start = {frame->rip, frame->rbp};
    wbpf_user_run run = {.context = context, .context_bytes = bytes, .cookie = link->cookie, .start = &start};
    if (wbpf_user_program_run(link->program, &run) != 0)
        __atomic_fetch_add(&link->stopped, 1, __ATOMIC_RELAXED);
}

static void run_list(struct wbpf_syscall_link **list, const struct frame *frame, void *context, size_t bytes)
{
    for (struct wbpf_syscall_link *link = __atomic_load_n(list, __ATOMIC_ACQUIRE); link;
         link = __atomic_load_n(&link->next, __ATOMIC_ACQUIRE))
        run(link, frame, context, bytes);
}

static void run_raw(const struct runs *runs)
{
    const struct frame *frame = runs->frame;
    struct pt_regs registers = {
        .r15 = frame->r15,
        .r14 = frame->r14,
        .r13 = frame->r13,
        .r12 = frame->r12,
        .rbp = frame->rbp,
        .rbx = frame->rbx,
        .r11 = frame->flags,
        .r10 = frame->r10,
        .r9 = frame->r9,
        .r8 = frame->r8,
        .rax = runs->exit ? runs->result : (uint64_t)-ENOSYS,
        .rcx = frame->rip,
        .rdx = frame->rdx,
        .rsi = frame->rsi,
        .rdi = frame->rdi,
        .orig_rax = runs->number,
        .rip = frame->rip,
        .cs = 0x33,
        .eflags = frame->flags,
        .rsp = (uint64_t)(uintptr_t)(frame + 1) + RED_ZONE,
        .ss = 0x2b,
    };
    uint64_t context[12] = {(uint64_t)(uintptr_t)&registers, runs->exit ? runs->result : runs->number};
    run_list(&wbpf_syscall_lists[runs->exit][ALL_RAW], frame, context, sizeof context);
}

void wbpf_syscall_run_all(void *argument)
{
    const struct runs *runs = argument;
    struct traced_thread *thread = runs->thread;
    const struct frame *frame = runs->frame;
    int before = errno;

    save_vectors(thread->vectors);
    __atomic_store_n(&thread->walks, thread->walks + 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    /* As far as programs of tracepoints may read: behind the context there is nothing of anybody's. */
    union {
        struct tracepoint_context context;
        uint8_t room[TRACEPOINT_MOST];
    } whole;
    struct tracepoint_context *context = &whole.context;
    *context = (struct tracepoint_context){0, runs->number, {runs->result}};
    if (!runs->exit)
        *context = (struct tracepoint_context){
            0, runs->number, {frame->rdi, frame->rsi, frame->rdx, frame->r10, frame->r8, frame->r9}};
    if (runs->number < NUMBERS)
        run_list(&wbpf_syscall_lists[runs->exit][runs->number], frame, context, sizeof *context);
    run_list(&wbpf_syscall_lists[runs->exit][ALL], frame, context, sizeof *context);
    if (wbpf_syscall_lists[runs->exit][ALL_RAW])
        run_raw(runs);
    __atomic_store_n(&thread->walks, thread->walks + 1, __ATOMIC_RELEASE);
    restore_vectors(thread->vectors);
    errno = before;
}

static void wait_for_walkers(void)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_NS};
    WBPF_DIRECT(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    for (uint32_t i = 0; i < THREADS_MOST; i++) {
        uint64_t seen = __atomic_load_n(&wbpf_traced_threads[i].walks, __ATOMIC_ACQUIRE);
        while (seen & 1 && __atomic_load_n(&wbpf_traced_threads[i].walks, __ATOMIC_ACQUIRE) == seen)
            nanosleep(&pause, NULL);
    }
}

uint64_t wbpf_syscalls_missed(void)
{
    uint64_t missed = __atomic_load_n(&wbpf_syscalls_untold, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < THREADS_MOST; i++)
        missed += __atomic_load_n(&wbpf_traced_threads[i].missed, __ATOMIC_RELAXED);
    return missed;
}

/* ---- which are wanted ---- */

static uint8_t want_of(uint32_t number)
{
    uint8_t want = 0;
    for (int exit = 0; exit < 2; exit++)
        if (wbpf_syscall_lists[exit][number] || wbpf_syscall_lists[exit][ALL] ||
            wbpf_syscall_lists[exit][ALL_RAW])
            want |= exit ? WANT_EXIT : WANT_ENTRY;
    for (size_t i = 0; wbpf_syscalls_active && i < sizeof cared_for / sizeof *cared_for; i++)
        if (cared_for[i] == number)
            want |= WANT_CARE;
    if (wbpf_syscall_leaves_stack(number))
        want |= WANT_CARE;
    return want;
}

static void publish_wanted(void)
{
    for (uint32_t number = 0; number < NUMBERS; number++)
        __atomic_store_n(&wbpf_syscall_wanted[number], want_of(number), __ATOMIC_RELEASE);
}

static int learn_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    if (strncmp(info->dlpi_name, "linux-vdso", 10) == 0)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || part->p_flags & PF_W ||
            wbpf_syscall_module_count == MODULES_MOST)
            continue;
        uint64_t low = info->dlpi_addr + part->p_vaddr;
        wbpf_syscall_modules[wbpf_syscall_module_count++] = (struct module){low, low + part->p_memsz};
    }
    return 0;
}

/* ---- threads ---- */

/* What is in a file of /proc/self/task/TID; empty: the thread is gone. */
static void read_of_thread(uint32_t tid, const char *name, char *text, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%u/%s", tid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, bytes - 1);
    text[got > 0 ? got : 0] = 0;
    if (fd >= 0)
        close(fd);
}

static bool takes_signal(uint32_t tid)
{
    char text[4096];
    read_of_thread(tid, "status", text, sizeof text);
    const char *line = strstr(text, "\nSigBlk:");
    return line && !(strtoull(line + 8, NULL, 16) & SIGSYS_BIT);
}

static bool is_traced(uint32_t tid)
{
    for (uint32_t i = 0; i < THREADS_MOST; i++)
        if (wbpf_traced_threads[i].taken && wbpf_traced_threads[i].tid == tid)
            return true;
    return false;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void ask(uint32_t tid)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_NS};
    char text[256];
    siginfo_t info = {.si_signo = SIGSYS, .si_code = SI_QUEUE};
    info.si_value.sival_ptr = &wbpf_asked;
    read_of_thread(tid, "syscall", text, sizeof text);
    const char *last = strrchr(text, ' ');
    wbpf_asked.number = *text >= '0' && *text <= '9' ? strtol(text, NULL, 10) : -1;
    wbpf_asked.at = last ? strtoull(last, NULL, 16) : 0;
    __atomic_store_n(&wbpf_asked.answered, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&wbpf_asked.tid, tid, __ATOMIC_RELEASE);
    if (WBPF_DIRECT(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGSYS, &info) < 0)
        return;
    for (uint64_t end = now_ns() + ARMING_NS;
         __atomic_load_n(&wbpf_asked.answered, __ATOMIC_ACQUIRE) != tid && now_ns() < end;) {
        nanosleep(&pause, NULL);
        if (WBPF_DIRECT(SYS_tgkill, getpid(), tid, 0) < 0)
            break;
    }
}

/* Again until there are no new ones: those that are not traced yet may make others. */
static void ask_all(void)
{
    uint32_t self = (uint32_t)WBPF_DIRECT(SYS_gettid), asked;
    for (int round = 0; round < 10; round++) {
        DIR *folder = opendir("/proc/self/task");
        asked = 0;
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
            uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);
            if (!tid || tid == self || is_traced(tid) || !takes_signal(tid))
                continue;
            ask(tid);
            asked++;
        }
        if (folder)
            closedir(folder);
        if (!asked)
            break;
    }
}

/* Whether each thread but this one is. */
static bool all_are_traced(void)
{
    uint32_t self = (uint32_t)WBPF_DIRECT(SYS_gettid), others = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);
        others += tid && tid != self && !is_traced(tid);
    }
    if (folder)
        closedir(folder);
    return folder && !others;
}

/* Which may be of /proc, and open for writing. */
static void check_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        int fd = *entry->d_name == '.' ? -1 : (int)strtol(entry->d_name, NULL, 10);
        if (fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
            wbpf_facts_check_file(fd);
    }
    if (folder)
        closedir(folder);
}

/* ---- links ---- */

static int start(void)
{
    if (WBPF_DIRECT(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) < 0)
        return -EOPNOTSUPP;
    find_how_to_save();
    WBPF_DIRECT(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    WBPF_DIRECT(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
    wbpf_syscall_module_count = 0;
    dl_iterate_phdr(learn_module, NULL);
    wbpf_sites_prepare();
    wbpf_syscalls_pid = (uint32_t)getpid();
    return wbpf_sigsys_install();
}

static struct wbpf_syscall_link **list_of(const struct wbpf_syscall_link *link)
{
    if (link->number == WBPF_SYSCALL_ALL_RAW)
        return &wbpf_syscall_lists[link->exit][ALL_RAW];
    return &wbpf_syscall_lists[link->exit][link->number == WBPF_SYSCALL_ALL ? ALL : link->number];
}

int wbpf_syscall_link_create(uint32_t kind, uint64_t number, const wbpf_user_program *program,
                             uint64_t cookie, wbpf_syscall_link **out)
{
    if ((kind != WBPF_SYSCALL_ENTRY && kind != WBPF_SYSCALL_EXIT) ||
        (number >= NUMBERS && number < WBPF_SYSCALL_ALL_RAW))
        return -EINVAL;
    wbpf_syscall_link *link = calloc(1, sizeof *link);
    if (!link)
        return -ENOMEM;
    link->program = program;
    link->number = number;
    link->cookie = cookie;
    link->exit = kind == WBPF_SYSCALL_EXIT;
    wbpf_traced_thread = &wbpf_untraced_thread;
    pthread_mutex_lock(&wbpf_syscall_mutex);
    int error = wbpf_syscall_links ? 0 : start();
    if (!error) {
        struct wbpf_syscall_link **list = list_of(link);
        link->next = *list;
        __atomic_store_n(list, link, __ATOMIC_RELEASE);
        wbpf_syscalls_active = true;
        publish_wanted();
        wbpf_syscall_links++;
        ask_all();
        check_files();
        if (all_are_traced())
            wbpf_memory_begin();
        else
            wbpf_facts_refuse_names();
        *out = link;
    } else {
        free(link);
    }
    pthread_mutex_unlock(&wbpf_syscall_mutex);
    return error;
}

/* Threads stop being traced where they make their next call. */
static void stop(void)
{
    wbpf_syscalls_active = false;
    wbpf_memory_stop();
    publish_wanted();
    wbpf_sites_restore();
}

void wbpf_syscall_link_destroy(wbpf_syscall_link *link, uint64_t *stopped)
{
    pthread_mutex_lock(&wbpf_syscall_mutex);
    struct wbpf_syscall_link **at = list_of(link);
    while (*at && *at != link)
        at = &(*at)->next;
    if (*at) {
        __atomic_store_n(at, link->next, __ATOMIC_RELEASE);
        publish_wanted();
        wait_for_walkers();
        if (!--wbpf_syscall_links)
            stop();
    }
    *stopped = link->stopped;
    free(link);
    pthread_mutex_unlock(&wbpf_syscall_mutex);
}

void wbpf_syscalls_begin(void)
{
    struct traced_thread *thread = wbpf_syscalls_active ? wbpf_thread_arm() : NULL;
    struct frame frame = {.number = wbpf_syscalls_born_by};
    if (thread && frame.number < NUMBERS && wbpf_syscall_wanted[frame.number] & WANT_EXIT)
        wbpf_syscall_tell(thread, &frame, frame.number, true, 0);
}

/* They are known while a program runs at a system call: forks and their like are such calls. */
uint64_t wbpf_current_ids(void)
{
    const struct traced_thread *thread = wbpf_traced_thread;
    if (thread && thread->taken && thread->inside)
        return (uint64_t)thread->pid << 32 | thread->tid;
    return (uint64_t)WBPF_DIRECT(SYS_getpid) << 32 | (uint32_t)WBPF_DIRECT(SYS_gettid);
}
#endif
