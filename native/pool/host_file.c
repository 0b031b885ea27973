/* A host's own file: its line table and the mirror of the data area that its cache consists of. */
#include "pool/internal.h"
#include <sys/mman.h>
#include <unistd.h>

static void place(struct pool_host_file *plan, const struct pool_header *header)
{
    uint64_t at = (sizeof *plan + 4095) / 4096 * 4096;
    plan->magic = POOL_HOST_MAGIC;
    plan->pool_id = header->pool_id;
    if (!header->coherent) {
        plan->line_offset = at;
        at += ((uint64_t)header->line_count * sizeof(struct pool_line) + 4095) / 4096 * 4096;
        plan->mirror_offset = at;
        at += (uint64_t)header->line_count * LINE_BYTES;
    }
    plan->file_bytes = at;
}

int host_file_create(const char *path, const struct pool_header *header)
{
    struct pool_host_file plan = {0};
    place(&plan, header);
    int fd = pool_make_file(path, plan.file_bytes);
    if (fd < 0)
        return fd;
    bool written = pwrite(fd, &plan, sizeof plan, 0) == (ssize_t)sizeof plan;
    int error = written ? 0 : pool_fail(-EIO, "%s: %s", path, strerror(errno));
    close(fd);
    return error;
}

int host_file_open(wbpf_pool *pool, wbpf_pool_host *host)
{
    char path[320];
    void *map;
    int error = pool_companion_path(pool->path, host->record->name, path);
    if (!error)
        error = pool_map_file(path, &map, &host->mapped_bytes);
    if (error)
        return error;
    struct pool_host_file plan = {0};
    place(&plan, pool->header);
    const struct pool_host_file *file = map;
    if (file->magic != plan.magic || file->pool_id != plan.pool_id || file->file_bytes != plan.file_bytes ||
        file->line_offset != plan.line_offset || file->mirror_offset != plan.mirror_offset ||
        plan.file_bytes > host->mapped_bytes) {
        munmap(map, host->mapped_bytes);
        return pool_fail(-EPROTO, "%s: not this pool's host file", path);
    }
    host->file = map;
    if (pool->header->coherent) {
        host->mirror = pool->data;
    } else {
        host->lines = (void *)((char *)map + file->line_offset);
        host->mirror = (uint8_t *)map + file->mirror_offset;
    }
    return 0;
}

void host_file_clear(wbpf_pool_host *host)
{
    if (host->lines)
        memset(host->lines, 0, (uint64_t)host->pool->header->line_count * sizeof(struct pool_line));
    store_release(&host->file->armed, 0);
    memset(host->file->faults, 0, sizeof host->file->faults);
}
