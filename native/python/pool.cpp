/* The pool's segment and a process's membership of a host; wbpf.pool is their Python face. */
#include "pool.h"
#include "user/sites.h"
#include <cstring>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;

thread_local wbpf_pool_timing last_timing;

void raise_pool_error(const char *operation, nb::handle subject, int code)
{
    nb::object error = nb::module_::import_("wbpf.pool.errors")
                           .attr("error_for")(operation, subject, code, wbpf_pool_error());
    PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(error.ptr())), error.ptr());
    throw nb::python_error();
}

const char *id_text(nb::handle id)
{
    Py_ssize_t bytes;
    const char *text = PyUnicode_AsUTF8AndSize(id.ptr(), &bytes);
    if (!text)
        throw nb::python_error();
    if (bytes == 0 || bytes > WBPF_POOL_MAX_ID_BYTES || std::strlen(text) != static_cast<size_t>(bytes))
        raise_pool_error("name", id, -EINVAL);
    return text;
}

namespace
{

struct PoolSegment {
    SharedPool pool;
};

struct PoolMember {
    SharedHost host;

    const SharedHost &get() const
    {
        if (!host)
            raise_pool_error("use", nb::str("host"), -EBADF);
        return host;
    }
};

void segment_create(const std::string &path, uint64_t size_bytes, const std::vector<std::string> &hosts,
                    const std::vector<uint8_t> &access_classes, const std::vector<double> &latencies_ns,
                    const std::vector<double> &bandwidths, double shared_link, double knee, double jitter,
                    bool coherent, uint64_t seed, uint32_t max_objects)
{
    if (access_classes.size() != hosts.size() || latencies_ns.size() != WBPF_ACCESS_CLASSES ||
        bandwidths.size() != WBPF_ACCESS_CLASSES)
        throw nb::value_error("one access class for each host, one cost for each access class");
    std::vector<const char *> names;
    for (const std::string &host : hosts)
        names.push_back(host.c_str());
    wbpf_pool_spec spec = {};
    spec.size_bytes = size_bytes;
    spec.max_objects = max_objects;
    spec.host_count = static_cast<uint32_t>(names.size());
    spec.hosts = names.data();
    spec.access_classes = access_classes.data();
    for (size_t i = 0; i < WBPF_ACCESS_CLASSES; i++)
        spec.latency.classes[i] = {latencies_ns[i], bandwidths[i]};
    spec.latency.shared_link_bytes_per_s = shared_link;
    spec.latency.knee = knee;
    spec.latency.jitter = jitter;
    spec.seed = seed;
    spec.coherent = coherent;
    if (int error = wbpf_pool_create(path.c_str(), &spec))
        raise_pool_error("make", nb::cast(path), error);
}

void segment_open(PoolSegment *self, const std::string &path)
{
    wbpf_pool *pool;
    if (int error = wbpf_pool_open(path.c_str(), &pool))
        raise_pool_error("open", nb::cast(path), error);
    new (self) PoolSegment{SharedPool(pool, wbpf_pool_close)};
    wbpf_probes_listen(); /* the pool has probe sites; where that fails, nothing can be attached to them */
}

wbpf_pool *opened(const PoolSegment &segment)
{
    if (!segment.pool)
        raise_pool_error("use", nb::str("pool"), -EBADF);
    return segment.pool.get();
}

nb::dict segment_stats(const PoolSegment &segment)
{
    wbpf_pool_stats stats;
    if (int error = wbpf_pool_get_stats(opened(segment), &stats))
        raise_pool_error("use", nb::str("pool"), error);
    nb::dict fields;
    fields["segment_bytes"] = stats.segment_bytes;
    fields["capacity_bytes"] = stats.capacity_bytes;
    fields["used_bytes"] = stats.used_bytes;
    fields["free_bytes"] = stats.free_bytes;
    fields["largest_free_bytes"] = stats.largest_free_bytes;
    fields["max_objects"] = stats.max_objects;
    fields["objects"] = stats.objects;
    fields["unsealed"] = stats.unsealed;
    fields["deleted_in_use"] = stats.deleted_in_use;
    fields["references"] = stats.references;
    fields["recoveries"] = stats.recoveries;
    fields["coherent"] = stats.coherent;
    return fields;
}

nb::tuple describe(const wbpf_pool_host_info &info)
{
    return nb::make_tuple(info.name, info.host_id, info.incarnation, info.alive, info.access_class,
                          info.virtual_ns);
}

nb::list segment_hosts(const PoolSegment &segment)
{
    nb::list hosts;
    for (uint32_t i = 0; i < wbpf_pool_host_count(opened(segment)); i++) {
        wbpf_pool_host_info info;
        wbpf_pool_get_host_info(segment.pool.get(), i, &info);
        hosts.append(describe(info));
    }
    return hosts;
}

nb::tuple segment_reclaim(const PoolSegment &segment)
{
    wbpf_pool_reclaimed reclaimed;
    if (int error = wbpf_pool_reclaim(opened(segment), &reclaimed))
        raise_pool_error("use", nb::str("pool"), error);
    return nb::make_tuple(reclaimed.processes, reclaimed.references, reclaimed.objects);
}

std::string segment_check(const PoolSegment &segment)
{
    char why[160] = "";
    int error = wbpf_pool_check(opened(segment), why);
    if (error && error != -EUCLEAN)
        raise_pool_error("use", nb::str("pool"), error);
    return why;
}

void unlink_segment(const std::string &path)
{
    if (int error = wbpf_pool_unlink(path.c_str()))
        raise_pool_error("remove", nb::cast(path), error);
}

/* ---- members ---- */

void member_join(PoolMember *self, const PoolSegment &segment, nb::str name)
{
    wbpf_pool_host *host;
    int error = wbpf_pool_join(opened(segment), id_text(name), &host);
    if (error)
        raise_pool_error("join", name, error);
    SharedPool pool = segment.pool; /* mapped for as long as somebody is a member */
    new (self) PoolMember{SharedHost(host, [pool](wbpf_pool_host *left) { wbpf_pool_leave(left); })};
}

nb::tuple member_info(const PoolMember &member)
{
    wbpf_pool_host_info info;
    wbpf_pool_get_own_info(member.get().get(), &info);
    return describe(info);
}

bool member_delete(const PoolMember &member, nb::str id, bool force)
{
    bool deferred;
    use_python_context();
    if (int error = wbpf_pool_delete(member.get().get(), id_text(id), force, &deferred, &last_timing))
        raise_pool_error("delete", id, error);
    return !deferred;
}

using OfObject = int64_t (*)(wbpf_pool_host *, const char *, wbpf_pool_timing *);
using OfRange = int64_t (*)(wbpf_pool_host *, uint64_t, uint64_t, wbpf_pool_timing *);

int64_t on_lines(const PoolMember &member, const char *operation, nb::handle what, OfObject of_object,
                 OfRange of_range)
{
    wbpf_pool_host *host = member.get().get();
    int64_t lines;
    use_python_context();
    if (PyUnicode_Check(what.ptr())) {
        lines = of_object(host, id_text(what), &last_timing);
    } else {
        nb::tuple range = nb::cast<nb::tuple>(what);
        if (range.size() != 2)
            throw nb::value_error("an id, or (offset, bytes)");
        uint64_t offset = nb::cast<uint64_t>(range[0]), bytes = nb::cast<uint64_t>(range[1]);
        lines = with_bytes(bytes, [&] { return of_range(host, offset, bytes, &last_timing); });
    }
    if (lines < 0)
        raise_pool_error(operation, what, static_cast<int>(lines));
    return lines;
}

/* ---- faults ---- */

uint64_t member_arm(const PoolMember &member, uint32_t kind, nb::handle id, nb::handle trace_id,
                    double factor, uint32_t operations)
{
    wbpf_fault_spec spec = {};
    spec.kind = kind;
    spec.factor = factor;
    spec.operations = operations;
    if (!id.is_none())
        spec.id = id_text(id);
    if (!trace_id.is_none()) {
        if (!PyBytes_Check(trace_id.ptr()) || PyBytes_GET_SIZE(trace_id.ptr()) != 16)
            throw nb::value_error("a trace id is 16 bytes");
        spec.trace_id = reinterpret_cast<const uint8_t *>(PyBytes_AS_STRING(trace_id.ptr()));
    }
    uint64_t ticket;
    if (int error = wbpf_fault_arm(member.get().get(), &spec, &ticket))
        raise_pool_error("arm", id, error);
    return ticket;
}

nb::dict member_fault(const PoolMember &member, uint64_t ticket, bool disarm)
{
    wbpf_fault_result result;
    wbpf_pool_host *host = member.get().get();
    int error =
        disarm ? wbpf_fault_disarm(host, ticket, &result) : wbpf_fault_get_result(host, ticket, &result);
    if (error)
        raise_pool_error("ask for", nb::str("fault"), error);
    nb::list traces;
    for (uint32_t i = 0; i < result.trace_count; i++)
        traces.append(nb::bytes(result.traces[i], sizeof result.traces[i]));
    nb::dict fields;
    fields["operations"] = result.operations;
    fields["finished"] = result.finished;
    fields["took_effect"] = result.took_effect;
    fields["lines_stale"] = result.lines_stale;
    fields["lines_differing"] = result.lines_differing;
    fields["lengthened_ns"] = result.lengthened_ns;
    fields["generation"] = result.generation;
    fields["traces"] = nb::tuple(traces);
    return fields;
}

void bind_segment(nb::module_ &module)
{
    module.def("pool_create", segment_create, nb::arg("path"), nb::arg("size_bytes"), nb::arg("hosts"),
               nb::arg("access_classes"), nb::arg("latencies_ns"), nb::arg("bandwidths_bytes_per_s"),
               nb::arg("shared_link_bytes_per_s"), nb::arg("knee"), nb::arg("jitter"), nb::arg("coherent"),
               nb::arg("seed"), nb::arg("max_objects"));
    module.def("pool_unlink", unlink_segment, nb::arg("path"));
    nb::class_<PoolSegment>(module, "PoolSegment", "A mapped pool.")
        .def("__init__", segment_open, nb::arg("path"))
        .def("close", [](PoolSegment &segment) { segment.pool.reset(); })
        .def("id", [](const PoolSegment &segment) { return wbpf_pool_get_id(opened(segment)); })
        .def("stats", segment_stats, nb::sig("def stats(self) -> dict[str, typing.Any]"))
        .def("hosts", segment_hosts, nb::sig("def hosts(self) -> list[tuple[str, int, int, bool, int, int]]"))
        .def("reclaim", segment_reclaim, nb::sig("def reclaim(self) -> tuple[int, int, int]"))
        .def("check", segment_check, "What is wrong with the metadata; empty if nothing is.");
}

void bind_member(nb::module_ &module)
{
    nb::class_<PoolMember>(module, "PoolMember", "This process as a member of a host.")
        .def("__init__", member_join, nb::arg("segment"), nb::arg("name"))
        .def(
            "close", [](PoolMember &member) { member.host.reset(); },
            "Leave the host, once every writer and view of it is done with.")
        .def(
            "create",
            [](const PoolMember &m, nb::str id, uint64_t size_bytes, nb::handle tags) {
                return create_object(m.get(), id, size_bytes, tags);
            },
            nb::arg("id"), nb::arg("size_bytes"), nb::arg("tags") = nb::make_tuple(),
            nb::sig("def create(self, id: str, size_bytes: int, tags: collections.abc.Iterable[str] = ()) "
                    "-> ObjectWriter"),
            "Begin an object; `with` gives its writable memoryview and seals it, or aborts it on an "
            "exception.")
        .def(
            "get",
            [](const PoolMember &m, nb::str id, nb::handle timeout_s) {
                return get_object(m.get(), id, timeout_s);
            },
            nb::arg("id"), nb::arg("timeout_s") = nb::none(),
            nb::sig("def get(self, id: str, timeout_s: float | None = None) -> PoolView"),
            "Read a sealed object. With `timeout_s`, wait for its seal up to that; math.inf waits for ever.")
        .def("delete", member_delete, nb::arg("id"), nb::arg("force") = false,
             "Delete a sealed object. False: views hold it, so its memory is freed with the last of them.")
        .def(
            "contains",
            [](const PoolMember &m, nb::str id) { return wbpf_pool_contains(m.get().get(), id_text(id)); },
            nb::arg("id"), "Is there a sealed object of that id?")
        .def(
            "flush",
            [](const PoolMember &m, nb::handle what) {
                return on_lines(m, "flush", what, wbpf_pool_flush, wbpf_pool_flush_range);
            },
            nb::arg("what"), nb::sig("def flush(self, what: str | tuple[int, int]) -> int"),
            "Write dirty lines back: of an object, or of (offset, bytes) of the data area. Returns how many.")
        .def(
            "invalidate",
            [](const PoolMember &m, nb::handle what) {
                return on_lines(m, "invalidate", what, wbpf_pool_invalidate, wbpf_pool_invalidate_range);
            },
            nb::arg("what"), nb::sig("def invalidate(self, what: str | tuple[int, int]) -> int"),
            "Drop valid lines that are not dirty. Returns how many.")
        .def_prop_ro(
            "virtual_ns", [](const PoolMember &m) { return wbpf_pool_virtual_ns(m.get().get()); },
            "The host's clock, modelled.")
        .def(
            "advance_to",
            [](const PoolMember &m, uint64_t ns) { return wbpf_pool_advance_to(m.get().get(), ns); },
            nb::arg("ns"), "Merge a virtual time received with a message; returns the clock.")
        .def(
            "advance_by",
            [](const PoolMember &m, uint64_t ns) { return wbpf_pool_advance_by(m.get().get(), ns); },
            nb::arg("ns"), "Charge computation; returns the clock.")
        .def_prop_ro(
            "last_timing", [](const PoolMember &) { return last_timing; },
            "Of this thread's last operation.");
    module.def("pool_member_info", member_info, nb::arg("member"),
               nb::sig("def pool_member_info(member: PoolMember) -> tuple[str, int, int, bool, int, int]"));
    module.def(
        "pool_fault_arm", member_arm, nb::arg("member"), nb::arg("kind"), nb::arg("id").none(),
        nb::arg("trace_id").none(), nb::arg("factor"), nb::arg("operations"),
        nb::sig("def pool_fault_arm(member: PoolMember, kind: int, id: str | None, trace_id: bytes | None, "
                "factor: float, operations: int) -> int"));
    module.def("pool_fault_result", member_fault, nb::arg("member"), nb::arg("ticket"), nb::arg("disarm"),
               nb::sig("def pool_fault_result(member: PoolMember, ticket: int, disarm: bool) "
                       "-> dict[str, typing.Any]"));
}

} // namespace

SharedHost host_of(nb::handle member)
{
    return nb::cast<PoolMember &>(member).get();
}

void bind_pool(nb::module_ &module)
{
    bind_pool_writer(module);
    bind_pool_view(module);
    bind_segment(module);
    bind_member(module);
}
