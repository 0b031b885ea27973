/*
 * Threads of two processes write, chunks are recycled all the time, readers dump, watch and count meanwhile:
 * nothing is torn, shown twice, or shown as another trace's, thread's, process's or identity; written is
 * exact.
 */
#include "recorder_fixture.h"
#include <pthread.h>

#if defined(__SANITIZE_THREAD__)
#define ROUNDS            2000
#define DESTRUCTORS_TRACE 0 /* the sanitiser itself does not survive that */
#elif defined(__SANITIZE_ADDRESS__)
#define ROUNDS            10000
#define DESTRUCTORS_TRACE 1
#else
#define ROUNDS            60000
#define DESTRUCTORS_TRACE 1
#endif
#define THREADS 3

/* ---- writers that know how many records they wrote ---- */

static uint64_t written, announced[2]; /* announced: the id of a trace that somebody is in */

static uint64_t chunk_of_mine(void)
{
    return tls_writer && tls_writer->chunk
               ? (uint64_t)tls_writer->chunk_index << 32 | (uint32_t)tls_writer->chunk->uses
               : 0;
}

static uint64_t times_resumed(uint64_t before)
{
    return chunk_of_mine() != before; /* in a new chunk, a trace goes on with a RESUME */
}

static void *write_traces(void *argument)
{
    uint64_t writer = (uint64_t)(uintptr_t)argument, records = 0;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        wbpf_scope scope;
        wbpf_context now;
        wbpf_begin(&scope, 0, NULL);
        wbpf_current(&now);
        if (i % 64 == 0) {
            uint64_t id[2];
            memcpy(id, now.trace_id, 16);
            store_relaxed(&announced[0], id[0]);
            store_relaxed(&announced[1], id[1]);
        }
        records++;
        for (uint64_t k = 0; k < 3; k++) {
            uint64_t before = chunk_of_mine();
            write_proof(writer, 4 * i + k);
            records += 1 + times_resumed(before);
        }
        uint64_t before = chunk_of_mine();
        wbpf_end(&scope);
        records += 1 + times_resumed(before);
    }
    add_relaxed(&written, records);
    return NULL;
}

static void write_with_threads(uint64_t first_writer)
{
    pthread_t ids[THREADS];
    for (uint64_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&ids[i], NULL, write_traces, (void *)(uintptr_t)(first_writer + i)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
}

/* ---- readers ---- */

/* {chunk, uses, unit} names a record for good. */
#define IDENTITIES (1u << 16)
struct identity {
    uint64_t chunk_and_unit, uses, writer, sequence;
};

static void check_identity(const struct proof *p, const wbpf_piece *piece, void *argument)
{
    uint64_t place = (uint64_t)piece->chunk << 32 | (uint64_t)piece->start_unit << 16;
    struct identity *seen = argument, now = {place, piece->uses, p->writer, p->sequence};
    /* One proof of a piece is enough. */
    struct identity *slot =
        &seen[(place ^ place >> 17 ^ piece->uses * 0x9e3779b97f4a7c15ULL >> 40) % IDENTITIES];
    if (slot->chunk_and_unit == place && slot->uses == piece->uses)
        CHECK(slot->writer == p->writer && slot->sequence <= p->sequence);
    else
        *slot = now;
}

static uint32_t stop;

static void *dump(void *argument)
{
    wbpf_segment *segment = share_mapping();
    struct identity *seen = calloc(IDENTITIES, sizeof *seen);
    while (!load_relaxed(&stop))
        check_segment(segment, check_identity, seen);
    free(seen);
    end_sharing(segment);
    return argument;
}

static void *count(void *argument)
{
    wbpf_segment *segment = share_mapping();
    for (uint64_t last = 0, now; !load_relaxed(&stop); last = now) {
        now = written_of(segment);
        CHECK(now >= last); /* even while chunks are recycled */
    }
    end_sharing(segment);
    return argument;
}

#define WATCHED 256
struct once {
    uint64_t writer, sequence;
};
static void see_once(const struct proof *p, const wbpf_piece *piece, void *argument)
{
    struct once *seen = argument;
    (void)piece;
    for (int i = 0; i < 4 * WATCHED; i++) {
        if (!seen[i].writer) {
            seen[i] = (struct once){p->writer, p->sequence};
            return;
        }
        CHECK(seen[i].writer != p->writer || seen[i].sequence != p->sequence);
    }
    CHECK(false);
}

static void *watch(void *argument)
{
    wbpf_segment *segment = share_mapping();
    wbpf_watch *w;
    CHECK(wbpf_watch_create(segment, &w) == 0);
    struct once *seen = calloc(4 * WATCHED, sizeof *seen);
    for (int ids = 0; !load_relaxed(&stop);) {
        const wbpf_piece *pieces;
        size_t pieces_count;
        uint64_t lost, id[2] = {load_relaxed(&announced[0]), load_relaxed(&announced[1])};
        if (ids < WATCHED && id[0]) { /* halves of two ids: nobody's, at worst */
            CHECK(wbpf_watch_add(w, (const uint8_t (*)[16])(const void *)id, 1) == 0);
            ids++;
        }
        CHECK(wbpf_watch_poll(w, &pieces, &pieces_count, &lost) == 0);
        for (size_t i = 0; i < pieces_count; i++)
            check_piece(&pieces[i], see_once, seen);
    }
    free(seen);
    wbpf_watch_destroy(w);
    end_sharing(segment);
    return argument;
}

static void test_readers_meet_writers(void)
{
    static void *(*const readers[])(void *) = {dump, watch, count};
    pthread_t ids[3];
    wbpf_segment *segment = open_reader();
    uint64_t *theirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t other = fork();
    if (other == 0) {
        write_with_threads(100);
        *theirs = written;
        wbpf_close();
        _exit(0);
    }
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&ids[i], NULL, readers[i], NULL) == 0);
    write_with_threads(200);
    check_exit(other);
    store_relaxed(&stop, 1);
    for (int i = 0; i < 3; i++)
        pthread_join(ids[i], NULL);
    check_segment(segment, NULL, NULL);
    CHECK(written_of(segment) == written + *theirs);
    wbpf_counters c = counters_of(segment);
    CHECK(c.recycled_records > 0 && c.refused == 0 && c.truncated == 0 && c.lost_until_ticks > 0);
    CHECK(c.threads == 0 && c.chunks_owned <= 64);
    munmap(theirs, 4096);
    close_reader(segment);
}

/* ---- a thread a request ---- */

static void *serve(void *argument)
{
    wbpf_scope scope;
    wbpf_begin(&scope, 0, NULL);
    write_proof(1, 0);
    write_proof(1, 1);
    wbpf_end(&scope);
    return argument;
}

static size_t count_writers(void)
{
    size_t n = 0;
    for (struct writer *w = wbpf_state->writers; w; w = w->next)
        n++;
    return n;
}

static void run_threads(int total, void *(*run)(void *), int at_a_time)
{
    pthread_t ids[64];
    for (int done = 0; done < total; done += at_a_time) {
        for (int i = 0; i < at_a_time; i++)
            CHECK(pthread_create(&ids[i], NULL, run, NULL) == 0);
        for (int i = 0; i < at_a_time; i++)
            pthread_join(ids[i], NULL);
    }
}

static void test_thread_a_request(void)
{
    wbpf_segment *segment = open_reader();
    run_threads(64, serve, 8);
    size_t writers = count_writers();
    uint32_t chunks = counters_of(segment).chunks_used;
    run_threads(4000, serve, 8);
    CHECK(count_writers() == writers);
    wbpf_counters c = counters_of(segment);
    /* 8 at a time leave 8 chunks to go on in; full ones are closed. */
    CHECK(c.chunks_owned <= 8 && c.threads == 0 && c.refused == 0);
    CHECK(c.chunks_used <= chunks + 4064u * 600 / 65528 + 8);
    CHECK(written_of(segment) == 4064 * 4);
    check_segment(segment, NULL, NULL);
    close_reader(segment);
}

/* ---- destructors that trace when the recorder's own has run ---- */

static pthread_key_t late_key;

static void trace_late(void *argument)
{
    write_proof(1, 2);
    pthread_setspecific(late_key, argument); /* again, as often as the C library allows */
}

static void *serve_and_trace_late(void *argument)
{
    pthread_setspecific(late_key, &late_key);
    return serve(argument);
}

static void test_destructors_trace(void)
{
    if (!DESTRUCTORS_TRACE)
        return;
    wbpf_segment *segment = open_reader();
    CHECK(pthread_key_create(&late_key, trace_late) == 0);
    run_threads(2000, serve_and_trace_late, 4);
    CHECK(count_writers() <= 256);
    CHECK(counters_of(segment).refused == 0);
    check_segment(segment, NULL, NULL);
    close_reader(segment);
}

/* ---- more threads than chunks ---- */

static pthread_barrier_t barrier;
static uint64_t attempts;

static void *hold_a_chunk(void *argument)
{
    write_proof(1, 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 1000; i++)
        write_proof(1, 0);
    add_relaxed(&attempts, 1001);
    pthread_barrier_wait(&barrier);
    return argument;
}

static void test_more_threads_than_chunks(void)
{
    wbpf_segment *segment = open_reader();
    CHECK(wbpf_segment_header(segment)->chunk_count < 20);
    pthread_barrier_init(&barrier, NULL, 20);
    run_threads(20, hold_a_chunk, 20);
    wbpf_counters c = counters_of(segment);
    CHECK(c.refused > 0 && c.resident_records + c.recycled_records + c.refused == attempts);
    check_segment(segment, NULL, NULL);
    uint64_t before = written_of(segment);
    run_threads(8, serve, 8); /* what they held can be had again */
    CHECK(written_of(segment) == before + 8 * 4 && counters_of(segment).refused == c.refused);
    close_reader(segment);
}

/* ---- partly filled chunks of exited threads ---- */

static void *fill_most_of_a_chunk(void *argument)
{
    write_proof(1, 0);
    while (tls_writer->room > 8192)
        write_proof(1, 0);
    pthread_barrier_wait(&barrier);
    return argument;
}

static void test_long_records_do_not_need_spare_chunks(void)
{
    static uint8_t payload[60000];
    wbpf_segment *segment = open_reader();
    pthread_barrier_init(&barrier, NULL, 4);
    run_threads(4, fill_most_of_a_chunk, 4);
    CHECK(wbpf_state->spare_count == 4);
    uint64_t before = written_of(segment);
    wbpf_event(0, WBPF_LEVEL_INFO, payload, sizeof payload);
    wbpf_counters c = counters_of(segment);
    CHECK(c.refused == 0 && c.truncated == 0 && written_of(segment) == before + 1);
    close_reader(segment);
}

int main(void)
{
    static const struct {
        void (*run)(void);
        uint32_t size_mib, chunk_bytes;
    } tests[] = {{test_readers_meet_writers, 1, 1024},
                 {test_thread_a_request, 4, 0},
                 {test_destructors_trace, 2, 0},
                 {test_more_threads_than_chunks, 1, 0},
                 {test_long_records_do_not_need_spare_chunks, 1, 0}};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        new_directory();
        open_recorder(tests[i].size_mib, tests[i].chunk_bytes);
        tests[i].run();
        wbpf_close();
        remove_directory(directory);
    }
    return 0;
}
