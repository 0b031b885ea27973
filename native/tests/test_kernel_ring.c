/* Kernel rings as their reader finds them: round and round, half written, overwritten meanwhile, and hostile.
 */
#include "check.h"
#include "recorder/kernel_ring.h"
#include <linux/perf_event.h>
#include <stdlib.h>

#define RING    4096u
#define BEHIND  (RING + WBPF_KERNEL_MAX_RECORD_BYTES)
#define KEY     0x1badb002deadbeefull
#define HEADER  ((uint32_t)sizeof(struct wbpf_kernel_record_header))
#define SLOT    WBPF_KERNEL_SLOT_BYTES
#define MOST    4096
#define FUZZING 20000

static uint64_t random_state = 0x9e3779b97f4a7c15ull;

static uint64_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* ---- a ring and its writer, which does as wbpf/kernel.bpf.h does ---- */

struct memory {
    struct wbpf_kernel_ring_header header;
    uint8_t data[BEHIND];
};

static struct kernel_ring ring_in(struct memory *memory)
{
    memset(memory, 0, sizeof *memory);
    memory->header =
        (struct wbpf_kernel_ring_header){.magic = WBPF_KERNEL_MAGIC, .ring_bytes = RING, .key = KEY};
    return (struct kernel_ring){.variant = WBPF_KERNEL_RING_ARRAY,
                                .header = &memory->header,
                                .data = memory->data,
                                .ring_bytes = RING};
}

static struct wbpf_kernel_record_header *at(struct memory *memory, uint64_t position)
{
    return (struct wbpf_kernel_record_header *)(memory->data + position % RING);
}

static uint8_t payload_byte(uint64_t number, uint32_t i)
{
    return (uint8_t)(number * 31 + i);
}

static uint64_t reserve(struct memory *memory, uint64_t number, uint32_t payload_bytes, uint8_t flags)
{
    uint32_t slots = (HEADER + payload_bytes + SLOT - 1) / SLOT;
    uint64_t position = memory->header.tail;
    memory->header.tail += slots * SLOT;
    memory->header.records++;
    struct wbpf_kernel_record_header *header = at(memory, position);
    *header = (struct wbpf_kernel_record_header){.bytes = HEADER + payload_bytes,
                                                 .kind = WBPF_KIND_EVENT,
                                                 .slots = (uint8_t)slots,
                                                 .flags = flags,
                                                 .trace_id_lo = 7,
                                                 .trace_id_hi = number,
                                                 .span_id = number + 1,
                                                 .mono_ns = 1000 + number};
    for (uint32_t i = 0; i < payload_bytes; i++)
        ((uint8_t *)(header + 1))[i] = payload_byte(number, i);
    return position;
}

static void commit(struct memory *memory, uint64_t position)
{
    at(memory, position)->commit = position ^ KEY;
}

static void append(struct memory *memory, uint64_t number, uint32_t payload_bytes)
{
    commit(memory, reserve(memory, number, payload_bytes, 0));
}

/* ---- what a walk finds ---- */

struct found {
    uint64_t numbers[MOST];
    uint32_t count;
    bool fresh_alone;         /* wants what stands in fresh places alone */
    struct memory *interfere; /* is gone round once, before the next copy */
};

static bool wanted(void *self, uint64_t lo, uint64_t hi, bool fresh_place)
{
    struct found *found = self;
    struct memory *memory = found->interfere;
    found->interfere = NULL;
    for (uint64_t i = 0; memory && i < RING / 128; i++)
        append(memory, 900000 + i, 10);
    (void)hi;
    return lo == 7 && (fresh_place || !found->fresh_alone);
}

static int take(void *self, const struct kernel_record *record)
{
    struct found *found = self;
    uint64_t number = record->header.trace_id_hi;
    CHECK(record->header.mono_ns == 1000 + number);
    CHECK(record->payload_bytes == record->header.bytes - HEADER);
    for (uint32_t i = 0; i < record->payload_bytes; i++)
        CHECK(record->payload[i] == payload_byte(number, i));
    CHECK(found->count < MOST);
    found->numbers[found->count++] = number;
    return 0;
}

static void walk(const struct kernel_ring *ring, struct kernel_cursor *cursor, bool everything,
                 struct found *found)
{
    static uint8_t scratch[1 << 16];
    struct kernel_visitor visitor = {.wanted = wanted, .take = take, .self = found};
    found->count = 0;
    CHECK(kernel_ring_walk(ring, cursor, everything, scratch, &visitor) == 0);
}

static void test_round_and_round(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    struct kernel_cursor cursor = {0};
    struct found found = {0};
    CHECK(kernel_ring_check(&ring, BEHIND) == 0);
    uint64_t next = 0, seen = 0;
    for (int round = 0; round < 2000; round++) {
        uint64_t some = random_number() % 6;
        for (uint64_t i = 0; i < some; i++)
            append(&memory, next++,
                   (uint32_t)(random_number() % (WBPF_KERNEL_MAX_RECORD_BYTES - HEADER + 1)));
        walk(&ring, &cursor, false, &found);
        CHECK(found.count == some);
        for (uint32_t i = 0; i < found.count; i++)
            CHECK(found.numbers[i] == seen++);
    }
    struct kernel_cursor from_start = {0};
    walk(&ring, &from_start, true, &found);
    CHECK(found.count >= RING / WBPF_KERNEL_MAX_RECORD_BYTES);
    CHECK(found.numbers[found.count - 1] == next - 1);
    uint64_t lost_until = kernel_ring_lost_until(&ring, NULL);
    CHECK(lost_until == 1000 + found.numbers[0]);
}

static void test_nothing_lost(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    for (uint64_t i = 0; i < RING / SLOT; i++)
        append(&memory, i, 0);
    CHECK(kernel_ring_lost_until(&ring, NULL) == 0);
    append(&memory, 100, 0);
    CHECK(kernel_ring_lost_until(&ring, NULL) == 1001);
}

/* Nested records were reserved while an earlier one was not stamped yet: they bound nothing. */
static void test_nested_records_bound_no_loss(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    append(&memory, 0, 0);
    for (uint64_t i = 1; i < 4; i++)
        commit(&memory, reserve(&memory, i, 0, WBPF_KERNEL_FLAG_NESTED));
    for (uint64_t i = 4; i < 1 + RING / SLOT; i++)
        append(&memory, i, 0);
    CHECK(kernel_ring_lost_until(&ring, NULL) == 1004);
}

static void test_late_commits_are_found_once(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    struct kernel_cursor cursor = {0};
    struct found found = {.fresh_alone = true};
    append(&memory, 0, 100);
    uint64_t outer = reserve(&memory, 1, 200, 0), inner = reserve(&memory, 2, 70, 0);
    append(&memory, 3, 0);
    walk(&ring, &cursor, false, &found);
    CHECK(found.count == 2 && found.numbers[0] == 0 && found.numbers[1] == 3);
    commit(&memory, inner);
    walk(&ring, &cursor, false, &found);
    CHECK(found.count == 1 && found.numbers[0] == 2);
    append(&memory, 4, 0);
    walk(&ring, &cursor, true, &found); /* goes over all, and yet wants fresh places alone */
    CHECK(found.count == 1 && found.numbers[0] == 4);
    commit(&memory, outer);
    walk(&ring, &cursor, true, &found);
    CHECK(found.count == 1 && found.numbers[0] == 1);
    walk(&ring, &cursor, false, &found);
    CHECK(found.count == 0);
}

static void test_more_gaps_than_are_remembered(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    struct kernel_cursor cursor = {0};
    struct found found = {0};
    for (int round = 0; round < 40; round++) {
        for (uint64_t i = 0; i < 5; i++) {
            reserve(&memory, 0, 0, 0);
            append(&memory, 1, 0);
        }
        walk(&ring, &cursor, false, &found);
        CHECK(found.count == 5);
        CHECK(cursor.gap_count <= KERNEL_GAPS);
    }
}

static void test_overwritten_while_read(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    struct kernel_cursor cursor = {0};
    for (uint64_t i = 0; i < 20; i++)
        append(&memory, i, 10);
    struct found found = {.interfere = &memory};
    walk(&ring, &cursor, true, &found);
    for (uint32_t i = 0; i < found.count; i++)
        CHECK(found.numbers[i] >= 12 &&
              found.numbers[i] < 900000); /* of the first lap, and not overwritten */
    CHECK(found.count < 20);
}

static void test_discarded_and_impossible_records(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    struct kernel_cursor cursor = {0};
    struct found found = {0};
    static const struct {
        uint32_t bytes;
        uint8_t slots, kind;
    } bad[] = {{HEADER, 1, 0}, {HEADER - 1, 1, 3}, {HEADER + 1, 1, 3}, {HEADER, 0, 3},
               {513, 8, 3},    {HEADER, 9, 3},     {UINT32_MAX, 8, 3}, {0, 255, 3}};
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t position = reserve(&memory, i, 0, 0);
        at(&memory, position)->bytes = bad[i].bytes;
        at(&memory, position)->slots = bad[i].slots;
        at(&memory, position)->kind = bad[i].kind;
        commit(&memory, position);
        for (int slot = 0; slot < 10; slot++)
            append(&memory, 1000 + i, 0);
    }
    walk(&ring, &cursor, true, &found);
    for (uint32_t i = 0; i < found.count; i++)
        CHECK(found.numbers[i] >= 1000 || found.numbers[i] == 0);
    CHECK(found.count > RING / SLOT / 2);
}

static void test_a_ring_that_was_made_anew(void)
{
    static struct memory memory;
    struct kernel_ring ring = ring_in(&memory);
    struct kernel_cursor cursor = {.next = 1ull << 40, .gap_count = 1};
    struct found found = {0};
    append(&memory, 5, 0);
    walk(&ring, &cursor, false, &found);
    CHECK(found.count == 1 && found.numbers[0] == 5);
}

/* ---- perf rings ---- */

static uint8_t perf_data[RING * 4];
static uint64_t perf_head;

static struct kernel_ring perf_ring_in(struct memory *memory)
{
    struct kernel_ring ring = ring_in(memory);
    memset(perf_data, 0, sizeof perf_data);
    perf_head = 0;
    memory->header.ring_bytes = sizeof perf_data;
    ring.variant = WBPF_KERNEL_RING_PERF;
    ring.data = perf_data;
    ring.ring_bytes = sizeof perf_data;
    ring.perf_head = &perf_head;
    return ring;
}

static void perf_append(uint64_t number, uint32_t payload_bytes, uint8_t flags)
{
    uint8_t bytes[1024] = {0};
    uint32_t raw = (HEADER + payload_bytes + 4 + 7) / 8 * 8 - 4;
    struct perf_event_header event = {.type = PERF_RECORD_SAMPLE, .size = (uint16_t)(sizeof event + 4 + raw)};
    struct wbpf_kernel_record_header header = {.bytes = HEADER + payload_bytes,
                                               .kind = WBPF_KIND_EVENT,
                                               .slots = (uint8_t)((HEADER + payload_bytes + SLOT - 1) / SLOT),
                                               .flags = flags,
                                               .trace_id_lo = 7,
                                               .trace_id_hi = number,
                                               .mono_ns = 1000 + number,
                                               .commit = (1000 + number) ^ KEY};
    memcpy(bytes, &event, sizeof event);
    memcpy(bytes + sizeof event, &raw, 4);
    memcpy(bytes + sizeof event + 4, &header, sizeof header);
    for (uint32_t i = 0; i < payload_bytes; i++)
        bytes[sizeof event + 4 + HEADER + i] = payload_byte(number, i);
    perf_head -= event.size;
    for (uint32_t i = 0; i < event.size; i++)
        perf_data[(perf_head + i) % sizeof perf_data] = bytes[i];
}

static void test_perf_round_and_round(void)
{
    static struct memory memory;
    static uint8_t scratch[sizeof perf_data];
    struct kernel_ring ring = perf_ring_in(&memory);
    struct kernel_cursor cursor = {0};
    struct found found = {0};
    CHECK(kernel_ring_check(&ring, 0) == 0);
    uint64_t next = 0, seen = 0;
    for (int round = 0; round < 2000; round++) {
        uint64_t some = random_number() % 6;
        for (uint64_t i = 0; i < some; i++)
            perf_append(next++, (uint32_t)(random_number() % 193), 0);
        walk(&ring, &cursor, false, &found);
        CHECK(found.count == some);
        for (uint32_t i = 0; i < found.count; i++)
            CHECK(found.numbers[i] == seen + some - 1 - i); /* the newest first */
        seen += some;
    }
    struct kernel_cursor from_start = {0};
    walk(&ring, &from_start, true, &found);
    CHECK(found.count > 20 && found.numbers[0] == next - 1);
    uint64_t oldest = found.numbers[found.count - 1];
    CHECK(oldest == next - found.count);
    CHECK(kernel_ring_lost_until(&ring, scratch) == 1000 + oldest + 1);
    memory.header.tail = 999999; /* a record was refused then */
    CHECK(kernel_ring_lost_until(&ring, scratch) == 999999);
}

static void test_perf_little_written(void)
{
    static struct memory memory;
    struct kernel_ring ring = perf_ring_in(&memory);
    struct kernel_cursor cursor = {0};
    struct found found = {0};
    walk(&ring, &cursor, true, &found);
    CHECK(found.count == 0 && kernel_ring_lost_until(&ring, NULL) == 0);
    perf_append(3, 17, 0);
    walk(&ring, &cursor, true, &found);
    CHECK(found.count == 1 && found.numbers[0] == 3 && kernel_ring_lost_until(&ring, NULL) == 0);
}

/* ---- anything at all ---- */

static int take_anything(void *self, const struct kernel_record *record)
{
    uint8_t translated[KERNEL_TRANSLATED_BYTES];
    CHECK(record->payload_bytes <= sizeof record->payload);
    uint32_t bytes = kernel_record_translate(record, translated);
    CHECK(bytes <= KERNEL_TRANSLATED_BYTES && bytes % 8 == 0);
    CHECK(bytes <= record->header.slots * SLOT);
    *(uint64_t *)self += bytes;
    return 0;
}

static bool want_anything(void *self, uint64_t lo, uint64_t hi, bool fresh_place)
{
    (void)self, (void)lo, (void)hi, (void)fresh_place;
    return true;
}

static void damage(uint8_t *bytes, size_t size)
{
    for (uint64_t i = random_number() % 40; i; i--) {
        uint64_t value = random_number() % 3 ? random_number() : random_number() % 2 ? UINT64_MAX : 0;
        size_t place = random_number() % size, n = 1 + random_number() % 8;
        memcpy(bytes + place, &value, n < size - place ? n : size - place);
    }
}

/* On the heap, at its exact size: the address sanitiser sees a step beyond. */
static void test_hostile_rings(void)
{
    uint64_t taken = 0;
    struct kernel_visitor visitor = {.wanted = want_anything, .take = take_anything, .self = &taken};
    struct memory *memory = malloc(sizeof *memory);
    uint8_t *perf = malloc(sizeof perf_data), *scratch = malloc(sizeof perf_data);
    for (int round = 0; round < FUZZING; round++) {
        bool is_perf = round % 2, anything = round % 20 < 2;
        struct kernel_ring ring = is_perf ? perf_ring_in(memory) : ring_in(memory);
        struct kernel_cursor cursor = {0};
        for (uint64_t i = 0; i < 30; i++)
            is_perf ? perf_append(i, (uint32_t)(random_number() % 193), 0)
                    : append(memory, i, (uint32_t)(random_number() % 449));
        memcpy(perf, perf_data, sizeof perf_data);
        uint64_t head = perf_head;
        if (is_perf) {
            ring.data = perf;
            ring.perf_head = &head;
        }
        for (int walks = 0; walks < 3; walks++) {
            if (anything)
                for (size_t i = 0; i < sizeof *memory / 8; i++)
                    ((uint64_t *)memory)[i] = random_number();
            damage((uint8_t *)memory, sizeof *memory);
            damage(perf, sizeof perf_data);
            if (random_number() % 4 == 0)
                damage((uint8_t *)&head, sizeof head);
            if (random_number() % 4 == 0)
                damage((uint8_t *)&memory->header, sizeof memory->header);
            CHECK(kernel_ring_walk(&ring, &cursor, random_number() % 2, scratch, &visitor) == 0);
            kernel_ring_lost_until(&ring, scratch);
            kernel_ring_written(&ring);
            kernel_ring_check(&ring, BEHIND);
        }
    }
    CHECK(taken > FUZZING); /* not all was refused */
    free(memory);
    free(perf);
    free(scratch);
}

static void test_rings_that_can_not_be(void)
{
    static struct memory memory;
    for (uint64_t bytes = 0; bytes < 1ull << 40; bytes = bytes ? 2 * bytes : 1) {
        struct kernel_ring ring = ring_in(&memory);
        ring.ring_bytes = memory.header.ring_bytes = bytes;
        CHECK((kernel_ring_check(&ring, BEHIND) == 0) == (bytes == RING));
        ring.ring_bytes = memory.header.ring_bytes = bytes + 64;
        CHECK(kernel_ring_check(&ring, BEHIND) != 0);
    }
    struct kernel_ring ring = ring_in(&memory);
    CHECK(kernel_ring_check(&ring, BEHIND - 1) != 0);
    memory.header.magic++;
    CHECK(kernel_ring_check(&ring, BEHIND) != 0);
}

int main(void)
{
    test_round_and_round();
    test_nothing_lost();
    test_nested_records_bound_no_loss();
    test_late_commits_are_found_once();
    test_more_gaps_than_are_remembered();
    test_overwritten_while_read();
    test_discarded_and_impossible_records();
    test_a_ring_that_was_made_anew();
    test_perf_round_and_round();
    test_perf_little_written();
    test_hostile_rings();
    test_rings_that_can_not_be();
    return 0;
}
