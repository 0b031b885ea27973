/* This process's recorder: opening the segment, and a writer for each thread. */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define SLAB_BYTES 65536

struct mapping wbpf_map;
struct recorder_state *wbpf_state;
const char *wbpf_path;
uint32_t *wbpf_doorbell;
uint64_t wbpf_own_host_id;
__thread struct writer *tls_writer __attribute__((tls_model("initial-exec")));
static __thread uint8_t
    tls_entering; /* while the thread gets or leaves its writer: signal handlers may trace */
static __thread char tls_error[512] = "no error";
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;
static char path_storage[PATH_BYTES];
static uint32_t opening; /* pid of the process that is opening */

static __attribute__((format(printf, 2, 3))) int fail(int error, const char *format, ...)
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

/* ---- memory that a forked child finds zeroed ---- */

static void *wiped_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (madvise(memory, bytes, MADV_WIPEONFORK) != 0) {
        munmap(memory, bytes);
        return NULL;
    }
    return memory;
}

static void give_back(struct writer *w)
{
    store_release(&w->alive, 0);
    state_lock();
    w->next_free = wbpf_state->free_writers;
    wbpf_state->free_writers = w;
    state_unlock();
}

/* A writer that is in use is not given back, and then perhaps another thread's, while this is asked. */
static bool thread_is_gone(const struct writer *w, int pid)
{
    state_lock();
    bool gone = load_acquire(&w->alive) && syscall(SYS_tgkill, pid, w->tid, 0) != 0 && errno == ESRCH;
    state_unlock();
    return gone;
}

bool writer_reclaim(void)
{
    bool found = false;
    int pid = getpid();
    while (__atomic_exchange_n(&wbpf_state->reclaiming, 1, __ATOMIC_ACQUIRE))
        sched_yield();
    for (struct writer *w = load_acquire(&wbpf_state->writers); w; w = w->next)
        if (thread_is_gone(w, pid)) {
            HAPPENS_AFTER(w);
            writer_retire(w);
            give_back(w);
            found = true;
        }
    store_release(&wbpf_state->reclaiming, 0);
    return found;
}

static struct writer *pop_writer(void)
{
    state_lock();
    struct writer *w = wbpf_state->free_writers;
    if (w) {
        wbpf_state->free_writers = w->next_free;
        struct writer *next = w->next;
        memset(w, 0, sizeof *w);
        w->next = next;
    }
    state_unlock();
    return w;
}

static struct writer *new_writer(void)
{
    struct writer *w = pop_writer();
    if (w || (writer_reclaim() && (w = pop_writer())))
        return w;
    state_lock();
    uint8_t *slab = wiped_memory(SLAB_BYTES);
    size_t size = (sizeof *w + 127) / 128 * 128;
    for (size_t at = 0; slab && at + size <= SLAB_BYTES; at += size) {
        struct writer *one = (struct writer *)(slab + at);
        one->next = wbpf_state->writers;
        store_release(&wbpf_state->writers, one);
        if (w)
            one->next_free = wbpf_state->free_writers, wbpf_state->free_writers = one;
        else
            w = one;
    }
    state_unlock();
    return w;
}

/* ---- threads ---- */

static struct wbpf_thread_slot *claim_thread_slot(uint64_t owner, uint32_t tid)
{
    uint32_t count = wbpf_map.fixed.thread_count;
    struct process *self = &wbpf_state->process;
    struct census census = census_of(self->segment_path);
    struct wbpf_thread_slot *claimed = NULL;
    for (int dead_too = 0; dead_too < 2 && !claimed; dead_too++) {
        for (uint32_t i = 0; i < count; i++) {
            struct wbpf_thread_slot *slot = &wbpf_map.threads[(i + tid) % count];
            uint64_t seen = load_relaxed(&slot->owner);
            if (seen && (!dead_too || process_alive(&wbpf_map, &census, self, seen)))
                continue;
            if (__atomic_compare_exchange_n(&slot->owner, &seen, owner, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED)) {
                store_relaxed(&slot->sequence, (load_relaxed(&slot->sequence) + 1) & ~1u);
                slot->tid = tid;
                claimed = slot;
                break;
            }
        }
    }
    census_end(&census);
    return claimed;
}

static void thread_exits(void *argument)
{
    struct writer *w = argument;
    if (tls_writer != w || !w->alive || !wbpf_state)
        return;
    tls_entering = 1; /* a signal handler must not wait for the lock that we hold */
    atomic_signal_fence(memory_order_seq_cst);
    tls_writer = NULL;
    writer_retire(w);
    give_back(w);
    atomic_signal_fence(memory_order_seq_cst);
    tls_entering = 0;
}

static void make_exit_key(void)
{
    pthread_key_create(&exit_key, thread_exits);
}

/* For eBPF programs, which find a thread's slot from its thread pointer. */
static void tell_slots(const struct mapping *map, const struct process *self)
{
#if (defined(__x86_64__) || defined(__aarch64__)) && defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
    struct wbpf_process_slot *slot = &map->processes[self->slot];
    slot->writer_offset = (uint64_t)((uintptr_t)&tls_writer - (uintptr_t)__builtin_thread_pointer());
    store_release(&slot->slot_offset, (uint32_t)offsetof(struct writer, slot));
#endif
#endif
    (void)map, (void)self;
}

static int join_after_fork(void)
{
    state_lock();
    int error = 0;
    if (!wbpf_state->alive && wbpf_state->join_failures && ++wbpf_state->join_failures % 4096)
        error = -EUSERS; /* not at every call */
    else if (!wbpf_state->alive) {
        error = process_join(&wbpf_map, wbpf_path, &wbpf_state->process);
        wbpf_state->join_failures = error != 0;
        if (!error)
            tell_slots(&wbpf_map, &wbpf_state->process);
        store_release(&wbpf_state->alive, error == 0);
        if (!error)
            add_relaxed(&wbpf_map.processes[wbpf_state->process.slot].refused,
                        __atomic_exchange_n(&wbpf_state->early_refused, 0, __ATOMIC_RELAXED));
    }
    state_unlock();
    return error;
}

static struct writer *start_writer(void)
{
    if (!load_acquire(&wbpf_state->alive) && join_after_fork() != 0)
        return NULL;
    struct writer *w = new_writer();
    if (!w)
        return NULL;
    w->tid = (uint32_t)syscall(SYS_gettid);
    w->random = random_u64();
    w->slot = claim_thread_slot(wbpf_state->process.owner, w->tid);
    if (!w->slot)
        w->slot = &w->own_slot;
    writer_publish(w);
    pthread_setspecific(exit_key, w);
    store_release(&w->alive, 1);
    tls_writer = w;
    return w;
}

struct writer *writer_slow(void)
{
    if (LIKELY(!load_acquire(&wbpf_path)))
        return NULL;
    if (tls_entering) {
        writer_count_refused();
        return NULL;
    }
    int error = errno; /* the application's */
    tls_entering = 1;
    atomic_signal_fence(memory_order_seq_cst);
    struct writer *w = tls_writer; /* a signal handler may have got one just before */
    if (!w || !w->alive)
        w = start_writer();
    atomic_signal_fence(memory_order_seq_cst);
    tls_entering = 0;
    errno = error;
    return w;
}

void writer_count_refused(void)
{
    if (wbpf_state && wbpf_state->alive)
        add_relaxed(&wbpf_map.processes[wbpf_state->process.slot].refused, 1);
    else if (wbpf_state)
        add_relaxed(&wbpf_state->early_refused, 1); /* in a forked child that has no slot yet */
}

void writer_count_truncated(void)
{
    if (wbpf_state && wbpf_state->alive)
        add_relaxed(&wbpf_map.processes[wbpf_state->process.slot].truncated, 1);
}

void writer_calibrate(struct writer *w)
{
    w->calibrated_unix_ns = clock_unix_ns();
    w->calibrated_ticks = clock_ticks();
    w->ns_per_tick = (1000000000ull << 32) / wbpf_map.fixed.ticks_hz;
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

static int make_directory(const char *path)
{
    struct stat st;
    if (mkdir(path, 0770) != 0 && errno != EEXIST)
        return fail(-errno, "cannot make the folder %s: %s; set WBPF_DIR to a place you may write to", path,
                    strerror(errno));
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return fail(-ENOTDIR, "%s is not a folder; set WBPF_DIR", path);
    if (st.st_mode & S_IWOTH)
        return fail(-EACCES, "everybody may write to the folder %s: chmod o-w it, or set WBPF_DIR", path);
    return 0;
}

/* A small file that exactly one process makes: written aside, then linked into place. */
static int make_once(const char *path, const void *content, size_t bytes)
{
    char aside[PATH_BYTES + 32];
    snprintf(aside, sizeof aside, "%s.%d.%llx", path, getpid(), (unsigned long long)random_u64());
    int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0)
        return -errno;
    int error = fchmod(fd, 0660) != 0 || write(fd, content, bytes) != (ssize_t)bytes ? -EIO : 0;
    close(fd);
    if (!error && link(aside, path) != 0 && errno != EEXIST)
        error = -errno;
    unlink(aside);
    return error;
}

uint64_t host_incarnation(const char *directory)
{
    char path[PATH_BYTES];
    uint64_t value = random_u64();
    snprintf(path, sizeof path, "%.4000s/incarnation", directory);
    if (access(path, F_OK) != 0)
        make_once(path, &value, sizeof value);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        if (read(fd, &value, sizeof value) != sizeof value)
            value = 1;
        close(fd);
    }
    return value;
}

static uint32_t *map_doorbell(const char *directory)
{
    char path[PATH_BYTES];
    static const uint8_t zeros[4096];
    snprintf(path, sizeof path, "%.4000s/doorbell", directory);
    if (access(path, F_OK) != 0)
        make_once(path, zeros, sizeof zeros);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    void *bell = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= 4096)
        bell = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return bell == MAP_FAILED ? NULL : bell;
}

void wbpf_ring(uint32_t *bell)
{
    if (!bell)
        return;
    __atomic_fetch_add(bell, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, bell, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static int create_segment(const char *path, const struct layout_spec *spec)
{
    char aside[PATH_BYTES + 32], why[256] = "";
    snprintf(aside, sizeof aside, "%s.%d.%llx", path, getpid(), (unsigned long long)random_u64());
    int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd < 0)
        return fail(-errno, "cannot make %s: %s", path, strerror(errno));
    int error = posix_fallocate(fd, 0, (off_t)spec->bytes);
    if (error) {
        fail(-error, "no room for the segment %s: %s; ask for less with WBPF_SEGMENT_MB, or set WBPF_DIR",
             path, strerror(error));
        error = -error;
    } else {
        fchmod(fd, 0660);
        uint8_t *base = mmap(NULL, spec->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base == MAP_FAILED) {
            error = fail(-errno, "cannot map %s: %s", path, strerror(errno));
        } else {
            error = layout_initialise(base, spec, why);
            munmap(base, spec->bytes);
            if (error)
                fail(error, "cannot lay out %s: %s", path, why);
            else if (link(aside, path) != 0 && errno != EEXIST)
                error = fail(-errno, "cannot make %s: %s", path, strerror(errno));
        }
    }
    close(fd);
    unlink(aside);
    return error;
}

static bool name_is_safe(const char *name)
{
    return *name && *name != '.' && strlen(name) < 64 && !strchr(name, '/') && !strchr(name, '\n');
}

static long long env_number(const char *name, long long fallback)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text)
        return fallback;
    long long value = strtoll(text, &end, 10);
    return *end || value < 0 ? -1 : value;
}

/* A name of enum level, or a number. */
static long long env_level(void)
{
    static const struct {
        const char *name;
        int level;
    } names[] = {{"trace", WBPF_LEVEL_TRACE}, {"debug", WBPF_LEVEL_DEBUG}, {"info", WBPF_LEVEL_INFO},
                 {"warn", WBPF_LEVEL_WARN},   {"error", WBPF_LEVEL_ERROR}, {"fatal", WBPF_LEVEL_FATAL},
                 {"off", WBPF_LEVEL_OFF}};
    const char *text = getenv("WBPF_LEVEL");
    for (size_t i = 0; text && i < sizeof names / sizeof *names; i++)
        if (strcasecmp(text, names[i].name) == 0)
            return names[i].level;
    return env_number("WBPF_LEVEL", 0);
}

static int settle_options(const wbpf_options *options, wbpf_options *out, char *directory, char *host,
                          char *service)
{
    *out = options ? *options : (wbpf_options){0};
    const char *text = out->directory ? out->directory : getenv("WBPF_DIR");
    if (text && *text)
        snprintf(directory, PATH_BYTES / 2, "%s", text);
    else
        snprintf(directory, PATH_BYTES / 2, "/dev/shm/wbpf-%u", (unsigned)getuid());
    text = out->host ? out->host : getenv("WBPF_HOST");
    if (text && *text)
        snprintf(host, 256, "%s", text);
    else if (gethostname(host, 255) != 0)
        snprintf(host, 256, "localhost");
    host[255] = 0;
    text = out->service ? out->service : getenv("WBPF_SERVICE");
    snprintf(service, 256, "%s", text && *text ? text : program_invocation_short_name);
    if (!name_is_safe(host))
        return fail(-EINVAL,
                    "'%s' is no name for a host: 1 to 63 characters, no '/', no '.' in front; set WBPF_HOST",
                    host);
    if (!name_is_safe(service))
        return fail(
            -EINVAL,
            "'%s' is no name for a service: 1 to 63 characters, no '/', no '.' in front; set WBPF_SERVICE",
            service);
    long long mib = out->size_mib ? out->size_mib : env_number("WBPF_SEGMENT_MB", 64);
    long long level = out->level ? out->level : env_level();
    if (mib < 1 || mib > 1 << 20)
        return fail(-EINVAL, "the segment's size must be 1 to 1048576 MiB: see WBPF_SEGMENT_MB");
    if (level < 0 || level > WBPF_LEVEL_OFF)
        return fail(-EINVAL, "the level must be trace, debug, info, warn, error, fatal, off, or a number to "
                             "255: see WBPF_LEVEL");
    out->size_mib = (uint32_t)mib;
    out->level = (uint32_t)level;
    out->chunk_bytes = out->chunk_bytes ? out->chunk_bytes : WBPF_MAX_CHUNK_BYTES;
    if (out->chunk_bytes < 1024 || out->chunk_bytes > WBPF_MAX_CHUNK_BYTES || out->chunk_bytes % 8)
        return fail(-EINVAL, "chunk_bytes must be a multiple of 8 from 1024 to 65528");
    return 0;
}

static int open_segment(const wbpf_options *options)
{
    wbpf_options o;
    char directory[PATH_BYTES / 2 + 80], host[256], service[256], why[256] = "";
    int error = settle_options(options, &o, directory, host, service);
    if (error || (error = make_directory(directory)))
        return error;
    snprintf(directory + strlen(directory), 80, "/%.64s", host);
    if ((error = make_directory(directory)))
        return error;
    char absolute[PATH_BYTES]; /* the lock file is opened again when the process has moved elsewhere */
    if (!realpath(directory, absolute))
        return fail(-errno, "cannot find the folder %s: %s", directory, strerror(errno));
    snprintf(path_storage, sizeof path_storage, "%.4000s/%.64s.seg", absolute, service);
    struct layout_spec spec = {.host = host,
                               .service = service,
                               .incarnation = host_incarnation(directory),
                               .bytes = (uint64_t)o.size_mib << 20,
                               .chunk_bytes = o.chunk_bytes,
                               .level = o.level};
    bool made = access(path_storage, F_OK) != 0;
    if (made && (error = create_segment(path_storage, &spec)))
        return error;
    int fd = layout_open_file(path_storage, true, why);
    if (fd < 0)
        return fail(fd, "cannot open the segment %s: %s", path_storage, why);
    struct mapping map;
    error = layout_map_file(fd, true, &map, NULL, why);
    close(fd);
    if (error)
        return fail(error, "%s is not usable: %s; remove it if no process uses it", path_storage, why);
    madvise(map.base, map.bytes, MADV_POPULATE_WRITE); /* best effort: 5.14 and later */
    struct recorder_state *state = wbpf_state ? wbpf_state : wiped_memory(sizeof *state);
    if (!state) {
        munmap(map.base, map.bytes);
        return fail(-ENOMEM, "no memory that a forked child finds wiped (MADV_WIPEONFORK)");
    }
    error = process_join(&map, path_storage, &state->process);
    if (error) {
        munmap(map.base, map.bytes);
        return error == -EUSERS
                   ? fail(error, "all process slots of %s are taken; use another WBPF_SERVICE", path_storage)
                   : fail(error, "cannot lock a process slot of %s: %s", path_storage, strerror(-error));
    }
    tell_slots(&map, &state->process);
    pthread_once(&exit_key_once, make_exit_key);
    wbpf_clock_kind = map.fixed.clock_kind;
    struct wbpf_calibration now;
    clock_calibrate(wbpf_clock_kind, &now);
    clock_record_calibration(map.header, &now);
    wbpf_map = map;
    wbpf_own_host_id = map.header->host_id;
    wbpf_state = state;
    wbpf_doorbell = map_doorbell(directory);
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
        return fail(-EEXIST, "%s is open already; call wbpf_close() first", path_storage);
    if (!__atomic_compare_exchange_n(&opening, &nobody, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) &&
        nobody == self)
        return fail(-EBUSY, "another thread is opening the recorder");
    int error =
        load_acquire(&wbpf_path) ? fail(-EEXIST, "%s is open already", path_storage) : open_segment(options);
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
