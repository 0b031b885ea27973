/* Making, opening and locking maps; what is the same for all kinds of them. */
#include "maps/internal.h"
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PERF_BYTES     (1 << 18)
#define LOCK_TIMEOUT_S 1 /* it is held for microseconds: a holder must be stopped */

static const struct map_kind *const kinds[] = {
    [BPF_MAP_TYPE_HASH] = &map_hash,
    [BPF_MAP_TYPE_ARRAY] = &map_array,
    [BPF_MAP_TYPE_PROG_ARRAY] = &map_prog_array,
    [BPF_MAP_TYPE_PERCPU_HASH] = &map_percpu_hash,
    [BPF_MAP_TYPE_PERCPU_ARRAY] = &map_percpu_array,
    [BPF_MAP_TYPE_LRU_HASH] = &map_lru_hash,
    [BPF_MAP_TYPE_LRU_PERCPU_HASH] = &map_percpu_lru_hash,
    [BPF_MAP_TYPE_LPM_TRIE] = &map_lpm_trie,
    [BPF_MAP_TYPE_ARRAY_OF_MAPS] = &map_array_of_maps,
    [BPF_MAP_TYPE_HASH_OF_MAPS] = &map_hash_of_maps,
    [BPF_MAP_TYPE_STACK_TRACE] = &map_stacks,
    [BPF_MAP_TYPE_USER_RINGBUF] = &map_user_ring,
    [BPF_MAP_TYPE_DEVMAP] = &map_targets,
    [BPF_MAP_TYPE_CPUMAP] = &map_targets,
    [BPF_MAP_TYPE_XSKMAP] = &map_targets,
    [BPF_MAP_TYPE_DEVMAP_HASH] = &map_devices_hash,
    [BPF_MAP_TYPE_QUEUE] = &map_queue,
    [BPF_MAP_TYPE_STACK] = &map_stack,
    [BPF_MAP_TYPE_RINGBUF] = &map_ring,
    [BPF_MAP_TYPE_PERF_EVENT_ARRAY] = &map_perf,
    [BPF_MAP_TYPE_BLOOM_FILTER] = &map_bloom,
};

static pthread_mutex_t known_mutex = PTHREAD_MUTEX_INITIALIZER;
static wbpf_user_map *known;
static __thread bool locking;

wbpf_user_map *map_ring_around(const void *record)
{
    wbpf_user_map *map = load_published(&known);
    while (!map_ring_bytes(&map->spec) ||
           (size_t)((const uint8_t *)record - map->data) >= 2 * map_ring_bytes(&map->spec))
        map = load_published(&map->next_known);
    return map;
}

static const struct map_kind *kind_of(uint32_t number)
{
    return number < sizeof kinds / sizeof *kinds ? kinds[number] : NULL;
}

static int init_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    int error = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return -error;
}

static void note(wbpf_user_map *map)
{
    pthread_mutex_lock(&known_mutex);
    map->next_known = known;
    publish(&known, map);
    pthread_mutex_unlock(&known_mutex);
}

/* The mapping has a second look at a ring's data behind the first, as the kernel's has. */
static int map_file(wbpf_user_map *map)
{
    size_t twice = map_ring_bytes(&map->spec);
    uint8_t *base =
        mmap(NULL, map->bytes + twice, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, map->fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    map->base = base;
    map->header = (struct map_header *)base;
    if (twice && mmap(base + map->bytes, twice, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, map->fd,
                      (off_t)(map->bytes - twice)) == MAP_FAILED)
        return -errno;
    return 0;
}

static wbpf_user_map *handle_for(const wbpf_user_map_spec *spec, int fd)
{
    wbpf_user_map *map = calloc(1, sizeof *map);
    if (map) {
        map->spec = *spec;
        map->kind = kind_of(spec->kind);
        map->fd = fd;
        map->users = 1;
        map->bytes = round_up(map->kind->lay_out(map), (size_t)4096);
    }
    return map;
}

static int fill(wbpf_user_map *map)
{
    int error = ftruncate(map->fd, 0) < 0 || ftruncate(map->fd, (off_t)map->bytes) < 0 ? -errno : 0;
    if (!error) /* a full file system says so now, not by a signal later */
        error = -posix_fallocate(map->fd, 0, (off_t)map->bytes);
    if (!error)
        error = map_file(map);
    if (error)
        return error;
    map->kind->lay_out(map);
    struct map_header *header = map->header;
    header->spec = map->spec;
    header->bytes = map->bytes;
    do {
        if (getrandom(&header->id, sizeof header->id, 0) < 0 ||
            getrandom(&header->seed, sizeof header->seed, 0) < 0)
            return -errno;
    } while (!header->id);
    error = init_mutex(&header->mutex);
    if (error)
        return error;
    if (map->kind->init)
        map->kind->init(map);
    publish(&header->magic, MAP_MAGIC);
    return 0;
}

int wbpf_user_map_create(const wbpf_user_map_spec *spec, int fd, wbpf_user_map **out)
{
    wbpf_user_map_spec made = *spec;
    const struct map_kind *kind = kind_of(spec->kind);
    if (!kind)
        return -EINVAL;
    if (!made.cpus)
        made.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
    if (made.kind == BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
        made.extra = made.extra ? made.extra : PERF_BYTES;
        made.entries = made.entries ? made.entries : made.cpus;
    }
    int error = kind->validate(&made);
    if (error)
        return error;
    bool own = fd < 0;
    if (own && (fd = memfd_create("wbpf-map", MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0)
        return -errno;
    wbpf_user_map *map = handle_for(&made, fd);
    error = map ? fill(map) : -ENOMEM;
    /* Other processes that are handed it can rely on its size. */
    if (!error && own && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        error = -errno;
    if (!error) {
        note(map);
        *out = map;
        return 0;
    }
    if (map && map->base)
        munmap(map->base, map->bytes + map_ring_bytes(&map->spec));
    if (own)
        close(fd);
    free(map);
    return error;
}

int wbpf_user_map_open(int fd, wbpf_user_map **out)
{
    struct map_header header;
    struct stat facts;
    ssize_t got = pread(fd, &header, sizeof header, 0);
    if (got < 0 || fstat(fd, &facts) < 0)
        return -errno;
    const struct map_kind *kind = kind_of(header.spec.kind);
    if (got < (ssize_t)sizeof header || header.magic != MAP_MAGIC || !kind || kind->validate(&header.spec))
        return -EINVAL;
    wbpf_user_map *map = handle_for(&header.spec, fd);
    if (!map)
        return -ENOMEM;
    int error = map->bytes == (size_t)facts.st_size ? map_file(map) : -EINVAL;
    if (error) {
        if (map->base)
            munmap(map->base, map->bytes + map_ring_bytes(&map->spec));
        free(map);
        return error;
    }
    map->kind->lay_out(map);
    note(map);
    *out = map;
    return 0;
}

wbpf_user_map *wbpf_user_map_share(wbpf_user_map *map)
{
    __atomic_fetch_add(&map->users, 1, __ATOMIC_RELAXED);
    return map;
}

void wbpf_user_map_close(wbpf_user_map *map)
{
    if (!map || __atomic_sub_fetch(&map->users, 1, __ATOMIC_ACQ_REL))
        return;
    pthread_mutex_lock(&known_mutex);
    wbpf_user_map **at = &known;
    while (*at != map)
        at = &(*at)->next_known;
    publish(at, map->next_known);
    pthread_mutex_unlock(&known_mutex);
    munmap(map->base, map->bytes + map_ring_bytes(&map->spec));
    close(map->fd);
    free(map);
}

void wbpf_user_map_facts(const wbpf_user_map *map, wbpf_user_map_spec *out)
{
    *out = map->spec;
}

void wbpf_user_map_freeze(wbpf_user_map *map)
{
    __atomic_store_n(&map->frozen, true, __ATOMIC_RELEASE);
}

bool wbpf_user_map_is_open(const wbpf_user_map *map)
{
    return !load_word(&map->frozen) && map->spec.lock_offset == WBPF_USER_MAP_NO_LOCK;
}

int wbpf_user_map_fd(const wbpf_user_map *map)
{
    return map->fd;
}

uint32_t wbpf_user_map_id(const wbpf_user_map *map)
{
    return map->header->id;
}

wbpf_user_map *wbpf_user_map_by_id(uint32_t id)
{
    wbpf_user_map *map = load_published(&known);
    while (map && map->header->id != id)
        map = load_published(&map->next_known);
    return map;
}

void *wbpf_user_map_row(const wbpf_user_map *map, uint32_t *stride)
{
    *stride = (uint32_t)map->stride;
    return map->kind == &map_array || map->kind == &map_percpu_array ? map->values : NULL;
}

uint64_t wbpf_user_map_entries(const wbpf_user_map *map)
{
    return (uint64_t)(map->kind->per_cpu ? map->spec.cpus : 0) << 32 | map->spec.entries;
}

size_t wbpf_user_map_value_span(const wbpf_user_map *map)
{
    size_t bytes = map->spec.value_bytes;
    return map->kind->per_cpu ? round_up(bytes, (size_t)8) * map->spec.cpus : bytes;
}

/* ---- the lock ---- */

int map_lock(wbpf_user_map *map)
{
    if (locking)
        return -EBUSY;
    locking = true;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    pthread_mutex_t *mutex = &map->header->mutex;
    int error = pthread_mutex_trylock(mutex);
    if (error == EBUSY) {
        struct timespec deadline;
#ifdef __SANITIZE_THREAD__ /* it does not know pthread_mutex_clocklock() */
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += LOCK_TIMEOUT_S;
        error = pthread_mutex_timedlock(mutex, &deadline);
#else
        clock_gettime(CLOCK_MONOTONIC, &deadline);
        deadline.tv_sec += LOCK_TIMEOUT_S;
        error = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &deadline);
#endif
    }
    if (error == EOWNERDEAD) {
        if (map->kind->repair)
            map->kind->repair(map);
        error = pthread_mutex_consistent(mutex);
    }
    if (error) {
        locking = false;
        return -EBUSY;
    }
    return 0;
}

void map_unlock(wbpf_user_map *map)
{
    pthread_mutex_unlock(&map->header->mutex);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    locking = false;
}

uint32_t map_cpu(const wbpf_user_map *map)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (uint32_t)cpu % map->spec.cpus;
}

/* ---- operations ---- */

static bool is_like(const wbpf_user_map *outer, const wbpf_user_map *map)
{
    return map->spec.kind == outer->spec.inner_kind && map->spec.key_bytes == outer->spec.inner_key_bytes &&
           map->spec.value_bytes == outer->spec.inner_value_bytes &&
           map->spec.lock_offset == WBPF_USER_MAP_NO_LOCK;
}

/* Looked at here too: whoever shares the outer map may have put anything into it. */
static wbpf_user_map *inner(const wbpf_user_map *outer, const uint32_t *value)
{
    wbpf_user_map *map = value ? wbpf_user_map_by_id(load_word(value)) : NULL;
    return map && is_like(outer, map) ? map : NULL;
}

void *wbpf_user_map_find_on(wbpf_user_map *map, const void *key, uint32_t cpu)
{
    if (!map->kind->find || cpu >= map->spec.cpus)
        return NULL;
    void *value = map->kind->find(map, key, cpu);
    return map->kind->of_maps ? (void *)inner(map, value) : value;
}

void *wbpf_user_map_find(wbpf_user_map *map, const void *key)
{
    return wbpf_user_map_find_on(map, key, map->kind->per_cpu ? map_cpu(map) : 0);
}

/* How far into one of its values an address is; UINT64_MAX: it is in none. */
static uint64_t place_in_value(const wbpf_user_map *map, uint64_t address)
{
    bool in_elements = map->first && !map->kind->per_cpu;
    if (in_elements) {
        uint64_t at = address - (uint64_t)(uintptr_t)map->first;
        return at < map->elements * map->element_bytes ? at % map->element_bytes - map->value_at : UINT64_MAX;
    }
    uint64_t at = address - (uint64_t)(uintptr_t)map->values;
    if (at >= map->cpu_stride * (map->kind->per_cpu ? map->spec.cpus : 1))
        return UINT64_MAX;
    at %= map->cpu_stride;
    return at / map->stride < (map->first ? map->elements : map->spec.entries) ? at % map->stride
                                                                               : UINT64_MAX;
}

bool wbpf_user_map_holds(const wbpf_user_map *map, uint64_t address, uint64_t bytes, bool write)
{
    if (!map->kind->lends || (write && map->spec.flags & BPF_F_RDONLY_PROG))
        return false;
    uint64_t at = place_in_value(map, address), lock = map->spec.lock_offset;
    if (at >= map->spec.value_bytes || bytes > map->spec.value_bytes - at)
        return false;
    return lock == WBPF_USER_MAP_NO_LOCK || at + bytes <= lock || at >= lock + 4;
}

static int validate_lock(const wbpf_user_map *map, uint64_t flags)
{
    return flags & BPF_F_LOCK && map->spec.lock_offset == WBPF_USER_MAP_NO_LOCK ? -EINVAL : 0;
}

static int update(wbpf_user_map *map, const void *key, const void *value, uint64_t flags, bool all)
{
    if (load_word(&map->frozen))
        return -EPERM;
    if (map->kind->push && !key)
        return map->kind->push(map, value, flags);
    if (!map->kind->update)
        return -EOPNOTSUPP;
    if ((flags & ~(uint64_t)BPF_F_LOCK) > BPF_EXIST)
        return -EINVAL;
    int error = validate_lock(map, flags);
    if (!error && map->kind->of_maps) {
        uint32_t id;
        memcpy(&id, value, sizeof id);
        const wbpf_user_map *one = wbpf_user_map_by_id(id);
        error = one && !is_like(map, one) ? -EINVAL : 0;
    }
    return error ? error : map->kind->update(map, key, value, flags, all);
}

int wbpf_user_map_put(wbpf_user_map *map, const void *key, const void *value, uint64_t flags)
{
    return update(map, key, value, flags, false);
}

int wbpf_user_map_update(wbpf_user_map *map, const void *key, const void *value, uint64_t flags)
{
    return update(map, key, value, flags, true);
}

int wbpf_user_map_lookup(wbpf_user_map *map, const void *key, void *value, uint64_t flags)
{
    if (flags & ~(uint64_t)BPF_F_LOCK || validate_lock(map, flags))
        return -EINVAL;
    if (map->kind == &map_bloom || (map->kind->take && !key))
        return map->kind->take(map, value, true);
    if (!map->kind->read)
        return -EOPNOTSUPP;
    if (!(flags & BPF_F_LOCK))
        return map->kind->read(map, key, value, false);
    void *there = map->kind->find(map, key, 0);
    if (!there)
        return -ENOENT;
    map_copy_value(map, value, there, false, true);
    return 0;
}

int wbpf_user_map_lookup_and_delete(wbpf_user_map *map, const void *key, void *value, uint64_t flags)
{
    if (flags & ~(uint64_t)BPF_F_LOCK)
        return -EINVAL;
    if (map->kind == &map_queue || map->kind == &map_stack)
        return flags ? -EINVAL : map->kind->take(map, value, false);
    if (!map->kind->erase || !map->kind->read || map->spec.kind == BPF_MAP_TYPE_LPM_TRIE)
        return -ENOTSUPP;
    return map->kind->read(map, key, value, true);
}

int wbpf_user_map_delete(wbpf_user_map *map, const void *key)
{
    if (!map->kind->erase)
        return map->kind->update ? -EINVAL : -EOPNOTSUPP;
    return map->kind->erase(map, key);
}

int wbpf_user_map_next_key(wbpf_user_map *map, const void *key, void *next)
{
    if (!map->kind->next_key)
        return map->kind == &map_queue || map->kind == &map_stack ? -EINVAL : -EOPNOTSUPP;
    return map->kind->next_key(map, key, next);
}

int wbpf_user_map_read_batch(wbpf_user_map *map, uint32_t *cursor, void *keys, void *values, uint32_t *count,
                             bool take)
{
    if (map->kind->read_batch)
        return map->kind->read_batch(map, cursor, keys, values, count, take);
    *count = 0;
    return -EOPNOTSUPP;
}

int64_t wbpf_user_map_for_each(wbpf_user_map *map, wbpf_user_map_visit visit, void *context)
{
    return map->kind->for_each ? map->kind->for_each(map, visit, context) : -EINVAL;
}

int wbpf_user_map_push(wbpf_user_map *map, const void *value, uint64_t flags)
{
    return map->kind->push ? map->kind->push(map, value, flags) : -EOPNOTSUPP;
}

int wbpf_user_map_pop(wbpf_user_map *map, void *value)
{
    return map->kind->take && map->kind != &map_bloom ? map->kind->take(map, value, false) : -EOPNOTSUPP;
}

int wbpf_user_map_peek(wbpf_user_map *map, void *value)
{
    return map->kind->take ? map->kind->take(map, value, true) : -EOPNOTSUPP;
}
