/*
 * A signal arrives at any instruction of any path of the tracing API, and its handler traces: what it writes
 * is written, or refused and counted; the interrupted call is as right as without it; nothing blocks.
 * WBPF_TEST_SIGNALS sets at how many instructions of each path (more than it has: at every one),
 * WBPF_TEST_PATH which path alone.
 */
#include "recorder_fixture.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
int main(void)
{
    puts("needs a build without sanitisers: stepping through their code takes minutes");
    return SKIPPED;
}
#else
#include "stepping.h"
#include "tracing_paths.h"
#include <sched.h>

#define HANDLER 4

static wbpf_segment *segment;

/* What the handler tried, and what it was told. */
static struct {
    uint64_t handled, attempts, begun, strange;
} *told;

/* Traces whose ids have halves that belong together, so that a mixture is seen. */
static wbpf_context whole_context(uint64_t half)
{
    wbpf_context c = {.span_id = half, .start_unix_ns = half};
    id_join(c.trace_id, half, ~half);
    return c;
}

static void prepare_whole(void)
{
    wbpf_context a = whole_context(0x1111111111111111);
    wbpf_attach(&a);
    wbpf_log(WBPF_LEVEL_INFO, "x", 1);
}

static void switch_whole(void)
{
    wbpf_context b = whole_context(0x2222222222222222);
    wbpf_begin(&inner, 0, &b);
    wbpf_end(&inner);
    wbpf_detach(&b);
    wbpf_attach(&b);
}

static const struct path own_paths[] = {{"switches of traces", prepare_whole, switch_whole, 2, false}};

static void check_current(void)
{
    wbpf_context now;
    uint64_t lo, hi;
    bool there = wbpf_current(&now);
    id_split(now.trace_id, &lo, &hi);
    told->strange += there ? lo != ~hi : (lo | hi) != 0;
    told->strange += there && now.start_unix_ns != lo;
}

static bool contexts_are_whole;

static void handle(int signal)
{
    wbpf_scope own;
    (void)signal;
    told->handled++;
    if (contexts_are_whole)
        check_current();
    write_proof_at(WBPF_LEVEL_FATAL, HANDLER, shared->writer);
    wbpf_begin(&own, 0, NULL);
    told->begun += own.active;
    write_proof_at(WBPF_LEVEL_FATAL, HANDLER, shared->writer);
    wbpf_end(&own);
    told->attempts += 3;
}

static void install(void)
{
    CHECK(sigaction(SIGUSR1, &(struct sigaction){.sa_handler = handle, .sa_flags = SA_RESTART}, NULL) == 0);
}

static pid_t start_victim(const struct path *path, pid_t *tid)
{
    static uint64_t victims = 100;
    memset(shared, 0, sizeof *shared);
    memset(told, 0, sizeof *told);
    shared->writer = victims++;
    contexts_are_whole = path->run == switch_whole;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        be_victim(path);
    int status;
    *tid = waitpid(-1, &status, __WALL);
    CHECK(*tid > 0 && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    return pid;
}

/* With a signal now, to the end of the path. */
static void run_on(pid_t tid, const struct path *path, long steps)
{
    for (int status, signal = SIGUSR1;; signal = WSTOPSIG(status)) {
        CHECK(ptrace(PTRACE_CONT, tid, NULL, signal) == 0);
        uint64_t start = clock_monotonic_ns();
        for (pid_t got; (got = waitpid(tid, &status, __WALL | WNOHANG)) != tid; usleep(50)) {
            CHECK(got == 0);
            if (clock_monotonic_ns() - start > 5000000000) {
                fprintf(stderr, "%s: blocks when a signal comes after %ld instructions\n", path->name, steps);
                abort();
            }
        }
        if (!WIFSTOPPED(status)) {
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            return;
        }
        if (WSTOPSIG(status) == SIGSTOP)
            return;
    }
}

struct found {
    struct seen victim;
    uint64_t handler;
};

static void find(const struct proof *p, const wbpf_piece *piece, void *argument)
{
    struct found *found = argument;
    found->handler += p->writer == HANDLER && p->sequence == shared->writer;
    see(p, piece, &found->victim);
}

static void check_after(const struct path *path, uint64_t before, uint64_t refused)
{
    static struct found found;
    memset(&found, 0, sizeof found);
    found.victim.writer = shared->writer;
    uint64_t resident = check_segment(segment, find, &found);
    wbpf_counters c = counters_of(segment);
    CHECK(c.resident_records == resident && c.recycled_records == 0 && c.truncated == 0);
    CHECK(found.victim.count == shared->sequence);
    CHECK(resident - before >= path->records + found.handler + 2 * told->begun);
    CHECK(told->strange == 0);
    CHECK(c.processes_alive == 1 && c.chunks_owned == 0);
    /* After wbpf_close() and in a process that could not start, nobody counts. */
    if (path->run != close_recorder)
        CHECK(told->attempts == found.handler + told->begun + (c.refused - refused));
}

static void signal_at(const struct path *path, long steps, bool all_by_steps, enum went *went)
{
    snprintf(where, sizeof where, "on the path '%s', after %ld instructions\n", path->name, steps);
    pid_t tid, pid = start_victim(path, &tid);
    uint64_t before = counters_of(segment).resident_records, refused = counters_of(segment).refused;
    *went = go(tid, steps, all_by_steps);
    if (*went == THERE)
        run_on(tid, path, steps);
    /* At the end of a path the victim stops itself, at that of a thread signals are blocked. */
    CHECK(told->handled == (*went == THERE) || steps + 1 >= route.count || path->in_thread);
    int status;
    kill(pid, SIGKILL);
    while (waitpid(-1, &status, __WALL) > 0)
        CHECK(WIFSTOPPED(status) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || status == 0);
    check_after(path, before, refused);
}

static void renew_segment(void)
{
    if (segment) {
        close_reader(segment);
        wbpf_close();
        remove_directory(directory);
    }
    new_directory();
    open_recorder(2, 0);
    segment = open_reader();
}

static long signal_on_path(const struct path *path, long signals)
{
    renew_segment();
    pid_t tid, pid = start_victim(path, &tid);
    int status;
    learn_route(tid, 1000000);
    kill(pid, SIGKILL);
    while (waitpid(-1, &status, __WALL) > 0)
        ;
    long sent = 0, stride = route.count / signals + 1;
    bool all_by_steps = path->run == fork_a_child;
    enum went went = THERE;
    for (long n = (long)(shared->writer % (uint64_t)stride); went == THERE || n < route.count; n += stride) {
        wbpf_counters c = counters_of(segment);
        if (c.chunks_used + 4 > wbpf_segment_header(segment)->chunk_count)
            renew_segment();
        signal_at(path, n, all_by_steps, &went);
        if (went == ASTRAY)
            signal_at(path, n, true, &went);
        sent++;
    }
    printf("%-40s %5ld instructions, %5ld signals\n", path->name, route.count, sent);
    return sent;
}

int main(void)
{
    const char *signals = getenv("WBPF_TEST_SIGNALS"), *only = getenv("WBPF_TEST_PATH");
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    before_path = install;
    long sent = 0, most = signals ? atol(signals) : 40;
    for (size_t i = 0; i < PATHS; i++)
        if (!only || strcmp(only, paths[i].name) == 0)
            sent += signal_on_path(&paths[i], most);
    if (!only || strcmp(only, own_paths[0].name) == 0)
        sent += signal_on_path(&own_paths[0], most);
    CHECK(sent > 0);
    close_reader(segment);
    wbpf_close();
    remove_directory(directory);
    return 0;
}
#endif
