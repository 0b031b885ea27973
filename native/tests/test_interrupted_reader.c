/*
 * A reader is stopped after its nth instruction; then every chunk is recycled and written anew; then it goes
 * on: what it shows is right, what it does not show lost_until tells, and what it counts is what there was.
 * WBPF_TEST_STOPS sets at how many n (more than there are: at every one).
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
#include <sched.h>
#include <sys/prctl.h>

#define TRACES           2
#define PROOFS           3
#define STOPS_A_SEGMENT  200 /* fewer than it has process slots */
#define ALL_INSTRUCTIONS 1000000

static struct {
    uint8_t ids[TRACES][16];
    uint64_t begun_ticks; /* before all of them */
    uint64_t written[2];  /* before and after; 0: not stopped */
    uint32_t found;
} *shared;
static wbpf_segment *segment;
static wbpf_watch *watch;
static pid_t reader_pid;

/* ---- the process whose records are read ---- */

static void write_traces(uint64_t writer)
{
    pid_t pid = fork();
    if (pid == 0) {
        shared->begun_ticks = clock_ticks();
        for (int t = 0; t < TRACES; t++) {
            wbpf_scope scope;
            wbpf_context now;
            wbpf_begin(&scope, 0, NULL);
            wbpf_current(&now);
            memcpy(shared->ids[t], now.trace_id, 16);
            for (uint64_t i = 0; i < PROOFS; i++)
                write_proof(writer + (uint64_t)t, i);
            wbpf_end(&scope);
        }
        if (writer % 2) /* else it leaves an open chunk */
            wbpf_close();
        _exit(0);
    }
    check_exit(pid);
}

static uint64_t all_uses(void)
{
    uint64_t uses = 0;
    for (uint32_t chunk = 0; chunk < wbpf_map.header->chunk_count; chunk++)
        uses += wbpf_map.chunks[chunk].uses;
    return uses;
}

/* Every chunk but our own, with records of ours. */
static void recycle_all(void)
{
    static uint64_t sequence;
    wbpf_scope scope;
    wbpf_begin(&scope, 0, NULL);
    for (uint64_t end = all_uses() + wbpf_map.header->chunk_count; all_uses() < end;)
        write_proof(1000000, sequence++);
    wbpf_end(&scope);
}

/* ---- the reader that is stopped ---- */

static void stop_here(void)
{
    syscall(SYS_tgkill, reader_pid, syscall(SYS_gettid), SIGSTOP);
}

static void note(const struct proof *p, const wbpf_piece *piece, void *argument)
{
    uint32_t *times = argument;
    for (int t = 0; t < TRACES; t++)
        if (memcmp(piece->trace_id, shared->ids[t], 16) == 0) {
            CHECK(p->sequence < PROOFS && ++times[t * PROOFS + (int)p->sequence] == 1);
            shared->found++;
            return;
        }
    CHECK(false); /* not asked for */
}

static void read_once(void)
{
    const wbpf_piece *pieces;
    size_t count;
    uint64_t lost;
    uint32_t times[TRACES * PROOFS] = {0};
    CHECK(wbpf_watch_poll(watch, &pieces, &count, &lost) == 0);
    stop_here(); /* the end of the path that is stepped */
    for (size_t i = 0; i < count; i++)
        check_piece(&pieces[i], note, times);
    CHECK(shared->found == TRACES * PROOFS || lost >= shared->begun_ticks);
}

static void count_once(void)
{
    wbpf_counters c = counters_of(segment);
    uint64_t written = c.resident_records + c.recycled_records;
    stop_here();
    CHECK(written >= shared->written[0]);
    CHECK(written <= (shared->written[1] ? shared->written[1] : shared->written[0]));
}

static pid_t start_reader(void (*run)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        reader_pid = getpid();
        segment = open_reader();
        CHECK(wbpf_watch_create(segment, &watch) == 0);
        CHECK(wbpf_watch_add(watch, (const uint8_t (*)[16])shared->ids, TRACES) == 0);
        CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        stop_here();
        run();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    return pid;
}

static void run_to_end(pid_t pid)
{
    for (int status, signal = 0;; signal = WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status)) {
        CHECK(ptrace(PTRACE_CONT, pid, NULL, signal) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (!WIFSTOPPED(status)) {
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            return;
        }
    }
}

static void open_segment(void)
{
    new_directory();
    open_recorder(1, 0);
    segment = open_reader();
}

static void close_segment(void)
{
    close_reader(segment);
    wbpf_close();
    remove_directory(directory);
}

static void stop_on_path(const char *name, void (*run)(void), long most_instructions, long stops)
{
    uint64_t writer = 100;
    long stopped = 0, partial = 0;
    open_segment();
    write_traces(writer++);
    pid_t pid = start_reader(run);
    shared->written[0] = written_of(segment);
    learn_route(pid, most_instructions);
    run_to_end(pid);
    long stride = route.count / stops + 1;
    enum went went = THERE;
    for (long n = 0; n < most_instructions && (went == THERE || n < route.count); n += stride) {
        snprintf(where, sizeof where, "%s: stopped after %ld instructions\n", name, n);
        if (++stopped % STOPS_A_SEGMENT == 0) {
            close_segment();
            open_segment();
        }
        write_traces(writer++);
        shared->found = 0;
        shared->written[0] = written_of(segment);
        shared->written[1] = 0;
        pid = start_reader(run);
        went = go(pid, n, false);
        if (went == THERE) {
            recycle_all();
            shared->written[1] = written_of(segment);
        }
        run_to_end(pid);
        partial += shared->found < TRACES * PROOFS;
    }
    printf("%-40s %5ld instructions, %5ld stops\n", name, route.count, stopped);
    CHECK(run == count_once || (partial > 0 && partial < stopped)); /* it matters when it is stopped */
    close_segment();
}

int main(void)
{
    const char *text = getenv("WBPF_TEST_STOPS");
    long stops = text ? atol(text) : 60;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    stop_on_path("search", read_once, ALL_INSTRUCTIONS, stops);
    stop_on_path("counters", count_once, 1500, stops); /* then, chunks are counted */
    return 0;
}
#endif
