/* The pool's probe points: one event an operation, in the calling thread's trace. */
#ifndef WBPF_POOL_PROBES_H
#define WBPF_POOL_PROBES_H

#include "pool/internal.h"

void probe_create(const wbpf_pool_writer *writer, const struct pool_entry *entry);
void probe_seal(const wbpf_pool_writer *writer, uint32_t lines, uint32_t checksum);
void probe_abort(const wbpf_pool_writer *writer);
void probe_get(const wbpf_pool_view *view, const struct pool_entry *entry, const struct line_counts *lines,
               bool refreshed);
void probe_release(const wbpf_pool_view *view);
void probe_delete(wbpf_pool_host *host, uint64_t object, uint64_t generation, const char *id, bool deferred,
                  const wbpf_pool_timing *timing);
/* `verb` is flush or invalidate; the object is 0 for a range. */
void probe_flush(wbpf_pool_host *host, uint64_t object, uint64_t offset, uint64_t bytes, uint32_t lines,
                 const wbpf_pool_timing *timing);
void probe_invalidate(wbpf_pool_host *host, uint64_t object, uint64_t offset, uint64_t bytes, uint32_t lines,
                      const wbpf_pool_timing *timing);
void probe_mismatch(const wbpf_pool_view *view, int result, const wbpf_pool_envelope *seen,
                    uint32_t checksum);

#endif
