/* Threads use one map at the same time: values are never torn, keys never another's, nothing is lost. */
#include "check.h"
#include "maps/maps.h"
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

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

int main(void)
{
    race(BPF_MAP_TYPE_HASH, KEYS);
    race(BPF_MAP_TYPE_HASH, KEYS / 2);
    race(BPF_MAP_TYPE_LRU_HASH, KEYS / 2);
    race_prefixes();

    pthread_t writers[2];
    map = made(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&writers[i], NULL, submit, (void *)(i + 1)) == 0);
    drain();
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
    wbpf_user_map_close(map);
}
