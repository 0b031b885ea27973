/* Who holds which object: each process has a table of the entries it refers to. A place in it is the
 * reference, so that what a dead process held is known exactly; an entry's count is derived. */
#include "pool/internal.h"

static uint32_t *table_of(const wbpf_pool *pool, uint32_t process)
{
    return pool->held + (uint64_t)process * pool->header->held_per_process;
}

int references_take(wbpf_pool_host *host, struct pool_entry *entry)
{
    wbpf_pool *pool = host->pool;
    uint32_t places = pool->header->held_per_process;
    uint32_t *table = table_of(pool, host->process);
    for (uint32_t tried = 0; tried < places; tried++) {
        uint32_t place = host->held_hint;
        host->held_hint = place + 1 < places ? place + 1 : 0;
        if (table[place] == 0) {
            store_release(&table[place], entry_index(pool, entry) + 1);
            entry->references++;
            pool->header->references++;
            return (int)place;
        }
    }
    return -EMFILE;
}

void references_drop(wbpf_pool *pool, uint32_t process, uint32_t place)
{
    uint32_t *held = &table_of(pool, process)[place];
    struct pool_entry *entry = &pool->entries[*held - 1];
    store_release(held, 0);
    pool->header->references--;
    if (--entry->references == 0 && entry->state == ENTRY_DELETED)
        directory_free(pool, entry);
}

void references_release(wbpf_pool_host *host, uint32_t entry, uint32_t place, uint64_t generation,
                        uint32_t epoch)
{
    if (epoch != pool_fork_epoch() || pool_lock(host->pool))
        return; /* a child has no part in its parent's references; the lock fails only when a stopped process
                   has it */
    if (entry_is_current(host->pool, entry, generation))
        references_drop(host->pool, host->process, place);
    pool_unlock(host->pool);
}

void references_forget(wbpf_pool *pool, struct pool_entry *entry)
{
    uint32_t name = entry_index(pool, entry) + 1;
    uint64_t places = (uint64_t)POOL_PROCESSES * pool->header->held_per_process;
    for (uint64_t i = 0; i < places && entry->references; i++)
        if (pool->held[i] == name) {
            store_release(&pool->held[i], 0);
            entry->references--;
            pool->header->references--;
        }
}

void references_rebuild(wbpf_pool *pool)
{
    struct pool_header *header = pool->header;
    header->references = 0;
    for (uint32_t i = 0; i < header->entry_count; i++)
        pool->entries[i].references = 0;
    for (uint64_t i = 0; i < (uint64_t)POOL_PROCESSES * header->held_per_process; i++) {
        if (pool->held[i] == 0)
            continue;
        struct pool_entry *entry = &pool->entries[pool->held[i] - 1];
        if (entry->state == ENTRY_FREE) {
            store_release(&pool->held[i], 0);
        } else {
            entry->references++;
            header->references++;
        }
    }
    for (uint32_t i = 0; i < header->entry_count; i++)
        if (pool->entries[i].state == ENTRY_DELETED && pool->entries[i].references == 0)
            store_release(&pool->entries[i].state, ENTRY_FREE);
}

const char *references_check(const wbpf_pool *pool)
{
    const struct pool_header *header = pool->header;
    uint64_t held = 0, counted = 0;
    for (uint64_t i = 0; i < (uint64_t)POOL_PROCESSES * header->held_per_process; i++) {
        if (pool->held[i] == 0)
            continue;
        held++;
        if (pool->held[i] > header->entry_count || pool->entries[pool->held[i] - 1].state == ENTRY_FREE)
            return "a process holds what is free";
    }
    for (uint32_t i = 0; i < header->entry_count; i++)
        if (pool->entries[i].state != ENTRY_FREE)
            counted += pool->entries[i].references;
    return held == counted && held == header->references ? NULL : "a count of references is wrong";
}
