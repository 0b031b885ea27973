/* The schema area: an append-only list of descriptors, in which a writer that dies leaves no hole. */
#include "internal.h"
#include <stdio.h>
#include <time.h>

static uint32_t descriptor_id(const char *text, size_t bytes)
{
    uint32_t hash = 0x811c9dc5u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (uint8_t)text[i]) * 0x01000193u;
    hash &= WBPF_SCHEMA_ID_MASK;
    return hash ? hash : 1;
}

bool schema_next(const struct mapping *map, uint32_t *offset, uint32_t *schema_id, const char **text,
                 uint32_t *text_bytes)
{
    uint32_t at = *offset, total = (uint32_t)map->fixed.schema_bytes;
    const uint8_t *area = map->base + map->fixed.schema_offset;
    const struct wbpf_schema_entry *entry = (const struct wbpf_schema_entry *)(area + at);
    if (at % 8 || at > total || total - at < sizeof *entry)
        return false;
    uint32_t bytes = load_acquire(&entry->bytes), text_is = load_relaxed(&entry->text_bytes);
    if (bytes < sizeof *entry || bytes % 8 || bytes > total - at || text_is > bytes - sizeof *entry)
        return false;
    *schema_id = entry->schema_id;
    *text = (const char *)(entry + 1);
    *text_bytes = text_is;
    *offset = at + bytes;
    return true;
}

static bool find(const struct mapping *map, const char *line, size_t bytes, uint32_t id, uint32_t *end,
                 bool *clash)
{
    const char *text;
    uint32_t seen, text_bytes;
    while (schema_next(map, end, &seen, &text, &text_bytes))
        if (seen == id) {
            *clash = text_bytes != bytes || memcmp(text, line, bytes) != 0;
            return true;
        }
    return false;
}

/* One writer at a time, whatever process; a dead one's claim is void. Gives up after 10 ms: the holder may be
 * stopped. */
static bool own_area(const struct mapping *map, const struct process *self)
{
    uint64_t *owner = &map->header->schema_owner;
    struct census census = census_of(self->segment_path);
    bool ours = false;
    for (int tries = 0; !ours && tries < 100; tries++) {
        uint64_t seen = load_relaxed(owner);
        if (!seen || !process_alive(map, &census, self, seen))
            ours = __atomic_compare_exchange_n(owner, &seen, self->owner, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_RELAXED);
        else
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        if (!ours)
            census_end(&census); /* who lived then may be dead now */
    }
    census_end(&census);
    return ours;
}

/* At most one thread of a process is in here. */
uint32_t schema_add(const struct mapping *map, const struct process *self, const char *name,
                    const char *fields)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s%s%s", name, fields && *fields ? " " : "", fields ? fields : "");
    if (n <= 0 || (size_t)n >= sizeof line || strchr(line, '\n'))
        return 0;
    uint32_t id = descriptor_id(line, (size_t)n), end = 0;
    uint32_t need = (uint32_t)(sizeof(struct wbpf_schema_entry) + (size_t)n + 7) & ~7u;
    bool clash = false;
    if (find(map, line, (size_t)n, id, &end, &clash))
        return clash ? 0 : id;
    if (!own_area(map, self))
        return 0;
    bool there = find(map, line, (size_t)n, id, &end, &clash);
    bool fits = map->fixed.schema_bytes - end >= need;
    if (!there && fits) {
        struct wbpf_schema_entry *entry =
            (struct wbpf_schema_entry *)(map->base + map->fixed.schema_offset + end);
        entry->schema_id = id;
        entry->text_bytes = (uint32_t)n;
        memcpy(entry + 1, line, (size_t)n);
        if (map->fixed.schema_bytes - end - need >= sizeof *entry) /* there may be a dead writer's text */
            ((struct wbpf_schema_entry *)((uint8_t *)entry + need))->bytes = 0;
        store_release(&entry->bytes, need);
        store_relaxed(&map->header->schema_used, end + need);
    }
    store_release(&map->header->schema_owner, 0);
    return (there && !clash) || (!there && fits) ? id : 0;
}
