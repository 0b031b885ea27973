/* The pool's segment: its layout, making it, mapping it. */
#include "pool/internal.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIN_OBJECTS 64u
#define MAX_OBJECTS (1u << 24)
#define MAX_HELD    4096u

/* ---- layout ---- */

static uint64_t align(uint64_t offset, uint64_t to)
{
    return (offset + to - 1) / to * to;
}

/* Places the parts, from the counts in the header; gives the lines what is left. False: nothing is left. */
static bool place(struct pool_header *header)
{
    uint64_t at = align(sizeof *header, 4096);
    header->entry_offset = at;
    at += (uint64_t)header->entry_count * sizeof(struct pool_entry);
    header->extent_offset = at;
    at += (uint64_t)header->extent_count * sizeof(struct pool_extent);
    header->bucket_offset = at;
    at += (uint64_t)header->bucket_count * sizeof(uint32_t);
    header->order_offset = at;
    at += (uint64_t)header->entry_count * sizeof(uint32_t);
    header->held_offset = at;
    at += (uint64_t)POOL_PROCESSES * header->held_per_process * sizeof(uint32_t);
    at = align(at, 4096);
    header->line_offset = at;
    if (at + 4096 >= header->segment_bytes)
        return false;
    uint64_t lines = (header->segment_bytes - at - 4096) / (LINE_BYTES + sizeof(struct pool_line));
    header->line_count = lines < UINT32_MAX ? (uint32_t)lines : UINT32_MAX - 1;
    header->data_offset = align(at + lines * sizeof(struct pool_line), 4096);
    return lines >= 2 * (1 + ENVELOPE_LINES);
}

static void size_tables(struct pool_header *header, uint32_t max_objects)
{
    uint64_t objects = max_objects ? max_objects : header->segment_bytes / 8192;
    header->entry_count = (uint32_t)(objects < MIN_OBJECTS   ? MIN_OBJECTS
                                     : objects > MAX_OBJECTS ? MAX_OBJECTS
                                                             : objects);
    header->extent_count =
        2 * header->entry_count + 2; /* each object, and a gap before, between and after them */
    header->bucket_count = 1;
    while (header->bucket_count < header->entry_count)
        header->bucket_count *= 2;
    header->held_per_process = header->entry_count < MAX_HELD ? header->entry_count : MAX_HELD;
}

static void attach(wbpf_pool *pool, void *map)
{
    struct pool_header *header = map;
    pool->header = header;
    pool->entries = (void *)((char *)map + header->entry_offset);
    pool->extents = (void *)((char *)map + header->extent_offset);
    pool->buckets = (void *)((char *)map + header->bucket_offset);
    pool->order = (void *)((char *)map + header->order_offset);
    pool->held = (void *)((char *)map + header->held_offset);
    pool->lines = (void *)((char *)map + header->line_offset);
    pool->data = (uint8_t *)map + header->data_offset;
}

/* ---- making ---- */

static int check_spec(const wbpf_pool_spec *spec)
{
    if (spec->host_count == 0 || spec->host_count > WBPF_POOL_MAX_HOSTS)
        return pool_fail(-EINVAL, "%u hosts: a pool has 1 to %d", spec->host_count, WBPF_POOL_MAX_HOSTS);
    for (uint32_t i = 0; i < spec->host_count; i++) {
        const char *name = spec->hosts[i];
        size_t length = strlen(name);
        if (length == 0 || length > WBPF_POOL_MAX_ID_BYTES || strchr(name, '/') || name[0] == '.' ||
            strcmp(name, "lock") == 0)
            return pool_fail(-EINVAL, "'%s' can't be a host's name: it is the end of a file's name", name);
        if (spec->access_classes[i] >= WBPF_ACCESS_CLASSES)
            return pool_fail(-EINVAL, "host %s: no access class %u", name, spec->access_classes[i]);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(spec->hosts[j], name) == 0)
                return pool_fail(-EINVAL, "host %s is named twice", name);
    }
    const wbpf_latency_model *latency = &spec->latency;
    bool good = latency->knee > 0 && latency->knee < 1 && latency->jitter >= 0 && latency->jitter <= 0.25 &&
                latency->shared_link_bytes_per_s >= 0;
    for (int i = 0; i < WBPF_ACCESS_CLASSES; i++)
        good = good && latency->classes[i].latency_ns >= 0 && latency->classes[i].bytes_per_s >= 0;
    return good ? 0 : pool_fail(-EINVAL, "the latency model has a value that is negative or out of range");
}

static int fill_header(wbpf_pool *pool, const struct pool_header *plan, const wbpf_pool_spec *spec)
{
    struct pool_header *header = pool->header;
    memset(header, 0, plan->data_offset); /* a device may hold an older pool */
    *header = *plan;
    attach(pool, header);
    for (uint32_t i = 0; i < spec->host_count; i++) {
        struct pool_host_record *record = &header->hosts[i];
        snprintf(record->name, sizeof record->name, "%s", spec->hosts[i]);
        record->host_id = wbpf_host_id(spec->hosts[i]);
        record->access_class = spec->access_classes[i];
    }
    header->next_generation = 1;
    directory_rebuild(pool);
    return pool_mutex_init(&header->mutex);
}

static int make_segment(const char *path, struct pool_header *plan, const wbpf_pool_spec *spec)
{
    bool device = pool_is_device(path);
    int fd = device ? open(path, O_RDWR | O_CLOEXEC) : pool_make_file(path, plan->segment_bytes);
    if (fd < 0)
        return device ? pool_fail(-errno, "%s: %s", path, strerror(errno)) : fd;
    void *map;
    int error = pool_map_descriptor(fd, path, plan->segment_bytes, &map);
    close(fd);
    if (error)
        return error;
    wbpf_pool pool = {.header = map};
    error = fill_header(&pool, plan, spec);
    for (uint32_t i = 0; !error && i < spec->host_count; i++) {
        char companion[320];
        error = pool_companion_path(path, spec->hosts[i], companion);
        if (!error)
            error = host_file_create(companion, pool.header);
    }
    if (!error) {
        char companion[320];
        error = pool_companion_path(path, "lock", companion);
        int lock = error ? error : pool_make_file(companion, 0);
        if (lock < 0)
            error = lock;
        else
            close(lock);
    }
    if (!error)
        store_release(&pool.header->magic, POOL_MAGIC);
    munmap(map, plan->segment_bytes);
    return error;
}

int wbpf_pool_create(const char *path, const wbpf_pool_spec *spec)
{
    int error = check_spec(spec);
    if (error)
        return error;
    if (strlen(path) >= sizeof((wbpf_pool *)0)->path || !strchr(path, '/'))
        return pool_fail(-EINVAL, "%s: give an absolute path of at most 255 bytes", path);
    if (!pool_is_device(path) && access(path, F_OK) == 0)
        return pool_fail(-EEXIST, "%s: there is a file of that name", path);
    struct pool_header plan = {.endian = POOL_ENDIAN_MARK,
                               .version = POOL_VERSION,
                               .segment_bytes = spec->size_bytes,
                               .mutex_bytes = sizeof(pthread_mutex_t),
                               .host_count = spec->host_count,
                               .coherent = spec->coherent,
                               .seed = spec->seed,
                               .latency = spec->latency};
    size_tables(&plan, spec->max_objects);
    if (!place(&plan))
        return pool_fail(-EINVAL, "%llu bytes are too few for a pool with %u objects",
                         (unsigned long long)spec->size_bytes, plan.entry_count);
    error = pool_random(&plan.pool_id, sizeof plan.pool_id);
    if (error)
        return error;
    error = make_segment(path, &plan, spec);
    if (error && error != -EEXIST) {
        char kept[384];
        snprintf(kept, sizeof kept, "%s", wbpf_pool_error());
        wbpf_pool_unlink(path);
        for (uint32_t i = 0; i < spec->host_count; i++) { /* the segment can't tell its hosts yet */
            char companion[320];
            if (pool_companion_path(path, spec->hosts[i], companion) == 0)
                unlink(companion);
        }
        pool_fail(error, "%s", kept);
    }
    return error;
}

/* ---- opening ---- */

static int check_header(const char *path, const struct pool_header *header, uint64_t bytes)
{
    if (bytes < sizeof *header || load_acquire(&header->magic) != POOL_MAGIC)
        return pool_fail(-EPROTO, "%s: not a pool, or one whose creator has not finished", path);
    if (header->endian != POOL_ENDIAN_MARK || header->version != POOL_VERSION ||
        header->mutex_bytes != sizeof(pthread_mutex_t))
        return pool_fail(-EPROTO, "%s: a pool of another version, byte order or C library", path);
    struct pool_header again = *header;
    bool good = header->segment_bytes <= bytes && header->entry_count <= MAX_OBJECTS &&
                header->entry_count > 0 && header->extent_count == 2 * header->entry_count + 2 &&
                header->bucket_count <= 2 * MAX_OBJECTS &&
                (header->bucket_count & (header->bucket_count - 1)) == 0 && header->bucket_count > 0 &&
                header->held_per_process <= MAX_HELD && header->held_per_process > 0 &&
                header->host_count <= WBPF_POOL_MAX_HOSTS && place(&again) &&
                memcmp(&again, header, offsetof(struct pool_header, seed)) == 0;
    for (uint32_t i = 0; good && i < header->host_count; i++)
        good = header->hosts[i].access_class < WBPF_ACCESS_CLASSES &&
               memchr(header->hosts[i].name, 0, sizeof header->hosts[i].name);
    return good ? 0 : pool_fail(-EPROTO, "%s: the header of the pool contradicts itself", path);
}

int wbpf_pool_open(const char *path, wbpf_pool **out)
{
    wbpf_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return pool_fail(-ENOMEM, "no memory");
    void *map = NULL;
    int error =
        strlen(path) < sizeof pool->path ? 0 : pool_fail(-ENAMETOOLONG, "%s: the path is too long", path);
    if (!error)
        error = pool_map_file(path, &map, &pool->mapped_bytes);
    if (!error) {
        strcpy(pool->path, path);
        error = check_header(path, map, pool->mapped_bytes);
    }
    if (!error) {
        attach(pool, map);
        error = lock_file_open(pool);
    }
    if (error) {
        if (map)
            munmap(map, pool->mapped_bytes);
        free(pool);
        return error;
    }
    *out = pool;
    return 0;
}

void wbpf_pool_close(wbpf_pool *pool)
{
    lock_file_close(pool);
    munmap(pool->header, pool->mapped_bytes);
    free(pool);
}

int wbpf_pool_unlink(const char *path)
{
    char companion[320];
    void *map;
    uint64_t bytes;
    if (pool_map_file(path, &map, &bytes) == 0) {
        const struct pool_header *header = map;
        if (check_header(path, header, bytes) == 0)
            for (uint32_t i = 0; i < header->host_count; i++)
                if (pool_companion_path(path, header->hosts[i].name, companion) == 0)
                    unlink(companion);
        munmap(map, bytes);
    }
    if (pool_companion_path(path, "lock", companion) == 0)
        unlink(companion);
    if (!pool_is_device(path) && unlink(path) != 0)
        return pool_fail(-errno, "%s: %s", path, strerror(errno));
    return 0;
}

/* ---- what it is ---- */

uint64_t wbpf_pool_get_id(const wbpf_pool *pool)
{
    return pool->header->pool_id;
}

uint32_t wbpf_pool_host_count(const wbpf_pool *pool)
{
    return pool->header->host_count;
}

void wbpf_pool_get_latency(const wbpf_pool *pool, wbpf_latency_model *latency)
{
    *latency = pool->header->latency;
}

int wbpf_pool_get_stats(wbpf_pool *pool, wbpf_pool_stats *stats)
{
    int error = pool_lock(pool);
    if (error)
        return error;
    const struct pool_header *header = pool->header;
    *stats = (wbpf_pool_stats){.segment_bytes = header->segment_bytes,
                               .capacity_bytes = (uint64_t)header->line_count * LINE_BYTES,
                               .used_bytes = (uint64_t)header->used_lines * LINE_BYTES,
                               .free_bytes = (uint64_t)(header->line_count - header->used_lines) * LINE_BYTES,
                               .largest_free_bytes = (uint64_t)allocator_largest_free(pool) * LINE_BYTES,
                               .max_objects = header->entry_count,
                               .objects = header->objects,
                               .unsealed = header->unsealed,
                               .deleted_in_use = header->deleted_in_use,
                               .references = header->references,
                               .recoveries = header->recoveries,
                               .coherent = header->coherent};
    pool_unlock(pool);
    return 0;
}

int wbpf_pool_check(wbpf_pool *pool, char *why)
{
    int error = pool_lock(pool);
    if (error)
        return error;
    const char *wrong = allocator_check(pool);
    if (!wrong)
        wrong = directory_check(pool);
    if (!wrong)
        wrong = references_check(pool);
    pool_unlock(pool);
    if (wrong)
        snprintf(why, 160, "%s", wrong);
    return wrong ? -EUCLEAN : 0;
}
