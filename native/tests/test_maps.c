/* Threads use one map at the same time: values are never torn, keys never another's, nothing is lost. */
#include "check.h"
#include "maps/maps.h"
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { KEYS = 32, ROUNDS = 20000, RECORDS = 5000 };

struct value {
    uint64_t key, number, same;
};

static wbpf_user_map *map;
static atomic_bool done;

static wbpf_user_map *made(uint32_t kind, uint32_t key, uint32_t value, uint32_t entries)
{
    wbpf_user_map_spec spec = {.kind = kind,
                               .key_bytes = key,
                               .value_bytes = value,
                               .entries = entries,
                               .lock_offset = WBPF_USER_MAP_NO_LOCK};
    wbpf_user_map *out;
    CHECK(wbpf_user_map_create(&spec, -1, &out) == 0);
    return out;
}

static void *change(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t key = random >> 40 & (KEYS - 1);
        struct value value = {key, i, i};
        int error = random >> 60 < 5 ? wbpf_user_map_delete(map, &key)
                                     : wbpf_user_map_update(map, &key, &value, BPF_ANY);
        CHECK(error == 0 || error == -ENOENT || error == -E2BIG);
    }
    return NULL;
}

static void *look(void *argument)
{
    uint64_t found = 0;
    (void)argument;
    while (!atomic_load(&done) || !found) /* it may begin after the writers ended */
        for (uint64_t key = 0; key < KEYS; key++) {
            struct value value;
            int error = wbpf_user_map_lookup(map, &key, &value, 0);
            CHECK(error == 0 || error == -ENOENT);
            if (error)
                continue;
            found++;
            CHECK(value.key == key && value.number == value.same);
        }
    return NULL;
}

static void race(uint32_t kind, uint32_t entries)
{
    pthread_t writers[2], reader;
    map = made(kind, 8, sizeof(struct value), entries);
    atomic_store(&done, false);
    CHECK(pthread_create(&reader, NULL, look, NULL) == 0);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&writers[i], NULL, change, (void *)(i + 1)) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
    atomic_store(&done, true);
    CHECK(pthread_join(reader, NULL) == 0);
    wbpf_user_map_close(map);
}

/* ---- prefixes inside each other: what is found is one of the address that was asked for ---- */

struct prefix {
    uint32_t bits;
    uint8_t bytes[4];
};

struct covered {
    struct prefix prefix;
    uint64_t number, same;
};

/* One of 16 addresses that share bytes, and a prefix of 0 to 32 bits of it. */
static struct prefix prefix_at(uint64_t random)
{
    struct prefix prefix = {(uint32_t)(random >> 8) % 33,
                            {random & 1, random >> 1 & 1, random >> 2 & 1, random >> 3 & 1}};
    for (uint32_t i = 0; i < 32; i++)
        if (i >= prefix.bits)
            prefix.bytes[i / 8] &= (uint8_t)~(0x80 >> i % 8);
    return prefix;
}

static void *change_prefixes(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct covered value = {prefix_at(random >> 32), i, i};
        int error = random >> 60 < 6 ? wbpf_user_map_delete(map, &value.prefix)
                                     : wbpf_user_map_update(map, &value.prefix, &value, BPF_ANY);
        CHECK(error == 0 || error == -ENOENT || error == -ENOSPC);
    }
    return NULL;
}

static void *look_up_addresses(void *argument)
{
    uint64_t found = 0;
    (void)argument;
    while (!atomic_load(&done) || !found)
        for (uint32_t n = 0; n < 16; n++) {
            struct prefix address = {32, {n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1}};
            struct covered value;
            int error = wbpf_user_map_lookup(map, &address, &value, 0);
            CHECK(error == 0 || error == -ENOENT);
            if (error)
                continue;
            found++;
            CHECK(value.number == value.same && value.prefix.bits <= 32);
            for (uint32_t i = 0; i < value.prefix.bits; i++)
                CHECK(!((value.prefix.bytes[i / 8] ^ address.bytes[i / 8]) & 0x80 >> i % 8));
        }
    return NULL;
}

static void race_prefixes(void)
{
    pthread_t writers[2], reader;
    wbpf_user_map_spec spec = {.kind = BPF_MAP_TYPE_LPM_TRIE,
                               .key_bytes = sizeof(struct prefix),
                               .value_bytes = sizeof(struct covered),
                               .entries = 64,
                               .flags = BPF_F_NO_PREALLOC,
                               .lock_offset = WBPF_USER_MAP_NO_LOCK};
    CHECK(wbpf_user_map_create(&spec, -1, &map) == 0);
    atomic_store(&done, false);
    CHECK(pthread_create(&reader, NULL, look_up_addresses, NULL) == 0);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&writers[i], NULL, change_prefixes, (void *)(i + 1)) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
    atomic_store(&done, true);
    CHECK(pthread_join(reader, NULL) == 0);
    wbpf_user_map_close(map);
}

/* ---- stacks: whole, and of one thread ---- */

enum { FRAMES = 20 };

static void *put_stacks(void *argument)
{
    uint64_t writer = (uintptr_t)argument;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t stack[FRAMES];
        uint32_t frames = 1 + i % FRAMES, key;
        for (uint32_t n = 0; n < frames; n++)
            stack[n] = writer << 32 | (i % 50 + 1);
        int64_t id = wbpf_user_map_put_stack(map, stack, frames, BPF_F_REUSE_STACKID);
        CHECK(id >= 0 && id < KEYS);
        key = (uint32_t)id;
        int error = i % 7 ? 0 : wbpf_user_map_delete(map, &key);
        CHECK(error == 0 || error == -ENOENT); /* the other thread was there before */
    }
    return NULL;
}

static void *read_stacks(void *argument)
{
    uint64_t found = 0, stack[FRAMES];
    (void)argument;
    while (!atomic_load(&done) || !found)
        for (uint32_t key = 0; key < KEYS; key++) {
            int error = wbpf_user_map_lookup(map, &key, stack, 0);
            CHECK(error == 0 || error == -ENOENT);
            if (error)
                continue;
            found++;
            CHECK(stack[0]);
            for (uint32_t n = 1; n < FRAMES; n++)
                CHECK(stack[n] == stack[0] || !stack[n]);
        }
    return NULL;
}

static void race_stacks(void)
{
    pthread_t writers[2], reader;
    map = made(BPF_MAP_TYPE_STACK_TRACE, 4, FRAMES * 8, KEYS);
    atomic_store(&done, false);
    CHECK(pthread_create(&reader, NULL, read_stacks, NULL) == 0);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&writers[i], NULL, put_stacks, (void *)(i + 1)) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
    atomic_store(&done, true);
    CHECK(pthread_join(reader, NULL) == 0);
    wbpf_user_map_close(map);
}

/* ---- a ring that programs read: one of them at a time, each record once, in order ---- */

static void *write_commands(void *argument)
{
    uint8_t *pages = wbpf_shared_ring_pages(map);
    const uint64_t *consumer = (const uint64_t *)pages;
    uint64_t *producer = (uint64_t *)(pages + 4096), at = 0;
    (void)argument;
    for (uint64_t i = 0; i < RECORDS;) {
        uint32_t bytes = 8 + i % 5 * 8;
        if (at - __atomic_load_n(consumer, __ATOMIC_ACQUIRE) + bytes + 8 > 4096)
            continue;
        uint8_t *record = pages + 8192 + at % 4096;
        memcpy(record + 8, &i, 8);
        __atomic_store_n((uint32_t *)record, i++ % 9 == 8 ? bytes | BPF_RINGBUF_DISCARD_BIT : bytes,
                         __ATOMIC_RELEASE);
        at += bytes + 8;
        __atomic_store_n(producer, at, __ATOMIC_RELEASE);
    }
    return NULL;
}

struct taken {
    uint64_t next, count; /* of all readers: only one is inside at a time */
};

static uint64_t take_command(void *context, const void *data, uint32_t bytes)
{
    struct taken *taken = context;
    uint64_t number;
    memcpy(&number, data, 8);
    CHECK(number >= taken->next && number % 9 != 8 && bytes == 8 + number % 5 * 8);
    taken->next = number + 1;
    taken->count++;
    return number % 3 == 2;
}

static atomic_uint commands_left;

static void *take_commands(void *argument)
{
    while (atomic_load(&commands_left)) {
        int64_t count = wbpf_user_ring_drain(map, take_command, argument);
        CHECK(count >= 0 || count == -EBUSY);
        if (count > 0)
            atomic_fetch_sub(&commands_left, (unsigned)count);
    }
    return NULL;
}

static void race_commands(void)
{
    pthread_t writer, readers[2];
    struct taken taken = {0};
    uint32_t whole = RECORDS - RECORDS / 9;
    map = made(BPF_MAP_TYPE_USER_RINGBUF, 0, 0, 4096);
    atomic_store(&commands_left, whole);
    CHECK(pthread_create(&writer, NULL, write_commands, NULL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&readers[i], NULL, take_commands, &taken) == 0);
    CHECK(pthread_join(writer, NULL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
    CHECK(taken.count == whole);
    wbpf_user_map_close(map);
}

/* ---- a ring, whose records nobody else's bytes are in ---- */

static void *submit(void *argument)
{
    uint64_t writer = (uintptr_t)argument;
    for (uint64_t i = 0; i < RECORDS;) {
        uint64_t bytes = 8 + i % 50, *record = wbpf_shared_ring_reserve(map, bytes);
        if (!record)
            continue;
        memset(record, (int)writer, bytes);
        *record = writer << 32 | i;
        wbpf_shared_ring_submit(record, BPF_RB_NO_WAKEUP, i++ % 5 == 4);
    }
    return NULL;
}

static void drain(void)
{
    uint8_t *base = (uint8_t *)wbpf_shared_ring_pages(map);
    uint64_t *consumer = (uint64_t *)base, at = 0, next[3] = {0}, seen = 0;
    const uint64_t *producer = (const uint64_t *)(base + 4096);
    while (seen < 2 * RECORDS / 5 * 4 || at < __atomic_load_n(producer, __ATOMIC_ACQUIRE)) {
        if (at == __atomic_load_n(producer, __ATOMIC_ACQUIRE))
            continue;
        uint8_t *record = base + 8192 + at % 4096;
        uint32_t header = __atomic_load_n((uint32_t *)record, __ATOMIC_ACQUIRE);
        if (header & BPF_RINGBUF_BUSY_BIT)
            continue;
        uint32_t bytes = header & ~BPF_RINGBUF_DISCARD_BIT;
        if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
            uint64_t word;
            memcpy(&word, record + 8, 8);
            uint64_t writer = word >> 32, number = word & UINT32_MAX;
            CHECK((writer == 1 || writer == 2) && number >= next[writer] && bytes == 8 + number % 50);
            for (uint32_t i = 8; i < bytes; i++)
                CHECK(record[8 + i] == writer);
            next[writer] = number + 1;
            seen++;
        }
        at += (bytes + 8 + 7) / 8 * 8;
        __atomic_store_n(consumer, at, __ATOMIC_RELEASE);
    }
    CHECK(seen == 2 * RECORDS / 5 * 4);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A full ring refuses without walking through it: its reader may be gone for good. */
static void refuse_at_once(void)
{
    uint64_t walk_ns = UINT64_MAX, refusals_ns = UINT64_MAX, *record;
    map = made(BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 20);
    while ((record = wbpf_shared_ring_reserve(map, 8)))
        wbpf_shared_ring_submit(record, BPF_RB_NO_WAKEUP, false);
    for (int i = 0; i < 10; i++) {
        uint64_t begin = now_ns();
        wbpf_shared_ring_reap(map);
        uint64_t middle = now_ns();
        for (int n = 0; n < 100; n++)
            CHECK(!wbpf_shared_ring_reserve(map, 8));
        uint64_t end = now_ns();
        walk_ns = middle - begin < walk_ns ? middle - begin : walk_ns;
        refusals_ns = end - middle < refusals_ns ? end - middle : refusals_ns;
    }
    CHECK(refusals_ns < 10 * walk_ns);
    wbpf_user_map_close(map);
}

int main(void)
{
    refuse_at_once();
    race(BPF_MAP_TYPE_HASH, KEYS);
    race(BPF_MAP_TYPE_HASH, KEYS / 2);
    race(BPF_MAP_TYPE_LRU_HASH, KEYS / 2);
    race_prefixes();
    race_stacks();
    race_commands();

    pthread_t writers[2];
    map = made(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&writers[i], NULL, submit, (void *)(i + 1)) == 0);
    drain();
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
    wbpf_user_map_close(map);
}
