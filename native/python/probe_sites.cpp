/* Probe sites of Python programs: callable objects, of which one that nothing is attached to does next to
 * nothing. The type is not nanobind's, for speed. */
#include "bindings.h"
#include "user/sites.h"
#include <nanobind/stl/string.h>
#include <structmember.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

struct ProbeSite {
    PyObject_HEAD vectorcallfunc call;
    wbpf_site *site;
};

bool is_on(const wbpf_site *site)
{
    return __atomic_load_n(&site->state, __ATOMIC_RELAXED) != 0;
}

unsigned long long number_of(PyObject *argument)
{
    const char *text = nullptr;
    if (PyLong_Check(argument))
        return PyLong_AsUnsignedLongLongMask(argument); /* never fails for an int */
    if (PyUnicode_Check(argument))
        text = PyUnicode_AsUTF8(argument);
    else if (PyBytes_Check(argument))
        text = PyBytes_AS_STRING(argument);
    if (PyErr_Occurred()) /* lone surrogates: whoever attaches must not break the program */
        PyErr_Clear();
    return reinterpret_cast<uintptr_t>(text);
}

void meet(wbpf_site *site, PyObject *const *arguments, size_t count)
{
    wbpf_probe_context context = {};
    for (size_t i = 0; i < count; i++)
        context.args[i] = number_of(arguments[i]);
    context.count = count;
    if (auto fire = __atomic_load_n(&site->fire, __ATOMIC_ACQUIRE))
        fire(site, &context);
}

PyObject *site_call(PyObject *self, PyObject *const *arguments, size_t flagged, PyObject *names)
{
    wbpf_site *site = reinterpret_cast<ProbeSite *>(self)->site;
    size_t count = PyVectorcall_NARGS(flagged);
    if (__builtin_expect(count > 8 || (names && PyTuple_GET_SIZE(names)), 0)) {
        PyErr_SetString(PyExc_TypeError, "a probe site takes up to 8 arguments, none by name");
        return nullptr;
    }
    if (__builtin_expect(is_on(site), 0))
        meet(site, arguments, count);
    Py_RETURN_NONE;
}

int site_bool(PyObject *self)
{
    return is_on(reinterpret_cast<ProbeSite *>(self)->site);
}

PyObject *site_name(PyObject *self, void *)
{
    return PyUnicode_FromString(reinterpret_cast<ProbeSite *>(self)->site->name);
}

PyObject *site_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<probe site %s>", reinterpret_cast<ProbeSite *>(self)->site->name);
}

void site_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ProbeSite, call), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
PyGetSetDef properties[] = {
    {"name", site_name, nullptr, "provider:name", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot slots[] = {
    {Py_tp_doc,
     const_cast<char *>(
         "A probe site: call it with up to 8 integers, texts or bytes, of which programs get numbers "
         "or pointers. True while something is attached.")},
    {Py_tp_call, reinterpret_cast<void *>(PyVectorcall_Call)},
    {Py_tp_repr, reinterpret_cast<void *>(site_repr)},
    {Py_tp_dealloc, reinterpret_cast<void *>(site_free)},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {Py_nb_bool, reinterpret_cast<void *>(site_bool)},
    {0, nullptr},
};
PyType_Spec spec = {"wbpf._native.ProbeSite", sizeof(ProbeSite), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                        Py_TPFLAGS_IMMUTABLETYPE,
                    slots};

PyTypeObject *site_type;

nb::object make_site(const std::string &name)
{
    wbpf_site *site;
    if (wbpf_site_register(name.c_str(), &site))
        throw std::bad_alloc();
    auto *made = PyObject_New(ProbeSite, site_type);
    if (!made)
        throw nb::python_error();
    made->call = site_call;
    made->site = site;
    return nb::steal(reinterpret_cast<PyObject *>(made));
}

} // namespace

void bind_probe_sites(nb::module_ &module)
{
    site_type = reinterpret_cast<PyTypeObject *>(PyType_FromSpec(&spec));
    if (!site_type)
        throw nb::python_error();
    module.attr("ProbeSite") = nb::handle(reinterpret_cast<PyObject *>(site_type));
    module.def("probe_site", make_site, "name"_a, nb::sig("def probe_site(name: str) -> ProbeSite"));
    module.def("probes_listen", wbpf_probes_listen, "0 or a negative errno.");
}
