/* The envelope: one line before the payload that says whose bytes follow. It goes through the line cache like
 * them. */
#include "pool/probes.h"

#define ENVELOPE_MAGIC 0x314E5645u /* the bytes EVN1 */

struct envelope_line {
    uint32_t magic;
    uint32_t checksum;
    uint64_t object_hash, generation, bytes, writer_host_id;
    uint8_t trace_id[16];
    uint32_t reserved;
    uint32_t own_checksum; /* of all before it */
};
_Static_assert(sizeof(struct envelope_line) == LINE_BYTES, "an envelope is one line");

void envelope_write(void *line, const wbpf_pool_envelope *envelope)
{
    struct envelope_line written = {.magic = ENVELOPE_MAGIC,
                                    .checksum = envelope->checksum,
                                    .object_hash = envelope->object_hash,
                                    .generation = envelope->generation,
                                    .bytes = envelope->bytes,
                                    .writer_host_id = envelope->writer_host_id};
    memcpy(written.trace_id, envelope->trace_id, sizeof written.trace_id);
    written.own_checksum = wbpf_crc32c(0, &written, offsetof(struct envelope_line, own_checksum));
    memcpy(line, &written, sizeof written);
}

bool envelope_read(const void *line, wbpf_pool_envelope *envelope)
{
    struct envelope_line read;
    memcpy(&read, line, sizeof read);
    *envelope = (wbpf_pool_envelope){.object_hash = read.object_hash,
                                     .generation = read.generation,
                                     .bytes = read.bytes,
                                     .writer_host_id = read.writer_host_id,
                                     .checksum = read.checksum};
    memcpy(envelope->trace_id, read.trace_id, sizeof read.trace_id);
    return read.magic == ENVELOPE_MAGIC &&
           read.own_checksum == wbpf_crc32c(0, &read, offsetof(struct envelope_line, own_checksum));
}

bool wbpf_pool_seen_envelope(const wbpf_pool_view *view, wbpf_pool_envelope *envelope)
{
    return envelope_read((const uint8_t *)view->data - ENVELOPE_LINES * LINE_BYTES, envelope);
}

int wbpf_pool_verify(const wbpf_pool_view *view)
{
    if (!wbpf_pool_view_valid(view))
        return -ESTALE;
    wbpf_pool_envelope seen;
    bool found = wbpf_pool_seen_envelope(view, &seen);
    uint32_t checksum = wbpf_crc32c(0, view->data, view->bytes);
    int result = WBPF_VERIFY_OK;
    if (!found || seen.object_hash != view->object_hash || seen.generation != view->generation ||
        seen.bytes != view->bytes)
        result = WBPF_VERIFY_GENERATION_MISMATCH;
    else if (seen.checksum != checksum)
        result = WBPF_VERIFY_CHECKSUM_MISMATCH;
    if (result != WBPF_VERIFY_OK) {
        if (!found)
            seen = (wbpf_pool_envelope){0};
        probe_mismatch(view, result, &seen, checksum);
    }
    return result;
}
