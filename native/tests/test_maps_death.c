/*
 * A process is single-stepped through updates and deletes of each kind of map and killed after its nth
 * instruction: whoever comes next finds every element that was there before, the one that was being changed
 * as it was or as it was to be, and room for as many as ever.
 */
#include "check.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
int main(void)
{
    puts("needs a build without sanitisers: stepping through their code takes minutes");
    return 77;
}
#else
#include "maps/maps.h"
#include "stepping.h"
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>

enum { ENTRIES = 8, KEPT = 5, NEW = 100 };

struct value {
    uint64_t a, b; /* always the same */
};

static wbpf_user_map *map;
static uint64_t round_number;

/* Of tries: prefixes of one byte and of four. */
static struct prefix {
    uint32_t bits, key;
} prefix;
static bool is_trie;

static void *key_of(uint32_t key)
{
    prefix = (struct prefix){key & 1 ? 8 : 32, key & 1 ? key & 0xff : key};
    return is_trie ? (void *)&prefix : &prefix.key;
}

static void put(uint32_t key, uint64_t number, uint64_t flags)
{
    struct value value = {number, number};
    CHECK(wbpf_user_map_update(map, key_of(key), &value, flags) == 0);
}

static int get(uint32_t key, uint64_t *number)
{
    struct value value = {0};
    int error = wbpf_user_map_lookup(map, key_of(key), &value, 0);
    CHECK(error == 0 || error == -ENOENT);
    CHECK(value.a == value.b);
    *number = value.a;
    return error;
}

static void insert_new(void)
{
    put(NEW, round_number, BPF_NOEXIST);
}

static void replace(void)
{
    put(0, round_number, BPF_EXIST);
}

static void erase(void)
{
    CHECK(wbpf_user_map_delete(map, key_of(1)) == 0);
}

static void evict(void)
{
    for (uint32_t key = 200; key < 202; key++)
        put(key, round_number, BPF_ANY);
}

static void record(void)
{
    uint64_t *record = wbpf_shared_ring_reserve(map, 24);
    CHECK(record);
    record[0] = record[1] = record[2] = round_number;
    wbpf_shared_ring_submit(record, BPF_RB_NO_WAKEUP, false);
}

static void (*const changes[])(void) = {insert_new, replace, erase, evict};

static void fill(uint32_t count)
{
    while (wbpf_user_map_next_key(map, NULL, key_of(0)) == 0)
        CHECK(wbpf_user_map_delete(map, is_trie ? (void *)&prefix : &prefix.key) == 0);
    for (uint32_t key = 0; key < count; key++)
        put(key, round_number - 1, BPF_ANY);
}

static pid_t start(void (*change)(void))
{
    int status;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        change();
        raise(SIGSTOP);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
    return pid;
}

static uint32_t count_elements(void)
{
    uint32_t count = 0;
    void *key = key_of(0);
    for (int error = wbpf_user_map_next_key(map, NULL, key); error == 0; count++) {
        CHECK(count <= ENTRIES);
        error = wbpf_user_map_next_key(map, key, key);
    }
    return count;
}

static void check_after(void (*change)(void), bool is_lru)
{
    uint64_t number;
    uint32_t there = count_elements();
    CHECK(there <= ENTRIES);
    for (uint32_t key = 2; key < KEPT && !is_lru; key++)
        CHECK(get(key, &number) == 0 && number == round_number - 1);
    if (change == insert_new)
        CHECK(get(NEW, &number) != 0 || number == round_number);
    if (change == replace)
        CHECK(get(0, &number) == 0 && (number == round_number || number == round_number - 1));
    if (change == erase)
        CHECK(get(1, &number) != 0 || number == round_number - 1);
    /* Nothing was lost: as many go in as ever, and no more. */
    fill(0);
    CHECK(count_elements() == 0);
    fill(ENTRIES);
    CHECK(count_elements() == ENTRIES);
    struct value value = {1, 1};
    int full = is_lru ? 0 : is_trie ? -ENOSPC : -E2BIG;
    CHECK(wbpf_user_map_update(map, key_of(999), &value, BPF_ANY) == full);
}

static void kill_victim(pid_t pid)
{
    int status;
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WIFEXITED(status));
}

/* Killed after so many instructions; false if the change was over by then. */
static bool kill_after(void (*change)(void), long instructions, bool is_lru)
{
    round_number++;
    fill(change == evict ? ENTRIES : KEPT);
    pid_t pid = start(change);
    enum went went = go(pid, instructions, false);
    kill_victim(pid);
    check_after(change, is_lru);
    return went != ENDED;
}

static void try_kind(uint32_t kind)
{
    wbpf_user_map_spec spec = {.kind = kind,
                               .key_bytes = kind == BPF_MAP_TYPE_LPM_TRIE ? sizeof prefix : 4,
                               .value_bytes = sizeof(struct value),
                               .entries = ENTRIES,
                               .flags = kind == BPF_MAP_TYPE_LPM_TRIE ? BPF_F_NO_PREALLOC : 0,
                               .lock_offset = WBPF_USER_MAP_NO_LOCK};
    bool is_lru = kind == BPF_MAP_TYPE_LRU_HASH;
    is_trie = kind == BPF_MAP_TYPE_LPM_TRIE;
    CHECK(wbpf_user_map_create(&spec, -1, &map) == 0);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        long deaths = 0;
        if ((changes[i] == evict) != is_lru)
            continue;
        round_number++;
        fill(changes[i] == evict ? ENTRIES : KEPT);
        pid_t pid = start(changes[i]);
        learn_route(pid, 1 << 20);
        kill_victim(pid);
        long count = route.count;
        for (long n = 0; n < count; n++)
            deaths += kill_after(changes[i], n, is_lru);
        printf("kind %u, change %zu: killed %ld times in %ld instructions\n", kind, i, deaths, count);
        CHECK(deaths > count / 2);
    }
    wbpf_user_map_close(map);
}

/* What was submitted is read whole; what was reserved alone is in nobody's way. */
static void try_ring(void)
{
    wbpf_user_map_spec spec = {
        .kind = BPF_MAP_TYPE_RINGBUF, .entries = 4096, .lock_offset = WBPF_USER_MAP_NO_LOCK};
    long left = 0;
    CHECK(wbpf_user_map_create(&spec, -1, &map) == 0);
    uint64_t *consumer = wbpf_shared_ring_pages(map);
    const uint8_t *data = (const uint8_t *)consumer + 8192;
    pid_t pid = start(record);
    learn_route(pid, 1 << 20);
    kill_victim(pid);
    *consumer = wbpf_shared_ring_query(map, BPF_RB_PROD_POS);
    for (long n = 0; n < route.count; n++) {
        round_number++;
        pid = start(record);
        go(pid, n, false);
        kill_victim(pid);
        bool pending = wbpf_shared_ring_query(map, BPF_RB_AVAIL_DATA) != 0;
        uint32_t header = *(const uint32_t *)(data + *consumer % 4096);
        left += pending && header & BPF_RINGBUF_BUSY_BIT;
        wbpf_shared_ring_reap(map);
        header = *(const uint32_t *)(data + *consumer % 4096);
        CHECK(!pending || !(header & BPF_RINGBUF_BUSY_BIT));
        if (pending && !(header & BPF_RINGBUF_DISCARD_BIT))
            CHECK(*(const uint64_t *)(data + *consumer % 4096 + 24) == round_number);
        record();
        *consumer = wbpf_shared_ring_query(map, BPF_RB_PROD_POS);
    }
    printf("ring: killed %ld times, %ld of them with a reserved record\n", route.count, left);
    CHECK(left > 5);
    wbpf_user_map_close(map);
}

/* ---- stacks: those in other buckets stay; that of a writer's bucket is whole or gone ---- */

enum { FRAMES = 8, STACKS = 4, VALUES = 64 };

static uint32_t own_bucket;
static uint64_t first_value = 1, other_value, kept_values[STACKS];

/* One that is known by its first frame: the other one is shorter. */
static int64_t put_stack(uint64_t value)
{
    uint64_t stack[FRAMES];
    for (uint32_t i = 0; i < FRAMES; i++)
        stack[i] = value;
    return wbpf_user_map_put_stack(map, stack, value == other_value ? FRAMES - 3 : FRAMES,
                                   BPF_F_REUSE_STACKID);
}

/* 0: there is none. */
static uint64_t stack_in(uint32_t bucket)
{
    uint64_t stack[FRAMES];
    int error = wbpf_user_map_lookup(map, &bucket, stack, 0);
    CHECK(error == 0 || error == -ENOENT);
    if (error)
        return 0;
    CHECK(stack[0]);
    for (uint32_t i = 1; i < FRAMES; i++)
        CHECK(stack[i] == (stack[0] == other_value && i >= FRAMES - 3 ? 0 : stack[0]));
    return stack[0];
}

static void put_first(void)
{
    CHECK(put_stack(first_value) == own_bucket);
}

static void put_other(void)
{
    CHECK(put_stack(other_value) == own_bucket);
}

static void erase_stack(void)
{
    CHECK(wbpf_user_map_delete(map, &own_bucket) == 0);
}

/* Two that share a bucket, and one for each of the others. */
static void choose_stacks(void)
{
    int64_t bucket = put_stack(first_value);
    CHECK(bucket >= 0 && bucket < STACKS);
    own_bucket = (uint32_t)bucket;
    for (uint64_t value = 2; value < VALUES; value++) {
        bucket = put_stack(value);
        CHECK(bucket >= 0 && bucket < STACKS);
        if (bucket != own_bucket)
            kept_values[bucket] = value;
    }
    for (other_value = 2; put_stack(other_value) != own_bucket; other_value++)
        CHECK(other_value < VALUES);
}

static void fill_stacks(bool with_first)
{
    for (uint32_t bucket = 0; bucket < STACKS; bucket++) {
        int error = wbpf_user_map_delete(map, &bucket);
        CHECK(error == 0 || error == -ENOENT);
        if (bucket != own_bucket)
            CHECK(put_stack(kept_values[bucket]) == bucket);
    }
    if (with_first)
        put_first();
}

/* What is in the bucket that was changed. */
static uint64_t check_stacks(void)
{
    uint64_t found = stack_in(own_bucket);
    for (uint32_t bucket = 0; bucket < STACKS; bucket++)
        CHECK(bucket == own_bucket || stack_in(bucket) == kept_values[bucket]);
    put_other();
    CHECK(stack_in(own_bucket) == other_value);
    erase_stack();
    CHECK(stack_in(own_bucket) == 0);
    return found;
}

static void try_stacks(void)
{
    wbpf_user_map_spec spec = {.kind = BPF_MAP_TYPE_STACK_TRACE,
                               .key_bytes = 4,
                               .value_bytes = FRAMES * 8,
                               .entries = STACKS,
                               .lock_offset = WBPF_USER_MAP_NO_LOCK};
    void (*const stack_changes[])(void) = {put_first, put_other, erase_stack};
    CHECK(wbpf_user_map_create(&spec, -1, &map) == 0);
    choose_stacks();
    for (size_t i = 0; i < sizeof stack_changes / sizeof *stack_changes; i++) {
        void (*change)(void) = stack_changes[i];
        uint64_t before = change == put_first ? 0 : first_value;
        uint64_t after = change == put_first ? first_value : change == put_other ? other_value : 0;
        long deaths = 0, as_before = 0, gone = 0;
        fill_stacks(before);
        pid_t pid = start(change);
        learn_route(pid, 1 << 20);
        kill_victim(pid);
        long count = route.count;
        for (long n = 0; n < count; n++) {
            fill_stacks(before);
            pid = start(change);
            deaths += go(pid, n, false) != ENDED;
            kill_victim(pid);
            uint64_t found = check_stacks();
            CHECK(found == before || found == after || !found);
            as_before += found == before;
            gone += !found;
        }
        printf("stacks, change %zu: killed %ld times in %ld instructions, %ld as before, %ld gone\n", i,
               deaths, count, as_before, gone);
        CHECK(deaths > count / 2 && as_before && as_before < count && gone);
    }
    wbpf_user_map_close(map);
}

/* ---- a ring that programs read: the next reader goes on where a killed one was ---- */

enum { COMMANDS = 4, DISCARDED = 2 };

static uint32_t *visits; /* of each record of a round, by all processes */

static uint64_t visit(void *context, const void *data, uint32_t bytes)
{
    uint64_t words[2];
    uint64_t *next = context;
    CHECK(bytes == sizeof words);
    memcpy(words, data, sizeof words);
    CHECK(words[0] == round_number && words[1] < COMMANDS && words[1] >= *next);
    *next = words[1] + 1;
    visits[words[1]]++;
    return 0;
}

static void drain(void)
{
    uint64_t next = 0;
    CHECK(wbpf_user_ring_drain(map, visit, &next) == COMMANDS - 1);
}

static void write_round(void)
{
    uint8_t *pages = wbpf_shared_ring_pages(map);
    uint64_t *producer = (uint64_t *)(pages + 4096), at = *producer;
    round_number++;
    memset(visits, 0, COMMANDS * sizeof *visits);
    for (uint64_t i = 0; i < COMMANDS; i++, at += 24) {
        uint64_t words[2] = {round_number, i};
        uint8_t *record = pages + 8192 + at % 4096;
        for (uint32_t part = 0; part < 2; part++) /* the last one may go over the end */
            memcpy(pages + 8192 + (at + 8 + 8 * part) % 4096, &words[part], 8);
        __atomic_store_n((uint32_t *)(void *)record, 16 | (i == DISCARDED ? BPF_RINGBUF_DISCARD_BIT : 0),
                         __ATOMIC_RELEASE);
    }
    __atomic_store_n(producer, at, __ATOMIC_RELEASE);
}

static void try_user_ring(void)
{
    wbpf_user_map_spec spec = {
        .kind = BPF_MAP_TYPE_USER_RINGBUF, .entries = 4096, .lock_offset = WBPF_USER_MAP_NO_LOCK};
    long deaths = 0, left = 0, twice = 0;
    CHECK(wbpf_user_map_create(&spec, -1, &map) == 0);
    visits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(visits != MAP_FAILED);
    write_round();
    pid_t pid = start(drain);
    learn_route(pid, 1 << 20);
    kill_victim(pid);
    for (long n = 0; n < route.count; n++) {
        uint64_t next = 0;
        long again = 0;
        write_round();
        pid = start(drain);
        deaths += go(pid, n, false) != ENDED;
        kill_victim(pid);
        left += visits[0] && !visits[COMMANDS - 1];
        CHECK(wbpf_user_ring_drain(map, visit, &next) >= 0);
        for (uint32_t i = 0; i < COMMANDS; i++) {
            CHECK(i == DISCARDED ? !visits[i] : visits[i] == 1 || visits[i] == 2);
            again += visits[i] == 2;
        }
        CHECK(again <= 1);
        twice += again;
        CHECK(wbpf_user_ring_drain(map, visit, &next) == 0);
    }
    printf("user ring: killed %ld times in %ld instructions, %ld among its records, %ld within one\n", deaths,
           route.count, left, twice);
    CHECK(deaths > route.count / 2 && left > 5 && twice > 5);
    munmap(visits, 4096);
    wbpf_user_map_close(map);
}

int main(void)
{
    try_ring();
    try_user_ring();
    try_stacks();
    try_kind(BPF_MAP_TYPE_HASH);
    try_kind(BPF_MAP_TYPE_LRU_HASH);
    try_kind(BPF_MAP_TYPE_LPM_TRIE);
}
#endif
