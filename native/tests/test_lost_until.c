/*
 * What a reader may miss, lost_until tells: after any chunk that names a trace not known to be good was
 * recycled, it is at least the newest time in it, however the chunk's writer ended.
 */
#include "recorder/append.h"
#include "recorder_fixture.h"
#include <pthread.h>

static struct {
    uint64_t unstamped; /* a record without a stamp is newer */
    uint8_t cleared[16];
} *shared;

static void begin_and_die(void)
{
    wbpf_scope scope;
    wbpf_begin(&scope, 0, NULL);
    write_proof(1, 0);
}

static void end_and_die(void)
{
    wbpf_scope scope;
    wbpf_begin(&scope, 0, NULL);
    wbpf_end(&scope);
}

static void close_and_exit(void)
{
    wbpf_scope scope;
    wbpf_begin(&scope, 0, NULL);
    wbpf_end(&scope);
    wbpf_close();
}

static void die_after_an_unstamped_event(void)
{
    wbpf_scope scope;
    struct proof p;
    wbpf_begin(&scope, 0, NULL);
    usleep(2000);
    make_proof(&p, 1, 0);
    shared->unstamped = clock_ticks();
    wbpf_event_unstamped(PROOF_SCHEMA, WBPF_LEVEL_INFO, &p, proof_bytes(&p));
}

static void *trace_and_exit(void *argument)
{
    end_and_die();
    return argument;
}

/* A thread read the clock, and was slow to write; meanwhile another one wrote, and left it its chunk. */
static void die_after_an_old_stamp(void)
{
    pthread_t thread;
    uint64_t old = clock_ticks();
    CHECK(pthread_create(&thread, NULL, trace_and_exit, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(wbpf_state->spare_count == 1);
    CHECK(wbpf_enabled(WBPF_LEVEL_INFO) && writer_enter(tls_writer));
    append_fixed(tls_writer, old, WBPF_KIND_LOG, WBPF_LEVEL_INFO, 0, "old", 3);
    writer_leave(tls_writer);
}

static void clear_one(void)
{
    wbpf_scope scope;
    wbpf_begin(&scope, 0, NULL);
    wbpf_clear();
    wbpf_end(&scope);
}

static void clear_one_of_two(void)
{
    clear_one();
    end_and_die();
}

static void clear_and_exit(void)
{
    clear_one();
    wbpf_close();
}

static void trace_nothing(void)
{
    wbpf_log(WBPF_LEVEL_INFO, "x", 1);
}

static void let_it_be_cleared(void)
{
    wbpf_scope scope;
    wbpf_context now;
    wbpf_begin(&scope, 0, NULL);
    wbpf_current(&now);
    memcpy(shared->cleared, now.trace_id, 16);
    wbpf_end(&scope);
}

static void let_one_of_two_be_cleared(void)
{
    let_it_be_cleared();
    end_and_die();
}

static const struct {
    const char *name;
    void (*run)(void);
    bool lost;
} cases[] = {{"begun, died", begin_and_die, true},
             {"ended, died", end_and_die, true},
             {"closed", close_and_exit, true},
             {"died after an event without a stamp", die_after_an_unstamped_event, true},
             {"died after an old stamp", die_after_an_old_stamp, true},
             {"cleared, died", clear_one, false},
             {"cleared, closed", clear_and_exit, false},
             {"cleared one of two, died", clear_one_of_two, true},
             {"outside any trace", trace_nothing, false},
             {"cleared by the agent", let_it_be_cleared, false},
             {"one of two cleared by the agent", let_one_of_two_be_cleared, true}};

static uint64_t newest_stamp(wbpf_segment *segment)
{
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count;
    uint32_t cursor = 0;
    uint64_t newest = 0;
    CHECK(wbpf_watch_create(segment, &watch) == 0);
    do {
        CHECK(wbpf_watch_dump(watch, &cursor, &pieces, &count) == 0);
        for (size_t i = 0; i < count; i++)
            for (uint32_t at = 0; at < pieces[i].bytes;) {
                struct wbpf_record_header r;
                uint64_t stamp;
                memcpy(&r, pieces[i].data + at, sizeof r);
                memcpy(&stamp, pieces[i].data + at + 8, 8);
                newest = r.kind & WBPF_STAMPED && stamp > newest ? stamp : newest;
                at += (r.bytes + 7u) & ~7u;
            }
    } while (count);
    wbpf_watch_destroy(watch);
    return newest;
}

int main(void)
{
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(where, sizeof where, "%s\n", cases[i].name);
        memset(shared, 0, sizeof *shared);
        new_directory();
        pid_t pid = fork();
        if (pid == 0) {
            open_recorder(1, 0);
            cases[i].run();
            _exit(0);
        }
        check_exit(pid);
        wbpf_segment *segment = open_reader();
        uint64_t written = written_of(segment), newest = newest_stamp(segment);
        newest = shared->unstamped > newest ? shared->unstamped : newest;
        static const uint8_t none[16];
        if (memcmp(shared->cleared, none, 16) != 0)
            CHECK(wbpf_segment_clear(segment, (const uint8_t (*)[16])shared->cleared, 1) == 1);
        CHECK(take_all_chunks(segment) == wbpf_segment_header(segment)->chunk_count);
        wbpf_counters c = counters_of(segment);
        CHECK(newest && (cases[i].lost ? c.lost_until_ticks >= newest : c.lost_until_ticks == 0));
        CHECK(c.resident_records == 0 && c.recycled_records == written);
        close_reader(segment);
        remove_directory(directory);
    }
    return 0;
}
