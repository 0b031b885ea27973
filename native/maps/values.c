/* Copying and locking values, hashing keys. */
#include "maps/internal.h"
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS_A_LOOK 10000

/* `to` is in a map, at a multiple of 8 as all values are. */
void map_copy_in(void *to, const void *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)from + i, 8);
        store_word((uint64_t *)((uint8_t *)to + i), word);
    }
    for (; i < bytes; i++)
        store_word((uint8_t *)to + i, ((const uint8_t *)from)[i]);
}

void map_copy_out(void *to, const void *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word = load_word((const uint64_t *)((const uint8_t *)from + i));
        memcpy((uint8_t *)to + i, &word, 8);
    }
    for (; i < bytes; i++)
        ((uint8_t *)to)[i] = load_word((const uint8_t *)from + i);
}

static void copy_part(void *to, const void *from, size_t at, size_t end, bool into)
{
    (into ? map_copy_in : map_copy_out)((uint8_t *)to + at, (const uint8_t *)from + at, end - at);
}

void map_copy_value(const wbpf_user_map *map, void *to, const void *from, bool into, bool lock)
{
    uint32_t at = map->spec.lock_offset;
    if (at == WBPF_USER_MAP_NO_LOCK) {
        copy_part(to, from, 0, map->spec.value_bytes, into);
        return;
    }
    uint32_t *word = (uint32_t *)((uint8_t *)(into ? to : (void *)(uintptr_t)from) + at);
    if (lock)
        wbpf_value_lock(word);
    for (size_t i = 0; i < map->spec.value_bytes; i++) { /* the lock need not be at a multiple of 8 */
        if (i >= at && i < at + 4u) {
            if (!into)
                ((uint8_t *)to)[i] = 0;
        } else {
            copy_part(to, from, i, i + 1, into);
        }
    }
    if (lock)
        wbpf_value_unlock(word);
}

static __thread uint32_t thread;

static void forget_thread(void)
{
    thread = 0;
}

uint32_t map_thread(void)
{
    static bool registered;
    if (__builtin_expect(!thread, 0)) {
        if (!__atomic_exchange_n(&registered, true, __ATOMIC_RELAXED))
            pthread_atfork(NULL, NULL, forget_thread);
        thread = (uint32_t)syscall(SYS_gettid);
    }
    return thread;
}

bool map_is_dead(uint32_t number)
{
    return kill((pid_t)number, 0) < 0 && errno == ESRCH;
}

/* The thread that holds it is in it, so that nobody waits for the dead. */
void wbpf_value_lock(uint32_t *lock)
{
    uint32_t self = map_thread();
    for (uint32_t spins = 1;; spins++) {
        uint32_t holder = 0;
        /* Its own: a program that interrupts another of its thread would wait for ever. */
        if (__atomic_compare_exchange_n(lock, &holder, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) ||
            holder == self)
            return;
        if (spins % SPINS_A_LOOK)
            continue;
        if (map_is_dead(holder))
            __atomic_compare_exchange_n(lock, &holder, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        else
            sched_yield();
    }
}

void wbpf_value_unlock(uint32_t *lock)
{
    publish(lock, 0);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t map_hash_of(uint64_t seed, const void *key, size_t bytes)
{
    const uint8_t *at = key;
    uint64_t hash = seed ^ bytes, word;
    if (bytes == 8) {
        memcpy(&word, at, 8);
        return mix(hash ^ word, 0x9e3779b97f4a7c15u);
    }
    if (bytes == 4) {
        uint32_t half;
        memcpy(&half, at, 4);
        return mix(hash ^ half, 0x9e3779b97f4a7c15u);
    }
    for (; bytes >= 8; at += 8, bytes -= 8) {
        memcpy(&word, at, 8);
        hash = mix(hash ^ word, 0x9e3779b97f4a7c15u);
    }
    if (bytes) {
        word = 0;
        memcpy(&word, at, bytes);
        hash = mix(hash ^ word, 0xd6e8feb86659fd93u);
    }
    return mix(hash, 0xa0761d6478bd642fu);
}
