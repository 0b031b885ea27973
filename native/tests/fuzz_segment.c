/*
 * A reader against segments of both chunk kinds that somebody damages with knowledge of the format, before
 * they are opened and while they are read. `fuzz_segment SECONDS [FIRST]`: each case is made from its number
 * alone, which a failure prints. FIRST repeats from there on.
 */
#include "recorder/kernel_ring.h"
#include "recorder_fixture.h"
#include <fcntl.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <time.h>

#define RING 4096u
#define IDS  64

static uint64_t state, number;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state * 0x2545f4914f6cdd1dull >> 11) % below;
}

#if defined(__SANITIZE_ADDRESS__)
void __sanitizer_set_death_callback(void (*callback)(void));
static void say_case(void)
{
    fprintf(stderr, "case %" PRIu64 "\n", number);
    remove_directory(directory);
}
#endif

/* ---- a valid segment, to begin with ---- */

static uint8_t *valid, *live;
static size_t size;
static struct mapping areas; /* where things are in `live` */
static uint8_t ids[IDS][16];

static void write_segment(void)
{
    pid_t child = fork();
    if (child == 0) {
        open_recorder(1, 1024);
        for (int i = 0; i < 2000; i++) {
            wbpf_scope scope, span;
            uint64_t payload[3] = {(uint64_t)i, 2, 3};
            wbpf_context context;
            wbpf_begin(&scope, WBPF_NAME("request"), NULL);
            wbpf_span_begin(&span, WBPF_NAME("span"));
            WBPF_EVENT(WBPF_LEVEL_INFO, "event", "a:u64 b:u64 c:u64", payload, sizeof payload);
            wbpf_send(i % 3 ? "h2" : NULL, &context);
            if (i % 50 == 0)
                wbpf_trigger(WBPF_NAME("slow"), 1.5, (const uint8_t (*)[16])payload, 1);
            if (i % 7 == 0)
                wbpf_clear();
            wbpf_end(&span);
            if (i % 11)
                wbpf_end(&scope);
        }
        _exit(0); /* its chunk stays open */
    }
    check_exit(child);
}

static void learn_ids(void)
{
    wbpf_segment *segment = open_reader();
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count;
    uint32_t cursor = 0, known = 0;
    CHECK(wbpf_watch_create(segment, &watch) == 0);
    while (known < IDS && wbpf_watch_dump(watch, &cursor, &pieces, &count) == 0 && count)
        for (size_t i = 0; i < count && known < IDS; i++)
            memcpy(ids[known++], pieces[i].trace_id, 16);
    CHECK(known == IDS);
    wbpf_watch_destroy(watch);
    wbpf_segment_close(segment);
}

/* ---- damage ---- */

static uint64_t odd_value(void)
{
    static const uint64_t odd[] = {0,      1,       7,          8,          0x7f,      0xff,
                                   0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff};
    switch (draw(4)) {
    case 0:
        return odd[draw(sizeof odd / sizeof *odd)];
    case 1:
        return ~draw(64);
    case 2:
        return draw(1 << 16);
    default:
        return draw(UINT64_MAX);
    }
}

static void store(uint8_t *at, size_t width)
{
    uint64_t value = odd_value();
    if (draw(3) == 0) { /* beside what is there */
        memcpy(&value, at, width);
        value += draw(17) - 8;
    }
    memcpy(at, &value, width);
}

/* One of `count` things of `bytes` each, at a field's place. */
static uint8_t *field(void *things, uint64_t count, size_t bytes, size_t width)
{
    return (uint8_t *)things + draw(count) * bytes + draw(bytes / width) * width;
}

static void damage_chunk(void)
{
    uint32_t chunk = (uint32_t)draw(areas.fixed.chunk_count), bytes = areas.fixed.chunk_bytes;
    uint8_t *data = chunk_data(&areas, chunk);
    struct wbpf_chunk_header *c = &areas.chunks[chunk];
    switch (draw(6)) {
    case 0:
        store((uint8_t *)&c->word + draw(8), 1);
        break;
    case 1:
        store(field(c, 1, sizeof *c, 8), 8);
        break;
    case 2: /* directory */
        store(data + bytes - 8 - 8 * draw(word_slots(c->word) + 2u), 8);
        break;
    case 3: /* a slot's type or flags */
        store(data + bytes - 8 - 8 * draw(word_slots(c->word) + 2u) + 2 + draw(2), 1);
        break;
    case 4: /* a record's sizes and kind, more or less */
        store(data + 8 * draw(word_front(c->word) + 1u), draw(2) ? 2 : 4);
        break;
    default:
        store(field(c, 1, sizeof *c, 4), 4);
    }
}

static void damage(void)
{
    struct area {
        void *things;
        uint64_t count;
        size_t bytes;
    } of[] = {
        {areas.header, 1, sizeof *areas.header},
        {areas.processes, 4, sizeof *areas.processes},
        {areas.threads, 4, sizeof *areas.threads},
        {areas.triggers, 64, sizeof *areas.triggers},
        {areas.clears, 400, sizeof *areas.clears},
        {areas.base + areas.fixed.schema_offset, 1, 256},
        {areas.bitmap, 1, 64},
    };
    uint64_t what = draw(16);
    if (what == 15)
        return store(live + 8 * draw(32), draw(2) ? 8 : 4); /* sizes and places of everything */
    if (what < sizeof of / sizeof *of) {
        size_t width = draw(2) ? 8 : 4;
        store(field(of[what].things, of[what].count, of[what].bytes, width), width);
    } else {
        damage_chunk();
    }
}

/* ---- kernel chunks, whose rings are put where the kernel would have them ---- */

static struct kernel_rings {
    struct wbpf_kernel_ring_header *header[2];
    uint8_t *data[2];
    uint64_t *head;
} rings;

static void fill_array_ring(struct wbpf_kernel_ring_header *h, uint8_t *data)
{
    uint64_t at = draw(4) * RING;
    for (uint64_t end = at + RING; at < end;) {
        uint8_t slots = (uint8_t)(1 + draw(WBPF_KERNEL_MAX_RECORD_BYTES / WBPF_KERNEL_SLOT_BYTES));
        struct wbpf_kernel_record_header r = {
            .commit = at ^ h->key,
            .bytes = sizeof r + (uint32_t)draw(slots * WBPF_KERNEL_SLOT_BYTES - sizeof r + 1),
            .kind = WBPF_KIND_EVENT,
            .slots = slots,
            .mono_ns = at + 1};
        memcpy(&r.trace_id_lo, ids[draw(IDS)], 16);
        memcpy(data + at % RING, &r, sizeof r);
        at += slots * WBPF_KERNEL_SLOT_BYTES;
        h->tail = at;
        h->records++;
    }
}

static void fill_perf_ring(struct wbpf_kernel_ring_header *h, uint8_t *data, uint64_t *head)
{
    for (int i = 0; i < 60; i++) {
        struct wbpf_kernel_record_header r = {.bytes = sizeof r + 8 * (uint32_t)draw(8),
                                              .kind = WBPF_KIND_EVENT,
                                              .slots = 2,
                                              .mono_ns = (uint64_t)i + 1};
        r.commit = r.mono_ns ^ h->key;
        memcpy(&r.trace_id_lo, ids[draw(IDS)], 16);
        uint32_t raw = (r.bytes + 4 + 7) / 8 * 8 - 4;
        struct perf_event_header event = {.type = PERF_RECORD_SAMPLE,
                                          .size = (uint16_t)(sizeof event + 4 + raw)};
        uint8_t bytes[512] = {0};
        memcpy(bytes, &event, sizeof event);
        memcpy(bytes + sizeof event, &raw, 4);
        memcpy(bytes + sizeof event + 4, &r, sizeof r);
        *head -= event.size;
        for (uint32_t k = 0; k < event.size; k++)
            data[(*head + k) % (4 * RING)] = bytes[k];
    }
}

/* In memory of exactly the size that each may be read in. */
static struct kernel_chunks *add_kernel_chunks(void)
{
    struct kernel_chunks *all = calloc(1, sizeof *all + 2 * sizeof *all->chunks);
    CHECK(all);
    all->count = 2;
    all->scratch_bytes = 4 * RING;
    size_t sizes[2] = {RING + WBPF_KERNEL_MAX_RECORD_BYTES, 4 * RING};
    rings.head = calloc(1, sizeof *rings.head);
    for (uint32_t i = 0; i < 2; i++) {
        struct wbpf_kernel_ring_header *h = rings.header[i] = calloc(1, sizeof *h);
        rings.data[i] = calloc(1, sizes[i]);
        CHECK(h && rings.data[i] && rings.head);
        *h = (struct wbpf_kernel_ring_header){
            .magic = WBPF_KERNEL_MAGIC, .ring_bytes = i ? 4 * RING : RING, .key = draw(UINT64_MAX)};
        all->chunks[i] =
            (struct kernel_chunk){.index = i,
                                  .ring = {.variant = i ? WBPF_KERNEL_RING_PERF : WBPF_KERNEL_RING_ARRAY,
                                           .header = h,
                                           .data = rings.data[i],
                                           .ring_bytes = h->ring_bytes,
                                           .perf_head = rings.head}};
    }
    fill_array_ring(rings.header[0], rings.data[0]);
    fill_perf_ring(rings.header[1], rings.data[1], rings.head);
    return all;
}

static void damage_rings(void)
{
    uint32_t i = (uint32_t)draw(2);
    switch (draw(4)) {
    case 0:
        store(field(rings.header[i], 1, sizeof *rings.header[i], 8), 8);
        break;
    case 1:
        *rings.head += draw(3) ? 8 * draw(64) : odd_value();
        break;
    default:
        store(rings.data[i] + 8 * draw((i ? 4 * RING : RING) / 8), draw(2) ? 8 : 2);
    }
}

static void free_rings(void)
{
    for (int i = 0; i < 2; i++) {
        free(rings.header[i]);
        free(rings.data[i]);
    }
    free(rings.head);
}

/* ---- reading everything ---- */

static uint64_t sum; /* so that all bytes are read */

static void take_in(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum += ((const uint8_t *)bytes)[i];
}

static void check_pieces(const wbpf_piece *pieces, size_t count, bool asked_for)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const wbpf_piece *p = &pieces[i];
        bool known = !asked_for;
        for (uint32_t k = 0; !known && k < IDS / 2; k++)
            known = memcmp(p->trace_id, ids[k], 16) == 0;
        CHECK(known); /* never another trace's than those asked for */
        take_in(p->data, p->bytes);
        take_in(p->breadcrumbs, p->breadcrumb_count * sizeof *p->breadcrumbs);
        take_in(p->laterals, p->lateral_count * 16ull);
        bytes += p->bytes;
    }
    CHECK(bytes <= 2 * size); /* with what is translated of kernel records */
}

static void read_header(wbpf_segment *segment)
{
    uint32_t offset = 0, id, bytes;
    const char *text;
    struct wbpf_calibration calibrations[WBPF_CALIBRATIONS];
    wbpf_counters counters;
    take_in(wbpf_segment_header(segment), sizeof(struct wbpf_segment_header));
    while (wbpf_segment_next_schema(segment, &offset, &id, &text, &bytes))
        take_in(text, bytes);
    take_in(calibrations, wbpf_segment_calibrations(segment, calibrations) * sizeof *calibrations);
    for (uint32_t i = 0; i < 4; i++)
        sum += wbpf_segment_process_alive(segment, i, 0);
    sum += wbpf_segment_ticks_to_unix_ns(segment, draw(UINT64_MAX));
    wbpf_segment_counters(segment, &counters);
}

static void use_verbs(wbpf_segment *segment)
{
    static wbpf_fired fired[256];
    static uint8_t cleared[4096][16];
    uint64_t position = draw(3) ? 0 : odd_value();
    uint32_t count = wbpf_segment_take_triggers(segment, draw(2), fired, 256);
    CHECK(count <= 256);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(fired[i].what.lateral_count <= WBPF_TRIGGER_LATERALS);
        wbpf_segment_ack_trigger(segment, fired[i].slot, fired[i].token);
    }
    CHECK(wbpf_segment_cleared(segment, &position, cleared, 4096) <= 4096);
    wbpf_segment_set_level(segment, (uint32_t)draw(256));
    wbpf_segment_set_trace_level(segment, ids[draw(IDS)], (uint32_t)draw(3));
    if (draw(4) == 0)
        wbpf_segment_clear(segment, (const uint8_t (*)[16])ids, IDS / 2);
    wbpf_segment_calibrate(segment);
}

static uint64_t opened, refused;

static void one_case(bool damaged_first)
{
    char path[128], why[256];
    wbpf_segment *segment;
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t count;
    uint64_t lost;
    uint32_t cursor = 0;
    memcpy(live, valid, size);
    snprintf(path, sizeof path, "%s/h1/svc.seg", directory);
    for (uint64_t i = damaged_first ? 1 + draw(6) : 0; i; i--)
        damage();
    int error = wbpf_segment_open(path, true, &segment, why);
    if (error) {
        CHECK(strlen(why) > 0 || error == -ENOMEM);
        refused++;
        return;
    }
    opened++;
    bool kernel = !segment->kernel && draw(2);
    if (kernel)
        segment->kernel = add_kernel_chunks();
    read_header(segment);
    CHECK(wbpf_watch_create(segment, &watch) == 0);
    CHECK(wbpf_watch_add(watch, (const uint8_t (*)[16])ids, IDS / 2) == 0);
    for (int round = 0; round < 3; round++) {
        if (wbpf_watch_poll(watch, &pieces, &count, &lost) == 0)
            check_pieces(pieces, count, true);
        for (uint64_t i = draw(6); i; i--) {
            damage();
            if (kernel)
                damage_rings();
        }
    }
    while (wbpf_watch_dump(watch, &cursor, &pieces, &count) == 0 && count)
        check_pieces(pieces, count, false);
    read_header(segment);
    if (!kernel)
        use_verbs(segment);
    wbpf_watch_destroy(watch);
    wbpf_segment_close(segment);
    if (kernel)
        free_rings();
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    uint64_t cases = 0, first = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) << 24;
    char path[128], why[256];
    struct timespec begin, now;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback(say_case);
#endif
    new_directory();
    write_segment();
    snprintf(path, sizeof path, "%s/h1/svc.seg", directory);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && layout_map_file(fd, true, &areas, NULL, why) == 0);
    live = areas.base;
    size = areas.bytes;
    valid = malloc(size);
    CHECK(valid);
    memcpy(valid, live, size);
    learn_ids();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        number = first + cases++;
        state = (number + 1) * 0x9e3779b97f4a7c15ull | 1;
        snprintf(where, sizeof where, "case %" PRIu64 "\n", number);
        one_case(draw(2));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - begin.tv_sec) + 1e-9 * (double)(now.tv_nsec - begin.tv_nsec) < seconds);
    printf("%" PRIu64 " cases from %" PRIu64 ": %" PRIu64 " opened, %" PRIu64 " refused (%" PRIu64 ")\n",
           cases, first, opened, refused, sum);
    CHECK(opened && refused);
    remove_directory(directory);
    return 0;
}
