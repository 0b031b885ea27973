/* The writing side of segments in the pool. */
#include "pooled/region.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WHY_BYTES 256
#define LEAST_NS  100000u
#define NO_SLOT   UINT32_MAX
/* Nothing new for so long: it is looked for less often, for waking up is what an idle flusher costs. */
#define IDLE_AFTER_NS 1000000000u
#define IDLE_TIMES    10
#define IDLE_MOST_NS  100000000u

/* What was flushed of a chunk. */
struct flushed {
    uint64_t word; /* as it was then */
    uint32_t slot;
    uint32_t records_checksum, directory_checksum;
};

/* A chunk with something new. */
struct news {
    uint64_t word, open_ticks;
    uint32_t chunk;
};

struct wbpf_flusher {
    wbpf_segment *segment;
    wbpf_pool_writer writer;
    struct region_header region;
    struct flushed *chunks;
    struct news *news;   /* of this round */
    uint32_t *occupants; /* chunk of each slot, + 1 */
    uint8_t *turns;      /* which of a slot's two group lines comes next */
    uint32_t hand;       /* next slot to be given away */
    uint64_t groups, rounds, bytes, flushed_unix_ns;
    uint64_t facts, facts_print, squeezed_out;
    uint32_t readings;                    /* of the clocks, when facts were last flushed */
    uint32_t process_count, schema_bytes; /* schemas: as far as they were read */
    uint32_t stopped;
};

static uint8_t *at(const wbpf_flusher *f, uint64_t offset)
{
    return (uint8_t *)f->writer.data + offset;
}

static int write_back(wbpf_flusher *f, uint64_t offset, uint64_t bytes)
{
    atomic_thread_fence(memory_order_release); /* in a coherent pool the stores themselves are the write */
    int64_t lines = wbpf_pool_write_back(&f->writer, offset, bytes);
    return lines < 0 ? (int)lines : 0;
}

/* A line with its check: what it speaks of is in the pool already. */
static int write_line(wbpf_flusher *f, uint64_t offset, void *line)
{
    uint32_t check = line_check(line, f->region.nonce);
    memcpy((uint8_t *)line + LINE - sizeof check, &check, sizeof check);
    memcpy(at(f, offset), line, LINE);
    return write_back(f, offset, LINE);
}

/* ---- making a region ---- */

static int plan(const struct wbpf_segment_header *h, uint64_t bytes, struct region_header *r, char *why)
{
    uint64_t facts =
        whole_lines(sizeof *h + h->process_count * sizeof(struct wbpf_process_slot) + h->schema_bytes);
    *r = (struct region_header){.magic = REGION_MAGIC,
                                .version = REGION_VERSION,
                                .endian = WBPF_ENDIAN_MARK,
                                .nonce = random_u64(),
                                .chunk_bytes = h->chunk_bytes,
                                .chunk_count = h->chunk_count,
                                .facts_bytes = (uint32_t)facts};
    uint64_t fixed = slot_offset(r, 0), each = whole_lines(h->chunk_bytes) + 2 * LINE;
    uint64_t slots = bytes > fixed ? (bytes - fixed) / each : 0;
    r->slot_count = (uint32_t)(slots < h->chunk_count ? slots : h->chunk_count);
    r->bytes = slot_offset(r, r->slot_count);
    if (slots)
        return 0;
    snprintf(why, WHY_BYTES, "%llu KiB hold no chunk: it takes at least %llu KiB",
             (unsigned long long)bytes / 1024, (unsigned long long)(fixed + each) / 1024 + 1);
    return -EINVAL;
}

static int make_region(wbpf_flusher *f, wbpf_pool_host *host, const char *id, char *why)
{
    int error = wbpf_pool_create_object(host, id, f->region.bytes, "wbpf.recorder", &f->writer);
    if (error) {
        f->writer.host = NULL;
        snprintf(why, WHY_BYTES, "the pool has no room for %llu KiB: %s",
                 (unsigned long long)f->region.bytes / 1024, strerror(-error));
        return error;
    }
    memset(f->writer.data, 0, group_offset(f->region.slot_count, 0)); /* no mark, no facts, no group */
    f->region.check = line_check(&f->region, f->region.nonce);
    memcpy(f->writer.data, &f->region, LINE);
    error = wbpf_pool_seal(&f->writer, true);
    if (error)
        snprintf(why, WHY_BYTES, "the region can't be sealed: %s", strerror(-error));
    return error;
}

int wbpf_flusher_create(wbpf_segment *segment, wbpf_pool_host *host, const char *id, uint64_t bytes,
                        wbpf_flusher **out, char *why)
{
    const struct wbpf_segment_header *h = &segment->map.fixed;
    if (segment->kernel) {
        snprintf(why, WHY_BYTES, "its records are in rings of the kernel, not in chunks of the segment");
        return -EOPNOTSUPP;
    }
    wbpf_flusher *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->segment = segment;
    f->process_count = h->process_count;
    int error = plan(h, bytes, &f->region, why);
    if (!error) {
        f->chunks = calloc(h->chunk_count, sizeof *f->chunks);
        f->news = calloc(h->chunk_count, sizeof *f->news);
        f->occupants = calloc(f->region.slot_count, sizeof *f->occupants);
        f->turns = calloc(f->region.slot_count, sizeof *f->turns);
        error = f->chunks && f->news && f->occupants && f->turns ? make_region(f, host, id, why) : -ENOMEM;
    }
    if (error) {
        wbpf_flusher_destroy(f);
        return error;
    }
    for (uint32_t i = 0; i < h->chunk_count; i++)
        f->chunks[i].slot = NO_SLOT;
    *out = f;
    return 0;
}

void wbpf_flusher_destroy(wbpf_flusher *f)
{
    wbpf_pool_drop(&f->writer);
    free(f->chunks);
    free(f->news);
    free(f->occupants);
    free(f->turns);
    free(f);
}

/* ---- facts ---- */

/* Changes when a process comes, a schema is registered or a clock is read. */
static uint64_t print_facts(wbpf_flusher *f)
{
    const struct mapping *map = &f->segment->map;
    uint32_t id, bytes;
    const char *text;
    while (wbpf_segment_next_schema(f->segment, &f->schema_bytes, &id, &text, &bytes))
        ;
    uint64_t print = f->schema_bytes * 31ull + load_relaxed(&map->header->calibration_next) + 1;
    for (uint32_t i = 0; i < f->process_count; i++)
        print = print * 0x100000001b3ULL + load_acquire(&map->processes[i].generation);
    return print;
}

static int flush_facts(wbpf_flusher *f)
{
    uint64_t print = print_facts(f), start = facts_offset(&f->region, f->facts + 1);
    if (print == f->facts_print)
        return 0;
    const struct mapping *map = &f->segment->map;
    struct wbpf_segment_header header = map->fixed;
    memset(header.calibrations, 0, sizeof header.calibrations);
    wbpf_segment_calibrations(f->segment, header.calibrations);
    uint8_t *to = at(f, start);
    uint64_t used = sizeof header, processes = f->process_count * sizeof *map->processes;
    memcpy(to, &header, sizeof header);
    copy_unowned(to + used, (const uint8_t *)map->processes, processes);
    used += processes;
    memcpy(to + used, map->base + header.schema_offset, f->schema_bytes);
    used += f->schema_bytes;
    if (wbpf_segment_was_cut(f->segment))
        return -ESTALE;
    struct region_facts facts = {.sequence = f->facts + 1,
                                 .process_count = f->process_count,
                                 .schema_bytes = f->schema_bytes,
                                 .checksum = wbpf_crc32c(0, to, used)};
    int error = write_back(f, start, used);
    if (!error)
        error = write_line(f, facts_line_offset(facts.sequence), &facts);
    if (!error) {
        f->facts = facts.sequence;
        f->facts_print = print;
    }
    return error;
}

/* ---- groups ---- */

static void squeeze_out(wbpf_flusher *f, uint32_t chunk)
{
    const struct wbpf_chunk_header *c = &f->segment->map.chunks[chunk];
    uint64_t closed = load_relaxed(&c->close_ticks), now = wbpf_segment_now_ticks(f->segment);
    uint64_t newest = closed && closed < now ? closed : now;
    f->squeezed_out = newest > f->squeezed_out ? newest : f->squeezed_out;
}

static uint32_t take_slot(wbpf_flusher *f, uint32_t chunk)
{
    uint32_t slot = f->hand++ % f->region.slot_count, before = f->occupants[slot];
    if (before) {
        f->chunks[before - 1].slot = NO_SLOT;
        squeeze_out(f, before - 1);
    }
    f->occupants[slot] = chunk + 1;
    f->chunks[chunk].slot = slot;
    return slot;
}

/* Copy directory slots `from` to `to`, without flags; the checksum goes on from `checksum`. */
static uint32_t copy_directory(uint8_t *into, const uint8_t *data, uint32_t chunk_bytes, uint32_t from,
                               uint32_t to, uint32_t checksum)
{
    uint32_t ids = 0; /* words of an id that follow */
    for (uint32_t i = from; i < to; i++) {
        uint64_t word = load_unowned((const uint64_t *)directory_at(data, chunk_bytes, i));
        if (ids)
            ids--;
        else if (slot_type(word) == WBPF_SLOT_RUN_NEW)
            ids = 2, word = without_flags(word);
        memcpy(into + chunk_bytes - 8 * (size_t)(i + 1), &word, 8);
        checksum = wbpf_crc32c(checksum, &word, 8);
    }
    return checksum;
}

/* What is new of a chunk, in the cache; false: it was recycled meanwhile. */
static bool copy_news(wbpf_flusher *f, uint32_t chunk, uint64_t word, struct flushed *now,
                      struct region_group *group)
{
    const struct mapping *map = &f->segment->map;
    const struct wbpf_chunk_header *c = &map->chunks[chunk];
    const uint8_t *data = chunk_data(map, chunk);
    uint32_t bytes = f->region.chunk_bytes, front = 8 * word_front(now->word);
    uint8_t *into = at(f, slot_offset(&f->region, now->slot));
    copy_unowned(into + front, data + front, 8 * word_front(word) - front);
    now->directory_checksum =
        copy_directory(into, data, bytes, word_slots(now->word), word_slots(word), now->directory_checksum);
    *group = (struct region_group){.word = word,
                                   .uses = load_relaxed(&c->uses),
                                   .open_ticks = load_relaxed(&c->open_ticks),
                                   .chunk = chunk,
                                   .process = load_relaxed(&c->process)};
    atomic_thread_fence(memory_order_acquire);
    if (word_generation(load_relaxed(&c->word)) != word_generation(word))
        return false;
    now->records_checksum =
        wbpf_crc32c(now->records_checksum, into + front, 8 * (size_t)word_front(word) - front);
    return true;
}

static int commit(wbpf_flusher *f, uint32_t chunk, const struct flushed *before, const struct flushed *now,
                  struct region_group *group)
{
    uint64_t start = slot_offset(&f->region, now->slot);
    uint32_t front = 8 * word_front(before->word), records = 8 * word_front(now->word) - front;
    uint32_t back = 8 * word_slots(before->word), directory = 8 * word_slots(now->word) - back;
    int error = write_back(f, start + front, records);
    if (!error)
        error = write_back(f, start + f->region.chunk_bytes - back - directory, directory);
    group->sequence = f->groups + 1;
    group->records_checksum = now->records_checksum;
    group->directory_checksum = now->directory_checksum;
    if (!error)
        error = write_line(f, group_offset(now->slot, f->turns[now->slot]), group);
    if (error)
        return error;
    f->turns[now->slot] ^= 1;
    f->groups++;
    f->bytes += records + directory;
    f->chunks[chunk] = *now;
    return 0;
}

/* Flush what `word` covers. What came since is for the next round, for it may need newer facts. */
static int flush_chunk(wbpf_flusher *f, uint32_t chunk, uint64_t word)
{
    struct flushed *state = &f->chunks[chunk];
    if (word_generation(word) & 1 || 8 * (word_front(word) + word_slots(word)) > f->region.chunk_bytes)
        return 0; /* being recycled */
    if (word_generation(word) != word_generation(state->word) || state->slot == NO_SLOT ||
        word_front(word) < word_front(state->word) || word_slots(word) < word_slots(state->word))
        *state = (struct flushed){.word = word_of_generation(word_generation(word)), .slot = state->slot};
    if (!word_front(word))
        return 0; /* what its slot has from before is still whole */
    if (state->slot == NO_SLOT)
        take_slot(f, chunk);
    struct flushed before = *state, now = before;
    struct region_group group;
    bool right = copy_news(f, chunk, word, &now, &group);
    now.word = word;
    if (wbpf_segment_was_cut(f->segment))
        return -ESTALE; /* zeros were copied */
    return right ? commit(f, chunk, &before, &now, &group) : 0;
}

/* ---- rounds ---- */

static int by_age(const void *a, const void *b)
{
    uint64_t x = ((const struct news *)a)->open_ticks, y = ((const struct news *)b)->open_ticks;
    return (x > y) - (x < y);
}

/* Chunks with something new; of more than there is room for, the newest. */
static uint32_t find_news(wbpf_flusher *f, uint32_t *first)
{
    const struct mapping *map = &f->segment->map;
    uint32_t count = 0;
    *first = 0;
    for (uint32_t i = 0; i < f->region.chunk_count; i++) {
        uint64_t word = load_acquire(&map->chunks[i].word);
        if (word != f->chunks[i].word)
            f->news[count++] = (struct news){word, load_relaxed(&map->chunks[i].open_ticks), i};
    }
    if (count <= f->region.slot_count)
        return count;
    qsort(f->news, count, sizeof *f->news, by_age);
    for (; *first < count - f->region.slot_count; ++*first) {
        struct news old = f->news[*first];
        f->chunks[old.chunk].word = old.word;
        squeeze_out(f, old.chunk);
    }
    return count;
}

int wbpf_flusher_round(wbpf_flusher *f)
{
    struct wbpf_segment_header *h = f->segment->map.header;
    struct region_mark mark = {.sequence = f->rounds + 1,
                               .flushed_ticks = wbpf_segment_now_ticks(f->segment)};
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t first, count = find_news(f, &first);
    uint32_t readings = load_relaxed(&h->calibration_next);
    /* What the records found above need is in them. */
    int error = count || readings != f->readings ? flush_facts(f) : 0;
    f->readings = readings;
    for (uint32_t i = first; i < count && !error; i++)
        error = flush_chunk(f, f->news[i].chunk, f->news[i].word);
    if (error)
        return error;
    atomic_thread_fence(memory_order_acquire);
    uint64_t lost = load_acquire(&h->lost_until);
    mark.lost_until = lost > f->squeezed_out ? lost : f->squeezed_out;
    mark.flushed_unix_ns = wbpf_segment_ticks_to_unix_ns(f->segment, mark.flushed_ticks);
    error = write_line(f, mark_offset(mark.sequence), &mark);
    if (!error) {
        store_relaxed(&f->rounds, mark.sequence);
        store_relaxed(&f->flushed_unix_ns, mark.flushed_unix_ns);
    }
    return error;
}

static uint64_t idle_pause(uint64_t most_ns)
{
    uint64_t pause_ns = IDLE_TIMES * most_ns < IDLE_MOST_NS ? IDLE_TIMES * most_ns : IDLE_MOST_NS;
    return pause_ns > most_ns ? pause_ns : most_ns;
}

static uint64_t pause_of(uint64_t most_ns, uint64_t kib, uint64_t bytes, uint64_t passed_ns)
{
    if (!kib || !bytes)
        return most_ns;
    double until_ns = (double)passed_ns * (double)(kib * 1024) / (double)bytes;
    if (until_ns >= (double)most_ns)
        return most_ns;
    return until_ns > LEAST_NS ? (uint64_t)until_ns : most_ns < LEAST_NS ? most_ns : LEAST_NS;
}

int wbpf_flusher_run(wbpf_flusher *f, uint32_t every_us, uint32_t every_kib)
{
    uint64_t most_ns = every_us * 1000ull, pause_ns = most_ns, began = clock_monotonic_ns(), news = began;
    int error = 0;
    while (!error && !load_acquire(&f->stopped)) {
        struct timespec pause = {.tv_sec = (time_t)(pause_ns / 1000000000u),
                                 .tv_nsec = (long)(pause_ns % 1000000000u)};
        syscall(SYS_futex, &f->stopped, FUTEX_WAIT_PRIVATE, 0, &pause, NULL, 0);
        uint64_t bytes = f->bytes, groups = f->groups, before = began;
        began = clock_monotonic_ns();
        error = wbpf_flusher_round(f);
        uint64_t passed_ns = began - before, took_ns = clock_monotonic_ns() - began;
        news = f->groups != groups ? began : news;
        pause_ns = began - news > IDLE_AFTER_NS ? idle_pause(most_ns)
                                                : pause_of(most_ns, every_kib, f->bytes - bytes, passed_ns);
        pause_ns = pause_ns > took_ns + LEAST_NS ? pause_ns - took_ns : LEAST_NS;
    }
    return error;
}

void wbpf_flusher_stop(wbpf_flusher *f)
{
    store_release(&f->stopped, 1);
    syscall(SYS_futex, &f->stopped, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void wbpf_flusher_get_counts(const wbpf_flusher *f, wbpf_flush_counts *counts)
{
    *counts = (wbpf_flush_counts){.rounds = load_relaxed(&f->rounds),
                                  .groups = load_relaxed(&f->groups),
                                  .bytes = load_relaxed(&f->bytes),
                                  .flushed_unix_ns = load_relaxed(&f->flushed_unix_ns),
                                  .slots = f->region.slot_count};
}
