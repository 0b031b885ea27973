/*
 * Kernel rings as a segment: a file like any other, in the folder of the host, whose chunks of kind KERNEL
 * say where the rings are. The agent finds it as it finds every segment.
 */
#include "kernel.h"
#include "recorder/internal.h"
#include "recorder/segment.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_BYTES  4096
#define CHUNK_BYTES 1024u
#define PAGE        4096u
/* Header, slots, schemas, bitmap and chunk headers of a small segment, generously. */
#define FIXED_BYTES (1u << 20)

struct perf_ring {
    int fd;
    uint8_t *memory; /* with its first page */
    uint64_t id;
};

struct wbpf_rings {
    char *path, *pin;
    int rings_fd, processes_fd;
    uint32_t map_id, cpus;
    uint64_t ring_bytes, stride, map_bytes;
    uint8_t *array;
    struct perf_ring *perf; /* one a CPU, or NULL */
    struct mapping map;     /* of the segment */
    struct process process;
    bool joined, named;
    wbpf_tracee *followed; /* one a process slot; tgid 0: none */
};

static int fail(int error, char *why, const char *what)
{
    snprintf(why, WBPF_WHY_BYTES, "%s: %s", what, strerror(-error));
    return error;
}

static struct wbpf_kernel_ring_header *header_of(const wbpf_rings *rings, uint32_t cpu)
{
    return (struct wbpf_kernel_ring_header *)(rings->array + cpu * rings->stride);
}

/* ---- the rings ---- */

static int map_headers(wbpf_rings *rings, uint32_t variant, char *why)
{
    struct bpf_map_info info = {0};
    union bpf_attr attr = {
        .info = {.bpf_fd = (uint32_t)rings->rings_fd, .info_len = sizeof info, .info = (uintptr_t)&info}};
    if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr) != 0)
        return fail(-errno, why, "the map wbpf_rings can't be asked");
    uint64_t room = sizeof(struct wbpf_kernel_ring_header);
    if (variant == WBPF_KERNEL_RING_ARRAY)
        room += rings->ring_bytes + WBPF_KERNEL_MAX_RECORD_BYTES;
    if (info.type != BPF_MAP_TYPE_ARRAY || !(info.map_flags & BPF_F_MMAPABLE) || info.value_size < room)
        return fail(-EINVAL, why, "the map wbpf_rings is not as wbpf/kernel.bpf.h makes it");
    rings->map_id = info.id;
    rings->cpus = info.max_entries;
    rings->stride = (info.value_size + 7ull) / 8 * 8;
    rings->map_bytes = rings->stride * info.max_entries;
    void *memory = mmap(NULL, rings->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, rings->rings_fd, 0);
    if (memory == MAP_FAILED)
        return fail(-errno, why, "the map wbpf_rings can't be mapped");
    rings->array = memory;
    for (uint32_t cpu = 0; cpu < rings->cpus; cpu++) {
        struct wbpf_kernel_ring_header *header = header_of(rings, cpu);
        header->ring_bytes = rings->ring_bytes;
        header->key = random_u64();
        header->cpu = cpu;
        store_release(&header->magic, WBPF_KERNEL_MAGIC);
    }
    return 0;
}

/* An overwritable perf ring of one CPU, into which programs write through the map. -ENODEV: the CPU is off.
 */
static int open_perf(const wbpf_rings *rings, int map_fd, uint32_t cpu, struct perf_ring *out)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_SW_BPF_OUTPUT,
                                   .sample_type = PERF_SAMPLE_RAW,
                                   .sample_period = 1,
                                   .write_backward = 1};
    int fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return -errno;
    out->fd = fd;
    /* Not writable: the kernel then overwrites the oldest. */
    void *memory = mmap(NULL, rings->ring_bytes + PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    out->memory = memory;
    if (ioctl(fd, PERF_EVENT_IOC_ID, &out->id) != 0 || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) != 0)
        return -errno;
    return wbpf_map_update(map_fd, &cpu, &fd, BPF_ANY);
}

static int open_perf_rings(wbpf_rings *rings, int map_fd, char *why)
{
    rings->perf = calloc(rings->cpus, sizeof *rings->perf);
    if (!rings->perf)
        return -ENOMEM;
    for (uint32_t cpu = 0; cpu < rings->cpus; cpu++)
        rings->perf[cpu].fd = -1;
    for (uint32_t cpu = 0; cpu < rings->cpus; cpu++) {
        int error = open_perf(rings, map_fd, cpu, &rings->perf[cpu]);
        if (error && error != -ENODEV)
            return fail(error, why, "a perf ring can't be made");
    }
    return 0;
}

static int pin(wbpf_rings *rings, const char *path, char *why)
{
    union bpf_attr attr = {.pathname = (uintptr_t)path, .bpf_fd = (uint32_t)rings->rings_fd};
    unlink(path); /* of a loader that died: a live one keeps the segment's name */
    if (syscall(SYS_bpf, BPF_OBJ_PIN, &attr, sizeof attr) != 0)
        return fail(-errno, why, "the rings can't be pinned");
    rings->pin = strdup(path);
    if (chmod(path, 0660) != 0)
        return fail(-errno, why, "the pin's mode can't be set");
    return rings->pin ? 0 : -ENOMEM;
}

/* ---- the segment ---- */

static void describe_chunk(const wbpf_rings *rings, uint32_t cpu)
{
    struct wbpf_chunk_header *chunk = &rings->map.chunks[cpu];
    const struct perf_ring *perf = rings->perf ? &rings->perf[cpu] : NULL;
    if (perf && !perf->memory)
        return;
    struct wbpf_kernel_source source = {
        .magic = WBPF_KERNEL_MAGIC,
        .variant = perf ? WBPF_KERNEL_RING_PERF : WBPF_KERNEL_RING_ARRAY,
        .map_id = rings->map_id,
        .map_bytes = rings->map_bytes,
        .header_offset = cpu * rings->stride,
        .perf_id = perf ? perf->id : 0,
        .perf_bytes = perf ? rings->ring_bytes : 0,
        .map_fd = (uint32_t)rings->rings_fd,
        .perf_fd = perf ? (uint32_t)perf->fd : 0,
    };
    if (rings->pin)
        memcpy(source.pin, rings->pin, strlen(rings->pin));
    memcpy(chunk_data(&rings->map, cpu), &source, sizeof source);
    chunk->owner = rings->process.owner;
    chunk->process = rings->process.slot;
    chunk->kind = WBPF_CHUNK_KERNEL;
}

/* Is a loader of this name alive? */
static bool is_taken(const char *path)
{
    char why[WBPF_WHY_BYTES];
    struct mapping map;
    int fd = layout_open_file(path, false, why);
    if (fd < 0)
        return false;
    bool taken = false;
    if (layout_map_file(fd, false, &map, NULL, why) == 0) {
        struct census census = census_of(path);
        uint32_t generation = load_acquire(&map.processes[0].generation);
        taken = generation && process_alive(&map, &census, NULL, owner_of(0, generation));
        census_end(&census);
        munmap(map.base, map.bytes);
    }
    close(fd);
    return taken;
}

static void use_monotonic_clock(struct wbpf_segment_header *h)
{
    struct wbpf_calibration now;
    h->clock_kind = WBPF_CLOCK_MONOTONIC; /* what bpf_ktime_get_ns reads */
    h->ticks_hz = 1000000000;
    memset(h->calibrations, 0, sizeof h->calibrations);
    h->calibration_next = 0;
    clock_calibrate(h->clock_kind, &now);
    clock_record_calibration(h, &now);
}

static int fill_segment(wbpf_rings *rings, const wbpf_rings_spec *spec, uint64_t incarnation, char *why)
{
    struct layout_spec layout = {.host = spec->host,
                                 .service = spec->service,
                                 .incarnation = incarnation,
                                 .bytes = rings->map.bytes,
                                 .chunk_bytes = CHUNK_BYTES,
                                 .level = WBPF_LEVEL_TRACE};
    int error = layout_initialise(rings->map.base, &layout, why);
    if (error)
        return error;
    use_monotonic_clock((struct wbpf_segment_header *)rings->map.base);
    if ((error = layout_adopt(rings->map.base, rings->map.bytes, &rings->map, why)) != 0)
        return error;
    rings->followed = calloc(rings->map.fixed.process_count, sizeof *rings->followed);
    if (!rings->followed || rings->map.fixed.chunk_count < rings->cpus)
        return fail(-ENOMEM, why, "there is no room for all processors");
    error = process_join(&rings->map, rings->path, &rings->process);
    if (error)
        return fail(error, why, "a process slot can't be taken");
    rings->joined = true;
    for (uint32_t cpu = 0; cpu < rings->cpus; cpu++)
        describe_chunk(rings, cpu);
    return 0;
}

static int map_new_file(wbpf_rings *rings, const char *path)
{
    rings->map.bytes = FIXED_BYTES + (uint64_t)rings->cpus * (PAGE + sizeof(struct wbpf_chunk_header) + 8);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd < 0)
        return -errno;
    int error = -posix_fallocate(fd, 0, (off_t)rings->map.bytes);
    if (!error && fchmod(fd, 0660) != 0)
        error = -errno;
    void *base = error ? MAP_FAILED : mmap(NULL, rings->map.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base != MAP_FAILED)
        rings->map.base = base;
    else if (!error)
        error = -errno;
    close(fd);
    return error;
}

static int create_segment(wbpf_rings *rings, const wbpf_rings_spec *spec, char *why)
{
    char aside[PATH_BYTES], folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "%.4000s", spec->path);
    *strrchr(folder, '/') = 0;
    snprintf(aside, sizeof aside, "%.4000s.%d.%llx", spec->path, getpid(), (unsigned long long)random_u64());
    int error = map_new_file(rings, aside);
    if (error)
        fail(error, why, "there is no room for the segment");
    else if ((error = fill_segment(rings, spec, host_incarnation(folder), why)) == 0 &&
             rename(aside, spec->path) != 0)
        error = fail(-errno, why, "the segment can't get its name");
    if (error)
        unlink(aside);
    rings->named = !error;
    return error;
}

int wbpf_rings_create(const wbpf_rings_spec *spec, wbpf_rings **out, char *why)
{
    if (is_taken(spec->path)) {
        snprintf(why, WBPF_WHY_BYTES, "a live process records under that name");
        return -EBUSY;
    }
    if (spec->pin && strlen(spec->pin) >= sizeof((struct wbpf_kernel_source *)0)->pin) {
        snprintf(why, WBPF_WHY_BYTES, "the path of the pin is too long");
        return -ENAMETOOLONG;
    }
    wbpf_rings *rings = calloc(1, sizeof *rings);
    if (!rings)
        return -ENOMEM;
    rings->rings_fd = spec->rings_fd;
    rings->processes_fd = spec->processes_fd;
    rings->ring_bytes = spec->ring_bytes;
    rings->path = strdup(spec->path);
    uint32_t variant = spec->perf_fd >= 0 ? WBPF_KERNEL_RING_PERF : WBPF_KERNEL_RING_ARRAY;
    int error = rings->path ? map_headers(rings, variant, why) : -ENOMEM;
    if (!error && spec->perf_fd >= 0)
        error = open_perf_rings(rings, spec->perf_fd, why);
    if (!error && spec->pin)
        error = pin(rings, spec->pin, why);
    if (!error)
        error = create_segment(rings, spec, why);
    if (error) {
        wbpf_rings_destroy(rings, false);
        return error;
    }
    *out = rings;
    return 0;
}

void wbpf_rings_destroy(wbpf_rings *rings, bool keep)
{
    if (rings->named && !keep)
        unlink(rings->path);
    if (rings->pin && !keep)
        unlink(rings->pin);
    if (rings->joined)
        process_leave(&rings->map, &rings->process);
    if (rings->map.base)
        munmap(rings->map.base, rings->map.bytes);
    for (uint32_t cpu = 0; rings->perf && cpu < rings->cpus; cpu++) {
        if (rings->perf[cpu].memory)
            munmap(rings->perf[cpu].memory, rings->ring_bytes + PAGE);
        if (rings->perf[cpu].fd >= 0)
            close(rings->perf[cpu].fd);
    }
    if (rings->array)
        munmap(rings->array, rings->map_bytes);
    free(rings->followed);
    free(rings->perf);
    free(rings->pin);
    free(rings->path);
    free(rings);
}

int wbpf_rings_add_schema(wbpf_rings *rings, const char *name, const char *fields)
{
    return schema_add(&rings->map, &rings->process, name, fields) ? 0 : -ENOSPC;
}

/* ---- following processes ---- */

static bool same_process(const wbpf_tracee *a, const wbpf_tracee *b)
{
    return a->tgid == b->tgid && a->owner == b->owner && a->writer_offset == b->writer_offset;
}

static bool is_among(const wbpf_tracee *one, const wbpf_tracee *tracees, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (same_process(one, &tracees[i]))
            return true;
    return false;
}

/* A slot for a process: one never used; else of a process that is gone. Readers name records by it. */
static uint32_t choose_slot(const wbpf_rings *rings)
{
    const struct mapping *map = &rings->map;
    uint32_t gone = 0;
    for (uint32_t i = 1; i < map->fixed.process_count; i++) {
        if (!load_relaxed(&map->processes[i].generation))
            return i;
        if (!rings->followed[i].tgid &&
            (!gone || map->processes[i].started_unix_ns < map->processes[gone].started_unix_ns))
            gone = i;
    }
    return gone;
}

static int start_following(wbpf_rings *rings, const wbpf_tracee *one)
{
    const struct {
        uint64_t owner, writer_offset;
        uint32_t slot_offset, reserved;
    } entry = {one->owner, one->writer_offset, one->slot_offset, 0};
    uint32_t at = choose_slot(rings);
    if (!at)
        return -EUSERS;
    struct wbpf_process_slot *slot = &rings->map.processes[at];
    slot->pid = one->tgid;
    slot->started_unix_ns = clock_unix_ns();
    memcpy(slot->name, one->name, sizeof slot->name);
    store_release(&slot->generation, slot->generation + 1);
    int error = wbpf_map_update(rings->processes_fd, &one->tgid, &entry, BPF_ANY);
    if (!error)
        rings->followed[at] = *one;
    return error;
}

int wbpf_rings_follow(wbpf_rings *rings, const wbpf_tracee *tracees, uint32_t count)
{
    int first_error = 0;
    for (uint32_t i = 1; i < rings->map.fixed.process_count; i++) {
        wbpf_tracee *known = &rings->followed[i];
        if (!known->tgid || is_among(known, tracees, count))
            continue;
        wbpf_map_delete(rings->processes_fd, &known->tgid);
        known->tgid = 0;
    }
    for (uint32_t i = 0; i < count; i++)
        if (!is_among(&tracees[i], rings->followed, rings->map.fixed.process_count)) {
            int error = start_following(rings, &tracees[i]);
            first_error = first_error ? first_error : error;
        }
    return first_error;
}

/* ---- counters ---- */

uint32_t wbpf_rings_counters(const wbpf_rings *rings, wbpf_ring_counters *out, uint32_t max)
{
    uint32_t count = 0;
    for (uint32_t cpu = 0; cpu < rings->cpus && count < max; cpu++) {
        const struct wbpf_kernel_ring_header *header = header_of(rings, cpu);
        const struct perf_event_mmap_page *page = rings->perf ? (void *)rings->perf[cpu].memory : NULL;
        if (rings->perf && !page)
            continue;
        out[count++] = (wbpf_ring_counters){.cpu = cpu,
                                            .records = load_relaxed(&header->records),
                                            .bytes = page ? 0 - load_acquire(&page->data_head)
                                                          : load_relaxed(&header->tail),
                                            .nested = load_relaxed(&header->nested),
                                            .refused = load_relaxed(&header->refused)};
    }
    return count;
}
