/* TraceContext, and which one is current: in the Python context (asyncio tasks, threads), and in this
 * thread's recorder. */
#ifndef WBPF_PYTHON_CONTEXT_H
#define WBPF_PYTHON_CONTEXT_H

#include "bindings.h"
#include "wbpf/trace.h"

/* Immutable; all zero means no trace. */
struct TraceContext {
    PyObject_HEAD wbpf_context what;
    uint64_t serial; /* of this object, never used again: what a thread remembers instead of a reference */
    PyObject *tracestate; /* other vendors' part of the headers, a str; or NULL */
};

/* The serial of the context that this thread's recorder works for, plus the recorder's epoch. */
extern __thread uint64_t active_serial __attribute__((tls_model("initial-exec")));
extern uint64_t recorder_epoch;    /* multiples of 2^48; grows when every thread's recorder starts afresh */
extern PyObject *current_variable; /* contextvars.ContextVar */

void bind_context(nanobind::module_ &module);
void bind_scopes(nanobind::module_ &module); /* `with` statements: traces and spans */

/* A new reference, or NULL with an exception. `tracestate` may be NULL. */
TraceContext *context_create(const wbpf_context &what, PyObject *tracestate);
bool context_check(PyObject *object);
/* Is there a trace? */
bool context_is_trace(const TraceContext *context);
/* The one that means no trace; a new reference. */
TraceContext *context_none();
/* Hex digits of an id. */
PyObject *hex_of(const uint8_t *bytes, size_t count);
/* From a mapping of headers; new reference; no trace if there are none or they are malformed. */
TraceContext *context_from_headers(PyObject *headers);
/* 16 bytes of a TraceContext, 32 hex digits or bytes; false with an exception. */
bool trace_id_from(PyObject *object, uint8_t id[16]);

/* The one that is current in the Python context: a new reference, or NULL for none. */
inline TraceContext *context_current()
{
    PyObject *value = nullptr;
    if (PyContextVar_Get(current_variable, nullptr, &value) < 0)
        PyErr_Clear();
    if (value == Py_None) {
        Py_DECREF(value);
        value = nullptr;
    }
    return reinterpret_cast<TraceContext *>(value);
}
/* Make it (NULL: none) current in the Python context. False with an exception. */
inline bool context_set_current(TraceContext *context)
{
    PyObject *token =
        PyContextVar_Set(current_variable, context ? reinterpret_cast<PyObject *>(context) : Py_None);
    Py_XDECREF(token);
    return token != nullptr;
}
/* It (NULL: none) is what this thread's recorder works for now. */
inline void context_mark_active(const TraceContext *context)
{
    active_serial = recorder_epoch + (context ? context->serial : 0);
}
/* Make it (NULL: none) current in this thread's recorder, if it is not. */
inline void context_activate(const TraceContext *context)
{
    if (__builtin_expect(recorder_epoch + (context ? context->serial : 0) != active_serial, 0)) {
        static const wbpf_context none = {};
        wbpf_attach(context ? &context->what : &none);
        context_mark_active(context);
    }
}
/* The recorder works for `context`, but perhaps at another level since: then make that current in Python too.
 * False with an exception. */
bool context_follow(TraceContext *context);
/* Every thread's recorder starts afresh: another segment is open, or this is a forked child. */
inline void recorder_starts_afresh()
{
    recorder_epoch += uint64_t{1} << 48;
}

#endif
