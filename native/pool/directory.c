/* The pool's objects by name: a hash table of entries. An entry's state, stored last, is what commits an
 * operation. */
#include "pool/internal.h"

uint64_t object_hash(const char *id, size_t bytes)
{
    uint64_t hash = 14695981039346656037ull; /* FNV-1a */
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (uint8_t)id[i]) * 1099511628211ull;
    return hash;
}

static uint32_t *chain_of(const wbpf_pool *pool, uint64_t hash)
{
    return &pool->buckets[hash & (pool->header->bucket_count - 1)];
}

struct pool_entry *directory_find(const wbpf_pool *pool, const char *id, size_t bytes, uint64_t hash)
{
    for (uint32_t at = *chain_of(pool, hash); at; at = pool->entries[at - 1].next) {
        struct pool_entry *entry = &pool->entries[at - 1];
        if (entry->object_hash == hash && entry->id_bytes == bytes && memcmp(entry->id, id, bytes) == 0)
            return entry;
    }
    return NULL;
}

struct pool_entry *directory_take(wbpf_pool *pool)
{
    uint32_t index = pool->header->free_entry;
    if (!index)
        return NULL;
    pool->header->free_entry = pool->entries[index - 1].next;
    return &pool->entries[index - 1];
}

static void push_free(wbpf_pool *pool, struct pool_entry *entry)
{
    entry->next = pool->header->free_entry;
    pool->header->free_entry = entry_index(pool, entry) + 1;
}

void directory_link(wbpf_pool *pool, struct pool_entry *entry)
{
    uint32_t *chain = chain_of(pool, entry->object_hash);
    entry->next = *chain;
    *chain = entry_index(pool, entry) + 1;
}

void directory_unlink(wbpf_pool *pool, struct pool_entry *entry)
{
    uint32_t *at = chain_of(pool, entry->object_hash);
    while (*at != entry_index(pool, entry) + 1)
        at = &pool->entries[*at - 1].next;
    *at = entry->next;
}

void directory_free(wbpf_pool *pool, struct pool_entry *entry)
{
    uint32_t state = entry->state;
    pool->header->unsealed -= state == ENTRY_CREATING;
    pool->header->deleted_in_use -= state == ENTRY_DELETED;
    pool->header->objects -= state == ENTRY_SEALED;
    store_release(&entry->state, ENTRY_FREE);
    allocator_give(pool, entry->extent);
    push_free(pool, entry);
}

/* What was counted while the entries were walked. */
static void count_entry(struct pool_header *header, uint32_t state)
{
    header->objects += state == ENTRY_SEALED;
    header->unsealed += state == ENTRY_CREATING;
    header->deleted_in_use += state == ENTRY_DELETED;
}

void directory_rebuild(wbpf_pool *pool)
{
    struct pool_header *header = pool->header;
    references_rebuild(pool); /* frees deleted entries that nobody holds */
    header->objects = header->unsealed = header->deleted_in_use = header->free_entry = 0;
    memset(pool->buckets, 0, header->bucket_count * sizeof *pool->buckets);
    for (uint32_t i = header->entry_count; i-- > 0;) {
        struct pool_entry *entry = &pool->entries[i];
        count_entry(header, entry->state);
        if (entry->state == ENTRY_FREE)
            push_free(pool, entry);
        else if (entry->state != ENTRY_DELETED)
            directory_link(pool, entry);
    }
    allocator_rebuild(pool);
}

const char *directory_check(const wbpf_pool *pool)
{
    const struct pool_header *header = pool->header;
    uint32_t objects = 0, unsealed = 0, deleted = 0, free_entries = 0, listed = 0;
    for (uint32_t i = 0; i < header->entry_count; i++) {
        const struct pool_entry *entry = &pool->entries[i];
        objects += entry->state == ENTRY_SEALED;
        unsealed += entry->state == ENTRY_CREATING;
        deleted += entry->state == ENTRY_DELETED;
        free_entries += entry->state == ENTRY_FREE;
        if (entry->state == ENTRY_DELETED && entry->references == 0)
            return "a deleted object that nobody holds still takes space";
        if ((entry->state == ENTRY_SEALED || entry->state == ENTRY_CREATING) &&
            directory_find(pool, entry->id, entry->id_bytes, entry->object_hash) != entry)
            return "an object can't be found by its id";
        if (entry->state != ENTRY_FREE && pool->extents[entry->extent - 1].entry != i + 1)
            return "an object's extent is not its own";
    }
    if (objects != header->objects || unsealed != header->unsealed || deleted != header->deleted_in_use)
        return "a count of objects is wrong";
    for (uint32_t at = header->free_entry; at; at = pool->entries[at - 1].next)
        if (++listed > free_entries || pool->entries[at - 1].state != ENTRY_FREE)
            return "the list of free entries is wrong";
    return listed == free_entries ? NULL : "a free entry was lost";
}
