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

/* The host of a PoolMember. */
SharedHost host_of(nanobind::handle member);

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

inline nanobind::object memoryview_of(nanobind::handle exporter)
{
    nanobind::object view = nanobind::steal(PyMemoryView_FromObject(exporter.ptr()));
    if (!view.is_valid())
        throw nanobind::python_error();
    return view;
}

/* For a destructor that records: it runs wherever the last reference goes, perhaps with an exception set. */
struct InDestructor {
    PyObject *type, *value, *traceback;
    InDestructor()
    {
        PyErr_Fetch(&type, &value, &traceback);
        use_python_context();
    }
    ~InDestructor() { PyErr_Restore(type, value, traceback); }
};

/* What CPython 3.12 adds by itself, so that type checkers know these types as buffers in 3.11 too. */
template <typename Class> void define_buffer(Class &type)
{
#if PY_VERSION_HEX < 0x030C0000
    type.def(
        "__buffer__", [](nanobind::handle self, int) { return memoryview_of(self); }, nanobind::arg("flags"),
        nanobind::sig("def __buffer__(self, flags: int, /) -> memoryview"));
#endif
}

/* A Python object of a type that only native code makes. */
template <typename T, typename... Arguments> nanobind::object make(Arguments &&...arguments)
{
    nanobind::object instance = nanobind::inst_alloc(nanobind::type<T>());
    new (nanobind::inst_ptr<T>(instance)) T(std::forward<Arguments>(arguments)...);
    nanobind::inst_mark_ready(instance);
    return instance;
}

nanobind::object create_object(const SharedHost &host, nanobind::str id, uint64_t size_bytes,
                               nanobind::handle tags);
nanobind::object get_object(const SharedHost &host, nanobind::str id, nanobind::handle timeout_s);
void bind_pool_writer(nanobind::module_ &module);
void bind_pool_view(nanobind::module_ &module);

#endif
