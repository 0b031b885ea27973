/*
 * What programs at system calls learn without asking the kernel: names, users and memory are at each event
 * what the kernel would tell, whoever changes them, and faults stay the application's own.
 */
#include "check.h"
#include "user/helpers.h"
#include "user/syscalls.h"

#if !defined(__x86_64__) || defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
int main(void)
{
    puts("needs x86-64 and a build without sanitisers: they have handlers and stacks of their own");
    return 77;
}
#else
#include "program_of.h"
#include "user/syscall_state.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE    4096
#define PROBE() syscall(SYS_getppid)

enum { READ = 4, USERS = 15, NAME = 16, TEXT = 114 };

static char *nothing; /* a page that is not there, behind one that is */
static char *endless; /* the last bytes in front of another, none of them 0 */

static struct seen {
    atomic_uint events, wrong_name, wrong_users, wrong_bytes, wrong_text, unmarked;
    atomic_bool direct, kept_name, kept_users;
    atomic_uint good, bad; /* reads of `target` */
} seen;
static char *_Atomic target;

static uint64_t helper(int32_t number, struct wbpf_env *env, void *to, uint64_t bytes, const void *from)
{
    return wbpf_user_helper(number)(env, (uint64_t)(uintptr_t)to, bytes, (uint64_t)(uintptr_t)from, 0, 0);
}

static uint64_t at_event(struct wbpf_env *env, uint64_t context)
{
    char name[16], theirs[16] = "", text[64];
    uint32_t copying = 7;
    uint64_t word;
    (void)context;
    seen.events++;
    helper(NAME, env, name, sizeof name, NULL);
    wbpf_direct(SYS_prctl, PR_GET_NAME, (uint64_t)(uintptr_t)theirs, 0, 0, 0, 0);
    seen.wrong_name += strcmp(name, theirs) != 0;
    uint32_t user = (uint32_t)wbpf_direct(SYS_getuid, 0, 0, 0, 0, 0, 0);
    uint32_t group = (uint32_t)wbpf_direct(SYS_getgid, 0, 0, 0, 0, 0, 0);
    seen.wrong_users += wbpf_user_helper(USERS)(env, 0, 0, 0, 0, 0) != ((uint64_t)group << 32 | user);
    seen.kept_name = wbpf_traced_thread->known & 1;
    seen.kept_users = wbpf_traced_thread->known & 2;

    /* While memory is read as it is, and only then, this is not 0. */
    seen.wrong_bytes += helper(READ, env, &copying, sizeof copying, &wbpf_traced_thread->copying) != 0;
    seen.direct = copying == 1;
    word = 1;
    const char *const missing[] = {nothing, endless, NULL, (char *)0x8000000000000000, (char *)-4096};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        word = 1;
        seen.wrong_bytes += helper(READ, env, &word, 8, missing[i]) != (uint64_t)-EFAULT || word;
        memset(text, 1, sizeof text);
        seen.wrong_text += helper(TEXT, env, text, sizeof text, missing[i]) != (uint64_t)-EFAULT || *text;
    }
    seen.wrong_text += helper(TEXT, env, text, sizeof text, nothing - 3) != 3 || strcmp(text, "ab") != 0;
    seen.wrong_text += helper(TEXT, env, text, 2, nothing - 3) != 2 || strcmp(text, "a") != 0;
    seen.unmarked += wbpf_traced_thread->copying != 0;
    if (target) {
        int64_t got = (int64_t)helper(READ, env, &word, 8, target);
        got ? seen.bad++ : seen.good++;
    }
    return 0;
}

/* ---- a process that is traced: by a thread of its own, as always ---- */

static atomic_int state; /* 1: attached; 2: to be detached; 3: is */

static void *trace(void *unused)
{
    wbpf_syscall_link *links[2];
    uint64_t stopped;
    CHECK(wbpf_syscall_link_create(WBPF_SYSCALL_ENTRY, SYS_getppid, program_of(at_event), 0, &links[0]) == 0);
    CHECK(wbpf_syscall_link_create(WBPF_SYSCALL_EXIT, SYS_getppid, program_of(at_event), 0, &links[1]) == 0);
    state = 1;
    while (state != 2)
        usleep(100);
    wbpf_syscall_link_destroy(links[0], &stopped);
    wbpf_syscall_link_destroy(links[1], &stopped);
    state = 3;
    return unused;
}

static void begin(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    CHECK(pthread_create(&thread, NULL, trace, NULL) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    while (!state)
        usleep(100);
}

static void end(void)
{
    state = 2;
    while (state != 3)
        usleep(100);
}

static void check_facts(void)
{
    unsigned before = seen.events;
    PROBE();
    PROBE();
    CHECK(seen.events >= before + 4);
    CHECK(!seen.wrong_name && !seen.wrong_users);
    CHECK(!seen.wrong_bytes && !seen.wrong_text && !seen.unmarked);
}

static bool is_direct(void)
{
    check_facts();
    return seen.direct;
}

/* What the kernel has, not what we are told. */
static uint64_t real_handler(int signal)
{
    struct kernel_sigaction action;
    CHECK(wbpf_direct(SYS_rt_sigaction, (uint64_t)signal, 0, (uint64_t)(uintptr_t)&action, 8, 0, 0) == 0);
    return action.handler;
}

/* ---- names and users ---- */

static pthread_t first;

static void *rename_first(void *unused)
{
    CHECK(pthread_setname_np(first, "from-outside") == 0);
    return unused;
}

static void test_names(void)
{
    pthread_t thread;
    first = pthread_self();
    begin();
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "name %d", i);
        CHECK(prctl(PR_SET_NAME, name) == 0);
        check_facts();
        CHECK(seen.kept_name);
    }
    int fd = open("/dev/null", O_RDWR);
    CHECK(fd >= 0 && open("/proc/self/status", O_RDONLY) >= 0);
    check_facts();
    CHECK(seen.kept_name);
    CHECK(pthread_create(&thread, NULL, rename_first, NULL) == 0 && pthread_join(thread, NULL) == 0);
    check_facts();
    char name[16];
    CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "from-outside") == 0);
    end();
}

static void test_names_open_before(void)
{
    int fd = open("/proc/self/comm", O_WRONLY);
    CHECK(fd >= 0);
    begin();
    check_facts();
    CHECK(write(fd, "earlier", 7) == 7);
    check_facts();
    end();
}

static void *change_users(void *unused)
{
    for (long user = 1000; user < 1010; user++) {
        check_facts();
        CHECK(seen.kept_users);
        CHECK(syscall(SYS_setreuid, user, -1) == 0);
        check_facts();
        CHECK(seen.kept_users && syscall(SYS_setregid, user, -1) == 0);
        check_facts();
        CHECK(syscall(SYS_setresuid, user + 1, -1, -1) == 0 && syscall(SYS_setresgid, user + 1, -1, -1) == 0);
    }
    CHECK(syscall(SYS_setreuid, 65534, -1) == 0);
    check_facts();
    CHECK(!seen.kept_users); /* it may get a number from outside */
    return unused;
}

static void test_users(void)
{
    pthread_t thread;
    begin();
    if (geteuid() == 0)
        CHECK(pthread_create(&thread, NULL, change_users, NULL) == 0 && pthread_join(thread, NULL) == 0);
    check_facts();
    if (geteuid() == 0) { /* by libc, which has all threads do it */
        CHECK(setresgid(4321, 4321, 4321) == 0 && setresuid(1234, 1234, 1234) == 0);
        check_facts();
    }
    end();
}

static void test_children(void)
{
    begin();
    check_facts();
    pid_t child = vfork();
    if (child == 0) {
        prctl(PR_SET_NAME, "borrowed");
        PROBE();
        _exit(seen.wrong_name || seen.direct);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(is_direct());
    child = fork();
    if (child == 0)
        _exit(real_handler(SIGSEGV) != 0 || real_handler(SIGBUS) != 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    char *const command[] = {"true", NULL};
    CHECK(posix_spawnp(&child, "true", NULL, NULL, command, NULL) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(is_direct());
    end();
    CHECK(real_handler(SIGSEGV) == 0 && real_handler(SIGBUS) == 0);
}

/* ---- memory ---- */

static void test_masks(void)
{
    sigset_t faults, before, none;
    sigemptyset(&none);
    sigemptyset(&faults);
    sigaddset(&faults, SIGBUS);
    begin();
    CHECK(is_direct());
    for (int i = 0; i < 3; i++) {
        CHECK(sigprocmask(SIG_BLOCK, &faults, &before) == 0);
        CHECK(!is_direct());
        CHECK(sigprocmask(SIG_UNBLOCK, &faults, NULL) == 0);
        CHECK(is_direct());
        CHECK(sigprocmask(SIG_SETMASK, &faults, NULL) == 0);
        CHECK(!is_direct());
        CHECK(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
        CHECK(is_direct());
        CHECK(sigprocmask(77, &faults, NULL) == -1 && errno == EINVAL);
        CHECK(is_direct());
    }
    struct timespec no_time = {0, 0};
    CHECK(ppoll(NULL, 0, &no_time, &faults) == 0);
    CHECK(!is_direct()); /* a handler could have come, and still be there */
    CHECK(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
    CHECK(ppoll(NULL, 0, &no_time, &none) == 0 && is_direct());
    end();
}

static atomic_bool was_direct;

static void on_user(int signal)
{
    (void)signal;
    was_direct = is_direct();
}

static void test_handlers_that_block(void)
{
    struct sigaction action = {.sa_handler = on_user};
    begin();
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0 && was_direct && is_direct());
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0 && !was_direct && !is_direct());
    end();
}

static void test_handlers_before(void)
{
    struct sigaction action = {.sa_handler = on_user};
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    begin();
    CHECK(!is_direct() && raise(SIGUSR1) == 0 && !was_direct);
    end();
}

static sigjmp_buf out;
static char other_stack[1 << 16];
static atomic_uint faults_on_stack;

static void on_segv(int signal, siginfo_t *info, void *context)
{
    char here;
    (void)signal, (void)info, (void)context;
    faults_on_stack += &here >= other_stack && &here < other_stack + sizeof other_stack;
    siglongjmp(out, 1);
}

static void fault(void)
{
    if (sigsetjmp(out, 1) == 0) {
        *(volatile char *)nothing = 1;
        CHECK(!"it faults");
    }
}

static void test_handlers_of_faults(void)
{
    struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK}, there;
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    CHECK(sigaltstack(&stack, NULL) == 0);
    begin();
    CHECK(is_direct() && real_handler(SIGSEGV) != 0);
    CHECK(sigaction(SIGSEGV, NULL, &there) == 0 && there.sa_handler == SIG_DFL && is_direct());
    CHECK(syscall(SYS_rt_sigaction, SIGSEGV, NULL, nothing, 8) == -1 && errno == EFAULT && is_direct());
    CHECK(signal(SIGBUS, SIG_DFL) == SIG_DFL && is_direct());
    CHECK(sigaction(SIGSEGV, &action, &there) == 0 && there.sa_handler == SIG_DFL);
    CHECK(!is_direct() && real_handler(SIGSEGV) == (uint64_t)(uintptr_t)on_segv && !real_handler(SIGBUS));
    fault();
    fault();
    CHECK(faults_on_stack == 2 && !is_direct());
    CHECK(sigaction(SIGSEGV, NULL, &there) == 0 && there.sa_sigaction == on_segv);
    end();
    fault();
    CHECK(faults_on_stack == 3);
}

static void test_handler_before(void)
{
    struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    begin();
    CHECK(!is_direct() && real_handler(SIGSEGV) == (uint64_t)(uintptr_t)on_segv);
    fault();
    end();
    fault();
}

/* Pages that go and come while they are read; a file that gets shorter (SIGBUS). */
static atomic_bool stop_it;

static void *come_and_go(void *unused)
{
    int fd = memfd_create("short", 0);
    char *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(fd >= 0 && page != MAP_FAILED);
    for (unsigned i = 0; !stop_it; i++) {
        char *other = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        target = i % 2 ? other : page;
        for (int spin = 0; spin < 2000; spin++)
            __asm__ volatile("pause");
        CHECK(ftruncate(fd, i % 4 < 2 ? PAGE : 0) == 0 && munmap(other, PAGE) == 0);
    }
    return unused;
}

static void test_memory_that_goes(void)
{
    pthread_t thread;
    begin();
    CHECK(is_direct() && pthread_create(&thread, NULL, come_and_go, NULL) == 0);
    for (int i = 0; i < 3000 || ((!seen.good || !seen.bad) && i < 1000000); i++)
        PROBE();
    stop_it = true;
    CHECK(pthread_join(thread, NULL) == 0 && seen.good && seen.bad && is_direct());
    end();
}

static void test_default_fault(void)
{
    begin();
    CHECK(is_direct());
    *(volatile char *)nothing = 1;
}

static void test_default_signal(void)
{
    begin();
    CHECK(is_direct());
    kill(getpid(), SIGBUS);
    pause();
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (prctl(59, 0, 0, 0, 0) < 0) {
        puts("needs Syscall User Dispatch: Linux 5.11 on x86-64");
        return 77;
    }
    nothing = (char *)mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGE;
    endless = nothing + 2 * PAGE - 4;
    memset(endless, 'x', 4);
    CHECK(mprotect(nothing, PAGE, PROT_NONE) == 0 && mprotect(endless + 4, PAGE, PROT_NONE) == 0);
    memcpy(nothing - 3, "ab", 3);
    static const struct {
        const char *name;
        void (*run)(void);
        int signal; /* that it ends by */
    } tests[] = {{"names", test_names, 0},
                 {"names that were open before", test_names_open_before, 0},
                 {"users", test_users, 0},
                 {"children", test_children, 0},
                 {"masks", test_masks, 0},
                 {"handlers that block", test_handlers_that_block, 0},
                 {"handlers that block, from before", test_handlers_before, 0},
                 {"handlers of faults", test_handlers_of_faults, 0},
                 {"a handler of faults, from before", test_handler_before, 0},
                 {"memory that goes", test_memory_that_goes, 0},
                 {"a fault that nobody handles", test_default_fault, SIGSEGV},
                 {"a signal that nobody handles", test_default_signal, SIGBUS}};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        int status;
        puts(tests[i].name);
        pid_t child = fork();
        if (child == 0) {
            tests[i].run();
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(tests[i].signal ? WIFSIGNALED(status) && WTERMSIG(status) == tests[i].signal : status == 0);
    }
    return 0;
}
#endif
