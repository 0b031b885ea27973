/* What the files of the extension module share. */
#ifndef WBPF_PYTHON_BINDINGS_H
#define WBPF_PYTHON_BINDINGS_H

#include <nanobind/nanobind.h>
#include <string>

void bind_recorder(nanobind::module_ &module);
void bind_reader(nanobind::module_ &module);
void bind_doorbell(nanobind::module_ &module);
void bind_pool(nanobind::module_ &module);
void bind_pooled(nanobind::module_ &module);
void bind_kernel(nanobind::module_ &module);
void bind_user(nanobind::module_ &module);
void bind_hostcalls(nanobind::module_ &module);
void bind_user_maps(nanobind::module_ &module);
void bind_user_packets(nanobind::module_ &module);
void bind_probe_sites(nanobind::module_ &module);

/* Of a UserProgram. */
struct wbpf_user_program *user_program_of(nanobind::handle object);

/* Raise wbpf.errors.TYPE: what failed, why, and what to try next. */
[[noreturn]] void raise_error(const char *type, const std::string &what, const std::string &why,
                              const std::string &hint);

/* The same for functions that are not nanobind's: they return NULL next. */
void set_error(const char *type, const std::string &what, const std::string &why, const std::string &hint);

/* repr() for such texts; clears any exception. */
std::string repr_of(PyObject *object);

/* A function with other arguments than PyCFunction has, for the table of a type or module. */
template <typename Function> PyCFunction as_method(Function *function)
{
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

/* Make the trace of the running Python context the current one of this thread. To be called, with the GIL,
 * before native code that records: an asyncio task may have run here since the last call. */
void use_python_context();

#endif
