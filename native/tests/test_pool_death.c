/* A process is single-stepped through each operation and killed after the nth instruction, for n spread over
 * the whole of it: whoever comes next finds a pool that adds up, and gets everything back. WBPF_TEST_KILLS
 * sets how many n. */
#include "pool_fixture.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static const char *const kept[] = {"kept/0", "kept/1", "kept/2"};

static wbpf_pool_view view;
static wbpf_pool_writer writer;

/* What the victim does, one after another; the sizes make it split and join extents. */
static void create_object(wbpf_pool_host *host)
{
    CHECK(wbpf_pool_create_object(host, "x", 130, NULL, &writer) == 0);
}

static void seal(wbpf_pool_host *host)
{
    (void)host;
    CHECK(wbpf_pool_seal(&writer, false) == 0);
}

static void get(wbpf_pool_host *host)
{
    CHECK(wbpf_pool_get(host, "x", 0, &view) == 0);
}

static void delete_in_use(wbpf_pool_host *host)
{
    bool deferred;
    wbpf_pool_timing timing;
    CHECK(wbpf_pool_delete(host, "x", false, &deferred, &timing) == 0 && deferred);
}

static void create_another(wbpf_pool_host *host)
{
    CHECK(wbpf_pool_create_object(host, "y", 70, NULL, &writer) == 0);
}

static void release(wbpf_pool_host *host)
{
    (void)host;
    wbpf_pool_release(&view);
}

static void abort_another(wbpf_pool_host *host)
{
    (void)host;
    CHECK(wbpf_pool_abort(&writer, false) == 0);
}

static void put_and_delete(wbpf_pool_host *host)
{
    put(host, "x", 'y', 1);
    delete (host, "x");
}

static void (*const operations[])(wbpf_pool_host *) = {
    create_object, seal, get, delete_in_use, create_another, release, abort_another, put_and_delete};
#define OPERATIONS (sizeof operations / sizeof *operations)

static void victim(wbpf_pool *pool)
{
    wbpf_pool_host *host = join(pool, "b");
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    for (size_t i = 0; i < OPERATIONS; i++) {
        raise(SIGSTOP);
        operations[i](host);
    }
    raise(SIGSTOP);
    _exit(0);
}

static int wait_for(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

/* A victim that stands before that operation. */
static pid_t start_victim(wbpf_pool *pool, size_t operation)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        victim(pool);
    for (size_t i = 0; i <= operation; i++) {
        int status = wait_for(pid);
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        if (i < operation)
            CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
    }
    return pid;
}

/* Step a victim by at most that many instructions, to the end of its operation, and kill it. How many it
 * took. */
static long step_and_kill(pid_t pid, long instructions)
{
    long n = 0;
    for (; n < instructions; n++) {
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        int status = wait_for(pid);
        CHECK(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            break;
        CHECK(WSTOPSIG(status) == SIGTRAP);
    }
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(WIFSIGNALED(wait_for(pid)));
    return n;
}

/* Everything that was there before is there, and the rest can be had again. */
static void check_after_death(wbpf_pool *pool, wbpf_pool_host *survivor, uint64_t used_by_kept)
{
    check_pool(pool);
    wbpf_pool_reclaimed reclaimed;
    CHECK(wbpf_pool_reclaim(pool, &reclaimed) == 0 && reclaimed.processes == 1);
    check_pool(pool);
    if (wbpf_pool_contains(survivor, "x"))
        delete (survivor, "x");
    wbpf_pool_stats stats = stats_of(pool);
    CHECK(stats.used_bytes == used_by_kept && stats.references == 0 && stats.unsealed == 0);
    CHECK(stats.objects == 3 && stats.deleted_in_use == 0);
    put(survivor, "y", 1, 300);
    delete (survivor, "y");
    for (int i = 0; i < 3; i++) {
        wbpf_pool_view view;
        CHECK(wbpf_pool_get(survivor, kept[i], 0, &view) == 0);
        CHECK(wbpf_pool_verify(&view) == WBPF_VERIFY_OK && ((const uint8_t *)view.data)[499] == i + 1);
        wbpf_pool_release(&view);
    }
}

int main(void)
{
#ifdef __SANITIZE_THREAD__
    puts("needs a build without the thread sanitiser: stepping through its code takes minutes");
    return 77;
#endif
    wbpf_pool_spec spec = pool_spec_for_test(256 << 10, 64);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *survivor = join(pool, "a");
    for (int i = 0; i < 3; i++)
        put(survivor, kept[i], (uint8_t)(i + 1), 500);
    delete (survivor, kept[1]); /* a gap */
    put(survivor, kept[1], 2, 500);
    uint64_t used = stats_of(pool).used_bytes;
    const char *text = getenv("WBPF_TEST_KILLS");
    long kills = text ? atol(text) : 12, killed = 0;
    for (size_t operation = 0; operation < OPERATIONS; operation++) {
        long length = step_and_kill(start_victim(pool, operation), 1000000);
        check_after_death(pool, survivor, used);
        long stride = length / kills + 1;
        for (long n = (long)operation % stride; n < length; n += stride, killed++) {
            step_and_kill(start_victim(pool, operation), n);
            check_after_death(pool, survivor, used);
        }
    }
    unsigned long long recoveries = stats_of(pool).recoveries;
    fprintf(stderr, "%ld killed, %llu of them while holding the lock\n", killed, recoveries);
    CHECK(killed >= (long)OPERATIONS && recoveries > 0); /* else no death hit an operation on metadata */
    wbpf_pool_leave(survivor);
    wbpf_pool_close(pool);
    return 0;
}
