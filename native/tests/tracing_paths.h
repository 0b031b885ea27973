/* The paths of the tracing API that tests step through, each with what has to come before it. */
#ifndef WBPF_TRACING_PATHS_H
#define WBPF_TRACING_PATHS_H

#include "recorder_fixture.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define WITNESS 1 /* writer of this process's proofs: it lives through all of it */
#define CLEARED 2 /* of proofs in traces that are cleared */
#define CHILD   3

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
#define PATHS (sizeof paths / sizeof *paths)

static void (*before_path)(void); /* of a test's own */

static void run_path(const struct path *path)
{
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    path->prepare();
    if (before_path)
        before_path();
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

#endif
