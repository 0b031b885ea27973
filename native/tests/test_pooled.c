/*
 * Segments in the pool. A host records proofs and flushes them; it is single-stepped through rounds of its
 * flusher and killed after the nth instruction, for n spread over the whole of it; a survivor finds all that
 * was flushed, exactly once, and nothing torn. What was not flushed is not in the pool. WBPF_TEST_KILLS sets
 * how many n.
 */
#include "pool_fixture.h"
#include "recorder_fixture.h"

#include "pooled/region.h"
#include <fcntl.h>
#include <sys/ptrace.h>

#define REGION "region"

#if defined(__SANITIZE_THREAD__)
#define KILLS 0 /* stepping through its code takes minutes */
#elif defined(__SANITIZE_ADDRESS__)
#define KILLS 3
#else
#define KILLS 10
#endif

/* What the host tells of itself before it dies. */
static struct shared {
    uint64_t flushed, written; /* sequence of the next proof, when a round ended and now */
} *told;

static wbpf_flusher *flusher;

static void record(unsigned count)
{
    wbpf_scope scope;
    for (unsigned i = 0; i < count; i++) {
        if (told->written % 4 == 0)
            wbpf_begin(&scope, WBPF_NAME("step"), NULL);
        write_proof(1, told->written++);
        if (told->written % 4 == 0)
            wbpf_end(&scope);
    }
}

static int flush(void)
{
    uint64_t written = told->written;
    int error = wbpf_flusher_round(flusher);
    if (!error)
        told->flushed = written;
    return error;
}

/* Become the host: a segment, and its region as far as told. */
static void start_host(wbpf_pool *pool, uint64_t region_bytes)
{
    char why[256];
    wbpf_pool_host *host = join(pool, "b");
    open_recorder(1, 1024);
    int error = wbpf_flusher_create(open_reader(), host, REGION, region_bytes, &flusher, why);
    if (error)
        fprintf(stderr, "%s\n", why);
    CHECK(error == 0);
}

static void forget_host(wbpf_pool_host *survivor)
{
    delete (survivor, REGION);
    remove_directory(directory);
    *told = (struct shared){0};
}

/* ---- survival ---- */

static wbpf_segment *recover(wbpf_pool_host *survivor, wbpf_recovery *recovery)
{
    wbpf_segment *segment;
    char why[256];
    int error = wbpf_segment_recover(survivor, REGION, 0, &segment, recovery, why);
    if (error)
        fprintf(stderr, "%s\n", why);
    CHECK(error == 0);
    return segment;
}

/* Everything from `from` to what was flushed, each proof whole and once, and no more than was written. */
static wbpf_recovery check_recovered(wbpf_pool_host *survivor, uint64_t from)
{
    wbpf_recovery recovery;
    wbpf_segment *segment = recover(survivor, &recovery);
    static struct seen seen;
    seen = (struct seen){.writer = 1};
    check_segment(segment, see, &seen);
    for (uint64_t i = from; i < told->flushed; i++)
        CHECK(seen.times[i] == 1);
    for (uint64_t i = told->written; i < MAX_SEQUENCE; i++)
        CHECK(seen.times[i] == 0);
    const struct wbpf_segment_header *h = wbpf_segment_header(segment);
    CHECK(strcmp(h->host, "h1") == 0 && strcmp(h->service, "svc") == 0);
    CHECK(!wbpf_segment_process_alive(segment, 0, 0));
    CHECK(wbpf_segment_process(segment, 0)->generation == 1);
    wbpf_segment_close(segment);
    return recovery;
}

/* ---- stepped to death ---- */

struct round {
    unsigned proofs;
    uint64_t region_bytes; /* small: chunks are squeezed out */
    uint64_t kept;         /* proofs flushed last that must still be there */
};
static const struct round rounds[] = {
    {3, 8 << 20, MAX_SEQUENCE},  /* a chunk grows */
    {40, 8 << 20, MAX_SEQUENCE}, /* many are new */
    {40, 345 << 10, 0},          /* they take the place of others */
};

static void victim(wbpf_pool *pool, const struct round *round)
{
    start_host(pool, round->region_bytes);
    record(101);
    CHECK(flush() == 0);
    record(round->proofs);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    int error = flush();
    raise(SIGSTOP);
    _exit(error != 0);
}

static long step_and_kill(pid_t pid, long instructions)
{
    int status = status_of(pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    long n = 0;
    for (; n < instructions; n++) {
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        status = status_of(pid);
        CHECK(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            break;
        CHECK(WSTOPSIG(status) == SIGTRAP);
    }
    kill_and_wait(pid);
    return n;
}

static long die(wbpf_pool *pool, wbpf_pool_host *survivor, const struct round *round, long instructions,
                unsigned *torn)
{
    new_directory();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        victim(pool, round);
    snprintf(where, sizeof where, "after %ld instructions of a round with %u proofs\n", instructions,
             round->proofs);
    long n = step_and_kill(pid, instructions);
    check_pool(pool);
    uint64_t from = told->flushed > round->kept ? told->flushed - round->kept : 0;
    if (round->kept == 0)
        from = told->flushed;
    *torn += check_recovered(survivor, from).torn;
    forget_host(survivor);
    return n;
}

static void check_stepped_to_death(wbpf_pool *pool, wbpf_pool_host *survivor)
{
    const char *text = getenv("WBPF_TEST_KILLS");
    long kills = text ? atol(text) : KILLS, killed = 0;
    unsigned torn = 0;
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        long length = die(pool, survivor, &rounds[i], 10000000, &torn), stride = length / kills + 1;
        fprintf(stderr, "a round of %ld instructions\n", length);
        for (long n = (long)i % stride; n < length; n += stride, killed++)
            die(pool, survivor, &rounds[i], n, &torn);
    }
    fprintf(stderr, "%ld killed in mid-flush, %u torn groups dropped\n", killed, torn);
    CHECK(killed >= 3 * kills - 3 && (torn > 0 || kills < 10)); /* else no death hit bytes on their way */
}

/* ---- what is not flushed is lost ---- */

/* How often these bytes are in a file. */
static unsigned count_in_file(const char *path, const void *bytes, size_t count)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    const uint8_t *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0), *at = map;
    CHECK(map != MAP_FAILED);
    unsigned found = 0;
    for (const uint8_t *end = map + st.st_size; (at = memmem(at, (size_t)(end - at), bytes, count)); at++)
        found++;
    munmap((void *)(uintptr_t)map, (size_t)st.st_size);
    close(fd);
    return found;
}

static void check_control(wbpf_pool *pool, wbpf_pool_host *survivor)
{
    static const char flushed[] = "what had been flushed", not_flushed[] = "and what had not been";
    struct signal_pipe ready = new_pipe();
    new_directory();
    pid_t pid = fork();
    if (pid == 0) {
        start_host(pool, 8 << 20);
        wbpf_scope scope;
        wbpf_begin(&scope, WBPF_NAME("step"), NULL);
        wbpf_event(1, WBPF_LEVEL_INFO, flushed, sizeof flushed);
        CHECK(flush() == 0);
        wbpf_event(1, WBPF_LEVEL_INFO, not_flushed, sizeof not_flushed);
        tell(&ready);
        pause();
    }
    await(&ready);
    kill_and_wait(pid);
    char path[128];
    snprintf(path, sizeof path, "%s/h1/svc.seg", directory);
    CHECK(count_in_file(path, flushed, sizeof flushed) == 1);
    CHECK(count_in_file(path, not_flushed, sizeof not_flushed) == 1);
    CHECK(count_in_file(pool_path, flushed, sizeof flushed) == 1);
    CHECK(count_in_file(pool_path, not_flushed, sizeof not_flushed) == 0);
    wbpf_recovery recovery;
    wbpf_segment *segment = recover(survivor, &recovery);
    wbpf_segment *whole = open_reader();
    CHECK(counters_of(segment).resident_records == written_of(whole) - 1 && recovery.torn == 0);
    wbpf_segment_close(whole);
    wbpf_segment_close(segment);
    forget_host(survivor);
}

/* The line cache under it: what is stored is the host's alone until its lines are written back. */
static void check_lines(wbpf_pool *pool, wbpf_pool_host *survivor)
{
    static const char text[] = "in the cache of b alone";
    wbpf_pool_host *host = join(pool, "b");
    wbpf_pool_writer writer;
    wbpf_pool_view view;
    char cache[96];
    snprintf(cache, sizeof cache, "%s.b", pool_path);
    CHECK(wbpf_pool_create_object(host, "x", 4096, NULL, &writer) == 0);
    memset(writer.data, 0, 4096);
    CHECK(wbpf_pool_seal(&writer, true) == 0);
    CHECK(wbpf_pool_get(survivor, "x", 0, &view) == 0);
    memcpy((char *)writer.data + 1000, text, sizeof text);
    CHECK(count_in_file(cache, text, sizeof text) == 1 && count_in_file(pool_path, text, sizeof text) == 0);
    CHECK(wbpf_pool_reread(&view, 1000, sizeof text) == 0 && ((const char *)view.data)[1000] == 0);
    CHECK(wbpf_pool_write_back(&writer, 1000, sizeof text) == 1);
    CHECK(count_in_file(pool_path, text, sizeof text) == 1 && ((const char *)view.data)[1000] == 0);
    CHECK(wbpf_pool_reread(&view, 1000, sizeof text) == 0 &&
          memcmp((const char *)view.data + 1000, text, 20) == 0);
    CHECK(wbpf_pool_write_back(&writer, 4090, 7) == -EINVAL && wbpf_pool_reread(&view, 4097, 0) == -EINVAL);
    wbpf_pool_release(&view);
    wbpf_pool_drop(&writer);
    delete (survivor, "x");
    wbpf_pool_leave(host);
}

/* ---- a long life: chunks recycled and squeezed out, runs cut short ---- */

static void check_long_life(wbpf_pool *pool, wbpf_pool_host *survivor)
{
    for (int small = 0; small < 2; small++) {
        new_directory();
        pid_t pid = fork();
        if (pid == 0) {
            start_host(pool, small ? 345 << 10 : 8 << 20);
            for (int i = 0; i < 100; i++) {
                record(40);
                CHECK(flush() == 0);
            }
            _exit(0);
        }
        check_exit(pid);
        wbpf_recovery recovery;
        wbpf_segment *segment = recover(survivor, &recovery);
        static struct seen seen;
        seen = (struct seen){.writer = 1};
        check_segment(segment, see, &seen);
        CHECK(recovery.sequence == 100 && recovery.torn == 0 && seen.highest == 3999);
        /* The newest are there without a gap, and older ones are known to be lost. */
        uint64_t first = 4000;
        while (first && seen.times[first - 1])
            first--;
        CHECK(seen.count == 4000 - first && first < 3990);
        CHECK((first == 0) == (wbpf_segment_header(segment)->lost_until == 0));
        CHECK(first > 0 && (!small || seen.count < 1000));
        wbpf_segment_close(segment);
        forget_host(survivor);
    }
}

/* ---- hostile bytes ---- */

static uint64_t random_state = 88172645463325252u;
static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 11) % limit;
}

static uint8_t *find_region(uint8_t *map, size_t bytes)
{
    uint64_t magic = REGION_MAGIC;
    uint8_t *at = memmem(map, bytes, &magic, sizeof magic);
    CHECK(at);
    return at;
}

/* Change some bytes; of lines at the front, half the time so that their check is right again. */
static void damage(uint8_t *region, const struct region_header *h)
{
    for (uint32_t i = random_below(4) + 1; i > 0; i--) {
        bool front = random_below(4) != 0;
        uint64_t limit = front ? group_offset(20, 0) : h->bytes;
        uint64_t offset = random_below((uint32_t)limit);
        uint8_t *line = region + offset / LINE * LINE;
        uint32_t size = 1u << random_below(4);
        uint64_t value = random_below(2) ? random_state : (uint64_t)random_below(3) - 1;
        memcpy(region + offset / size * size, &value, size);
        if (front && random_below(2)) {
            uint32_t check = line_check(line, ((struct region_header *)region)->nonce);
            memcpy(line + LINE - 4, &check, 4);
        }
    }
}

static void check_hostile(wbpf_pool *pool, wbpf_pool_host *survivor)
{
    new_directory();
    pid_t pid = fork();
    if (pid == 0) {
        start_host(pool, 1 << 20);
        record(200);
        CHECK(flush() == 0);
        record(100);
        CHECK(flush() == 0);
        _exit(0);
    }
    check_exit(pid);
    int fd = open(pool_path, O_RDWR);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    uint8_t *region = find_region(map, (size_t)st.st_size);
    struct region_header header;
    memcpy(&header, region, sizeof header);
    uint8_t *good = malloc(header.bytes);
    memcpy(good, region, header.bytes);
    unsigned refused = 0, torn = 0, read = 0;
    for (int i = 0; i < 3000; i++) {
        wbpf_segment *segment;
        wbpf_recovery recovery;
        wbpf_watch *watch;
        const wbpf_piece *pieces;
        size_t count;
        uint32_t cursor = 0;
        char why[256];
        damage(region, &header);
        int error = wbpf_segment_recover(survivor, REGION, 0, &segment, &recovery, why);
        CHECK(error == 0 || error == -EPROTO || error == -ENOMEM);
        CHECK(error != -EPROTO || *why);
        refused += error != 0;
        if (!error) {
            read++;
            torn += recovery.torn != 0;
            if (wbpf_segment_header(segment)->chunk_count < 10000 &&
                wbpf_watch_create(segment, &watch) == 0) {
                do
                    CHECK(wbpf_watch_dump(watch, &cursor, &pieces, &count) == 0);
                while (count);
                wbpf_watch_destroy(watch);
            }
            counters_of(segment);
            wbpf_segment_close(segment);
        }
        memcpy(region, good, header.bytes);
    }
    fprintf(stderr, "damaged: %u refused, %u read, of these %u with torn groups\n", refused, read, torn);
    CHECK(refused > 100 && torn > 100);
    free(good);
    munmap(map, (size_t)st.st_size);
    close(fd);
    forget_host(survivor);
}

int main(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(24 << 20, 64);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *survivor = join(pool, "a");
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(told != MAP_FAILED);
    check_lines(pool, survivor);
    check_control(pool, survivor);
    check_long_life(pool, survivor);
    check_hostile(pool, survivor);
    if (KILLS)
        check_stepped_to_death(pool, survivor);
    wbpf_pool_leave(survivor);
    wbpf_pool_close(pool);
    return 0;
}
