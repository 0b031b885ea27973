/* What a program that is checked while it runs may use of a map: its values, whole, and nothing beside them.
 */
#include "check.h"
#include "maps/internal.h"
#include <string.h>

enum { VALUE = 20, ENTRIES = 6, LOCK = 8, CPUS = 3 };

struct round {
    uint32_t kind, key_bytes, flags, lock;
};

static bool holds(const wbpf_user_map *map, const uint8_t *at, uint64_t bytes, bool write)
{
    return wbpf_user_map_holds(map, (uint64_t)(uintptr_t)at, bytes, write);
}

/* All places in and around a value, against what is right of one. */
static void check_value(const wbpf_user_map *map, const uint8_t *value, const struct round *round)
{
    for (int at = -24; at < VALUE + 24; at++)
        for (int bytes = 1; bytes <= 8; bytes *= 2) {
            bool inside = at >= 0 && at + bytes <= VALUE;
            bool locked = round->lock != WBPF_USER_MAP_NO_LOCK && at < LOCK + 4 && at + bytes > LOCK;
            if (at >= VALUE + 4 || at + bytes <= -4) /* maybe another's */
                continue;
            CHECK(holds(map, value + at, bytes, false) == (inside && !locked));
            CHECK(holds(map, value + at, bytes, true) ==
                  (inside && !locked && !(round->flags & BPF_F_RDONLY_PROG)));
        }
}

static void check_kind(const struct round *round)
{
    wbpf_user_map_spec spec = {.kind = round->kind,
                               .key_bytes = round->key_bytes,
                               .value_bytes = VALUE,
                               .entries = ENTRIES,
                               .flags = round->flags,
                               .lock_offset = round->lock,
                               .cpus = CPUS};
    wbpf_user_map *map;
    CHECK(wbpf_user_map_create(&spec, -1, &map) == 0);
    bool per_cpu = round->kind == BPF_MAP_TYPE_PERCPU_ARRAY || round->kind == BPF_MAP_TYPE_PERCPU_HASH ||
                   round->kind == BPF_MAP_TYPE_LRU_PERCPU_HASH;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint32_t key[2] = {i, i};
        uint8_t value[CPUS * (VALUE + 4)];
        if (round->kind == BPF_MAP_TYPE_LPM_TRIE)
            key[0] = 32;
        memset(value, (int)i, sizeof value);
        CHECK(wbpf_user_map_update(map, key, value, BPF_ANY) == 0);
        for (uint32_t cpu = 0; cpu < (per_cpu ? CPUS : 1); cpu++) {
            const uint8_t *there = wbpf_user_map_find_on(map, key, cpu);
            CHECK(there && *there == i);
            check_value(map, there, round);
        }
    }
    uint32_t first[2] = {round->kind == BPF_MAP_TYPE_LPM_TRIE ? 32 : 0, 0};
    const uint8_t *value = wbpf_user_map_find_on(map, first, 0);
    CHECK(!holds(map, value - 4096, 8, false) && !holds(map, value + (1 << 20), 8, false));
    CHECK(!holds(map, NULL, 8, false) && !wbpf_user_map_holds(map, UINT64_MAX - 3, 8, false));
    wbpf_user_map_close(map);
}

/* Numbers of maps and programs are not lent: who changes them decides what others run. */
static void check_numbers(uint32_t kind)
{
    wbpf_user_map_spec spec = {
        .kind = kind, .key_bytes = 4, .value_bytes = 4, .entries = 4, .lock_offset = WBPF_USER_MAP_NO_LOCK};
    wbpf_user_map *map;
    CHECK(wbpf_user_map_create(&spec, -1, &map) == 0);
    CHECK(!holds(map, map->values, 4, false) && !holds(map, map->values, 4, true));
    wbpf_user_map_close(map);
}

int main(void)
{
    static const uint32_t free_lock = WBPF_USER_MAP_NO_LOCK;
    static const struct round rounds[] = {
        {BPF_MAP_TYPE_ARRAY, 4, 0, free_lock},
        {BPF_MAP_TYPE_ARRAY, 4, BPF_F_RDONLY_PROG, free_lock},
        {BPF_MAP_TYPE_ARRAY, 4, 0, LOCK},
        {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 0, free_lock},
        {BPF_MAP_TYPE_HASH, 4, 0, free_lock},
        {BPF_MAP_TYPE_HASH, 8, 0, LOCK},
        {BPF_MAP_TYPE_PERCPU_HASH, 4, 0, free_lock},
        {BPF_MAP_TYPE_LRU_HASH, 4, BPF_F_RDONLY_PROG, free_lock},
        {BPF_MAP_TYPE_LRU_PERCPU_HASH, 8, 0, free_lock},
        {BPF_MAP_TYPE_LPM_TRIE, 8, BPF_F_NO_PREALLOC, free_lock},
    };
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++)
        check_kind(&rounds[i]);
    check_numbers(BPF_MAP_TYPE_PROG_ARRAY);
    check_numbers(BPF_MAP_TYPE_ARRAY_OF_MAPS);
    return 0;
}
