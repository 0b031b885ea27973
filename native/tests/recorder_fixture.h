/*
 * Segments for the C tests, in /dev/shm under a name of this process, and proofs: events that say themselves
 * which trace, process and place in a sequence they belong to, so that a reader sees any that is torn, shown
 * twice or shown as somebody else's.
 */
#ifndef WBPF_RECORDER_FIXTURE_H
#define WBPF_RECORDER_FIXTURE_H

#include "check.h"
#include "recorder/internal.h"
#include "recorder/segment.h"
#include "wbpf/trace.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77

static char directory[64];

static inline void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char inner[4096];
        snprintf(inner, sizeof inner, "%.2000s/%.255s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(inner) != 0)
            remove_directory(inner);
    }
    closedir(dir);
    rmdir(path);
}

static pid_t directory_owner;
static char where[128]; /* what a test is about, said when it fails */

static inline void on_abort(int signal)
{
    (void)signal;
    fputs(where, stderr);
    if (getpid() == directory_owner)
        remove_directory(directory);
}

static inline void new_directory(void)
{
    static int number;
    directory_owner = getpid();
    signal(SIGABRT, on_abort);
    snprintf(directory, sizeof directory, "/dev/shm/wbpf-proof-%d-%d", getpid(), number++);
}

static inline void open_recorder(uint32_t size_mib, uint32_t chunk_bytes)
{
    wbpf_options options = {.directory = directory,
                            .host = "h1",
                            .service = "svc",
                            .size_mib = size_mib,
                            .chunk_bytes = chunk_bytes};
    int error = wbpf_open(&options);
    if (error)
        fprintf(stderr, "%s\n", wbpf_error());
    CHECK(error == 0);
}

static inline wbpf_segment *open_reader(void)
{
    wbpf_segment *segment;
    char path[128], why[256];
    snprintf(path, sizeof path, "%s/h1/svc.seg", directory);
    int error = wbpf_segment_open(path, true, &segment, why);
    if (error)
        fprintf(stderr, "%s: %s\n", path, why);
    CHECK(error == 0);
    return segment;
}

/* A reader through the writers' own mapping: the thread sanitiser takes two mappings for two memories. */
static inline wbpf_segment *share_mapping(void)
{
    wbpf_segment *segment = calloc(1, sizeof *segment);
    CHECK(segment);
    segment->map = wbpf_map;
    segment->path = strdup(wbpf_path);
    return segment;
}

static inline void end_sharing(wbpf_segment *segment)
{
    free(segment->path);
    free(segment);
}

static inline wbpf_counters counters_of(const wbpf_segment *segment)
{
    wbpf_counters c;
    wbpf_segment_counters(segment, &c);
    return c;
}

static inline uint64_t written_of(const wbpf_segment *segment)
{
    wbpf_counters c = counters_of(segment);
    return c.resident_records + c.recycled_records;
}

static inline int status_of(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static inline void check_exit(pid_t pid)
{
    int status = status_of(pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline void kill_and_wait(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0);
    int status = status_of(pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A pipe by which processes wait for each other. */
struct signal_pipe {
    int ends[2];
};
static inline struct signal_pipe new_pipe(void)
{
    struct signal_pipe p;
    CHECK(pipe(p.ends) == 0);
    return p;
}
static inline void tell(struct signal_pipe *p)
{
    CHECK(write(p->ends[1], "x", 1) == 1);
}
static inline void await(struct signal_pipe *p)
{
    char byte;
    CHECK(read(p->ends[0], &byte, 1) == 1);
}

/* ---- proofs ---- */

#define PROOF_SCHEMA 0x70726f6f /* an id is all that the recorder wants */
#define PROOF_FILLER 200

struct proof {
    uint64_t trace_lo, writer, sequence, filler_bytes, sum;
    uint32_t process, tid;
    uint8_t filler[PROOF_FILLER];
};

static inline uint64_t sum_of(const struct proof *p)
{
    uint64_t sum = p->trace_lo * 0x9e3779b97f4a7c15ULL ^ p->writer * 0xa0761d6478bd642fULL;
    return (sum ^ p->sequence ^ p->filler_bytes << 56) * 0xe7037ed1a0b428dbULL + p->process * 31ULL + p->tid;
}

static inline size_t proof_bytes(const struct proof *p)
{
    return offsetof(struct proof, filler) + p->filler_bytes;
}

static inline void make_proof(struct proof *p, uint64_t writer, uint64_t sequence)
{
    wbpf_context current;
    wbpf_current(&current);
    memset(p, 0, sizeof *p);
    memcpy(&p->trace_lo, current.trace_id, 8);
    p->writer = writer;
    p->sequence = sequence;
    p->filler_bytes = sequence * 7 % PROOF_FILLER;
    p->process = wbpf_state->process.slot;
    p->tid = tls_writer ? tls_writer->tid : 0;
    p->sum = sum_of(p);
    memset(p->filler, (int)(p->sum & 0xff), p->filler_bytes);
}

static inline void write_proof_at(unsigned level, uint64_t writer, uint64_t sequence)
{
    struct proof p;
    if (!wbpf_enabled(level)) /* a forked child joins here, and has a process slot then */
        return;
    make_proof(&p, writer, sequence);
    wbpf_event(PROOF_SCHEMA, level, &p, proof_bytes(&p));
}

static inline void write_proof(uint64_t writer, uint64_t sequence)
{
    write_proof_at(WBPF_LEVEL_INFO, writer, sequence);
}

typedef void (*proof_reader)(const struct proof *p, const wbpf_piece *piece, void *argument);

/* Check every record of a piece; pass its proofs on. Returns how many records it has. */
static inline size_t check_piece(const wbpf_piece *piece, proof_reader read, void *argument)
{
    size_t records = 0;
    uint32_t at = 0;
    while (at < piece->bytes) {
        struct wbpf_record_header r;
        CHECK(piece->bytes - at >= sizeof r);
        memcpy(&r, piece->data + at, sizeof r);
        uint32_t kind = r.kind & ~WBPF_STAMPED, header = r.kind & WBPF_STAMPED ? 16 : 8;
        CHECK(kind >= WBPF_KIND_BEGIN && kind <= WBPF_KIND_RESUME);
        CHECK(r.bytes >= header && r.bytes <= piece->bytes - at);
        records++;
        if (r.schema_id == PROOF_SCHEMA) {
            struct proof p = {0};
            CHECK(kind == WBPF_KIND_EVENT && r.bytes - header >= offsetof(struct proof, filler));
            CHECK(r.bytes - header <= sizeof p);
            memcpy(&p, piece->data + at + header, r.bytes - header);
            CHECK(p.filler_bytes < PROOF_FILLER && proof_bytes(&p) == r.bytes - header);
            CHECK(p.sum == sum_of(&p));
            for (size_t i = 0; i < p.filler_bytes; i++)
                CHECK(p.filler[i] == (p.sum & 0xff));
            CHECK(memcmp(&p.trace_lo, piece->trace_id, 8) == 0);
            CHECK(p.process == piece->process);
            CHECK(p.tid == piece->tid || p.tid == 0);
            if (read)
                read(&p, piece, argument);
        }
        at += (r.bytes + 7u) & ~7u;
    }
    CHECK(records == piece->records);
    return records;
}

/* Check all records in the segment. Returns how many there are. */
static inline size_t check_segment(wbpf_segment *segment, proof_reader read, void *argument)
{
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count, records = 0;
    uint32_t cursor = 0;
    CHECK(wbpf_watch_create(segment, &watch) == 0);
    do {
        CHECK(wbpf_watch_dump(watch, &cursor, &pieces, &count) == 0);
        for (size_t i = 0; i < count; i++)
            records += check_piece(&pieces[i], read, argument);
    } while (count);
    wbpf_watch_destroy(watch);
    return records;
}

/* How tests end that write: the counters say what a reader finds, and nothing was recycled without being
 * counted. While nobody writes. */
static inline void close_reader(wbpf_segment *segment)
{
    wbpf_counters c = counters_of(segment);
    uint64_t resident = 0, recycled = 0;
    for (uint32_t i = 0; i < wbpf_segment_header(segment)->chunk_count; i++) {
        const struct wbpf_chunk_header *chunk = &segment->map.chunks[i];
        uint64_t word = load_acquire(&chunk->word);
        bool odd = word_generation(word) & 1; /* its taker died */
        resident += odd ? 0 : word_records(word);
        recycled += odd ? chunk->pending_records : chunk->recycled_records;
        CHECK(chunk->uses > 1 || odd || chunk->recycled_records == 0);
    }
    CHECK(c.resident_records == resident && c.recycled_records == recycled);
    CHECK(check_segment(segment, NULL, NULL) == c.resident_records);
    CHECK((c.lost_until_ticks == 0) || c.recycled_records > 0);
    wbpf_segment_close(segment);
}

/* Which of one writer's proofs are there: each at most once. */
#define MAX_SEQUENCE 4096
struct seen {
    uint64_t writer;
    size_t count;
    uint64_t highest;
    uint8_t times[MAX_SEQUENCE];
};

static inline void see(const struct proof *p, const wbpf_piece *piece, void *argument)
{
    struct seen *seen = argument;
    (void)piece;
    if (p->writer != seen->writer)
        return;
    CHECK(p->sequence < MAX_SEQUENCE);
    CHECK(++seen->times[p->sequence] == 1);
    seen->count++;
    seen->highest = p->sequence > seen->highest ? p->sequence : seen->highest;
}

/* Every chunk that nobody alive owns can be taken, and given back. Returns how many. */
static inline uint32_t take_all_chunks(wbpf_segment *segment)
{
    uint32_t taken = 0, count = wbpf_segment_header(segment)->chunk_count;
    CHECK(segment_join(segment));
    int64_t *chunks = malloc(count * sizeof *chunks);
    for (int64_t chunk; taken < count && (chunk = chunk_take(&segment->map, &segment->process)) >= 0;)
        chunks[taken++] = chunk;
    for (uint32_t i = 0; i < taken; i++)
        chunk_close(&segment->map, (uint32_t)chunks[i], wbpf_segment_now_ticks(segment));
    free(chunks);
    return taken;
}

#endif
