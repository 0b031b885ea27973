/* PoolView: the buffer through which Python reads an object, and what it tells about it. */
#include "pool.h"
#include <chrono>

namespace nb = nanobind;

namespace
{

struct PoolView {
    SharedHost host;
    wbpf_pool_view view;
    nb::object id;
    uint32_t exports = 0; /* buffers given out, and operations that run without the GIL */
    bool released = false;

    PoolView(SharedHost host, const wbpf_pool_view &view, nb::object id)
        : host(std::move(host)), view(view), id(std::move(id))
    {
    }
    PoolView(const PoolView &) = delete;
    ~PoolView()
    {
        InDestructor guard;
        wbpf_pool_release(&view);
    }

    void drop_export()
    {
        if (--exports == 0 && released)
            release();
    }
    void release()
    {
        use_python_context();
        wbpf_pool_release(&view);
        last_timing = view.timing;
    }
};

void check_usable(const PoolView &view)
{
    if (view.released)
        raise_pool_error("use", view.id, -EBADF);
    if (!wbpf_pool_view_valid(&view.view))
        raise_pool_error("use", view.id, -ESTALE);
}

int view_getbuffer(PyObject *self, Py_buffer *buffer, int flags)
{
    PoolView *view = nb::inst_ptr<PoolView>(self);
    try {
        check_usable(*view);
    } catch (nb::python_error &error) {
        error.restore();
        return -1;
    }
    if (PyBuffer_FillInfo(buffer, self, const_cast<void *>(view->view.data),
                          static_cast<Py_ssize_t>(view->view.bytes), 1, flags))
        return -1;
    view->exports++;
    return 0;
}

void view_releasebuffer(PyObject *self, Py_buffer *)
{
    nb::inst_ptr<PoolView>(self)->drop_export();
}

void view_release(PoolView &view)
{
    if (view.released)
        return;
    view.released = true;
    if (view.exports == 0)
        view.release();
}

/* Runs `work`, with the view kept from being released meanwhile. */
template <typename Work> int use(PoolView &view, Work work)
{
    check_usable(view);
    use_python_context();
    view.exports++;
    int result = with_bytes(view.view.bytes, work);
    view.drop_export();
    if (result < 0)
        raise_pool_error("use", view.id, result);
    return result;
}

wbpf_verify_result view_verify(PoolView &view)
{
    return static_cast<wbpf_verify_result>(use(view, [&] { return wbpf_pool_verify(&view.view); }));
}

wbpf_pool_timing view_refresh(PoolView &view)
{
    use(view, [&] { return wbpf_pool_refresh(&view.view); });
    return last_timing = view.view.timing;
}

nb::object view_seen(PoolView &view)
{
    check_usable(view);
    wbpf_pool_envelope seen;
    return wbpf_pool_seen_envelope(&view.view, &seen) ? nb::cast(seen) : nb::none();
}

nb::object view_tags(PoolView &view)
{
    check_usable(view);
    char id[WBPF_POOL_MAX_ID_BYTES + 1], tags[WBPF_POOL_MAX_ID_BYTES + 1];
    wbpf_pool_view_names(&view.view, id, tags);
    nb::object names = nb::str(tags).attr("split")(",");
    return nb::tuple(tags[0] ? names : nb::list());
}

nb::object view_load(nb::handle self)
{
    return nb::module_::import_("wbpf.pool.codec").attr("load")(self);
}

/* Waits without the GIL; signals are handled in between. */
int acquire(const SharedHost &host, const char *id, uint64_t timeout_ns, wbpf_pool_view *view)
{
    using Clock = std::chrono::steady_clock;
    int error = wbpf_pool_acquire(host.get(), id, 0, view);
    if (timeout_ns == 0 || (error != -ENOENT && error != -EAGAIN))
        return error;
    auto start = Clock::now();
    uint64_t left = timeout_ns;
    do {
        {
            nb::gil_scoped_release release;
            error = wbpf_pool_acquire(host.get(), id, left, view);
        }
        if (error == -EINTR && PyErr_CheckSignals())
            throw nb::python_error();
        uint64_t waited = static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
        if (timeout_ns != UINT64_MAX)
            left = waited < timeout_ns ? timeout_ns - waited : 0;
    } while (error == -EINTR);
    return error;
}

uint64_t nanoseconds(nb::handle timeout_s)
{
    if (timeout_s.is_none())
        return 0;
    double seconds = PyFloat_AsDouble(timeout_s.ptr());
    if (seconds == -1 && PyErr_Occurred())
        throw nb::python_error();
    if (!(seconds >= 0))
        throw nb::value_error("timeout_s must be 0 or more");
    return seconds < 1e9 ? static_cast<uint64_t>(seconds * 1e9) : UINT64_MAX;
}

PyType_Slot view_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void *>(view_getbuffer)},
                            {Py_bf_releasebuffer, reinterpret_cast<void *>(view_releasebuffer)},
                            {0, nullptr}};

void bind_values(nb::module_ &module)
{
    nb::enum_<wbpf_verify_result>(module, "VerifyResult", nb::is_arithmetic(),
                                  "Whether what this host sees of an object is the object.")
        .value("OK", WBPF_VERIFY_OK)
        .value("GENERATION_MISMATCH", WBPF_VERIFY_GENERATION_MISMATCH,
               "the envelope is another object's, or none")
        .value("CHECKSUM_MISMATCH", WBPF_VERIFY_CHECKSUM_MISMATCH,
               "the envelope is right, the bytes are not those it was made for");
    nb::class_<wbpf_pool_timing>(
        module, "Timing", "What an operation cost, in modelled nanoseconds: service = base + jitter + queue.")
        .def_ro("service_ns", &wbpf_pool_timing::service_ns)
        .def_ro("base_ns", &wbpf_pool_timing::base_ns, "of an uncongested operation of this class and size")
        .def_ro("queue_ns", &wbpf_pool_timing::queue_ns, "waiting for a link")
        .def_ro("virtual_ns", &wbpf_pool_timing::virtual_ns, "the host's clock after the operation")
        .def(
            "__repr__",
            [](const wbpf_pool_timing &t) {
                return nb::str("Timing(service_ns={}, base_ns={}, queue_ns={}, virtual_ns={})")
                    .attr("format")(t.service_ns, t.base_ns, t.queue_ns, t.virtual_ns);
            },
            nb::sig("def __repr__(self) -> str"));
    nb::class_<wbpf_pool_envelope>(module, "Envelope",
                                   "The line before an object's payload that says whose it is.")
        .def_ro("object_hash", &wbpf_pool_envelope::object_hash)
        .def_ro("generation", &wbpf_pool_envelope::generation)
        .def_ro("size_bytes", &wbpf_pool_envelope::bytes)
        .def_ro("writer_host_id", &wbpf_pool_envelope::writer_host_id)
        .def_ro("checksum", &wbpf_pool_envelope::checksum, "CRC-32C of the payload")
        .def_prop_ro(
            "trace_id", [](const wbpf_pool_envelope &e) { return nb::bytes(e.trace_id, sizeof e.trace_id); },
            "of the trace that wrote it; 16 zeros for none");
}

} // namespace

nb::object get_object(const SharedHost &host, nb::str id, nb::handle timeout_s)
{
    const char *text = id_text(id);
    use_python_context();
    wbpf_pool_view view;
    int error = acquire(host, text, nanoseconds(timeout_s), &view);
    if (error)
        raise_pool_error("get", id, error);
    nb::object made = make<PoolView>(host, view, id);
    wbpf_pool_view *kept = &nb::inst_ptr<PoolView>(made)->view;
    with_bytes(view.bytes, [&] { wbpf_pool_fill(kept); });
    last_timing = kept->timing;
    return made;
}

void bind_pool_view(nb::module_ &module)
{
    bind_values(module);
    auto type =
        nb::class_<PoolView>(module, "PoolView", nb::type_slots(view_slots), nb::is_weak_referenceable(),
                             "A sealed object as this host sees it: a read-only buffer, without a copy.");
    define_buffer(type);
    type.def_ro("id", &PoolView::id, nb::for_getter(nb::sig("def id(self) -> str")))
        .def_prop_ro("generation", [](const PoolView &v) { return v.view.generation; })
        .def_prop_ro("size_bytes", [](const PoolView &v) { return v.view.bytes; })
        .def("__len__", [](const PoolView &v) { return v.view.bytes; })
        .def_prop_ro("tags", view_tags, nb::sig("def tags(self) -> tuple[str, ...]"))
        .def_prop_ro(
            "address", [](const PoolView &v) { return reinterpret_cast<uintptr_t>(v.view.data); },
            "where the first byte is mapped in this process")
        .def_prop_ro(
            "timing", [](const PoolView &v) { return v.view.timing; }, "of the get or the last refresh")
        .def_prop_ro("released", [](const PoolView &v) { return v.released; })
        .def("release", view_release,
             "Give the object up. Buffers taken from the view stay valid: the last of them gives it up then.")
        .def("verify", view_verify,
             "Compare envelope and bytes, as this host sees them, with the pool's directory.")
        .def("refresh", view_refresh, "Invalidate the object's lines and read them again.")
        .def("seen", view_seen, nb::sig("def seen(self) -> Envelope | None"),
             "The envelope as this host sees it; None if those bytes are no envelope.")
        .def("load", view_load, nb::sig("def load(self) -> typing.Any"),
             "The Python object that `put` wrote, without copying its buffers.")
        .def(
            "__enter__", [](nb::handle self) { return nb::borrow(self); },
            nb::sig("def __enter__(self) -> PoolView"))
        .def(
            "__exit__", [](PoolView &v, nb::handle, nb::handle, nb::handle) { view_release(v); },
            nb::arg("type").none(), nb::arg("value").none(), nb::arg("traceback").none(),
            nb::sig("def __exit__(self, type: object, value: object, traceback: object) -> None"));
}
