/*
 * Read a segment that a benchmark left, and check what is in it.
 *
 *     verify SEGMENT SEED PAYLOAD
 *
 * Every event must hold the bytes that follow from the seed, and the numbers of each thread must be there
 * without a gap; every run must be a trace's. Prints one line of JSON: the segment's counters, what was
 * found, and per thread the first and last number.
 */
#include "payload.h"
#include "recorder/segment.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct found {
    uint64_t records, begins, ends, events;
    uint64_t first[MOST_THREADS], last[MOST_THREADS], numbers[MOST_THREADS];
} found;

static void wrong(const char *what, const wbpf_piece *piece, uint32_t at)
{
    fprintf(stderr, "%s: chunk %u, unit %u\n", what, piece->chunk, piece->start_unit + at / 8);
    exit(1);
}

static void check_event(const wbpf_piece *piece, uint32_t at, const uint8_t *payload, const uint8_t *expected,
                        size_t bytes)
{
    uint64_t value;
    memcpy(&value, payload, 8);
    unsigned thread = (unsigned)(value >> 56);
    uint64_t sequence = value & ((1ULL << 56) - 1);
    if (thread >= MOST_THREADS || memcmp(payload + 8, expected + 8, bytes - 8) != 0)
        wrong("an event holds other bytes than were written", piece, at);
    if (!found.numbers[thread]++)
        found.first[thread] = found.last[thread] = sequence;
    if (sequence < found.first[thread])
        found.first[thread] = sequence;
    if (sequence > found.last[thread])
        found.last[thread] = sequence;
}

static void check_piece(const wbpf_piece *piece, const uint8_t *expected, size_t payload_bytes)
{
    uint32_t records = 0;
    for (uint32_t at = 0; at < piece->bytes; records++) {
        struct wbpf_record_header header;
        memcpy(&header, piece->data + at, sizeof header);
        uint32_t kind = header.kind & ~WBPF_STAMPED, start = header.kind & WBPF_STAMPED ? 16 : 8;
        if (kind == WBPF_KIND_EVENT) {
            if (header.bytes != start + payload_bytes)
                wrong("an event has another size than was written", piece, at);
            check_event(piece, at, piece->data + at + start, expected, payload_bytes);
            found.events++;
        } else if (kind != WBPF_KIND_BEGIN && kind != WBPF_KIND_END && kind != WBPF_KIND_RESUME) {
            wrong("a record of a kind that nobody wrote", piece, at);
        }
        at += (header.bytes + 7u) & ~7u;
    }
    if (records != piece->records)
        wrong("a piece with another count of records than it has", piece, 0);
    found.records += records;
    found.begins += piece->begins;
    found.ends += piece->ends;
}

/* Over all chunks: bytes of records and directories, and how often chunks were taken. */
static void sum_chunks(const wbpf_segment *segment, uint64_t *bytes, uint64_t *taken)
{
    const struct wbpf_chunk_header *chunks = segment->map.chunks;
    uint64_t mask = (1u << WBPF_WORD_FRONT_BITS) - 1;
    *bytes = *taken = 0;
    for (uint32_t i = 0; i < segment->map.fixed.chunk_count; i++) {
        *bytes += 8 * ((chunks[i].word & mask) + (chunks[i].word >> WBPF_WORD_FRONT_BITS & mask));
        *taken += chunks[i].uses;
    }
}

static void print_found(const wbpf_segment *segment)
{
    const struct wbpf_segment_header *header = wbpf_segment_header(segment);
    wbpf_counters c;
    uint64_t used_bytes, taken;
    wbpf_segment_counters(segment, &c);
    sum_chunks(segment, &used_bytes, &taken);
    struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"resident", c.resident_records},
        {"resident_bytes", c.resident_bytes},
        {"recycled", c.recycled_records},
        {"recycled_bytes", c.recycled_bytes},
        {"refused", c.refused},
        {"truncated", c.truncated},
        {"chunks_used", c.chunks_used},
        {"chunks_taken", taken},
        {"chunk_stride", header->chunk_stride},
        {"used_bytes", used_bytes},
        {"found", found.records},
        {"begins", found.begins},
        {"ends", found.ends},
        {"events", found.events},
    };
    printf("{");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        printf("\"%s\": %" PRIu64 ", ", numbers[i].name, numbers[i].value);
    printf("\"threads\": [");
    for (unsigned i = 0; i < MOST_THREADS; i++)
        printf("%s{\"first\": %" PRIu64 ", \"last\": %" PRIu64 ", \"count\": %" PRIu64 "}", i ? ", " : "",
               found.first[i], found.last[i], found.numbers[i]);
    printf("]}\n");
}

int main(int count, char **arguments)
{
    wbpf_segment *segment;
    wbpf_watch *watch;
    const wbpf_piece *pieces;
    size_t found_pieces;
    uint32_t cursor = 0;
    char why[256] = "";
    uint8_t expected[MOST_PAYLOAD];
    if (count != 4 || wbpf_segment_open(arguments[1], false, &segment, why) != 0 ||
        wbpf_watch_create(segment, &watch) != 0) {
        fprintf(stderr, "verify SEGMENT SEED PAYLOAD: %s\n", why);
        return 1;
    }
    size_t payload_bytes = strtoull(arguments[3], NULL, 10);
    payload_fill(expected, payload_bytes, strtoull(arguments[2], NULL, 10));
    do {
        if (wbpf_watch_dump(watch, &cursor, &pieces, &found_pieces) != 0)
            return 1;
        for (size_t i = 0; i < found_pieces; i++)
            check_piece(&pieces[i], expected, payload_bytes);
    } while (found_pieces);
    print_found(segment);
    wbpf_watch_destroy(watch);
    wbpf_segment_close(segment);
    return 0;
}
