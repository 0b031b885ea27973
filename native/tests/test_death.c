/*
 * A process is single-stepped through each path of the tracing API and killed after its nth instruction: what
 * was published before is all there, once; the counters are exact; every chunk, slot and lock can be had by
 * others, who never wait. WBPF_TEST_KILLS sets how many n of each path (more than it has: every one),
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
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define WITNESS          1    /* writer of this process's proofs: it lives through all of it */
#define DEATHS_A_SEGMENT 1100 /* more than it has thread slots */
#define CLEARED          2    /* writer of proofs in traces that are cleared */
#define CHILD            3

/* ---- the victim ---- */

static struct {
    wbpf_context trace, cleared;
    uint64_t writer, sequence, done; /* the next proof's; records that surely are published */
} *shared;                           /* with the victim */
static wbpf_scope scope, inner;
static wbpf_context context;
static char name[32];
static pid_t victim_pid;

static void stop_here(void)
{
    syscall(SYS_tgkill, victim_pid, syscall(SYS_gettid), SIGSTOP);
}

static void proof(void)
{
    write_proof(shared->writer, shared->sequence++);
    shared->done++;
}

static void start_trace(void)
{
    wbpf_begin(&scope, 0, NULL);
    wbpf_current(&shared->trace);
    proof();
}

static void prepare_nothing(void) {}

static void prepare_call(void)
{
    wbpf_log(WBPF_LEVEL_INFO, "x", 1);
}

static void begin_root(void)
{
    wbpf_begin(&scope, 0, NULL);
    shared->done++;
}

static void prepare_send(void)
{
    start_trace();
    wbpf_send("h2", &context);
}

static void begin_remote(void)
{
    wbpf_begin(&inner, 0, &context);
    shared->done += 2;
}

static void end(void)
{
    wbpf_end(&scope);
    shared->done++;
}

static void unstamped(void)
{
    struct proof p;
    make_proof(&p, shared->writer, shared->sequence++);
    wbpf_event_unstamped(PROOF_SCHEMA, WBPF_LEVEL_INFO, &p, proof_bytes(&p));
}

static void reserve_commit(void)
{
    struct proof p;
    make_proof(&p, shared->writer, shared->sequence++);
    void *place = wbpf_reserve(PROOF_SCHEMA, WBPF_LEVEL_INFO, sizeof p);
    memcpy(place, &p, proof_bytes(&p));
    wbpf_commit(proof_bytes(&p));
}

static void prepare_inner(void)
{
    start_trace();
    wbpf_begin(&inner, 0, NULL);
    wbpf_end(&inner);
}

static void spans(void)
{
    wbpf_span_begin(&inner, 0);
    proof();
    wbpf_span_end(&inner);
}

/* Until the next proof needs another chunk. */
static void prepare_full_chunk(void)
{
    start_trace();
    while (tls_writer->room >= sizeof(struct proof) + 16)
        proof();
    while (tls_writer->room >= offsetof(struct proof, filler) + 16)
        wbpf_log(WBPF_LEVEL_INFO, "x", 1);
}

/* The same, and the witness clears what was in the chunk before. */
static void prepare_cleared_chunk(void)
{
    wbpf_begin(&inner, 0, NULL);
    wbpf_current(&shared->cleared);
    for (uint64_t i = 0; i == 0 || tls_writer->room >= sizeof(struct proof) + 16; i++)
        write_proof(CLEARED, i);
    for (int64_t first = tls_writer->chunk_index; tls_writer->chunk_index == first;)
        wbpf_log(WBPF_LEVEL_INFO, "x", 1);
    wbpf_end(&inner);
    prepare_full_chunk();
}

static void trigger(void)
{
    static const uint8_t laterals[13][16] = {{1}};
    wbpf_trigger(0x7717, 2.5, laterals, 13);
}

static void reduce(void)
{
    wbpf_reduce(WBPF_LEVEL_WARN);
}

static void clear(void)
{
    wbpf_clear();
}

static void prepare_schema(void)
{
    /* What it leaves behind must not look like an entry after the shorter one that the witness registers: 'p'
     * is 112. */
    start_trace();
    snprintf(name, sizeof name, "%08llxp", (unsigned long long)shared->writer);
}

static void schema(void)
{
    wbpf_schema_register(name, NULL);
}

static void detach_attach(void)
{
    wbpf_detach(&context);
    wbpf_attach(&context);
    proof();
}

static void close_recorder(void)
{
    wbpf_close();
}

/* The parent of a child that traces. */
static void fork_a_child(void)
{
    pid_t child = fork();
    if (child == 0) {
        write_proof(CHILD, 0);
        _exit(0);
    }
    proof();
}

static const struct path {
    const char *name;
    void (*prepare)(void), (*run)(void);
    uint32_t records; /* that it writes */
    bool in_thread;   /* that ends after it */
} paths[] = {
    {"begin", prepare_call, begin_root, 1, false},
    {"begin, continued from another host", prepare_send, begin_remote, 2, false},
    {"end", start_trace, end, 1, false},
    {"event", start_trace, proof, 1, false},
    {"event without a stamp", start_trace, unstamped, 1, false},
    {"event after another trace", prepare_inner, proof, 2, false},
    {"reserve and commit", start_trace, reserve_commit, 1, false},
    {"spans", start_trace, spans, 3, false},
    {"event in a new chunk", prepare_full_chunk, proof, 2, false},
    {"event in a chunk that was cleared", prepare_cleared_chunk, proof, 2, false},
    {"trigger", start_trace, trigger, 1, false},
    {"reduce", start_trace, reduce, 0, false},
    {"clear", prepare_inner, clear, 0, false},
    {"schema", prepare_schema, schema, 0, false},
    {"detach and attach", start_trace, detach_attach, 2, false},
    {"first call of a forked child", prepare_nothing, proof, 1, false},
    {"fork", start_trace, fork_a_child, 2, false},
    {"close", start_trace, close_recorder, 0, false},
    {"exit of a thread", start_trace, proof, 1, true},
};
#define PATHS            (sizeof paths / sizeof *paths)

static void run_path(const struct path *path)
{
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    path->prepare();
    stop_here();
    path->run();
}

static void *thread(void *argument)
{
    run_path(argument);
    return NULL;
}

static void be_victim(const struct path *path)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    victim_pid = getpid();
    if (path->in_thread) {
        pthread_t id;
        CHECK(pthread_create(&id, NULL, thread, (void *)(uintptr_t)path) == 0);
        pthread_join(id, NULL);
    } else {
        run_path(path);
    }
    stop_here();
    _exit(0);
}

/* ---- the one who steps and kills ---- */

static wbpf_segment *segment;
static wbpf_scope witness_scope;
static uint64_t witness_sequence;

static pid_t start_victim(const struct path *path, pid_t *tid)
{
    static uint64_t victims = 100;
    memset(shared, 0, sizeof *shared);
    shared->writer = victims++;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        be_victim(path);
    int status;
    *tid = waitpid(-1, &status, __WALL);
    CHECK(*tid > 0 && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    if (shared->cleared.span_id) {
        CHECK(wbpf_segment_clear(segment, (const uint8_t (*)[16])shared->cleared.trace_id, 1) > 0);
        CHECK(load_relaxed(&segment->map.header->cleared_chunks) > 0);
    }
    return pid;
}

/* One instruction; false if that was the last of the path. */
static bool step(pid_t tid)
{
    for (int status, signal = 0;; signal = WSTOPSIG(status)) {
        CHECK(ptrace(PTRACE_SINGLESTEP, tid, NULL, signal) == 0);
        CHECK(waitpid(tid, &status, __WALL) == tid);
        if (!WIFSTOPPED(status)) {
            CHECK(WIFEXITED(status)); /* of a thread */
            return false;
        }
        if (WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP)
            return WSTOPSIG(status) == SIGTRAP;
    }
}

/* Where each step of a path leads, so that a victim can run to where it gets for the first time and need only
 * be stepped from there. */
static struct {
    long count;
    uint64_t *places;
    bool *first;
} route;

#if defined(__x86_64__)
#include <sys/user.h>

static uint64_t place_of(pid_t tid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user_regs_struct, rip), NULL);
}

/* Run to a breakpoint there. How many steps that was: 0 if no breakpoint can be set, -1 if it never got
 * there. */
static long run_to(pid_t tid, long steps)
{
    int status;
    uint64_t place = route.places[steps];
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, tid, place, NULL);
    if (errno || ptrace(PTRACE_POKETEXT, tid, place, (text & ~0xffL) | 0xcc) != 0)
        return 0;
    CHECK(ptrace(PTRACE_CONT, tid, NULL, NULL) == 0);
    CHECK(waitpid(tid, &status, __WALL) == tid);
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
        return -1;
    CHECK(ptrace(PTRACE_POKETEXT, tid, place, text) == 0);
    CHECK(place_of(tid) == place + 1);
    CHECK(ptrace(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, rip), place) == 0);
    return steps;
}
#else
static uint64_t place_of(pid_t tid)
{
    (void)tid;
    return 0;
}

static long run_to(pid_t tid, long steps)
{
    (void)tid, (void)steps;
    return 0;
}
#endif

static void learn_route(pid_t tid)
{
    long room = 4096;
    route.count = 0;
    route.places = realloc(route.places, (size_t)room * sizeof *route.places);
    do {
        if (route.count == room)
            route.places = realloc(route.places, (size_t)(room *= 2) * sizeof *route.places);
        route.places[route.count++] = place_of(tid);
    } while (step(tid));
    route.first = realloc(route.first, (size_t)route.count * sizeof *route.first);
    for (long i = 0; i < route.count; i++) {
        route.first[i] = route.places[i] != 0;
        for (long before = 0; before < i && route.first[i]; before++)
            route.first[i] = route.places[before] != route.places[i];
    }
}

static void open_segment(void)
{
    new_directory();
    open_recorder(1, 0);
    segment = open_reader();
    CHECK(segment_join(segment));
    wbpf_begin(&witness_scope, 0, NULL);
    witness_sequence = 0;
    write_proof(WITNESS, 0);
}

static void close_segment(void)
{
    wbpf_end(&witness_scope);
    wbpf_segment_close(segment);
    wbpf_close();
    remove_directory(directory);
}

/* Now and then. */
static void renew_segment(void)
{
    static int deaths;
    const struct wbpf_segment_header *h = segment->map.header;
    if (++deaths < DEATHS_A_SEGMENT && h->schema_used < h->schema_bytes - 8192)
        return;
    deaths = 0;
    close_segment();
    open_segment();
}

enum went { THERE, ENDED, ASTRAY };

/* ENDED: the path has fewer steps. ASTRAY: it ended too, but did not come by where it was to be stepped from:
 * a path depends on what the one before it left. */
static enum went go(pid_t tid, long steps, bool all_by_steps)
{
    long at = steps < route.count ? steps : route.count - 1;
    while (at && !route.first[at])
        at--;
    at = at && !all_by_steps ? run_to(tid, at) : 0;
    if (at < 0)
        return ASTRAY;
    for (; at < steps; at++)
        if (!step(tid))
            return ENDED;
    return THERE;
}

static void kill_victim(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    while (waitpid(-1, &status, __WALL) > 0) /* its threads, and its child, which is now ours */
        CHECK(WIFSTOPPED(status) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || status == 0);
    CHECK(errno == ECHILD);
}

struct found {
    struct seen victim;
    uint64_t witness; /* its newest */
    bool child;
};

static void find(const struct proof *p, const wbpf_piece *piece, void *argument)
{
    struct found *found = argument;
    if (p->writer == WITNESS)
        found->witness = p->sequence > found->witness ? p->sequence : found->witness;
    found->child |= p->writer == CHILD;
    see(p, piece, &found->victim);
}

static uint64_t newest_stamp_in(uint32_t chunk)
{
    uint32_t ids, cleared;
    uint64_t newest;
    chunk_survey(&segment->map, chunk, load_acquire(&segment->map.chunks[chunk].word), &ids, &cleared,
                 &newest);
    return ids > cleared ? newest : 0;
}

static void check_triggers(void)
{
    wbpf_fired fired[8];
    uint32_t count = wbpf_segment_take_triggers(segment, true, fired, 8);
    CHECK(count < 8);
    for (uint32_t i = 0; i < count; i++) {
        const struct wbpf_trigger_slot *t = &fired[i].what;
        CHECK(memcmp(&t->trace_id_lo, shared->trace.trace_id, 16) == 0);
        CHECK(t->verb == WBPF_VERB_REDUCE ? t->level == WBPF_LEVEL_WARN
                                          : t->trigger_id == 0x7717 && t->value == 2.5 && t->lateral_count &&
                                                (t->laterals[0] == 1 || t->lateral_count == 1));
        wbpf_segment_ack_trigger(segment, fired[i].slot, fired[i].token);
    }
    for (uint32_t i = 0; i < segment->map.header->trigger_count; i++)
        CHECK(segment->map.triggers[i].state == 0);
}

static void check_cleared_ring(void)
{
    static uint64_t position;
    uint8_t ids[4][16];
    if (position > load_relaxed(&segment->map.header->clear_next))
        position = 0; /* another segment */
    uint32_t count = wbpf_segment_cleared(segment, &position, ids, 4);
    CHECK(count <= 1);
    for (uint32_t i = 0; i < count; i++)
        CHECK(memcmp(ids[i], shared->trace.trace_id, 16) == 0);
}

static void check_schemas(bool name_changes)
{
    uint32_t offset = 0, id, bytes;
    const char *text;
    char own[16];
    snprintf(own, sizeof own, "%04llx", (unsigned long long)(name_changes ? shared->writer & 0xffff : 0));
    bool there = false;
    wbpf_schema ours = wbpf_schema_register(own, NULL);
    CHECK(ours);
    while (wbpf_segment_next_schema(segment, &offset, &id, &text, &bytes)) {
        CHECK(id && (bytes == 4 || bytes == 9)); /* of the witness, of a victim */
        there |= id == ours && bytes == 4;
    }
    CHECK(there && offset == segment->map.header->schema_used);
}

/* Somebody alive is not kept waiting, and loses nothing. */
static void let_witness_work(bool registers)
{
    uint64_t start = clock_monotonic_ns();
    write_proof(WITNESS, ++witness_sequence);
    check_schemas(registers);
    CHECK(clock_monotonic_ns() - start < 1000000000);
}

static void check_chunks_can_be_taken(uint64_t written)
{
    uint32_t count = wbpf_segment_header(segment)->chunk_count, own = (uint32_t)tls_writer->chunk_index;
    uint64_t newest = 0;
    for (uint32_t chunk = 0; chunk < count; chunk++)
        if (chunk != own && !(word_generation(segment->map.chunks[chunk].word) & 1)) {
            uint64_t stamp = newest_stamp_in(chunk);
            newest = stamp > newest ? stamp : newest;
        }
    CHECK(take_all_chunks(segment) == count - 1);
    CHECK(counters_of(segment).lost_until_ticks >= newest);
    CHECK(written_of(segment) == written);
}

static uint64_t check_after_death(const struct path *path, uint64_t before, bool ended)
{
    static struct found found;
    uint64_t done_before = before;
    memset(&found, 0, sizeof found);
    found.victim.writer = shared->writer;
    uint64_t written = written_of(segment), resident = check_segment(segment, find, &found);
    wbpf_counters c = counters_of(segment);
    CHECK(c.resident_records == resident && c.refused == 0 && c.truncated == 0);
    CHECK(written >= done_before && written - before <= path->records);
    CHECK(!ended || written - before == path->records);
    CHECK(found.witness == witness_sequence);
    CHECK(found.victim.count == (found.victim.count ? found.victim.highest + 1 : 0)); /* none is missing */
    CHECK(found.victim.count == shared->sequence || found.victim.count + 1 == shared->sequence);
    CHECK(c.chunks_owned == 1 && c.processes_alive == 2);
    check_triggers();
    check_cleared_ring();
    let_witness_work(path->run == schema);
    return written - before;
}

/* One death; what came of going there. */
static enum went kill_at(const struct path *path, long steps, bool all_by_steps)
{
    static uint64_t last_published;
    pid_t tid, pid = start_victim(path, &tid);
    uint64_t before = written_of(segment), done = shared->done;
    enum went went = go(tid, steps, all_by_steps);
    kill_victim(pid);
    uint64_t published = check_after_death(path, before, went != THERE);
    CHECK(published >= shared->done - done); /* at most the one in flight is lost */
    CHECK(steps == 0 || published >= last_published);
    last_published = went == ASTRAY ? last_published : published;
    return went;
}

static long kill_on_path(const struct path *path, long kills)
{
    pid_t tid, pid = start_victim(path, &tid);
    uint64_t before = written_of(segment);
    learn_route(tid);
    kill_victim(pid);
    CHECK(check_after_death(path, before, true) == path->records);
    long killed = 1, stride = route.count / kills + 1;
    /* The child of a fork would find the breakpoint. */
    bool all_by_steps = path->run == fork_a_child;
    kill_at(path, 0, all_by_steps);
    enum went went = THERE;
    for (long n = (long)(shared->writer % (uint64_t)stride); went == THERE || n < route.count; n += stride) {
        went = kill_at(path, n, all_by_steps);
        if (went == ASTRAY)
            went = kill_at(path, n, true);
        if (n / stride % 2) /* else the next victim finds what this one left */
            check_chunks_can_be_taken(written_of(segment));
        killed++;
        renew_segment();
    }
    printf("%-40s %5ld instructions, %5ld deaths\n", path->name, route.count, killed);
    return killed;
}

int main(void)
{
    const char *kills = getenv("WBPF_TEST_KILLS"), *only = getenv("WBPF_TEST_PATH");
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one); /* stepping is twice as fast on one processor */
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long killed = 0;
    open_segment();
    for (size_t i = 0; i < PATHS; i++)
        if (!only || strcmp(only, paths[i].name) == 0)
            killed += kill_on_path(&paths[i], kills ? atol(kills) : 60);
    close_segment();
    printf("%ld deaths\n", killed);
    CHECK(killed > 0);
    return 0;
}
#endif
