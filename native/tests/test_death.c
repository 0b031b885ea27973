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
#include "stepping.h"
#include "tracing_paths.h"
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#define DEATHS_A_SEGMENT 300 /* more than it has process slots */

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
    close_reader(segment);
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

/* One death; what came of going there. */
static enum went kill_at(const struct path *path, long steps, bool all_by_steps)
{
    snprintf(where, sizeof where, "on the path '%s', after %ld instructions\n", path->name, steps);
    pid_t tid, pid = start_victim(path, &tid);
    uint64_t before = written_of(segment), done = shared->done;
    enum went went = go(tid, steps, all_by_steps);
    kill_victim(pid);
    uint64_t published = check_after_death(path, before, went != THERE);
    CHECK(published >= shared->done - done); /* at most the one in flight is lost */
    return went;
}

static long kill_on_path(const struct path *path, long kills)
{
    pid_t tid, pid = start_victim(path, &tid);
    uint64_t before = written_of(segment);
    learn_route(tid, 1000000);
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
