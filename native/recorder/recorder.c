/* This process's recorder: opened and closed, with the schemas that it knows. */
#include "opening.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLAB_BYTES 65536

struct mapping wbpf_map;
struct recorder_state *wbpf_state;
const char *wbpf_path;
uint32_t *wbpf_doorbell;
uint64_t wbpf_own_host_id;
static __thread char tls_error[512] = "no error";
static char path_storage[PATH_BYTES];
static uint32_t opening; /* pid of the process that is opening */

int recorder_fail(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(tls_error, sizeof tls_error, format, arguments);
    va_end(arguments);
    return error;
}

const char *wbpf_error(void)
{
    return tls_error;
}

const char *wbpf_segment_path(void)
{
    return wbpf_path;
}

uint64_t wbpf_host_id(const char *host)
{
    return fnv1a(host, strlen(host));
}

/* Callers keep schema ids for good: a segment that is opened later gets the descriptors too, the first ones
   first, as long as half of its schema area stays free for new ones. */
static struct known_schema {
    struct known_schema *next;
    const char *name, *fields;
} *known_schemas, **known_schemas_end = &known_schemas;

/* Memory for them. Not malloc()'s, whose locks may be held by what a signal handler interrupted, or by
 * threads that a raw clone left behind. */
static void *keep(size_t bytes)
{
    static uint8_t *at;
    static size_t left;
    bytes = (bytes + 7) & ~(size_t)7;
    if (bytes > left) {
        void *slab = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (slab == MAP_FAILED)
            return NULL;
        at = slab;
        left = SLAB_BYTES;
    }
    left -= bytes;
    at += bytes;
    return at - bytes;
}

static void remember_schema(const char *name, const char *fields)
{
    for (struct known_schema *k = known_schemas; k; k = k->next)
        if (strcmp(k->name, name) == 0 && strcmp(k->fields, fields) == 0)
            return;
    size_t name_bytes = strlen(name) + 1, fields_bytes = strlen(fields) + 1;
    struct known_schema *k = keep(sizeof *k);
    char *text = k ? keep(name_bytes + fields_bytes) : NULL;
    if (!text)
        return;
    memcpy(text, name, name_bytes);
    memcpy(text + name_bytes, fields, fields_bytes);
    *k = (struct known_schema){NULL, text, text + name_bytes};
    store_release(known_schemas_end, k); /* a fork of another thread may come in between */
    known_schemas_end = &k->next;
}

static bool schema_area_is_half_full(const struct mapping *map)
{
    return load_relaxed(&map->header->schema_used) > map->fixed.schema_bytes / 2;
}

static void add_known_schemas(const struct mapping *map, const struct process *self)
{
    for (const struct known_schema *k = known_schemas; k && !schema_area_is_half_full(map); k = k->next)
        schema_add(map, self, k->name, k->fields);
}

wbpf_schema wbpf_schema_register(const char *name, const char *fields)
{
    struct writer *w = writer_here();
    if (!w || !name || !*name || w->busy || !writer_enter(w))
        return 0;
    fields = fields ? fields : "";
    state_lock();
    uint32_t id = schema_add(&wbpf_map, &wbpf_state->process, name, fields);
    if (id && !schema_area_is_half_full(&wbpf_map))
        remember_schema(name, fields);
    state_unlock();
    writer_leave(w);
    return id;
}

/* ---- opening ---- */

static int open_segment(const wbpf_options *options)
{
    wbpf_options o;
    char directory[PATH_BYTES / 2 + 80], host[256], service[256], why[256] = "";
    int error = recorder_options(options, &o, directory, host, service);
    if (error || (error = host_make_directory(directory)))
        return error;
    snprintf(directory + strlen(directory), 80, "/%.64s", host);
    if ((error = host_make_directory(directory)))
        return error;
    char absolute[PATH_BYTES]; /* the lock file is opened again when the process has moved elsewhere */
    if (!realpath(directory, absolute))
        return recorder_fail(-errno, "cannot find the folder %s: %s", directory, strerror(errno));
    snprintf(path_storage, sizeof path_storage, "%.4000s/%.64s.seg", absolute, service);
    struct layout_spec spec = {.host = host,
                               .service = service,
                               .incarnation = host_incarnation(directory),
                               .bytes = (uint64_t)o.size_mib << 20,
                               .chunk_bytes = o.chunk_bytes,
                               .level = o.level};
    bool made = access(path_storage, F_OK) != 0;
    if (made && (error = host_create_segment(path_storage, &spec)))
        return error;
    int fd = layout_open_file(path_storage, true, why);
    if (fd < 0)
        return recorder_fail(fd, "cannot open the segment %s: %s", path_storage, why);
    struct mapping map;
    error = layout_map_file(fd, true, &map, NULL, why);
    close(fd);
    if (error)
        return recorder_fail(error, "%s is not usable: %s; remove it if no process uses it", path_storage,
                             why);
    madvise(map.base, map.bytes, MADV_POPULATE_WRITE); /* best effort: 5.14 and later */
    struct recorder_state *state = wbpf_state ? wbpf_state : wiped_memory_map(sizeof *state);
    if (!state) {
        munmap(map.base, map.bytes);
        return recorder_fail(-ENOMEM, "no memory that a forked child finds wiped (MADV_WIPEONFORK)");
    }
    error = process_join(&map, path_storage, &state->process);
    if (error) {
        munmap(map.base, map.bytes);
        return error == -EUSERS
                   ? recorder_fail(error, "all process slots of %s are taken; use another WBPF_SERVICE",
                                   path_storage)
                   : recorder_fail(error, "cannot lock a process slot of %s: %s", path_storage,
                                   strerror(-error));
    }
    process_tell_slots(&map, &state->process);
    writer_watch_exits();
    wbpf_clock_kind = map.fixed.clock_kind;
    struct wbpf_calibration now;
    clock_calibrate(wbpf_clock_kind, &now);
    clock_record_calibration(map.header, &now);
    wbpf_map = map;
    wbpf_own_host_id = map.header->host_id;
    wbpf_state = state;
    wbpf_doorbell = host_map_doorbell(directory);
    add_known_schemas(&map, &state->process);
    store_release(&state->alive, 1);
    store_release(&wbpf_path, (const char *)path_storage);
    if (made)
        wbpf_ring(wbpf_doorbell);
    return 0;
}

int wbpf_open(const wbpf_options *options)
{
    uint32_t nobody = 0, self = (uint32_t)getpid();
    if (load_acquire(&wbpf_path))
        return recorder_fail(-EEXIST, "%s is open already; call wbpf_close() first", path_storage);
    if (!__atomic_compare_exchange_n(&opening, &nobody, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) &&
        nobody == self)
        return recorder_fail(-EBUSY, "another thread is opening the recorder");
    int error = load_acquire(&wbpf_path) ? recorder_fail(-EEXIST, "%s is open already", path_storage)
                                         : open_segment(options);
    store_release(&opening, 0);
    return error;
}

void wbpf_close(void)
{
    if (!load_acquire(&wbpf_path))
        return;
    store_release(&wbpf_path, (const char *)NULL);
    tls_writer = NULL; /* from here on a signal handler finds nothing open */
    atomic_signal_fence(memory_order_seq_cst);
    if (wbpf_state->alive) {
        for (struct writer *w = wbpf_state->writers; w; w = w->next)
            if (w->alive) {
                writer_retire(w);
                w->alive = 0;
            }
        uint64_t now = clock_ticks();
        while (wbpf_state->spare_count)
            chunk_close(&wbpf_map, wbpf_state->spare[--wbpf_state->spare_count], now);
        process_leave(&wbpf_map, &wbpf_state->process);
    }
    /* The writers' memory stays: threads still point at it, and find it not alive. */
    memset(wbpf_state, 0, sizeof *wbpf_state);
    if (wbpf_doorbell)
        munmap(wbpf_doorbell, 4096);
    wbpf_doorbell = NULL;
    munmap(wbpf_map.base, wbpf_map.bytes);
    wbpf_map = (struct mapping){0};
}
