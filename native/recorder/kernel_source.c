/*
 * Where the kernel rings of a segment are: in memory of the kernel that their loader shares, as a map pinned
 * in a bpffs, or as descriptors of the loader while it lives.
 */
#include "kernel_ring.h"
#include "segment.h"
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
#include <sys/vfs.h>
#include <unistd.h>

#define BPF_FS         0xcafe4a11
#define PERF_HEAD_PAGE 4096u
#define WHY_BYTES      256
#define MOST_BYTES     (1ull << 36)

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

bool kernel_is_chunk(const wbpf_segment *segment, uint32_t chunk)
{
    return segment->kernel && load_relaxed(&segment->map.chunks[chunk].kind) == WBPF_CHUNK_KERNEL;
}

/* The loader's pid as we see it, 0 if it is gone. Only a loader of the segment's owner counts: we may have
 * rights over processes that the segment's owner has none over. */
static int find_loader(const wbpf_segment *segment, uint32_t slot)
{
    struct stat process, file;
    char folder[32];
    if (!wbpf_segment_process_alive(segment, slot, 0))
        return 0;
    int pid = process_pid_here(&segment->map.processes[slot]);
    snprintf(folder, sizeof folder, "/proc/%d", pid);
    bool same = pid > 0 && stat(folder, &process) == 0 && stat(segment->path, &file) == 0 &&
                process.st_uid == file.st_uid;
    return same ? pid : 0;
}

static int fd_of_loader(const wbpf_segment *segment, uint32_t slot, uint32_t fd, char *why)
{
    int loader = find_loader(segment, slot);
    if (!loader) {
        snprintf(
            why, WHY_BYTES,
            "its kernel rings are gone: the process that loaded the eBPF programs has ended, and did not "
            "pin them");
        return -ESTALE;
    }
    if (loader == getpid()) {
        int own = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
        return own < 0 ? -errno : own;
    }
    int process = (int)syscall(SYS_pidfd_open, loader, 0);
    int taken = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, fd, 0), error = errno;
    if (process >= 0)
        close(process);
    if (taken >= 0)
        return taken;
    snprintf(
        why, WHY_BYTES,
        "its kernel rings belong to process %d: taking its descriptors needs CAP_SYS_PTRACE, or have the "
        "loader pin them in a bpffs (%s)",
        loader, strerror(error));
    return error == EPERM ? -EACCES : -error;
}

static int fd_of_pin(const wbpf_segment *segment, const char *pin)
{
    struct stat file, pinned;
    struct statfs fs;
    union bpf_attr attr = {.pathname = (uintptr_t)pin}; /* a map opened with BPF_F_RDONLY can't be mapped */
    if (statfs(pin, &fs) != 0 || (uint32_t)fs.f_type != BPF_FS || stat(segment->path, &file) != 0 ||
        lstat(pin, &pinned) != 0 || file.st_uid != pinned.st_uid)
        return -ENOENT;
    int fd = (int)syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof attr);
    return fd < 0 ? -errno : fd;
}

/* Is this the array that the segment speaks of? */
static bool is_array(int fd, const struct wbpf_kernel_source *source)
{
    struct bpf_map_info info = {0};
    union bpf_attr attr = {
        .info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof info, .info = (uintptr_t)&info}};
    return syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr) == 0 &&
           info.type == BPF_MAP_TYPE_ARRAY && info.map_flags & BPF_F_MMAPABLE && info.id == source->map_id &&
           (info.value_size + 7ull) / 8 * 8 * info.max_entries >= source->map_bytes;
}

static bool is_perf_event(int fd, uint64_t id)
{
    char path[32], kind[64] = "";
    uint64_t real = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, kind, sizeof kind - 1) > 0 && strcmp(kind, "anon_inode:[perf_event]") == 0 &&
           ioctl(fd, PERF_EVENT_IOC_ID, &real) == 0 && real == id;
}

static int map_fd(int fd, uint64_t bytes, uint8_t **out, char *why)
{
    void *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    int error = memory == MAP_FAILED ? -errno : 0;
    close(fd);
    if (error)
        snprintf(why, WHY_BYTES, "its kernel rings can't be mapped: %s", strerror(-error));
    else
        *out = memory;
    return error;
}

static int not_what_it_was(int fd, char *why)
{
    close(fd);
    snprintf(why, WHY_BYTES, "its kernel rings are gone: something else is where they were");
    return -ESTALE;
}

static int map_array(const wbpf_segment *segment, const struct wbpf_kernel_source *source, uint32_t loader,
                     struct kernel_chunks *out, char *why)
{
    char pin[sizeof source->pin + 1] = "";
    memcpy(pin, source->pin, sizeof source->pin);
    int fd = *pin ? fd_of_pin(segment, pin) : -ENOENT;
    if (fd < 0)
        fd = fd_of_loader(segment, loader, source->map_fd, why);
    if (fd < 0)
        return fd;
    if (!is_array(fd, source))
        return not_what_it_was(fd, why);
    out->array_bytes = source->map_bytes;
    return map_fd(fd, source->map_bytes, &out->array, why);
}

static int map_perf(const wbpf_segment *segment, const struct wbpf_kernel_source *source, uint32_t loader,
                    struct kernel_chunk *out, char *why)
{
    int fd = fd_of_loader(segment, loader, source->perf_fd, why);
    if (fd < 0)
        return fd;
    if (!is_perf_event(fd, source->perf_id))
        return not_what_it_was(fd, why);
    out->perf_bytes = source->perf_bytes + PERF_HEAD_PAGE;
    int error = map_fd(fd, out->perf_bytes, &out->perf, why);
    if (error)
        return error;
    const struct perf_event_mmap_page *page = (void *)out->perf;
    out->ring.variant = WBPF_KERNEL_RING_PERF;
    out->ring.data = out->perf + PERF_HEAD_PAGE;
    out->ring.ring_bytes = source->perf_bytes;
    out->ring.perf_head = (const uint64_t *)&page->data_head;
    return 0;
}

static int impossible(char *why)
{
    snprintf(why, WHY_BYTES, "what it says of its kernel rings is impossible");
    return -EPROTO;
}

static int open_chunk(const wbpf_segment *segment, uint32_t index, struct kernel_chunks *all,
                      struct kernel_chunk *out, char *why)
{
    struct wbpf_kernel_source source;
    uint32_t loader = load_relaxed(&segment->map.chunks[index].process);
    memcpy(&source, chunk_data(&segment->map, index), sizeof source);
    if (source.magic != WBPF_KERNEL_MAGIC || source.map_bytes > MOST_BYTES || source.header_offset % 8 ||
        source.map_bytes < sizeof(struct wbpf_kernel_ring_header) ||
        source.header_offset > source.map_bytes - sizeof(struct wbpf_kernel_ring_header) ||
        (all->array && source.map_bytes != all->array_bytes))
        return impossible(why);
    int error = all->array ? 0 : map_array(segment, &source, loader, all, why);
    if (error)
        return error;
    const uint8_t *header = all->array + source.header_offset;
    uint64_t behind = all->array_bytes - source.header_offset - sizeof *out->ring.header;
    out->index = index;
    out->ring.header = (const struct wbpf_kernel_ring_header *)header;
    if (source.variant == WBPF_KERNEL_RING_PERF) {
        if (source.perf_bytes < PERF_HEAD_PAGE || source.perf_bytes > MOST_BYTES)
            return impossible(why);
        if ((error = map_perf(segment, &source, loader, out, why)) != 0)
            return error;
    } else {
        out->ring.variant = WBPF_KERNEL_RING_ARRAY;
        out->ring.data = header + sizeof *out->ring.header;
        out->ring.ring_bytes = load_relaxed(&out->ring.header->ring_bytes);
    }
    return kernel_ring_check(&out->ring, behind) == 0 ? 0 : impossible(why);
}

int kernel_chunks_open(wbpf_segment *segment, char *why)
{
    const struct wbpf_segment_header *fixed = &segment->map.fixed;
    uint32_t count = 0;
    for (uint32_t i = 0; i < fixed->chunk_count; i++)
        count += load_relaxed(&segment->map.chunks[i].kind) == WBPF_CHUNK_KERNEL;
    if (!count)
        return 0;
    if (fixed->clock_kind != WBPF_CLOCK_MONOTONIC || fixed->ticks_hz != 1000000000 ||
        fixed->chunk_bytes < sizeof(struct wbpf_kernel_source))
        return impossible(why);
    struct kernel_chunks *all = calloc(1, sizeof *all + count * sizeof *all->chunks);
    if (!all)
        return -ENOMEM;
    int error = 0;
    for (uint32_t i = 0; i < fixed->chunk_count && all->count < count && !error; i++)
        if (load_relaxed(&segment->map.chunks[i].kind) == WBPF_CHUNK_KERNEL) {
            struct kernel_chunk *chunk = &all->chunks[all->count++];
            error = open_chunk(segment, i, all, chunk, why);
            if (!error && chunk->perf && chunk->ring.ring_bytes > all->scratch_bytes)
                all->scratch_bytes = chunk->ring.ring_bytes;
        }
    if (error) {
        kernel_chunks_close(all);
        return error;
    }
    segment->kernel = all;
    return 0;
}

void kernel_chunks_close(struct kernel_chunks *chunks)
{
    if (!chunks)
        return;
    for (uint32_t i = 0; i < chunks->count; i++)
        if (chunks->chunks[i].perf)
            munmap(chunks->chunks[i].perf, chunks->chunks[i].perf_bytes);
    if (chunks->array)
        munmap(chunks->array, chunks->array_bytes);
    free(chunks);
}
