#include "bindings.h"

namespace nb = nanobind;

void raise_error(const char *type, const std::string &what, const std::string &why, const std::string &hint)
{
    nb::object error = nb::module_::import_("wbpf.errors").attr(type);
    PyErr_SetObject(error.ptr(), error(what, why, hint).ptr());
    throw nb::python_error();
}

void bind_pool(nb::module_ &) __attribute__((weak));

NB_MODULE(_native, m)
{
    m.doc() = "The native core of wBPF; its Python face is in the packages around it.";
    m.def("version", [] { return WBPF_VERSION; }, "The version the native core was built as.");
    bind_recorder(m);
    bind_reader(m);
    bind_doorbell(m);
    if (bind_pool)
        bind_pool(m);
}
