/* The tracing functions. Those of the hot path take their arguments as CPython passes them: one call costs
 * less than nanobind's parsing of keywords. */
#include "bindings.h"
#include "context.h"
#include "fields.h"
#include <cstring>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <vector>

namespace nb = nanobind;

namespace
{

/* Holds the current context for a call. */
struct Current {
    TraceContext *context = context_current();
    Current() { context_activate(context); }
    ~Current() { Py_XDECREF(reinterpret_cast<PyObject *>(context)); }
    Current(const Current &) = delete;
    Current &operator=(const Current &) = delete;
};

PyObject *event(PyObject *, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static Options options = {"event", {"level", nullptr}};
    if (nargs != 1) {
        PyErr_SetString(PyExc_TypeError, "event() takes a name, and fields by keyword");
        return nullptr;
    }
    if (!wbpf_segment_path())
        Py_RETURN_NONE;
    Payload payload;
    if (!payload.open(options, args[0], args + 1, kwnames))
        return nullptr;
    int level = WBPF_LEVEL_INFO;
    if (payload.option(0) && payload.option(0) != Py_None && (level = level_from(payload.option(0))) < 0)
        return nullptr;
    Current current;
    if (wbpf_enabled(static_cast<unsigned>(level)))
        payload.record(static_cast<unsigned>(level), current.context);
    Py_RETURN_NONE;
}

PyObject *log_text(PyObject *, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    int level = WBPF_LEVEL_INFO;
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    bool fits = nargs == 1 || (nargs == 2 && keywords == 0);
    if (keywords > 0)
        fits &= keywords == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "level") == 0;
    if (!fits || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "log() takes a text of type str, and a level");
        return nullptr;
    }
    PyObject *given = nargs + keywords == 2 ? args[1] : Py_None;
    if (given != Py_None && (level = level_from(given)) < 0)
        return nullptr;
    Current current;
    if (!wbpf_enabled(static_cast<unsigned>(level)))
        Py_RETURN_NONE;
    Py_ssize_t bytes;
    if (const char *text = PyUnicode_AsUTF8AndSize(args[0], &bytes)) {
        wbpf_log(static_cast<unsigned>(level), text, static_cast<size_t>(bytes));
        Py_RETURN_NONE;
    }
    PyErr_Clear(); /* lone surrogates */
    PyObject *encoded = PyUnicode_AsEncodedString(args[0], "utf-8", "backslashreplace");
    if (!encoded)
        return nullptr;
    wbpf_log(static_cast<unsigned>(level), PyBytes_AS_STRING(encoded),
             static_cast<size_t>(PyBytes_GET_SIZE(encoded)));
    Py_DECREF(encoded);
    Py_RETURN_NONE;
}

PyObject *metric(PyObject *, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "metric() takes a name and a value");
        return nullptr;
    }
    double value = PyFloat_AsDouble(args[1]);
    if (value == -1.0 && PyErr_Occurred())
        return nullptr;
    Current current;
    wbpf_schema name = name_schema(args[0]);
    if (name)
        wbpf_metric(name, value);
    else if (PyErr_Occurred())
        return nullptr;
    Py_RETURN_NONE;
}

PyObject *enabled(PyObject *, PyObject *level)
{
    int number = level_from(level);
    if (number < 0)
        return nullptr;
    Current current;
    return PyBool_FromLong(wbpf_enabled(static_cast<unsigned>(number)));
}

PyMethodDef functions[] = {
    {"event", as_method(event), METH_FASTCALL | METH_KEYWORDS,
     "event(name, /, *, level=None, **fields)\n--\n\n"
     "Record an event of the current trace.\n\n"
     "Args:\n"
     "    name: what happened; white space in it becomes `_`. Few different ones: each takes room for good.\n"
     "    level: severity, a Level or its name; INFO by default.\n"
     "    fields: str, int, float, bool or bytes; of anything else its str(). What is too long is cut.\n"},
    {"log", as_method(log_text), METH_FASTCALL | METH_KEYWORDS,
     "log(text, /, level=None)\n--\n\nRecord a log line of the current trace; INFO by default."},
    {"metric", as_method(metric), METH_FASTCALL,
     "metric(name, value, /)\n--\n\nRecord one point of a metric."},
    {"enabled", enabled, METH_O, "enabled(level, /)\n--\n\nWould a record of this severity be written now?"},
    {}};

unsigned level_or_raise(nb::handle value)
{
    int level = level_from(value.ptr());
    if (level < 0)
        throw nb::python_error();
    return static_cast<unsigned>(level);
}

wbpf_schema name_or_raise(nb::handle name)
{
    wbpf_schema schema = name_schema(name.ptr());
    if (!schema && PyErr_Occurred())
        throw nb::python_error();
    return schema;
}

nb::object owned(TraceContext *context)
{
    if (!context)
        throw nb::python_error();
    return nb::steal(reinterpret_cast<PyObject *>(context));
}

nb::object current_or_none()
{
    TraceContext *context = context_current();
    return context ? owned(context) : nb::none();
}

using Text = std::optional<std::string>;

const char *c_string(const Text &text)
{
    return text ? text->c_str() : nullptr;
}

/* ---- opening ---- */

/* 0 or a negative errno, and what wbpf_error() says. */
nb::tuple open_segment(const Text &service, const Text &host, const Text &directory, uint32_t size_mib,
                       uint32_t level)
{
    wbpf_options options = {};
    options.service = c_string(service);
    options.host = c_string(host);
    options.directory = c_string(directory);
    options.size_mib = size_mib;
    options.level = level;
    int error;
    {
        nb::gil_scoped_release release;
        error = wbpf_open(&options);
    }
    if (error == 0) {
        forget_schemas();
        recorder_starts_afresh();
    }
    return nb::make_tuple(error, error ? wbpf_error() : "");
}

void close_segment()
{
    wbpf_close();
    forget_schemas();
    recorder_starts_afresh();
}

/* ---- the trace moves ---- */

nb::object detach()
{
    use_python_context();
    TraceContext *context = context_current();
    wbpf_context what;
    wbpf_detach(&what);
    context_mark_active(nullptr);
    if (!context_set_current(nullptr))
        throw nb::python_error();
    return owned(context ? context : context_none());
}

TraceContext *context_or_raise(nb::handle object)
{
    if (object.is_none())
        return nullptr;
    if (!context_check(object.ptr()))
        throw nb::type_error("a TraceContext or None is expected");
    TraceContext *context = reinterpret_cast<TraceContext *>(object.ptr());
    return context_is_trace(context) ? context : nullptr;
}

void attach(nb::object object)
{
    TraceContext *context = context_or_raise(object);
    if (!context_set_current(context))
        throw nb::python_error();
    context_activate(context);
}

nb::dict inject(const Text &peer)
{
    nb::dict headers;
    Current current;
    char traceparent[WBPF_TRACEPARENT_BYTES], tracestate[WBPF_TRACESTATE_BYTES] = "";
    const char *incoming =
        current.context && current.context->tracestate ? PyUnicode_AsUTF8(current.context->tracestate) : "";
    if (std::strlen(incoming) < sizeof tracestate) {
        std::strcpy(tracestate, incoming);
    } else { /* the entries at the end are the oldest */
        std::memcpy(tracestate, incoming, sizeof tracestate - 1);
        tracestate[sizeof tracestate - 1] = 0;
        if (char *comma = std::strrchr(tracestate, ','))
            *comma = 0;
    }
    if (wbpf_inject(c_string(peer), traceparent, tracestate) < 0)
        return headers;
    headers["traceparent"] = nb::str(traceparent);
    if (*tracestate)
        headers["tracestate"] = nb::str(tracestate);
    return headers;
}

nb::object send(const Text &peer)
{
    Current current;
    wbpf_context what;
    if (wbpf_send(c_string(peer), &what) < 0)
        return owned(context_none());
    return owned(context_create(what, current.context ? current.context->tracestate : nullptr));
}

/* ---- verbs ---- */

bool trigger(nb::object name, double value, nb::object laterals, nb::object trace_id)
{
    Current current;
    std::vector<uint8_t> ids;
    for (nb::handle lateral : laterals) {
        ids.resize(ids.size() + 16);
        if (!trace_id_from(lateral.ptr(), ids.data() + ids.size() - 16))
            throw nb::python_error();
    }
    context_activate(current.context); /* the laterals may be a generator */
    auto *rows = reinterpret_cast<const uint8_t (*)[16]>(ids.data());
    wbpf_schema schema = name_or_raise(name);
    if (trace_id.is_none())
        return wbpf_trigger(schema, value, rows, ids.size() / 16) == 0;
    uint8_t id[16];
    if (!trace_id_from(trace_id.ptr(), id))
        throw nb::python_error();
    uint64_t start = context_check(trace_id.ptr())
                         ? reinterpret_cast<TraceContext *>(trace_id.ptr())->what.start_unix_ns
                         : 0;
    return wbpf_trigger_trace(id, start, schema, value, rows, ids.size() / 16) == 0;
}

bool reduce(nb::object level)
{
    unsigned number = level_or_raise(level);
    Current current;
    bool sent = wbpf_reduce(number) == 0;
    if (current.context && !context_follow(current.context))
        throw nb::python_error();
    return sent;
}

void clear()
{
    Current current;
    wbpf_clear();
}

} // namespace

void bind_recorder(nb::module_ &m)
{
    using namespace nb::literals;
    bind_context(m);
    bind_scopes(m);
    if (PyModule_AddFunctions(m.ptr(), functions) < 0)
        throw nb::python_error();
    m.def("open_segment", open_segment, "service"_a.none(), "host"_a.none(), "directory"_a.none(),
          "size_mib"_a, "level"_a,
          nb::sig("def open_segment(service: str | None, host: str | None, directory: str | None, size_mib: "
                  "int, level: int) -> tuple[int, str]"),
          "0, or a negative errno with what failed and what to try.");
    m.def("close_segment", close_segment, "Stop recording.");
    m.def("segment_path", wbpf_segment_path, nb::sig("def segment_path() -> str | None"),
          "Path of the segment that this process records to.");
    m.def("level_number", level_or_raise, "level"_a, nb::sig("def level_number(level: int | str) -> int"),
          "The number of a severity.\n\nRaises:\n    ConfigError: there is no such level.");
    m.def("detach", detach, nb::sig("def detach() -> TraceContext"),
          "Take the current trace off this task or thread, and return it (false if there was none).");
    m.def("attach", attach, "context"_a.none(), nb::sig("def attach(context: TraceContext | None) -> None"),
          "Make a detached trace, or none, current in this task or thread.");
    m.def("current", current_or_none, nb::sig("def current() -> TraceContext | None"),
          "The current trace; None when there is none.");
    m.def("inject", inject, "peer"_a.none() = nb::none(),
          nb::sig("def inject(peer: str | None = None) -> dict[str, str]"),
          "Headers for a request to another host, which goes on with the trace (W3C Trace Context).\n\n"
          "Leaves a breadcrumb, by which the trace is found there.\n\n"
          "Args:\n    peer: the host's name, if it is known.\n\nReturns:\n"
          "    `traceparent` and perhaps `tracestate`; empty when there is no current trace.");
    m.def("send", send, "peer"_a.none() = nb::none(),
          nb::sig("def send(peer: str | None = None) -> TraceContext"),
          "As inject(), for transports of one's own: the receiver passes it to trace() as parent.");
    m.def("trigger", trigger, "name"_a, "value"_a = 0.0, "laterals"_a = nb::tuple(),
          "trace_id"_a.none() = nb::none(),
          nb::sig("def trigger(name: str, value: float = 0.0, laterals: collections.abc.Iterable[str | bytes "
                  "| TraceContext] = (), trace_id: str | bytes | TraceContext | None = None) -> bool"),
          "Something went wrong: gather the current trace from every host, and keep it.\n\n"
          "Args:\n    name: of the trigger.\n    value: what was measured.\n"
          "    laterals: other traces to gather with it.\n"
          "    trace_id: another trace than the current one.\n\n"
          "Returns:\n    False if there is no current trace, or too many triggers wait already (counted).");
    m.def("reduce", reduce, "level"_a, nb::sig("def reduce(level: int | str) -> bool"),
          "From now on only records of at least this severity are written for the current trace, on every "
          "host.");
    m.def("clear", clear, "The current trace is known to be good: its space is reused first.");
}
