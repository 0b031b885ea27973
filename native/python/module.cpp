#include "bindings.h"

namespace nb = nanobind;

std::string repr_of(PyObject *object)
{
    PyObject *repr = PyObject_Repr(object);
    const char *text = repr ? PyUnicode_AsUTF8(repr) : nullptr;
    std::string copy = text ? text : Py_TYPE(object)->tp_name;
    Py_XDECREF(repr);
    PyErr_Clear();
    return copy;
}

void set_error(const char *type, const std::string &what, const std::string &why, const std::string &hint)
{
    PyObject *errors = PyImport_ImportModule("wbpf.errors");
    PyObject *error =
        errors ? PyObject_CallMethod(errors, type, "sss", what.c_str(), why.c_str(), hint.c_str()) : nullptr;
    if (error)
        PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(error)), error);
    Py_XDECREF(error);
    Py_XDECREF(errors);
}

void raise_error(const char *type, const std::string &what, const std::string &why, const std::string &hint)
{
    set_error(type, what, why, hint);
    throw nb::python_error();
}

NB_MODULE(_native, m)
{
    m.doc() = "The native core of wBPF; its Python face is in the packages around it.";
    m.def("version", [] { return WBPF_VERSION; }, "The version the native core was built as.");
    bind_recorder(m);
    bind_reader(m);
    bind_doorbell(m);
    bind_pool(m);
    bind_pooled(m);
    bind_kernel(m);
    bind_user(m);
    bind_hostcalls(m);
    bind_probe_sites(m);
}
