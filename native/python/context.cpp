/* TraceContext: where a trace is, as Python holds it and carries it about. */
#include "context.h"
#include <cstring>
#include <pthread.h>
#include <strings.h>

namespace nb = nanobind;

__thread uint64_t active_serial;
uint64_t recorder_epoch;
PyObject *current_variable;

namespace
{

PyTypeObject *context_type;
uint64_t next_serial = 1;

TraceContext *cast(PyObject *object)
{
    return reinterpret_cast<TraceContext *>(object);
}

void context_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(cast(self)->tracestate);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *context_repr(PyObject *self)
{
    const TraceContext *context = cast(self);
    if (!context_is_trace(context))
        return PyUnicode_FromString("TraceContext()");
    PyObject *trace = hex_of(context->what.trace_id, 16);
    char span[17];
    std::snprintf(span, sizeof span, "%016llx", static_cast<unsigned long long>(context->what.span_id));
    PyObject *text = trace ? PyUnicode_FromFormat("TraceContext(%U, span %s)", trace, span) : nullptr;
    Py_XDECREF(trace);
    return text;
}

int context_bool(PyObject *self)
{
    return context_is_trace(cast(self));
}

PyObject *context_compare(PyObject *self, PyObject *other, int operation)
{
    if (Py_TYPE(other) != context_type || (operation != Py_EQ && operation != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    bool same = std::memcmp(&cast(self)->what, &cast(other)->what, sizeof(wbpf_context)) == 0;
    return PyBool_FromLong(same == (operation == Py_EQ));
}

Py_hash_t context_hash(PyObject *self)
{
    uint64_t id;
    std::memcpy(&id, cast(self)->what.trace_id + 8, 8);
    Py_hash_t hash = static_cast<Py_hash_t>(id ^ cast(self)->what.span_id);
    return hash == -1 ? -2 : hash;
}

PyObject *get_trace_id(PyObject *self, void *)
{
    return hex_of(cast(self)->what.trace_id, 16);
}

PyObject *get_span_id(PyObject *self, void *)
{
    uint64_t big_endian = __builtin_bswap64(cast(self)->what.span_id);
    return hex_of(reinterpret_cast<const uint8_t *>(&big_endian), 8);
}

PyObject *get_start_unix_ns(PyObject *self, void *)
{
    return PyLong_FromUnsignedLongLong(cast(self)->what.start_unix_ns);
}

PyObject *get_from_host_id(PyObject *self, void *)
{
    return PyLong_FromUnsignedLongLong(cast(self)->what.from_host_id);
}

PyObject *get_flags(PyObject *self, void *)
{
    return PyLong_FromLong(cast(self)->what.flags);
}

PyObject *get_level(PyObject *self, void *)
{
    return PyLong_FromLong(cast(self)->what.level);
}

PyObject *get_tracestate(PyObject *self, void *)
{
    PyObject *tracestate = cast(self)->tracestate;
    return tracestate ? Py_NewRef(tracestate) : PyUnicode_FromString("");
}

PyObject *to_bytes(PyObject *self, PyObject *)
{
    return PyBytes_FromStringAndSize(reinterpret_cast<const char *>(&cast(self)->what), sizeof(wbpf_context));
}

PyObject *from_bytes(PyObject *, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2 || !PyObject_CheckBuffer(args[0]) ||
        (nargs == 2 && !PyUnicode_Check(args[1]))) {
        PyErr_SetString(PyExc_TypeError, "from_bytes() takes bytes, and the tracestate as a str");
        return nullptr;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
        return nullptr;
    wbpf_context what;
    bool fits = view.len == sizeof what;
    std::string size = std::to_string(view.len);
    if (fits)
        std::memcpy(&what, view.buf, sizeof what);
    PyBuffer_Release(&view);
    if (fits)
        return reinterpret_cast<PyObject *>(context_create(what, nargs == 2 ? args[1] : nullptr));
    set_error("FormatError", "a trace context can't be read",
              "it is " + std::to_string(sizeof what) + " bytes, these are " + size,
              "pass what TraceContext.to_bytes() made, whole");
    return nullptr;
}

PyObject *from_headers(PyObject *, PyObject *headers)
{
    return reinterpret_cast<PyObject *>(context_from_headers(headers));
}

PyObject *reduce(PyObject *self, PyObject *)
{
    PyObject *make = PyObject_GetAttrString(reinterpret_cast<PyObject *>(context_type), "from_bytes");
    PyObject *tracestate = cast(self)->tracestate;
    PyObject *bytes = to_bytes(self, nullptr);
    if (make && bytes)
        return tracestate ? Py_BuildValue("N(NO)", make, bytes, tracestate)
                          : Py_BuildValue("N(N)", make, bytes);
    Py_XDECREF(make);
    Py_XDECREF(bytes);
    return nullptr;
}

PyMethodDef methods[] = {
    {"to_bytes", to_bytes, METH_NOARGS,
     "to_bytes($self, /)\n--\n\n48 bytes that from_bytes() reads, on any host. The tracestate is not in "
     "them."},
    {"from_bytes", as_method(from_bytes), METH_FASTCALL | METH_STATIC,
     "from_bytes(data, tracestate='', /)\n--\n\nWhat to_bytes() wrote.\n\nRaises:\n"
     "    FormatError: not 48 bytes."},
    {"from_headers", from_headers, METH_O | METH_STATIC,
     "from_headers(headers, /)\n--\n\nRead `traceparent` and `tracestate` of a mapping, in any case of "
     "letters "
     "(W3C Trace Context).\n\nMissing or malformed headers make a context without a trace, which is false."},
    {"__reduce__", reduce, METH_NOARGS, nullptr},
    {}};

PyGetSetDef getters[] = {
    {"trace_id", get_trace_id, nullptr, "32 hex digits; zeros when there is no trace.", nullptr},
    {"span_id", get_span_id, nullptr, "16 hex digits.", nullptr},
    {"start_unix_ns", get_start_unix_ns, nullptr,
     "When the trace began, by the clock of the host where it began; 0 when not known.", nullptr},
    {"from_host_id", get_from_host_id, nullptr, "The host that it came from; 0 when not known.", nullptr},
    {"flags", get_flags, nullptr, "W3C trace-flags.", nullptr},
    {"level", get_level, nullptr, "Severity from which the trace is recorded; 0: the host's.", nullptr},
    {"tracestate", get_tracestate, nullptr, "What other vendors put into the headers.", nullptr},
    {}};

template <typename F> void *slot(F *function)
{
    return reinterpret_cast<void *>(function);
}

/* The value of a header as a NUL-terminated string that lives as long as `holder`; NULL if it is no text. */
const char *header_text(PyObject *value, nb::object &holder)
{
    if (PyBytes_Check(value))
        return PyBytes_AS_STRING(value);
    holder = nb::borrow(value);
    const char *text = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : nullptr;
    PyErr_Clear();
    return text;
}

/* A header by its name in any case; NULL if it is missing; a new reference. False with an exception. */
bool find_header(PyObject *headers, const char *name, nb::object &out)
{
    PyObject *items = PyMapping_Items(headers);
    if (!items)
        return false;
    nb::object owner = nb::steal(items);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i), *key = nullptr, *value = nullptr;
        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2)
            continue;
        key = PyTuple_GET_ITEM(item, 0);
        value = PyTuple_GET_ITEM(item, 1);
        nb::object holder;
        const char *text = header_text(key, holder);
        if (text && strcasecmp(text, name) == 0) {
            out = nb::borrow(value);
            return true;
        }
    }
    return true;
}

void after_fork_in_child()
{
    recorder_starts_afresh();
}

} // namespace

PyObject *hex_of(const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    PyObject *text = PyUnicode_New(static_cast<Py_ssize_t>(2 * count), 127);
    if (!text)
        return nullptr;
    Py_UCS1 *out = PyUnicode_1BYTE_DATA(text);
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = static_cast<Py_UCS1>(digits[bytes[i] >> 4]);
        out[2 * i + 1] = static_cast<Py_UCS1>(digits[bytes[i] & 15]);
    }
    return text;
}

TraceContext *context_create(const wbpf_context &what, PyObject *tracestate)
{
    TraceContext *context = PyObject_New(TraceContext, context_type);
    if (context) {
        context->what = what;
        context->serial = next_serial++;
        context->tracestate = Py_XNewRef(tracestate);
    }
    return context;
}

TraceContext *context_none()
{
    static TraceContext *none = context_create({}, nullptr);
    Py_XINCREF(reinterpret_cast<PyObject *>(none));
    return none;
}

bool context_is_trace(const TraceContext *context)
{
    static const uint8_t none[16] = {};
    return std::memcmp(context->what.trace_id, none, sizeof none) != 0;
}

bool context_check(PyObject *object)
{
    return Py_TYPE(object) == context_type;
}

TraceContext *context_from_headers(PyObject *headers)
{
    nb::object parent, state, parent_holder, state_holder;
    if (!PyDict_Check(headers) && !PyObject_HasAttrString(headers, "items")) {
        PyErr_Format(PyExc_TypeError, "headers are a mapping of names to values, not %s",
                     Py_TYPE(headers)->tp_name);
        return nullptr;
    }
    if (!find_header(headers, "traceparent", parent) || !find_header(headers, "tracestate", state))
        return nullptr;
    const char *traceparent = parent ? header_text(parent.ptr(), parent_holder) : nullptr;
    const char *tracestate = state ? header_text(state.ptr(), state_holder) : nullptr;
    wbpf_context what = {};
    if (!traceparent || wbpf_extract(traceparent, tracestate, &what) < 0)
        return context_none();
    PyObject *text = tracestate && *tracestate ? PyUnicode_FromString(tracestate) : nullptr;
    PyErr_Clear();
    TraceContext *context = context_create(what, text);
    Py_XDECREF(text);
    return context;
}

bool trace_id_from(PyObject *object, uint8_t id[16])
{
    if (context_check(object)) {
        std::memcpy(id, cast(object)->what.trace_id, 16);
        return true;
    }
    if (PyBytes_Check(object) && PyBytes_GET_SIZE(object) == 16) {
        std::memcpy(id, PyBytes_AS_STRING(object), 16);
        return true;
    }
    Py_ssize_t digits = 0;
    const char *text = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &digits) : nullptr;
    if (digits == 32) {
        bool fits = true;
        for (int i = 0; i < 32; i++) {
            int c = text[i];
            int digit = c >= '0' && c <= '9'                     ? c - '0'
                        : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                 : -1;
            fits &= digit >= 0;
            id[i / 2] = static_cast<uint8_t>(id[i / 2] << 4 | (digit & 15));
        }
        if (fits)
            return true;
    }
    PyErr_Clear();
    set_error("ConfigError", repr_of(object) + " is not a trace id", "",
              "pass 32 hex digits, 16 bytes, or a TraceContext");
    return false;
}

bool context_follow(TraceContext *context)
{
    wbpf_context now;
    context_mark_active(context);
    if (!wbpf_current(&now) || now.level == context->what.level)
        return context_set_current(context);
    TraceContext *changed = context_create(now, context->tracestate);
    bool ok = changed && context_set_current(changed);
    if (ok)
        context_mark_active(changed);
    Py_XDECREF(reinterpret_cast<PyObject *>(changed));
    return ok;
}

void use_python_context()
{
    TraceContext *context = context_current();
    context_activate(context);
    Py_XDECREF(reinterpret_cast<PyObject *>(context));
}

void bind_context(nb::module_ &module)
{
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, slot(context_dealloc)},
        {Py_tp_repr, slot(context_repr)},
        {Py_tp_richcompare, slot(context_compare)},
        {Py_tp_hash, slot(context_hash)},
        {Py_nb_bool, slot(context_bool)},
        {Py_tp_methods, methods},
        {Py_tp_getset, getters},
        {Py_tp_doc, const_cast<char *>("Where a trace is: what travels between tasks, threads, processes and "
                                       "hosts. Immutable; false when there is no trace.")},
        {0, nullptr}};
    static PyType_Spec spec = {
        "wbpf._native.TraceContext", sizeof(TraceContext), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
    context_type = reinterpret_cast<PyTypeObject *>(PyType_FromSpec(&spec));
    current_variable = PyContextVar_New("wbpf.trace", nullptr);
    if (!context_type || !current_variable ||
        PyModule_AddObjectRef(module.ptr(), "TraceContext", reinterpret_cast<PyObject *>(context_type)) < 0)
        throw nb::python_error();
    pthread_atfork(nullptr, nullptr, after_fork_in_child);
}
