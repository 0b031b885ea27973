/* What the pool's binding files share. */
#ifndef WBPF_PYTHON_POOL_H
#define WBPF_PYTHON_POOL_H

#include "bindings.h"
#include "wbpf/pool.h"
#include <memory>

/* Operations on more bytes than this let other Python threads run. */
constexpr uint64_t RELEASE_GIL_BYTES = 64 << 10;

/* A segment is unmapped, and a host left, with the last object that needs it. */
using SharedPool = std::shared_ptr<wbpf_pool>;
using SharedHost = std::shared_ptr<wbpf_pool_host>;

/* The exception of wbpf.pool.errors for a negative errno. `subject` is an id or a path. */
[[noreturn]] void raise_pool_error(const char *operation, nanobind::handle subject, int code);

/* The UTF-8 text of a str; raises for what can't be an id. */
const char *id_text(nanobind::handle id);

/* What the last operation of this thread cost. */
extern thread_local wbpf_pool_timing last_timing;

/* Runs `work` without the GIL if it is about many bytes. */
template <typename Work> auto with_bytes(uint64_t bytes, Work work)
{
    if (bytes < RELEASE_GIL_BYTES)
        return work();
    nanobind::gil_scoped_release release;
    return work();
}

nanobind::object create_object(const SharedHost &host, nanobind::str id, uint64_t size_bytes,
                               nanobind::handle tags);
nanobind::object get_object(const SharedHost &host, nanobind::str id, nanobind::handle timeout_s);
void bind_pool_objects(nanobind::module_ &module);

#endif
