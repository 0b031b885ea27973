/* The layout of a segment: making one, mapping one, and distrusting one. */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHY_BYTES 256
#define PAGE      4096u

uint64_t random_u64(void)
{
    uint64_t value = 0;
    while (getrandom(&value, sizeof value, 0) != sizeof value)
        ;
    return value ? value : 1;
}

uint64_t fnv1a(const char *text, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3ULL;
    return hash;
}

static bool area_fits(uint64_t offset, uint64_t count, uint64_t size, uint64_t total)
{
    return offset % 64 == 0 && offset >= WBPF_SEGMENT_HEADER_BYTES && offset <= total &&
           count <= (total - offset) / size;
}

static int check(const struct wbpf_segment_header *h, uint64_t file_bytes, char *why)
{
    _Static_assert(sizeof(struct wbpf_segment_header) <= WBPF_SEGMENT_HEADER_BYTES, "header");
    if (h->magic != WBPF_SEGMENT_MAGIC) {
        snprintf(why, WHY_BYTES, "it does not start with the segment magic");
    } else if (h->endian != WBPF_ENDIAN_MARK) {
        snprintf(why, WHY_BYTES, "it was written by a host of the other byte order");
    } else if (h->major != WBPF_FORMAT_MAJOR) {
        snprintf(why, WHY_BYTES, "its format is version %u, this reads version %u", h->major,
                 WBPF_FORMAT_MAJOR);
    } else if (h->segment_bytes > file_bytes) {
        snprintf(why, WHY_BYTES, "it was cut: %llu of %llu bytes are there", (unsigned long long)file_bytes,
                 (unsigned long long)h->segment_bytes);
    } else if (h->chunk_bytes < 1024 || h->chunk_bytes % 8 || h->chunk_bytes > WBPF_MAX_CHUNK_BYTES ||
               h->chunk_stride < h->chunk_bytes || h->chunk_stride > 2 * 65536u || h->chunk_stride % 8 ||
               h->chunk_count == 0 || h->chunk_count > 1u << 24 || h->process_count == 0 ||
               h->process_count > 65536 || h->thread_count > 1u << 20 || h->trigger_count > 1u << 16 ||
               h->clear_count > 1u << 20 || h->ticks_hz < 1000 || h->ticks_hz > 100000000000u) {
        snprintf(why, WHY_BYTES, "its header holds impossible sizes");
    } else if (!area_fits(h->process_offset, h->process_count, sizeof(struct wbpf_process_slot),
                          h->segment_bytes) ||
               !area_fits(h->thread_offset, h->thread_count, sizeof(struct wbpf_thread_slot),
                          h->segment_bytes) ||
               !area_fits(h->trigger_offset, h->trigger_count, sizeof(struct wbpf_trigger_slot),
                          h->segment_bytes) ||
               !area_fits(h->clear_offset, h->clear_count, sizeof(struct wbpf_clear_slot),
                          h->segment_bytes) ||
               !area_fits(h->schema_offset, h->schema_bytes, 1, h->segment_bytes) ||
               h->schema_bytes > 1u << 30 ||
               !area_fits(h->bitmap_offset, (h->chunk_count + 63) / 64, 8, h->segment_bytes) ||
               !area_fits(h->chunk_offset, h->chunk_count, sizeof(struct wbpf_chunk_header),
                          h->segment_bytes) ||
               !area_fits(h->data_offset, h->chunk_count, h->chunk_stride, h->segment_bytes)) {
        snprintf(why, WHY_BYTES, "its areas do not lie inside it");
    } else {
        return 0;
    }
    return -EPROTO;
}

int layout_adopt(uint8_t *base, uint64_t bytes, struct mapping *out, char *why)
{
    struct wbpf_segment_header *shared = (struct wbpf_segment_header *)base, copy;
    uint64_t magic = load_acquire(&shared->magic);
    copy_unowned((uint8_t *)&copy, base, sizeof copy);
    copy.magic = magic;
    int error = check(&copy, bytes, why);
    if (error)
        return error;
    *out = (struct mapping){
        .base = base,
        .bytes = bytes,
        .fixed = copy,
        .header = shared,
        .processes = (struct wbpf_process_slot *)(base + copy.process_offset),
        .threads = (struct wbpf_thread_slot *)(base + copy.thread_offset),
        .triggers = (struct wbpf_trigger_slot *)(base + copy.trigger_offset),
        .clears = (struct wbpf_clear_slot *)(base + copy.clear_offset),
        .bitmap = (uint64_t *)(base + copy.bitmap_offset),
        .chunks = (struct wbpf_chunk_header *)(base + copy.chunk_offset),
        .data = base + copy.data_offset,
    };
    return 0;
}

static uint64_t place(uint64_t *at, uint64_t bytes)
{
    uint64_t offset = (*at + PAGE - 1) / PAGE * PAGE;
    *at = offset + bytes;
    return offset;
}

int layout_initialise(uint8_t *base, const struct layout_spec *spec, char *why)
{
    struct wbpf_segment_header *h = (struct wbpf_segment_header *)base;
    uint32_t stride = (spec->chunk_bytes + PAGE - 1) / PAGE * PAGE;
    uint64_t at = WBPF_SEGMENT_HEADER_BYTES;
    uint32_t most = (uint32_t)(spec->bytes / stride);
    h->chunk_bytes = spec->chunk_bytes;
    h->chunk_stride = stride;
    h->process_count = 256;
    h->thread_count = 1024;
    h->trigger_count = 256;
    h->clear_count = 4096;
    h->schema_bytes = 128 * 1024;
    h->process_offset = place(&at, h->process_count * sizeof(struct wbpf_process_slot));
    h->thread_offset = place(&at, h->thread_count * sizeof(struct wbpf_thread_slot));
    h->trigger_offset = place(&at, h->trigger_count * sizeof(struct wbpf_trigger_slot));
    h->clear_offset = place(&at, h->clear_count * sizeof(struct wbpf_clear_slot));
    h->schema_offset = place(&at, h->schema_bytes);
    h->bitmap_offset = place(&at, (most + 63) / 64 * 8);
    h->chunk_offset = place(&at, most * sizeof(struct wbpf_chunk_header));
    h->data_offset = place(&at, 0);
    if (spec->bytes < h->data_offset + 8 * (uint64_t)stride) {
        snprintf(why, WHY_BYTES, "%llu KiB do not hold 8 chunks: ask for at least %llu KiB",
                 (unsigned long long)spec->bytes / 1024,
                 (unsigned long long)(h->data_offset + 8 * (uint64_t)stride) / 1024 + 64);
        return -EINVAL;
    }
    h->chunk_count = (uint32_t)((spec->bytes - h->data_offset) / stride);
    h->endian = WBPF_ENDIAN_MARK;
    h->major = WBPF_FORMAT_MAJOR;
    h->minor = WBPF_FORMAT_MINOR;
    h->segment_id = random_u64();
    h->segment_bytes = spec->bytes;
    h->host_id = fnv1a(spec->host, strlen(spec->host));
    h->incarnation = spec->incarnation;
    h->hash_key0 = random_u64();
    h->hash_key1 = random_u64();
    h->clock_kind = clock_best_kind();
    h->ticks_hz = clock_measure_hz(h->clock_kind);
    h->level = spec->level;
    snprintf(h->host, sizeof h->host, "%s", spec->host);
    snprintf(h->service, sizeof h->service, "%s", spec->service);
    struct wbpf_calibration now;
    clock_calibrate(h->clock_kind, &now);
    clock_record_calibration(h, &now);
    h->created_unix_ns = now.unix_ns;
    store_release(&h->magic, WBPF_SEGMENT_MAGIC);
    return 0;
}

int layout_open_file(const char *path, bool writable, char *why)
{
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        int error = errno;
        if (error == ELOOP)
            snprintf(why, WHY_BYTES, "it is a symbolic link");
        else
            snprintf(why, WHY_BYTES, "%s", strerror(error));
        return error == ELOOP ? -EACCES : -error;
    }
    struct stat st;
    if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISCHR(st.st_mode)) && !(st.st_mode & S_IWOTH))
        return fd;
    close(fd);
    if (st.st_mode & S_IWOTH)
        snprintf(why, WHY_BYTES, "everybody may write to it: nothing in it can be trusted (chmod o-w)");
    else
        snprintf(why, WHY_BYTES, "it is not a regular file or DAX device");
    return -EACCES;
}

int layout_map_file(int fd, bool writable, struct mapping *out, struct watched_mapping **watched, char *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    off_t end = S_ISREG(st.st_mode) ? st.st_size : lseek(fd, 0, SEEK_END);
    if (end < WBPF_SEGMENT_HEADER_BYTES) {
        snprintf(why, WHY_BYTES, "its %lld bytes are too few for a segment", (long long)end);
        return -EPROTO;
    }
    uint8_t *base = mmap(NULL, (size_t)end, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        snprintf(why, WHY_BYTES, "it cannot be mapped: %s", strerror(errno));
        return -errno;
    }
    int error = watched && !(*watched = mapping_watch(base, (size_t)end)) ? -ENOMEM : 0;
    if (!error)
        error = layout_adopt(base, (uint64_t)end, out, why);
    if (error) {
        if (watched && *watched)
            mapping_unwatch(*watched);
        munmap(base, (size_t)end);
    }
    return error;
}
