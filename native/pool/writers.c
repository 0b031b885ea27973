/* Objects being written: create, seal, abort. */
#include "pool/probes.h"

/* ---- create ---- */

/* Space for an object, if need be after what the dead held was taken back. */
static int take_space(wbpf_pool_host *host, uint32_t lines, struct pool_entry **entry, uint32_t *extent)
{
    wbpf_pool *pool = host->pool;
    for (int attempt = 0;; attempt++) {
        int error = 0;
        *entry = directory_take(pool);
        *extent = *entry ? allocator_take(pool, lines) : 0;
        if (*extent)
            return 0;
        error = *entry ? -ENOSPC : -ENFILE;
        if (*entry) { /* still free: back into the list */
            (*entry)->next = pool->header->free_entry;
            pool->header->free_entry = entry_index(pool, *entry) + 1;
        }
        wbpf_pool_reclaimed reclaimed = {0};
        if (attempt == 0)
            membership_reclaim(pool, &reclaimed);
        if (reclaimed.processes == 0)
            return error;
    }
}

static int create_entry(wbpf_pool_host *host, const char *id, size_t id_bytes, const char *tags,
                        wbpf_pool_writer *writer)
{
    wbpf_pool *pool = host->pool;
    struct pool_entry *entry;
    uint32_t extent;
    if (directory_find(pool, id, id_bytes, writer->object_hash))
        return -EEXIST;
    uint32_t lines = lines_of(writer->bytes);
    int error = take_space(host, lines, &entry, &extent);
    if (error)
        return error;
    wbpf_context context;
    wbpf_current(&context);
    writer->generation = add_relaxed(&pool->header->next_generation, 1);
    entry->object_hash = writer->object_hash;
    store_release(&entry->generation, writer->generation);
    entry->bytes = writer->bytes;
    entry->first_line = pool->extents[extent - 1].first_line;
    entry->line_count = lines;
    entry->extent = extent;
    entry->references = 0;
    entry->creator = host->process + 1;
    entry->checksum = 0;
    entry->sealed_ns = 0;
    entry->writer = (uint16_t)(host->index + 1);
    entry->id_bytes = (uint8_t)id_bytes;
    memcpy(entry->trace_id, context.trace_id, sizeof entry->trace_id);
    memcpy(entry->id, id, id_bytes + 1);
    strcpy(entry->tags, tags);
    pool->extents[extent - 1].entry = entry_index(pool, entry) + 1;
    store_release(&entry->state, ENTRY_CREATING);
    pool->header->unsealed++;
    directory_link(pool, entry);
    writer->entry = entry_index(pool, entry);
    int held = references_take(host, entry);
    if (held < 0) {
        directory_unlink(pool, entry);
        directory_free(pool, entry);
        return held;
    }
    writer->held = (uint32_t)held;
    return 0;
}

int wbpf_pool_create_object(wbpf_pool_host *host, const char *id, uint64_t bytes, const char *tags,
                            wbpf_pool_writer *writer)
{
    size_t id_bytes = object_id_bytes(id);
    if (!tags)
        tags = "";
    if (id_bytes == 0 || strnlen(tags, WBPF_POOL_MAX_ID_BYTES + 1) > WBPF_POOL_MAX_ID_BYTES)
        return -EINVAL;
    if (bytes > (uint64_t)host->pool->header->line_count * LINE_BYTES)
        return -ENOSPC;
    int error = membership_check(host);
    if (error)
        return error;
    *writer = (wbpf_pool_writer){.bytes = bytes, .object_hash = object_hash(id, id_bytes)};
    error = pool_lock(host->pool);
    if (error)
        return error;
    error = create_entry(host, id, id_bytes, tags, writer);
    pool_unlock(host->pool);
    if (error)
        return error;
    const struct pool_entry *entry = entry_of(host, writer->entry);
    writer->host = host;
    writer->fork_epoch = host->fork_epoch;
    writer->data = host_line(host, entry->first_line + ENVELOPE_LINES);
    line_cache_dirty(host, entry->first_line, entry->line_count, writer->generation);
    virtual_time_charge(host, &(struct pool_cost){.accesses = CREATE_ACCESSES}, &writer->timing);
    probe_create(writer, entry);
    return 0;
}

/* ---- seal and abort ---- */

/* With the lock held: the writer's hold on the memory, unless it is to be retained. */
static void give_up(wbpf_pool_writer *writer, bool retain)
{
    writer->retained = retain;
    if (!retain)
        references_drop(writer->host->pool, writer->host->process, writer->held);
}

static bool may_write(const wbpf_pool_writer *writer)
{
    return writer->fork_epoch == pool_fork_epoch() &&
           entry_is_current(writer->host->pool, writer->entry, writer->generation) &&
           load_acquire(&entry_of(writer->host, writer->entry)->state) == ENTRY_CREATING;
}

static int publish(wbpf_pool_writer *writer, uint32_t checksum, bool retain)
{
    wbpf_pool *pool = writer->host->pool;
    struct pool_entry *entry = &pool->entries[writer->entry];
    struct pool_bell *bell = &pool->header->bells[writer->object_hash % POOL_BELLS];
    int error = pool_lock(pool);
    if (error)
        return error;
    entry->checksum = checksum;
    entry->sealed_ns = wbpf_pool_virtual_ns(writer->host);
    store_release(&entry->state, ENTRY_SEALED);
    pool->header->unsealed--;
    pool->header->objects++;
    give_up(writer, retain);
    add_relaxed(&bell->rings, 1);
    pool_unlock(pool);
    pool_bell_wake(bell);
    return 0;
}

int wbpf_pool_seal(wbpf_pool_writer *writer, bool retain)
{
    wbpf_pool_host *host = writer->host;
    if (!may_write(writer))
        return -ESTALE;
    const struct pool_entry *entry = entry_of(host, writer->entry);
    uint32_t first = entry->first_line, count = entry->line_count;
    wbpf_pool_envelope envelope = {.object_hash = writer->object_hash,
                                   .generation = writer->generation,
                                   .bytes = writer->bytes,
                                   .writer_host_id = host->record->host_id,
                                   .checksum = wbpf_crc32c(0, writer->data, writer->bytes)};
    memcpy(envelope.trace_id, entry->trace_id, sizeof envelope.trace_id);
    envelope_write(host_line(host, first), &envelope);
    line_cache_dirty(host, first, count,
                     writer->generation); /* again: some may have been flushed meanwhile */
    uint32_t flushed = line_cache_write_back(host, first, count);
    struct pool_cost cost = {.accesses = SEAL_ACCESSES, .lines_written = host->lines ? flushed : count};
    virtual_time_charge(host, &cost, &writer->timing);
    int error = publish(writer, envelope.checksum, retain);
    if (error)
        return error;
    probe_seal(writer, flushed, envelope.checksum);
    if (!retain)
        writer->host = NULL;
    return 0;
}

int wbpf_pool_abort(wbpf_pool_writer *writer, bool retain)
{
    wbpf_pool_host *host = writer->host;
    if (!may_write(writer))
        return -ESTALE;
    wbpf_pool *pool = host->pool;
    struct pool_entry *entry = &pool->entries[writer->entry];
    line_cache_drop(host, entry->first_line, entry->line_count);
    int error = pool_lock(pool);
    if (error)
        return error;
    directory_unlink(pool, entry);
    store_release(&entry->state, ENTRY_DELETED);
    pool->header->unsealed--;
    pool->header->deleted_in_use++;
    give_up(writer, retain);
    pool_unlock(pool);
    virtual_time_charge(host, &(struct pool_cost){.accesses = DELETE_ACCESSES}, &writer->timing);
    probe_abort(writer);
    if (!retain)
        writer->host = NULL;
    return 0;
}

void wbpf_pool_drop(wbpf_pool_writer *writer)
{
    if (!writer->host)
        return;
    if (writer->retained)
        references_release(writer->host, writer->entry, writer->held, writer->generation, writer->fork_epoch);
    else
        wbpf_pool_abort(writer, false);
    writer->host = NULL;
}
