/* Event payloads are packed field by field, in the order of the descriptors; docs/pool.md explains the
 * fields. */
#include "pool/probes.h"
#define WBPF_PROBES_INTERNAL /* who opens a pool decides whether this process is attached to */
#include "wbpf/probe.h"

#define IDENTITY "host:u64 object:u64 generation:u64 "
#define TIMING   "virtual_ns:u64 service_ns:u64 base_ns:u64 queue_ns:u64"

struct payload {
    size_t used;
    uint8_t bytes[256];
};

static inline void put_u64(struct payload *payload, uint64_t value)
{
    memcpy(payload->bytes + payload->used, &value, sizeof value);
    payload->used += sizeof value;
}

static inline void put_u32(struct payload *payload, uint32_t value)
{
    memcpy(payload->bytes + payload->used, &value, sizeof value);
    payload->used += sizeof value;
}

static inline void put_text(struct payload *payload, const char *text)
{
    uint16_t length = (uint16_t)strlen(text);
    memcpy(payload->bytes + payload->used, &length, sizeof length);
    memcpy(payload->bytes + payload->used + sizeof length, text, length);
    payload->used += sizeof length + length;
}

static inline void put_identity(struct payload *payload, const wbpf_pool_host *host, uint64_t object,
                                uint64_t generation)
{
    put_u64(payload, host->record->host_id);
    put_u64(payload, object);
    put_u64(payload, generation);
}

static inline void put_timing(struct payload *payload, const wbpf_pool_timing *timing)
{
    put_u64(payload, timing->virtual_ns);
    put_u64(payload, timing->service_ns);
    put_u64(payload, timing->base_ns);
    put_u64(payload, timing->queue_ns);
}

static uint64_t low_half(const uint8_t trace_id[16])
{
    uint64_t low;
    memcpy(&low, trace_id, sizeof low);
    return low;
}

static uint64_t data_offset(const wbpf_pool_host *host, const void *data)
{
    return (uint64_t)((const uint8_t *)data - host->mirror);
}

void probe_create(const wbpf_pool_writer *writer, const struct pool_entry *entry)
{
    WBPF_PROBE(wbpf_pool, create, writer->host->record->host_id, writer->object_hash, writer->generation,
               writer->bytes, entry->id);
    if (!wbpf_enabled(WBPF_LEVEL_INFO))
        return;
    struct payload payload = {.used = 0};
    put_identity(&payload, writer->host, writer->object_hash, writer->generation);
    put_u64(&payload, data_offset(writer->host, writer->data));
    put_u64(&payload, writer->bytes);
    put_timing(&payload, &writer->timing);
    put_text(&payload, entry->id);
    wbpf_event(WBPF_STATIC_SCHEMA("pool.create", IDENTITY "offset:u64 bytes:u64 " TIMING " id:str"),
               WBPF_LEVEL_INFO, payload.bytes, payload.used);
}

void probe_seal(const wbpf_pool_writer *writer, uint32_t lines, uint32_t checksum)
{
    WBPF_PROBE(wbpf_pool, seal, writer->host->record->host_id, writer->object_hash, writer->generation,
               writer->bytes, lines);
    if (!wbpf_enabled(WBPF_LEVEL_INFO))
        return;
    struct payload payload = {.used = 0};
    put_identity(&payload, writer->host, writer->object_hash, writer->generation);
    put_u64(&payload, writer->bytes);
    put_u32(&payload, lines);
    put_u32(&payload, checksum);
    put_timing(&payload, &writer->timing);
    wbpf_event(WBPF_STATIC_SCHEMA("pool.seal", IDENTITY "bytes:u64 flushed:u32 checksum:u32 " TIMING),
               WBPF_LEVEL_INFO, payload.bytes, payload.used);
}

void probe_abort(const wbpf_pool_writer *writer)
{
    WBPF_PROBE(wbpf_pool, abort, writer->host->record->host_id, writer->object_hash, writer->generation);
    if (!wbpf_enabled(WBPF_LEVEL_INFO))
        return;
    struct payload payload = {.used = 0};
    put_identity(&payload, writer->host, writer->object_hash, writer->generation);
    put_timing(&payload, &writer->timing);
    wbpf_event(WBPF_STATIC_SCHEMA("pool.abort", IDENTITY TIMING), WBPF_LEVEL_INFO, payload.bytes,
               payload.used);
}

#define GET_FIELDS                                                                                           \
    IDENTITY "offset:u64 bytes:u64 filled:u32 hit:u32 stale:u32 seen_version:u32 pool_version:u32 "          \
             "seen_generation:u64 writer:u64 writer_trace:u64 " TIMING " id:str"

void probe_get(const wbpf_pool_view *view, const struct pool_entry *entry, const struct line_counts *lines,
               bool refreshed)
{
    WBPF_PROBE(wbpf_pool, get, view->host->record->host_id, view->object_hash, view->generation, view->bytes,
               lines->filled, lines->stale, refreshed, entry->id);
    if (!wbpf_enabled(WBPF_LEVEL_INFO))
        return;
    const wbpf_pool_host *host = view->host;
    wbpf_pool_envelope seen;
    bool found = wbpf_pool_seen_envelope(view, &seen);
    uint32_t writer = lines->writer;
    struct payload payload = {.used = 0};
    put_identity(&payload, host, view->object_hash, view->generation);
    put_u64(&payload, data_offset(host, view->data));
    put_u64(&payload, view->bytes);
    put_u32(&payload, lines->filled);
    put_u32(&payload, lines->hit);
    put_u32(&payload, lines->stale);
    put_u32(&payload, lines->seen_version);
    put_u32(&payload, lines->pool_version);
    put_u64(&payload, lines->seen_generation);
    put_u64(&payload, writer && writer <= host->pool->header->host_count
                          ? host->pool->header->hosts[writer - 1].host_id
                          : 0);
    put_u64(&payload, found ? low_half(seen.trace_id) : 0);
    put_timing(&payload, &view->timing);
    put_text(&payload, entry->id);
    wbpf_schema schema = refreshed ? WBPF_STATIC_SCHEMA("pool.refresh", GET_FIELDS)
                                   : WBPF_STATIC_SCHEMA("pool.get", GET_FIELDS);
    wbpf_event(schema, WBPF_LEVEL_INFO, payload.bytes, payload.used);
}

void probe_release(const wbpf_pool_view *view)
{
    WBPF_PROBE(wbpf_pool, release, view->host->record->host_id, view->object_hash, view->generation);
    if (!wbpf_enabled(WBPF_LEVEL_DEBUG))
        return;
    struct payload payload = {.used = 0};
    put_identity(&payload, view->host, view->object_hash, view->generation);
    put_timing(&payload, &view->timing);
    wbpf_event(WBPF_STATIC_SCHEMA("pool.release", IDENTITY TIMING), WBPF_LEVEL_DEBUG, payload.bytes,
               payload.used);
}

void probe_delete(wbpf_pool_host *host, uint64_t object, uint64_t generation, const char *id, bool deferred,
                  const wbpf_pool_timing *timing)
{
    WBPF_PROBE(wbpf_pool, delete, host->record->host_id, object, generation, deferred, id);
    if (!wbpf_enabled(WBPF_LEVEL_INFO))
        return;
    struct payload payload = {.used = 0};
    put_identity(&payload, host, object, generation);
    put_u32(&payload, deferred);
    put_timing(&payload, timing);
    put_text(&payload, id);
    wbpf_event(WBPF_STATIC_SCHEMA("pool.delete", IDENTITY "deferred:u32 " TIMING " id:str"), WBPF_LEVEL_INFO,
               payload.bytes, payload.used);
}

static void put_range(struct payload *payload, wbpf_pool_host *host, uint64_t object, uint64_t offset,
                      uint64_t bytes, uint32_t lines, const wbpf_pool_timing *timing)
{
    put_u64(payload, host->record->host_id);
    put_u64(payload, object);
    put_u64(payload, offset);
    put_u64(payload, bytes);
    put_u32(payload, lines);
    put_timing(payload, timing);
}

#define RANGE_FIELDS "host:u64 object:u64 offset:u64 bytes:u64 lines:u32 " TIMING

void probe_flush(wbpf_pool_host *host, uint64_t object, uint64_t offset, uint64_t bytes, uint32_t lines,
                 const wbpf_pool_timing *timing)
{
    if (!wbpf_enabled(WBPF_LEVEL_DEBUG))
        return;
    struct payload payload = {.used = 0};
    put_range(&payload, host, object, offset, bytes, lines, timing);
    wbpf_event(WBPF_STATIC_SCHEMA("pool.flush", RANGE_FIELDS), WBPF_LEVEL_DEBUG, payload.bytes, payload.used);
}

void probe_invalidate(wbpf_pool_host *host, uint64_t object, uint64_t offset, uint64_t bytes, uint32_t lines,
                      const wbpf_pool_timing *timing)
{
    if (!wbpf_enabled(WBPF_LEVEL_DEBUG))
        return;
    struct payload payload = {.used = 0};
    put_range(&payload, host, object, offset, bytes, lines, timing);
    wbpf_event(WBPF_STATIC_SCHEMA("pool.invalidate", RANGE_FIELDS), WBPF_LEVEL_DEBUG, payload.bytes,
               payload.used);
}

void probe_mismatch(const wbpf_pool_view *view, int result, const wbpf_pool_envelope *seen, uint32_t checksum)
{
    WBPF_PROBE(wbpf_pool, mismatch, view->host->record->host_id, view->object_hash, view->generation, result);
    if (!wbpf_enabled(WBPF_LEVEL_WARN))
        return;
    struct payload payload = {.used = 0};
    put_identity(&payload, view->host, view->object_hash, view->generation);
    put_u32(&payload, (uint32_t)result);
    put_u64(&payload, seen->object_hash);
    put_u64(&payload, seen->generation);
    put_u64(&payload, seen->writer_host_id);
    put_u64(&payload, low_half(seen->trace_id));
    put_u32(&payload, seen->checksum);
    put_u32(&payload, checksum);
    put_u64(&payload, wbpf_pool_virtual_ns(view->host));
    wbpf_event(WBPF_STATIC_SCHEMA("pool.verify", IDENTITY
                                  "result:u32 seen_object:u64 seen_generation:u64 writer:u64 "
                                  "writer_trace:u64 envelope_checksum:u32 checksum:u32 virtual_ns:u64"),
               WBPF_LEVEL_WARN, payload.bytes, payload.used);
}
