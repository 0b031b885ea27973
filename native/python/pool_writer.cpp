/* ObjectWriter: the buffer through which Python writes an object. */
#include "pool.h"

namespace nb = nanobind;

namespace
{

struct ObjectWriter {
    SharedHost host;
    wbpf_pool_writer writer;
    nb::object id;
    nb::object buffer_reference; /* weak, to the memoryview given out: a strong one would be a cycle */
    uint32_t exports = 0;
    bool open = true;

    ObjectWriter(SharedHost host, const wbpf_pool_writer &writer, nb::object id)
        : host(std::move(host)), writer(writer), id(std::move(id))
    {
    }
    ObjectWriter(const ObjectWriter &) = delete;
    ~ObjectWriter()
    {
        InDestructor guard;
        wbpf_pool_drop(&writer); /* aborts an object that was not sealed */
    }
};

int writer_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    ObjectWriter *writer = nb::inst_ptr<ObjectWriter>(self);
    if (!writer->open) {
        PyErr_SetString(PyExc_BufferError, "the object is sealed or aborted: it can't be written any more");
        return -1;
    }
    if (PyBuffer_FillInfo(view, self, writer->writer.data, static_cast<Py_ssize_t>(writer->writer.bytes), 0,
                          flags))
        return -1;
    writer->exports++;
    return 0;
}

void writer_releasebuffer(PyObject *self, Py_buffer *)
{
    ObjectWriter *writer = nb::inst_ptr<ObjectWriter>(self);
    if (--writer->exports == 0 && writer->writer.retained)
        wbpf_pool_drop(&writer->writer);
}

nb::object writer_buffer(nb::handle self)
{
    ObjectWriter &writer = *nb::inst_ptr<ObjectWriter>(self);
    nb::object buffer = memoryview_of(self);
    writer.buffer_reference = nb::steal(PyWeakref_NewRef(buffer.ptr(), nullptr));
    return buffer;
}

/* Take back the memoryview given out, unless something (a numpy array) still uses it. */
void release_buffer(ObjectWriter &writer)
{
    if (!writer.buffer_reference.is_valid())
        return;
    nb::object buffer = writer.buffer_reference();
    writer.buffer_reference = nb::object();
    if (buffer.is_none())
        return;
    PyObject *done = PyObject_CallMethod(buffer.ptr(), "release", nullptr);
    if (!done)
        PyErr_Clear();
    Py_XDECREF(done);
}

using Finish = int (*)(wbpf_pool_writer *, bool);

void finish(ObjectWriter &writer, const char *operation, Finish function)
{
    if (!writer.open)
        raise_pool_error(operation, writer.id, -EALREADY);
    release_buffer(writer);
    writer.open = false;
    use_python_context();
    bool retain = writer.exports > 0;
    int error = with_bytes(writer.writer.bytes, [&] { return function(&writer.writer, retain); });
    last_timing = writer.writer.timing;
    if (error) {
        writer.open = error == -EBUSY;
        raise_pool_error(operation, writer.id, error);
    }
    if (writer.writer.retained && writer.exports == 0) /* it went while other threads ran */
        wbpf_pool_drop(&writer.writer);
}

void writer_exit(ObjectWriter &writer, nb::handle type, nb::handle, nb::handle)
{
    if (!writer.open)
        return;
    if (type.is_none())
        finish(writer, "seal", wbpf_pool_seal);
    else
        finish(writer, "abort", wbpf_pool_abort);
}

PyType_Slot writer_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void *>(writer_getbuffer)},
                              {Py_bf_releasebuffer, reinterpret_cast<void *>(writer_releasebuffer)},
                              {0, nullptr}};

} // namespace

nb::object create_object(const SharedHost &host, nb::str id, uint64_t size_bytes, nb::handle tags)
{
    const char *text = id_text(id);
    nb::object joined = PyTuple_Check(tags.ptr()) && PyTuple_GET_SIZE(tags.ptr()) == 0
                            ? nb::object()
                            : nb::object(nb::str(",").attr("join")(tags));
    use_python_context();
    wbpf_pool_writer writer;
    int error = wbpf_pool_create_object(host.get(), text, size_bytes,
                                        joined.is_valid() ? id_text(joined) : nullptr, &writer);
    if (error)
        raise_pool_error("create", id, error);
    last_timing = writer.timing;
    return make<ObjectWriter>(host, writer, id);
}

void bind_pool_writer(nb::module_ &module)
{
    auto type = nb::class_<ObjectWriter>(module, "ObjectWriter", nb::type_slots(writer_slots),
                                         nb::is_weak_referenceable(),
                                         "An object being written: a writable buffer until it is sealed.");
    define_buffer(type);
    type.def_ro("id", &ObjectWriter::id, nb::for_getter(nb::sig("def id(self) -> str")))
        .def_prop_ro("generation", [](const ObjectWriter &w) { return w.writer.generation; })
        .def_prop_ro("size_bytes", [](const ObjectWriter &w) { return w.writer.bytes; })
        .def_prop_ro(
            "timing", [](const ObjectWriter &w) { return w.writer.timing; }, "of the last operation on it")
        .def_prop_ro(
            "open", [](const ObjectWriter &w) { return w.open; }, "neither sealed nor aborted")
        .def_prop_ro("buffer", writer_buffer, nb::sig("def buffer(self) -> memoryview"),
                     "A writable memoryview; sealing and aborting release it.")
        .def(
            "seal", [](ObjectWriter &w) { finish(w, "seal", wbpf_pool_seal); },
            "Write the object back to the pool and make it visible; it never changes again.")
        .def(
            "abort", [](ObjectWriter &w) { finish(w, "abort", wbpf_pool_abort); },
            "Give the object up; its id is free.")
        .def("__enter__", writer_buffer, nb::sig("def __enter__(self) -> memoryview"))
        .def("__exit__", writer_exit, nb::arg("type").none(), nb::arg("value").none(),
             nb::arg("traceback").none(),
             nb::sig("def __exit__(self, type: object, value: object, traceback: object) -> None"));
}
