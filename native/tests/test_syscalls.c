/*
 * Programs at the system calls of this process: each call is seen once, with the right arguments and result,
 * by whichever way it is made; calls, registers and signals are as without.
 */
#include "check.h"
#include "user/syscalls.h"

#if !defined(__x86_64__) || defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
int main(void)
{
    puts("needs x86-64 and a build without sanitisers: they have handlers and stacks of their own");
    return 77;
}
#else
#include "program_of.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define NUMBERS 512

struct context {
    uint64_t head, number, values[6];
};

/* Shared with children. */
static struct seen {
    _Atomic uint64_t entries[NUMBERS], exits[NUMBERS], all_entries, all_exits;
    _Atomic uint64_t last[6], last_result, raw_number, raw_result, raw_first;
    _Atomic pid_t pid, tid;
} *seen;

static uint64_t on_entry(struct wbpf_env *env, uint64_t context)
{
    const struct context *c = (const void *)(uintptr_t)context;
    (void)env;
    seen->entries[c->number & (NUMBERS - 1)]++;
    if (c->number == SYS_openat || c->number == SYS_execve)
        for (int i = 0; i < 6; i++)
            seen->last[i] = c->values[i];
    /* Vector registers are not the application's here. */
    __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15" ::
                         : "xmm0", "xmm7", "xmm15");
    errno = 12345;
    return 0;
}

static uint64_t on_exit_of(struct wbpf_env *env, uint64_t context)
{
    const struct context *c = (const void *)(uintptr_t)context;
    (void)env;
    seen->exits[c->number & (NUMBERS - 1)]++;
    seen->last_result = c->values[0];
    return 0;
}

static uint64_t on_raw_entry(struct wbpf_env *env, uint64_t context)
{
    const uint64_t *words = (const void *)(uintptr_t)context;
    (void)env;
    seen->raw_number = words[1];
    seen->raw_first = ((const uint64_t *)(uintptr_t)words[0])[14]; /* rdi */
    seen->all_entries++;
    return 0;
}

/* ---- attaching, in a thread of its own, as the process that is traced has one ---- */

static wbpf_user_program *entry_program, *exit_program, *raw_program;
static struct order {
    void (*what)(void);
    atomic_bool done;
} *_Atomic order;

static void *obey(void *unused)
{
    for (;;) {
        struct order *now = atomic_exchange(&order, NULL);
        if (!now) {
            usleep(100);
            continue;
        }
        now->what();
        now->done = true;
    }
    return unused;
}

static void have(void (*what)(void))
{
    struct order now = {.what = what};
    order = &now;
    while (!now.done)
        sched_yield();
}

static void start_agent(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    CHECK(pthread_create(&thread, NULL, obey, NULL) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static wbpf_syscall_link *links[NUMBERS][2], *raw_link;
static _Atomic uint64_t to_attach;

static void attach_one(void)
{
    uint64_t number = to_attach;
    CHECK(wbpf_syscall_link_create(WBPF_SYSCALL_ENTRY, number, entry_program, 0, &links[number][0]) == 0);
    CHECK(wbpf_syscall_link_create(WBPF_SYSCALL_EXIT, number, exit_program, 0, &links[number][1]) == 0);
}

static void detach_all(void)
{
    uint64_t stopped;
    for (int i = 0; i < NUMBERS; i++)
        for (int exit = 0; exit < 2; exit++)
            if (links[i][exit]) {
                wbpf_syscall_link_destroy(links[i][exit], &stopped);
                CHECK(stopped == 0);
                links[i][exit] = NULL;
            }
    if (raw_link)
        wbpf_syscall_link_destroy(raw_link, &stopped);
    raw_link = NULL;
}

static void attach_raw(void)
{
    CHECK(wbpf_syscall_link_create(WBPF_SYSCALL_ENTRY, WBPF_SYSCALL_ALL_RAW, raw_program, 0, &raw_link) == 0);
}

static void attach(uint64_t number)
{
    to_attach = number;
    have(attach_one);
}

static void detach(void)
{
    have(detach_all);
}

static void forget_counts(void)
{
    memset(seen, 0, sizeof *seen);
}

/* ---- tests ---- */

static void test_each_call(void)
{
    forget_counts();
    attach(SYS_openat);
    for (int i = 0; i < 1000; i++) {
        errno = 0;
        CHECK(open("/nothing/there", O_RDONLY | O_CLOEXEC) == -1 && errno == ENOENT);
        int fd = open("/dev/null", O_RDWR);
        CHECK(fd > 0 && seen->last_result == (uint64_t)fd && strcmp((char *)seen->last[1], "/dev/null") == 0);
        CHECK((int)seen->last[0] == AT_FDCWD && seen->last[2] == O_RDWR);
        CHECK(close(fd) == 0);
        CHECK(syscall(SYS_openat, -1, NULL, 7, 8, 9, 10) == -1 && errno == EFAULT);
        CHECK(seen->last[2] == 7 && seen->last[3] == 8 && seen->last[4] == 9 && seen->last[5] == 10);
    }
    detach();
    CHECK(seen->entries[SYS_openat] == 3000 && seen->exits[SYS_openat] == 3000);
    CHECK(open("/nothing/there", O_RDONLY) == -1);
    CHECK(seen->entries[SYS_openat] == 3000);
}

static void *open_often(void *count)
{
    for (long i = 0; i < *(long *)count; i++)
        close(open("/dev/null", O_RDONLY));
    return NULL;
}

static void in_threads(long count)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, open_often, &count) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void test_threads(void)
{
    forget_counts();
    attach(SYS_openat);
    attach(SYS_close);
    attach(SYS_clone3);
    in_threads(1000);
    detach();
    CHECK(seen->entries[SYS_openat] == THREADS * 1000 && seen->exits[SYS_openat] == THREADS * 1000);
    CHECK(seen->entries[SYS_close] == THREADS * 1000 && seen->exits[SYS_close] == THREADS * 1000);
    CHECK(seen->entries[SYS_clone3] == THREADS && seen->exits[SYS_clone3] == 2 * THREADS);
}

static atomic_bool spinning;
static _Atomic uint64_t done;

static void *spin(void *unused)
{
    char byte;
    int fd = open("/dev/zero", O_RDONLY);
    while (spinning) {
        CHECK(read(fd, &byte, 1) == 1);
        CHECK(close(open("/dev/null", O_RDONLY)) == 0);
        done++;
    }
    close(fd);
    return unused;
}

static void *wait_long(void *pipe_end)
{
    char byte;
    struct pollfd waited = {.fd = *(int *)pipe_end, .events = POLLIN};
    CHECK(poll(&waited, 1, 60000) == 1); /* not EINTR */
    CHECK(read(*(int *)pipe_end, &byte, 1) == 1);
    return NULL;
}

static void test_under_load(void)
{
    pthread_t threads[THREADS], waiting;
    int ends[2];
    CHECK(pipe(ends) == 0);
    spinning = true;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, spin, NULL);
    pthread_create(&waiting, NULL, wait_long, &ends[0]);
    for (int i = 0; i < 50; i++) {
        forget_counts();
        attach(SYS_openat);
        uint64_t from = done;
        while (done < from + 100)
            usleep(10);
        detach();
        uint64_t counted = seen->entries[SYS_openat];
        CHECK(counted >= 90);
        usleep(1000);
        CHECK(seen->entries[SYS_openat] == counted);
    }
    spinning = false;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    attach(SYS_read);
    forget_counts();
    CHECK(write(ends[1], "x", 1) == 1);
    pthread_join(waiting, NULL);
    CHECK(seen->entries[SYS_read] == 1);
    detach();
    close(ends[0]);
    close(ends[1]);
}

static void test_registers(void)
{
    uint64_t before[8], after[8], vectors[6] = {1, 2, 3, 4, 5, 6}, got[6], flags;
    attach(SYS_getppid);
    for (int i = 0; i < 4; i++) {
        long result;
        __asm__ volatile("movdqu %[v], %%xmm0; movdqu 16+%[v], %%xmm7; movdqu 32+%[v], %%xmm15\n"
                         "mov $0x1111, %%rdi; mov $0x2222, %%rsi; mov $0x3333, %%rdx; mov $0x4444, %%r10\n"
                         "mov $0x5555, %%r8; mov $0x6666, %%r9; mov $0x7777, %%rbx; mov $0x8888, %%r12\n"
                         "movq $0x123456, -8(%%rsp); movq $0x234567, -128(%%rsp)\n"
                         "stc\n"
                         "mov %[number], %%eax\n"
                         "syscall\n"
                         "pushfq; pop %[flags]\n"
                         "mov %%rdi, %[b]; mov %%rsi, 8+%[b]; mov %%rdx, 16+%[b]; mov %%r10, 24+%[b]\n"
                         "mov %%r8, 32+%[b]; mov %%r9, 40+%[b]; mov %%rbx, 48+%[b]; mov %%r12, 56+%[b]\n"
                         "movdqu %%xmm0, %[g]; movdqu %%xmm7, 16+%[g]; movdqu %%xmm15, 32+%[g]\n"
                         : "=a"(result), [b] "=o"(after), [g] "=o"(got), [flags] "=r"(flags)
                         : [v] "o"(vectors), [number] "i"(SYS_getppid)
                         : "rdi", "rsi", "rdx", "r10", "r8", "r9", "rbx", "r12", "rcx", "r11", "xmm0", "xmm7",
                           "xmm15", "memory", "cc");
        for (int n = 0; n < 8; n++)
            before[n] = 0x1111u * (unsigned)(n + 1);
        CHECK(result == getppid() && memcmp(before, after, sizeof before) == 0);
        CHECK(memcmp(vectors, got, sizeof vectors) == 0 && flags & 1);
    }
    detach();
}

static void test_processes(void)
{
    int status;
    forget_counts();
    attach(SYS_execve);
    attach(SYS_openat);
    attach(SYS_exit_group);
    pid_t child = vfork();
    if (child == 0) {
        execl("/nothing/there", "nothing", NULL);
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(seen->entries[SYS_execve] == 2 && seen->exits[SYS_execve] == 1);
    CHECK((int64_t)seen->last_result == -ENOENT);
    close(open("/dev/null", O_RDONLY));
    CHECK(seen->entries[SYS_openat] == 1 && seen->exits[SYS_openat] == 1);

    char *words[] = {"true", NULL}, *none[] = {NULL};
    CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, words, none) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(posix_spawn(&child, "/nothing", NULL, NULL, words, none) == ENOENT);
    CHECK(seen->entries[SYS_execve] == 4 && seen->exits[SYS_execve] == 2);
    close(open("/dev/null", O_RDONLY));
    CHECK(seen->entries[SYS_openat] == 2 && seen->exits[SYS_openat] == 2);

    /* A child of fork begins with nothing attached. */
    child = fork();
    if (child == 0) {
        close(open("/dev/null", O_RDONLY));
        sigset_t mask;
        sigfillset(&mask);
        sigprocmask(SIG_SETMASK, &mask, NULL);
        close(open("/dev/null", O_RDONLY));
        _exit(7);
    }
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
    /* That of posix_spawn's child, whose execve failed. */
    CHECK(seen->entries[SYS_openat] == 2 && seen->entries[SYS_exit_group] == 1);
    close(open("/dev/null", O_RDONLY));
    CHECK(seen->entries[SYS_openat] == 3 && seen->exits[SYS_openat] == 3);
    CHECK(system("true") == 0);
    detach();
}

static atomic_int handled, handled_sigsys;
static sigjmp_buf out;

static void in_handler(int signal)
{
    (void)signal;
    handled++;
    close(open("/dev/null", O_RDONLY));
}

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    handled_sigsys++;
    close(open("/dev/null", O_RDONLY));
}

static void jump_out(int signal)
{
    (void)signal;
    siglongjmp(out, 1);
}

static void test_signals(void)
{
    static char alternative[65536];
    sigset_t all, old;
    forget_counts();
    attach(SYS_openat);
    CHECK(sigaction(SIGUSR1, &(struct sigaction){.sa_handler = in_handler}, NULL) == 0);
    raise(SIGUSR1);
    CHECK(sigaltstack(&(stack_t){.ss_sp = alternative, .ss_size = sizeof alternative}, NULL) == 0);
    struct sigaction on_stack = {.sa_handler = in_handler, .sa_flags = SA_ONSTACK};
    sigfillset(&on_stack.sa_mask);
    CHECK(sigaction(SIGUSR1, &on_stack, NULL) == 0);
    raise(SIGUSR1);
    CHECK(handled == 2 && seen->entries[SYS_openat] == 2 && seen->exits[SYS_openat] == 2);
    CHECK(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL) == 0);

    /* All signals blocked: calls go on, and the application sees SIGSYS blocked. */
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, &old) == 0 && !sigismember(&old, SIGSYS));
    close(open("/dev/null", O_RDONLY));
    CHECK(syscall(SYS_openat, -1, NULL, 0) == -1);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &all) == 0 && sigismember(&all, SIGSYS));
    CHECK(sigaction(SIGSYS, &(struct sigaction){.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO}, NULL) ==
          0);
    CHECK(syscall(SYS_tgkill, getpid(), gettid(), SIGSYS) == 0);
    CHECK(handled_sigsys == 0);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(handled_sigsys == 1 && seen->entries[SYS_openat] == 5);
    CHECK(syscall(SYS_tgkill, getpid(), gettid(), SIGSYS) == 0);
    CHECK(handled_sigsys == 2 && seen->entries[SYS_openat] == 6);
    struct sigaction now;
    CHECK(sigaction(SIGSYS, NULL, &now) == 0 && now.sa_sigaction == on_sigsys);
    CHECK(signal(SIGSYS, SIG_DFL) != SIG_ERR);

    /* Masks for the time of a call, and what returns out of a handler by a jump. */
    sigfillset(&all);
    sigdelset(&all, SIGALRM);
    sigdelset(&all, SIGUSR1);
    struct timespec soon = {.tv_nsec = 1000000};
    CHECK(ppoll(NULL, 0, &soon, &all) == 0 && pselect(0, NULL, NULL, NULL, &soon, &all) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &(sigset_t){{1ul << (SIGUSR1 - 1)}}, NULL) == 0);
    raise(SIGUSR1);
    CHECK(sigsuspend(&all) == -1 && errno == EINTR && handled == 3);
    CHECK(seen->entries[SYS_openat] == 7);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    signal(SIGALRM, jump_out);
    if (!sigsetjmp(out, 1)) {
        alarm(1);
        pause();
    }
    close(open("/dev/null", O_RDONLY));
    CHECK(seen->entries[SYS_openat] == 8 && seen->exits[SYS_openat] == 8);
    CHECK(prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0, 0, 0, 0) == -1 && errno == EINVAL);
    detach();
}

static void test_raw(void)
{
    forget_counts();
    have(attach_raw);
    CHECK(close(-17) == -1);
    CHECK(seen->raw_number == SYS_close && (int)seen->raw_first == -17);
    uint64_t before = seen->all_entries;
    CHECK(syscall(1000000) == -1 && errno == ENOSYS);
    CHECK(seen->all_entries == before + 1 && seen->raw_number == 1000000);
    detach();
}

/* What is cancelled in a call is unwound through it. */
static atomic_bool cleaned;

static void clean(void *unused)
{
    (void)unused;
    cleaned = true;
}

static void *be_cancelled(void *unused)
{
    pthread_cleanup_push(clean, NULL);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return unused;
}

static void test_cancelling(void)
{
    pthread_t thread;
    void *result;
    attach(SYS_pause);
    CHECK(pthread_create(&thread, NULL, be_cancelled, NULL) == 0);
    usleep(20000);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && cleaned);
    detach();
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (prctl(59, 0, 0, 0, 0) < 0) {
        puts("needs Syscall User Dispatch: Linux 5.11 on x86-64");
        return 77;
    }
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    entry_program = program_of(on_entry);
    exit_program = program_of(on_exit_of);
    raw_program = program_of(on_raw_entry);
    start_agent();
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"each call", test_each_call},   {"threads", test_threads},
                 {"registers", test_registers},   {"processes", test_processes},
                 {"signals", test_signals},       {"raw", test_raw},
                 {"cancelling", test_cancelling}, {"under load", test_under_load}};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        puts(tests[i].name);
        tests[i].run();
    }
    return 0;
}
#endif
