/* Scope: what trace() and span() return, for `with`. */
#include "context.h"
#include "fields.h"
#include <cstring>

namespace nb = nanobind;

namespace
{

PyTypeObject *scope_type;

enum ScopeState : uint8_t { FRESH, INSIDE, LEFT };

struct Scope {
    PyObject_HEAD wbpf_scope scope;
    uint64_t epoch; /* of the recorder, when entered */
    wbpf_schema name, attributes_schema;
    bool is_trace;
    ScopeState state;
    PyObject *attributes; /* bytes: payload, or text when there is no schema; or NULL */
    TraceContext *parent; /* what the trace goes on from, or NULL */
    PyObject *triggers;   /* given by the caller; a list of what watches once entered; or NULL */
    TraceContext *outer;  /* current before, or NULL */
    TraceContext *inner;  /* current inside; NULL when nothing is recorded */
};

Scope *cast(PyObject *object)
{
    return reinterpret_cast<Scope *>(object);
}

void release(TraceContext *context)
{
    Py_XDECREF(reinterpret_cast<PyObject *>(context));
}

TraceContext *hold(TraceContext *context)
{
    Py_XINCREF(reinterpret_cast<PyObject *>(context));
    return context;
}

void scope_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Scope *scope = cast(self);
    Py_XDECREF(scope->attributes);
    Py_XDECREF(scope->triggers);
    release(scope->parent);
    release(scope->outer);
    release(scope->inner);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The attributes are taken now: their values may change before the scope is entered. */
bool take_attributes(Scope *scope, Payload &payload)
{
    payload.scan();
    scope->attributes_schema = payload.schema();
    if (!payload.schema()) {
        std::string text = payload.text();
        scope->attributes = PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
    } else {
        scope->attributes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(payload.bytes()));
        if (scope->attributes)
            payload.write(PyBytes_AS_STRING(scope->attributes));
    }
    return scope->attributes != nullptr;
}

Scope *scope_create(bool is_trace)
{
    Scope *scope = PyObject_New(Scope, scope_type);
    if (scope) {
        scope->scope = {};
        scope->name = scope->attributes_schema = 0;
        scope->is_trace = is_trace;
        scope->state = FRESH;
        scope->attributes = scope->triggers = nullptr;
        scope->parent = scope->outer = scope->inner = nullptr;
    }
    return scope;
}

/* `parent` as an argument: a TraceContext, a mapping of headers, or None. */
bool take_parent(Scope *scope, PyObject *parent)
{
    if (!parent || parent == Py_None)
        return true;
    scope->parent =
        context_check(parent) ? hold(reinterpret_cast<TraceContext *>(parent)) : context_from_headers(parent);
    return scope->parent != nullptr;
}

Scope *make(Options &options, bool is_trace, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs < 1 || nargs > (is_trace ? 2 : 1)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a name%s, and attributes by keyword", options.function,
                     is_trace ? ", perhaps a parent" : "");
        return nullptr;
    }
    Scope *scope = scope_create(is_trace);
    if (!scope)
        return nullptr;
    bool ok = true;
    if (wbpf_segment_path()) {
        scope->name = name_schema(args[0]);
        ok = !PyErr_Occurred();
    } else if (!PyUnicode_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "%s() takes a name of type str first", options.function);
        ok = false;
    }
    Payload payload;
    PyObject *parent = nargs == 2 ? args[1] : nullptr;
    if (ok && kwnames && PyTuple_GET_SIZE(kwnames) > 0) {
        ok = payload.open(options, args[0], args + nargs, kwnames);
        Py_ssize_t given = 0;
        for (unsigned i = 0; is_trace && i < 2; i++)
            given += payload.option(i) != nullptr;
        if (payload.option(0) && parent) {
            PyErr_SetString(PyExc_TypeError, "trace() got two values for its parent");
            ok = false;
        } else if (payload.option(0)) {
            parent = payload.option(0);
        }
        scope->triggers = Py_XNewRef(payload.option(1));
        if (ok && PyTuple_GET_SIZE(kwnames) > given && wbpf_segment_path())
            ok = take_attributes(scope, payload);
    }
    if (ok && take_parent(scope, parent))
        return scope;
    Py_DECREF(reinterpret_cast<PyObject *>(scope));
    return nullptr;
}

Options trace_options = {"trace", {"parent", "triggers"}};
Options span_options = {"span", {nullptr, nullptr}};

PyObject *trace(PyObject *, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return reinterpret_cast<PyObject *>(make(trace_options, true, args, nargs, kwnames));
}

PyObject *span(PyObject *, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return reinterpret_cast<PyObject *>(make(span_options, false, args, nargs, kwnames));
}

/* A span of the current trace, or a trace if there is none: what a decorated function is. */
PyObject *span_or_trace(PyObject *, PyObject *name)
{
    TraceContext *current = context_current();
    Scope *scope = make(current ? span_options : trace_options, !current, &name, 1, nullptr);
    release(current);
    return reinterpret_cast<PyObject *>(scope);
}

/* A trigger that fails must not harm the application: its exception goes to sys.unraisablehook. */
void start_watching(Scope *scope)
{
    PyObject *watches = PyList_New(0);
    PyObject *triggers = watches ? PySequence_Fast(scope->triggers, "triggers must be a sequence") : nullptr;
    for (Py_ssize_t i = 0; triggers && i < PySequence_Fast_GET_SIZE(triggers); i++) {
        PyObject *trigger = PySequence_Fast_GET_ITEM(triggers, i);
        PyObject *watch = PyObject_CallMethod(trigger, "watch", nullptr);
        PyObject *entered = watch ? PyObject_CallMethod(watch, "__enter__", nullptr) : nullptr;
        if (!entered || PyList_Append(watches, watch) < 0)
            PyErr_WriteUnraisable(trigger);
        Py_XDECREF(entered);
        Py_XDECREF(watch);
    }
    if (!triggers)
        PyErr_WriteUnraisable(scope->triggers);
    Py_XDECREF(triggers);
    Py_XSETREF(scope->triggers, watches);
}

void stop_watching(Scope *scope, PyObject *const *exception)
{
    PyObject *watches = scope->triggers;
    scope->triggers = nullptr;
    for (Py_ssize_t i = PyList_GET_SIZE(watches) - 1; i >= 0; i--) {
        PyObject *watch = PyList_GET_ITEM(watches, i);
        PyObject *result =
            PyObject_CallMethod(watch, "__exit__", "OOO", exception[0], exception[1], exception[2]);
        if (!result)
            PyErr_WriteUnraisable(watch);
        Py_XDECREF(result);
    }
    Py_DECREF(watches);
}

void write_attributes(Scope *scope)
{
    const char *data = PyBytes_AS_STRING(scope->attributes);
    size_t bytes = static_cast<size_t>(PyBytes_GET_SIZE(scope->attributes));
    if (scope->attributes_schema)
        wbpf_attributes(scope->attributes_schema, data, bytes);
    else
        wbpf_log(WBPF_LEVEL_INFO, data, bytes);
    Py_CLEAR(scope->attributes);
}

void end(Scope *scope)
{
    if (scope->is_trace)
        wbpf_end(&scope->scope);
    else
        wbpf_span_end(&scope->scope);
    context_mark_active(scope->outer);
}

PyObject *scope_enter(PyObject *self, PyObject *)
{
    Scope *scope = cast(self);
    if (scope->state != FRESH) {
        PyErr_SetString(PyExc_RuntimeError, "a trace or span is entered once; make another one");
        return nullptr;
    }
    scope->state = LEFT; /* until it is known that something is recorded */
    scope->outer = context_current();
    context_activate(scope->outer);
    TraceContext *parent = scope->parent;
    if (scope->is_trace)
        wbpf_begin(&scope->scope, scope->name, parent && context_is_trace(parent) ? &parent->what : nullptr);
    else
        wbpf_span_begin(&scope->scope, scope->name);
    if (scope->scope.active) {
        wbpf_context what;
        wbpf_current(&what);
        TraceContext *from = scope->is_trace ? parent : scope->outer;
        scope->inner = context_create(what, from ? from->tracestate : nullptr);
        if (!scope->inner || !context_set_current(scope->inner)) {
            end(scope);
            return nullptr;
        }
        context_mark_active(scope->inner);
    } else if (scope->is_trace || !scope->outer) {
        return Py_NewRef(self); /* not open, or a span outside of any trace */
    } else {
        scope->inner = hold(scope->outer); /* a span, but they are not recorded at this level */
    }
    scope->state = INSIDE;
    scope->epoch = recorder_epoch;
    if (scope->attributes)
        write_attributes(scope);
    if (scope->triggers)
        start_watching(scope);
    return Py_NewRef(self);
}

/* `module.Type`, or `ValueError` for what is built in. */
PyObject *type_text(PyObject *type)
{
    PyObject *name = PyObject_GetAttrString(type, "__qualname__");
    PyObject *module = name ? PyObject_GetAttrString(type, "__module__") : nullptr;
    PyObject *text = nullptr;
    if (module && PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, "builtins") != 0)
        text = PyUnicode_FromFormat("%U.%S", module, name);
    else if (name)
        text = Py_NewRef(name);
    Py_XDECREF(name);
    Py_XDECREF(module);
    PyErr_Clear();
    return text;
}

void record_exception(PyObject *type, PyObject *value, const TraceContext *context)
{
    static Options options = {"event", {nullptr, nullptr}};
    static PyObject *name = PyUnicode_InternFromString("exception");
    static PyObject *keywords = Py_BuildValue("(ss)", "type", "message");
    if (!wbpf_enabled(WBPF_LEVEL_ERROR))
        return;
    PyObject *text = type_text(type);
    static PyObject *nothing = PyUnicode_InternFromString("");
    PyObject *values[2] = {text ? text : nothing, value == Py_None ? nothing : value};
    Payload payload;
    if (name && keywords && nothing && payload.open(options, name, values, keywords))
        payload.record(WBPF_LEVEL_ERROR, context);
    PyErr_Clear();
    Py_XDECREF(text);
}

bool same_trace(const TraceContext *a, const TraceContext *b)
{
    return std::memcmp(a->what.trace_id, b->what.trace_id, sizeof a->what.trace_id) == 0;
}

/* If the level alone has changed since, these are two objects. */
bool same_span(const TraceContext *a, const TraceContext *b)
{
    return a == b || (a->what.span_id == b->what.span_id && same_trace(a, b));
}

PyObject *scope_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Scope *scope = cast(self);
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "__exit__() takes a type, an exception and a traceback, or None");
        return nullptr;
    }
    if (scope->state != INSIDE)
        Py_RETURN_NONE;
    scope->state = LEFT;
    if (scope->triggers)
        stop_watching(scope, args);
    /* This may be another thread or task than the one that entered, or something was left open inside. */
    TraceContext *current = context_current();
    TraceContext *inner = current && same_span(current, scope->inner) ? current : scope->inner;
    context_activate(inner);
    if (args[0] != Py_None)
        record_exception(args[0], args[1], inner);
    if (scope->epoch == recorder_epoch)
        end(scope);
    else /* entered before a fork: the parent ends it */
        context_activate(scope->outer);
    bool ok = true;
    if (current && same_trace(current, scope->inner))
        ok = scope->is_trace || !scope->outer ? context_set_current(scope->outer)
                                              : context_follow(scope->outer);
    release(current);
    if (!ok)
        return nullptr;
    Py_RETURN_NONE;
}

PyObject *get_trace_id(PyObject *self, void *)
{
    static const uint8_t none[16] = {};
    const TraceContext *inner = cast(self)->inner;
    return hex_of(inner ? inner->what.trace_id : none, 16);
}

PyObject *get_context(PyObject *self, void *)
{
    TraceContext *inner = cast(self)->inner;
    return reinterpret_cast<PyObject *>(inner ? hold(inner) : context_none());
}

PyMethodDef methods[] = {{"__enter__", scope_enter, METH_NOARGS, "__enter__($self, /)\n--\n\n"},
                         {"__exit__", as_method(scope_exit), METH_FASTCALL,
                          "__exit__($self, type, exception, traceback, /)\n--\n\n"},
                         {}};

PyGetSetDef getters[] = {
    {"trace_id", get_trace_id, nullptr, "32 hex digits; zeros when nothing is recorded.", nullptr},
    {"context", get_context, nullptr, "The TraceContext inside; false when nothing is recorded.", nullptr},
    {}};

PyMethodDef functions[] = {
    {"trace", as_method(trace), METH_FASTCALL | METH_KEYWORDS,
     "trace(name, /, parent=None, *, triggers=(), **attributes)\n--\n\n"
     "A trace for `with`: current inside, in this task or thread and in what copies its context.\n\n"
     "An exception that leaves it is recorded.\n\n"
     "Args:\n"
     "    name: of the trace's first span; white space in it becomes `_`.\n"
     "    parent: what to go on with: a TraceContext, or a mapping with the headers of a request\n"
     "        (W3C Trace Context). None, or headers without a trace: a new trace.\n"
     "    triggers: of wbpf.triggers; each watches what happens inside.\n"
     "    attributes: str, int, float, bool or bytes; of anything else its str().\n"},
    {"span", as_method(span), METH_FASTCALL | METH_KEYWORDS,
     "span(name, /, **attributes)\n--\n\n"
     "A child span of the current one, for `with`. Without a current trace it does nothing."},
    {"span_or_trace", span_or_trace, METH_O,
     "span_or_trace(name, /)\n--\n\nA span of the current trace, or a trace if there is none."},
    {}};

template <typename F> void *slot(F *function)
{
    return reinterpret_cast<void *>(function);
}

} // namespace

void bind_scopes(nb::module_ &module)
{
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, slot(scope_dealloc)},
        {Py_tp_methods, methods},
        {Py_tp_getset, getters},
        {Py_tp_doc, const_cast<char *>("A trace or a span, for one `with` statement.")},
        {0, nullptr}};
    static PyType_Spec spec = {
        "wbpf._native.Scope", sizeof(Scope), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
    scope_type = reinterpret_cast<PyTypeObject *>(PyType_FromSpec(&spec));
    if (!scope_type ||
        PyModule_AddObjectRef(module.ptr(), "Scope", reinterpret_cast<PyObject *>(scope_type)) < 0 ||
        PyModule_AddFunctions(module.ptr(), functions) < 0)
        throw nb::python_error();
}
