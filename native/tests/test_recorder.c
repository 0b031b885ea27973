/* The recorder end to end: what is written is found, whole, by whom and for whom it was written. */
#include "recorder_fixture.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t search(wbpf_segment *segment, const uint8_t id[16], uint32_t *records, uint32_t *begins,
                     uint32_t *ends)
{
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count;
    uint64_t lost;
    CHECK(wbpf_watch_create(segment, &watch) == 0);
    CHECK(wbpf_watch_add(watch, (const uint8_t (*)[16])id, 1) == 0);
    CHECK(wbpf_watch_poll(watch, &pieces, &count, &lost) == 0);
    *records = *begins = *ends = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK(memcmp(pieces[i].trace_id, id, 16) == 0);
        *records += pieces[i].records;
        *begins += pieces[i].begins;
        *ends += pieces[i].ends;
    }
    CHECK(wbpf_watch_poll(watch, &pieces, &count, &lost) == 0);
    CHECK(count == 0); /* nothing new */
    wbpf_watch_destroy(watch);
    return count;
}

static void check_counters(wbpf_segment *segment, uint64_t written)
{
    wbpf_counters c;
    wbpf_segment_counters(segment, &c);
    CHECK(c.resident_records + c.recycled_records == written);
}

static void test_trace_is_found(void)
{
    wbpf_scope outer, inner, span;
    wbpf_context first, second;
    uint32_t records, begins, ends;
    open_recorder(2, 0);
    wbpf_begin(&outer, WBPF_NAME("outer"), NULL);
    CHECK(wbpf_current(&first));
    uint64_t payload = 7;
    WBPF_EVENT(WBPF_LEVEL_INFO, "e", "n:u64", &payload, 8);
    wbpf_begin(&inner, WBPF_NAME("inner"), NULL);
    CHECK(wbpf_current(&second));
    CHECK(memcmp(first.trace_id, second.trace_id, 16) != 0);
    wbpf_span_begin(&span, WBPF_NAME("span"));
    WBPF_EVENT(WBPF_LEVEL_INFO, "e", "n:u64", &payload, 8);
    wbpf_span_end(&span);
    wbpf_end(&inner);
    WBPF_EVENT(WBPF_LEVEL_INFO, "e", "n:u64", &payload, 8); /* with a RESUME before it */
    void *place = wbpf_reserve(WBPF_STATIC_SCHEMA("r", "n:u64"), WBPF_LEVEL_INFO, 8);
    CHECK(place);
    WBPF_EVENT(WBPF_LEVEL_INFO, "e", "n:u64", &payload, 8); /* refused: an event is being written */
    memcpy(place, &payload, 8);
    wbpf_commit(8);
    wbpf_end(&outer);
    wbpf_segment *segment = open_reader();
    search(segment, first.trace_id, &records, &begins, &ends);
    CHECK(records == 6 && begins == 1 && ends == 1);
    search(segment, second.trace_id, &records, &begins, &ends);
    CHECK(records == 5 && begins == 1 && ends == 1);
    check_counters(segment, 11);
    wbpf_counters c;
    wbpf_segment_counters(segment, &c);
    CHECK(c.refused == 1 && c.processes_alive == 1);
    close_reader(segment);
    wbpf_close();
}

static void *record_many(void *argument)
{
    uint64_t payload[8] = {0};
    for (int i = 0; i < 20000; i++) {
        wbpf_scope scope;
        wbpf_begin(&scope, WBPF_NAME("t"), NULL);
        WBPF_EVENT(WBPF_LEVEL_INFO, "e64", "a:u64", payload, sizeof payload);
        wbpf_end(&scope);
    }
    (void)argument;
    return NULL;
}

static void test_recycling_counts_exactly(void)
{
    pthread_t threads[8];
    open_recorder(2, 4096);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, record_many, NULL) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    wbpf_counters c;
    wbpf_segment *segment = open_reader();
    wbpf_segment_counters(segment, &c);
    /* A run that goes on in a new chunk adds a RESUME record, so "at least". */
    CHECK(c.resident_records + c.recycled_records >= 8u * 20000 * 3);
    CHECK(c.recycled_records > 0 && c.refused == 0 && c.truncated == 0);
    CHECK(c.lost_until_ticks > 0);
    close_reader(segment);
    wbpf_close();
}

static void test_fork(void)
{
    wbpf_scope scope;
    wbpf_context parent, child;
    uint32_t records, begins, ends;
    int pipes[2], status;
    open_recorder(2, 0);
    CHECK(pipe(pipes) == 0);
    wbpf_begin(&scope, WBPF_NAME("parent"), NULL);
    wbpf_current(&parent);
    pid_t pid = fork();
    if (pid == 0) {
        wbpf_scope own;
        wbpf_end(&scope); /* not ours: does nothing */
        wbpf_begin(&own, WBPF_NAME("child"), NULL);
        wbpf_current(&child);
        CHECK(write(pipes[1], &child, sizeof child) == sizeof child);
        wbpf_log(WBPF_LEVEL_INFO, "hello", 5);
        kill(getpid(), SIGKILL);
    }
    CHECK(read(pipes[0], &child, sizeof child) == sizeof child);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    wbpf_log(WBPF_LEVEL_INFO, "mine", 4);
    wbpf_end(&scope);
    wbpf_segment *segment = open_reader();
    search(segment, parent.trace_id, &records, &begins, &ends);
    CHECK(records == 3 && begins == 1 && ends == 1);
    search(segment, child.trace_id, &records, &begins, &ends);
    CHECK(records == 2 && begins == 1 && ends == 0);
    check_counters(segment, 5);
    close_reader(segment);
    wbpf_close();
}

static void test_w3c(void)
{
    wbpf_context c;
    wbpf_scope scope, remote;
    char traceparent[WBPF_TRACEPARENT_BYTES], tracestate[WBPF_TRACESTATE_BYTES] = "other=1, wbpf=0-0-0,x=y";
    open_recorder(2, 0);
    CHECK(wbpf_extract("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", NULL, &c) == 0);
    CHECK(c.trace_id[0] == 0x0a && c.span_id == 0xb7ad6b7169203331 && c.flags == 1);
    CHECK(wbpf_extract("00-00000000000000000000000000000000-b7ad6b7169203331-01", NULL, &c) < 0);
    CHECK(wbpf_extract("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", NULL, &c) < 0);
    CHECK(wbpf_extract("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", NULL, &c) < 0);
    CHECK(wbpf_extract("0-a", NULL, &c) < 0);
    CHECK(wbpf_inject("h2", traceparent, tracestate) < 0); /* no current trace */
    wbpf_begin(&scope, WBPF_NAME("s"), NULL);
    CHECK(wbpf_inject("h2", traceparent, tracestate) == 0);
    CHECK(strlen(traceparent) == 55 && strncmp(tracestate, "wbpf=", 5) == 0 &&
          strstr(tracestate, ",other=1,x=y"));
    CHECK(wbpf_extract(traceparent, tracestate, &c) == 0);
    CHECK(c.from_host_id == wbpf_host_id("h1") && c.start_unix_ns != 0);
    wbpf_begin(&remote, WBPF_NAME("r"), &c);
    wbpf_end(&remote);
    wbpf_end(&scope);
    wbpf_segment *segment = open_reader();
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count, in = 0, out = 0;
    uint64_t lost;
    CHECK(wbpf_watch_create(segment, &watch) == 0);
    CHECK(wbpf_watch_add(watch, (const uint8_t (*)[16])c.trace_id, 1) == 0);
    CHECK(wbpf_watch_poll(watch, &pieces, &count, &lost) == 0);
    for (size_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < pieces[i].breadcrumb_count; j++) {
            const wbpf_breadcrumb *crumb = &pieces[i].breadcrumbs[j];
            CHECK(crumb->edge_span_id == c.span_id);
            in += crumb->direction == WBPF_DIRECTION_IN && crumb->peer_host_id == wbpf_host_id("h1");
            out += crumb->direction == WBPF_DIRECTION_OUT && crumb->peer_host_id == wbpf_host_id("h2");
        }
    CHECK(in == 1 && out == 1);
    wbpf_watch_destroy(watch);
    close_reader(segment);
    wbpf_close();
}

static void test_triggers_and_levels(void)
{
    wbpf_scope scope;
    wbpf_context c;
    wbpf_fired fired[4];
    uint32_t records, begins, ends;
    uint8_t laterals[13][16];
    memset(laterals, 5, sizeof laterals);
    open_recorder(2, 0);
    wbpf_segment *segment = open_reader();
    wbpf_begin(&scope, WBPF_NAME("t"), NULL);
    wbpf_current(&c);
    CHECK(wbpf_trigger(WBPF_NAME("slow"), 1.5, (const uint8_t (*)[16])laterals, 13) == 0);
    CHECK(wbpf_segment_take_triggers(segment, false, fired, 4) == 2);
    CHECK(fired[0].what.lateral_count == 12 && fired[1].what.lateral_count == 1 &&
          fired[0].what.value == 1.5);
    CHECK(memcmp(&fired[0].what.trace_id_lo, c.trace_id, 16) == 0);
    CHECK(wbpf_segment_take_triggers(segment, false, fired, 4) == 0);
    CHECK(wbpf_segment_take_triggers(segment, true, fired, 4) == 2);
    wbpf_segment_ack_trigger(segment, fired[0].slot, fired[0].token);
    wbpf_segment_ack_trigger(segment, fired[1].slot, fired[1].token);
    CHECK(wbpf_segment_take_triggers(segment, true, fired, 4) == 0);
    CHECK(wbpf_enabled(WBPF_LEVEL_INFO));
    wbpf_segment_set_level(segment, WBPF_LEVEL_WARN);
    CHECK(!wbpf_enabled(WBPF_LEVEL_INFO) && wbpf_enabled(WBPF_LEVEL_WARN));
    CHECK(wbpf_segment_set_trace_level(segment, c.trace_id, WBPF_LEVEL_DEBUG) == 0);
    CHECK(wbpf_enabled(WBPF_LEVEL_INFO));
    CHECK(wbpf_level_named("Warn") == WBPF_LEVEL_WARN && wbpf_level_named("loud") == 0);
    CHECK(wbpf_segment_set_trace_level(segment, c.trace_id, 0) == 0);
    wbpf_segment_set_level(segment, 0);
    CHECK(wbpf_reduce(WBPF_LEVEL_ERROR) == 0);
    wbpf_log(WBPF_LEVEL_INFO, "no", 2);
    wbpf_log(WBPF_LEVEL_ERROR, "yes", 3);
    wbpf_end(&scope);
    search(segment, c.trace_id, &records, &begins, &ends);
    CHECK(records == 4 && ends == 1); /* BEGIN TRIGGER LOG END */
    for (int i = 0; i < 300; i++)
        wbpf_trigger_trace(c.trace_id, 0, WBPF_NAME("flood"), 0, NULL, 0);
    wbpf_counters counters;
    wbpf_segment_counters(segment, &counters);
    CHECK(counters.triggers_dropped == 300 - 255); /* one slot holds the request of wbpf_reduce */
    close_reader(segment);
    wbpf_close();
}

static void test_cleared_chunks_go_first(void)
{
    uint64_t payload[64] = {0}, position = 0;
    uint8_t ids[4096][16];
    wbpf_scope scope;
    wbpf_context kept;
    uint32_t records, begins, ends;
    open_recorder(2, 4096);
    wbpf_begin(&scope, WBPF_NAME("kept"), NULL);
    wbpf_current(&kept);
    for (int i = 0; i < 20; i++)
        WBPF_EVENT(WBPF_LEVEL_INFO, "e512", "a:u64", payload, sizeof payload);
    wbpf_end(&scope);
    wbpf_segment *segment = open_reader();
    for (int i = 0; i < 30000; i++) { /* several times the segment */
        wbpf_begin(&scope, WBPF_NAME("good"), NULL);
        WBPF_EVENT(WBPF_LEVEL_INFO, "e512", "a:u64", payload, sizeof payload);
        wbpf_clear();
        wbpf_end(&scope);
        if (i % 50 == 0) {
            uint32_t n = wbpf_segment_cleared(segment, &position, ids, 4096);
            wbpf_segment_clear(segment, (const uint8_t (*)[16])ids, n);
        }
    }
    wbpf_counters c;
    wbpf_segment_counters(segment, &c);
    CHECK(c.recycled_records > 20000);
    CHECK(c.lost_until_ticks == 0);
    search(segment, kept.trace_id, &records, &begins, &ends);
    CHECK(begins == 1 && ends == 1 && records >= 22);
    close_reader(segment);
    wbpf_close();
}

static bool has_schema(const char *descriptor)
{
    wbpf_segment *segment = open_reader();
    uint32_t offset = 0, id, bytes;
    const char *text;
    bool found = false;
    while (wbpf_segment_next_schema(segment, &offset, &id, &text, &bytes))
        found = found || (bytes == strlen(descriptor) && memcmp(text, descriptor, bytes) == 0);
    close_reader(segment);
    return found;
}

static void test_schemas_outlive_their_segment(void)
{
    open_recorder(2, 0);
    CHECK(wbpf_schema_register("kept.by.caller", "n:u64"));
    wbpf_close();
    directory[strlen(directory) - 1] ^= 1; /* another folder, another segment */
    open_recorder(2, 0);
    CHECK(has_schema("kept.by.caller n:u64"));
    wbpf_close();
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    CHECK(system(command) == 0);
    directory[strlen(directory) - 1] ^= 1;
}

/* Of the trace: how many events have exactly the first `bytes` bytes of `payload`. */
static unsigned events_with(wbpf_segment *segment, const uint8_t id[16], const uint8_t *payload, size_t bytes)
{
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count;
    uint64_t lost;
    unsigned found = 0;
    CHECK(wbpf_watch_create(segment, &watch) == 0);
    CHECK(wbpf_watch_add(watch, (const uint8_t (*)[16])id, 1) == 0);
    CHECK(wbpf_watch_poll(watch, &pieces, &count, &lost) == 0);
    for (size_t i = 0; i < count; i++)
        for (uint32_t at = 0; at < pieces[i].bytes;) {
            struct wbpf_record_header r;
            memcpy(&r, pieces[i].data + at, sizeof r);
            uint32_t header = r.kind & WBPF_STAMPED ? 16 : 8, kind = r.kind & ~WBPF_STAMPED;
            bool has_payload =
                kind == WBPF_KIND_EVENT || kind == WBPF_KIND_LOG || kind == WBPF_KIND_ATTRIBUTES;
            found += has_payload && r.bytes == header + bytes &&
                     memcmp(pieces[i].data + at + header, payload, bytes) == 0;
            at += (r.bytes + 7u) & ~7u;
        }
    wbpf_watch_destroy(watch);
    return found;
}

static void test_what_is_too_long_is_cut_and_counted(void)
{
    static uint8_t payload[100000];
    wbpf_scope scope;
    wbpf_context context;
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 7 ^ i >> 8);
    CHECK(wbpf_longest_payload() == 0);
    open_recorder(2, 4096);
    size_t longest = wbpf_longest_payload(), longer = longest + 1;
    CHECK(longest > 3900 && longest < 4096);
    wbpf_begin(&scope, WBPF_NAME("t"), NULL);
    wbpf_current(&context);
    wbpf_event(1, WBPF_LEVEL_INFO, payload, longest); /* as long as can be */
    wbpf_event(1, WBPF_LEVEL_INFO, payload, longer);
    wbpf_event_unstamped(1, WBPF_LEVEL_INFO, payload, sizeof payload);
    wbpf_attributes(1, payload, longer);
    wbpf_log(WBPF_LEVEL_INFO, (const char *)payload, sizeof payload);
    for (int i = 0; i < 2; i++) {
        void *place = wbpf_reserve(1, WBPF_LEVEL_INFO, sizeof payload);
        CHECK(place);
        memcpy(place, payload, sizeof payload);
        wbpf_commit(i ? 1000 : sizeof payload); /* the second one is not cut */
    }
    void *place = wbpf_reserve(1, WBPF_LEVEL_INFO, SIZE_MAX / 2); /* more than there is memory */
    CHECK(!place);
    wbpf_segment *segment = open_reader();
    CHECK(events_with(segment, context.trace_id, payload, longest) == 6);
    CHECK(events_with(segment, context.trace_id, payload, 1000) == 1);
    wbpf_counters c;
    wbpf_segment_counters(segment, &c);
    CHECK(c.truncated == 6 && c.refused == 1);
    wbpf_end(&scope);
    close_reader(segment);
    wbpf_close();
}

static void test_unopened_does_nothing(void)
{
    wbpf_scope scope;
    wbpf_begin(&scope, WBPF_NAME("x"), NULL);
    CHECK(!wbpf_enabled(WBPF_LEVEL_FATAL));
    wbpf_log(WBPF_LEVEL_INFO, "x", 1);
    wbpf_end(&scope);
    CHECK(wbpf_trigger(WBPF_NAME("x"), 0, NULL, 0) < 0);
}

int main(void)
{
    test_unopened_does_nothing();
    void (*tests[])(void) = {test_trace_is_found,
                             test_recycling_counts_exactly,
                             test_fork,
                             test_w3c,
                             test_triggers_and_levels,
                             test_cleared_chunks_go_first,
                             test_what_is_too_long_is_cut_and_counted,
                             test_schemas_outlive_their_segment};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        snprintf(directory, sizeof directory, "/dev/shm/wbpf-test-%d-%zu", getpid(), i);
        tests[i]();
        char command[128];
        snprintf(command, sizeof command, "rm -rf %s", directory);
        CHECK(system(command) == 0);
    }
    puts("test_recorder: ok");
    return 0;
}
