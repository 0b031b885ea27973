/* eBPF in the kernel, from Python: what wbpf.bpf wraps. Errors are returned, with what libbpf said: the
 * Python side knows the names that make a good message. */
#include "kernel/kernel.h"
#include "bindings.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <optional>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

using Text = std::optional<std::string>;

const char *text_or_null(const Text &text)
{
    return text ? text->c_str() : nullptr;
}

/* Text from an object file, which may be anything. */
nb::str decode(const char *text)
{
    return nb::steal<nb::str>(
        PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::strlen(text)), "replace"));
}

nb::tuple find_libbpf()
{
    char why[WBPF_WHY_BYTES] = "";
    int error = wbpf_libbpf_find(why);
    return nb::make_tuple(error, decode(error ? why : wbpf_libbpf_version()));
}

/* ---- objects ---- */

class BpfLink
{
  public:
    explicit BpfLink(wbpf_link *link) : link_(link) {}
    ~BpfLink() { destroy(); }
    BpfLink(const BpfLink &) = delete;
    BpfLink &operator=(const BpfLink &) = delete;

    void destroy()
    {
        wbpf_link *link = link_;
        link_ = nullptr;
        if (link)
            wbpf_link_destroy(link);
    }

  private:
    wbpf_link *link_;
};

class BpfObject
{
  public:
    explicit BpfObject(wbpf_object *object) : object_(object) {}
    ~BpfObject() { close(); }
    BpfObject(const BpfObject &) = delete;
    BpfObject &operator=(const BpfObject &) = delete;

    static nb::tuple open(nb::bytes elf, const std::string &name, Text btf_path)
    {
        wbpf_object *object = nullptr;
        int error = wbpf_object_open(elf.c_str(), elf.size(), name.c_str(), text_or_null(btf_path), &object);
        if (error)
            return nb::make_tuple(nb::none(), error, decode(wbpf_open_log()));
        return nb::make_tuple(nb::cast(new BpfObject(object), nb::rv_policy::take_ownership), 0, "");
    }

    void close()
    {
        wbpf_object *object = object_;
        object_ = nullptr;
        if (object)
            wbpf_object_close(object);
    }

    int set(const std::string &variable, nb::bytes value)
    {
        return wbpf_object_set(use(), variable.c_str(), value.c_str(), value.size());
    }

    int resize_map(const std::string &map, uint32_t value_bytes, uint32_t entries)
    {
        return wbpf_object_resize_map(use(), map.c_str(), value_bytes, entries);
    }

    int drop_map(const std::string &map) { return wbpf_object_drop_map(use(), map.c_str()); }

    int load()
    {
        wbpf_object *object = use();
        nb::gil_scoped_release release;
        return wbpf_object_load(object);
    }

    nb::str log() const { return decode(wbpf_object_log(use())); }

    nb::list programs() const
    {
        nb::list list;
        wbpf_program_info info;
        for (uint32_t i = 0; wbpf_object_program(use(), i, &info) == 0; i++)
            list.append(nb::make_tuple(decode(info.name), decode(info.section), info.type, info.fd));
        return list;
    }

    nb::list maps() const
    {
        nb::list list;
        wbpf_map_info info;
        for (uint32_t i = 0; wbpf_object_map(use(), i, &info) == 0; i++)
            list.append(nb::make_tuple(decode(info.name), info.type, info.key_bytes, info.value_bytes,
                                       info.entries, info.fd));
        return list;
    }

    nb::tuple attach(const std::string &program)
    {
        wbpf_link *link = nullptr;
        int error = wbpf_object_attach(use(), program.c_str(), &link);
        return linked(error, link);
    }

    nb::tuple attach_clock(const std::string &program, uint64_t period_ns, uint32_t cpu)
    {
        wbpf_link *link = nullptr;
        int error = wbpf_object_attach_clock(use(), program.c_str(), period_ns, cpu, &link);
        return linked(error, link);
    }

  private:
    wbpf_object *use() const
    {
        if (!object_)
            raise_error("BpfError", "the eBPF object can't be used", "it was closed", "open it again");
        return object_;
    }

    static nb::tuple linked(int error, wbpf_link *link)
    {
        if (error)
            return nb::make_tuple(nb::none(), error);
        return nb::make_tuple(nb::cast(new BpfLink(link), nb::rv_policy::take_ownership), 0);
    }

    wbpf_object *object_;
};

/* ---- maps; sizes are the caller's to know ---- */

nb::object map_lookup(int fd, nb::bytes key, uint32_t value_bytes)
{
    std::string value(value_bytes, '\0');
    int error = wbpf_map_lookup(fd, key.c_str(), value.data(), 0);
    return error ? nb::object(nb::int_(error)) : nb::object(nb::bytes(value.data(), value.size()));
}

nb::object map_next_key(int fd, std::optional<nb::bytes> key, uint32_t key_bytes)
{
    std::string next(key_bytes, '\0');
    int error = wbpf_map_next_key(fd, key ? key->c_str() : nullptr, next.data());
    return error ? nb::object(nb::int_(error)) : nb::object(nb::bytes(next.data(), next.size()));
}

std::tuple<int, uint32_t> program_run(int fd, const std::vector<uint64_t> &arguments)
{
    wbpf_program_run_spec spec = {};
    spec.context = arguments.data();
    spec.context_bytes = static_cast<uint32_t>(arguments.size() * sizeof arguments[0]);
    nb::gil_scoped_release release;
    int error = wbpf_program_run(fd, &spec);
    return {error, spec.result};
}

int probe_helper(uint32_t program_type, uint32_t helper)
{
    char why[WBPF_WHY_BYTES];
    int error = wbpf_libbpf_find(why);
    return error ? error : wbpf_probe_helper(program_type, helper);
}

/* ---- rings and the processes that they follow ---- */

class Tracees
{
  public:
    explicit Tracees(const std::string &path)
    {
        char why[WBPF_WHY_BYTES] = "";
        int error = wbpf_segment_open(path.c_str(), false, &segment_, why);
        if (error)
            raise_error("SegmentError", "the processes of " + path + " can't be followed",
                        *why ? why : std::strerror(-error),
                        "run as the user or in the group that owns the file");
    }
    ~Tracees() { wbpf_segment_close(segment_); }
    Tracees(const Tracees &) = delete;
    Tracees &operator=(const Tracees &) = delete;

    void add_to(std::vector<wbpf_tracee> &all) const
    {
        std::vector<wbpf_tracee> found(wbpf_segment_header(segment_)->process_count);
        uint32_t count = wbpf_segment_tracees(segment_, found.data(), static_cast<uint32_t>(found.size()));
        all.insert(all.end(), found.begin(), found.begin() + count);
    }

  private:
    wbpf_segment *segment_ = nullptr;
};

class KernelRings
{
  public:
    explicit KernelRings(wbpf_rings *rings) : rings_(rings) {}
    ~KernelRings() { close(false); }
    KernelRings(const KernelRings &) = delete;
    KernelRings &operator=(const KernelRings &) = delete;

    static nb::tuple create(const std::string &path, const std::string &host, const std::string &service,
                            Text pin, int rings_fd, int processes_fd, int perf_fd, uint64_t ring_bytes)
    {
        wbpf_rings_spec spec = {path.c_str(), host.c_str(), service.c_str(), text_or_null(pin),
                                rings_fd,     processes_fd, perf_fd,         ring_bytes};
        char why[WBPF_WHY_BYTES] = "";
        wbpf_rings *rings = nullptr;
        int error = wbpf_rings_create(&spec, &rings, why);
        if (error)
            return nb::make_tuple(nb::none(), error, decode(*why ? why : std::strerror(-error)));
        return nb::make_tuple(nb::cast(new KernelRings(rings), nb::rv_policy::take_ownership), 0, "");
    }

    void close(bool keep)
    {
        wbpf_rings *rings = rings_;
        rings_ = nullptr;
        if (rings)
            wbpf_rings_destroy(rings, keep);
    }

    int add_schema(const std::string &name, const std::string &fields)
    {
        return wbpf_rings_add_schema(use(), name.c_str(), fields.c_str());
    }

    int follow(nb::typed<nb::list, Tracees> segments)
    {
        std::vector<wbpf_tracee> all;
        for (nb::handle segment : segments)
            nb::cast<const Tracees &>(segment).add_to(all);
        return wbpf_rings_follow(use(), all.data(), static_cast<uint32_t>(all.size()));
    }

    std::vector<std::tuple<uint32_t, uint64_t, uint64_t, uint64_t, uint64_t>> counters() const
    {
        std::vector<wbpf_ring_counters> rows(static_cast<size_t>(std::max(wbpf_possible_cpus(), 1)));
        rows.resize(wbpf_rings_counters(use(), rows.data(), static_cast<uint32_t>(rows.size())));
        std::vector<std::tuple<uint32_t, uint64_t, uint64_t, uint64_t, uint64_t>> out;
        for (const wbpf_ring_counters &row : rows)
            out.emplace_back(row.cpu, row.records, row.bytes, row.nested, row.refused);
        return out;
    }

  private:
    wbpf_rings *use() const
    {
        if (!rings_)
            raise_error("BpfError", "the kernel rings can't be used", "they were closed", "make them again");
        return rings_;
    }

    wbpf_rings *rings_;
};

} // namespace

void bind_kernel(nb::module_ &m)
{
    m.def("find_libbpf", &find_libbpf, nb::sig("def find_libbpf() -> tuple[int, str]"),
          "0 and libbpf's version, or a negative errno and why it can't be used.");
    nb::class_<BpfLink>(m, "BpfLink", "An attached program; wbpf.bpf.kernel.Link is its Python face.")
        .def("destroy", &BpfLink::destroy);
    nb::class_<BpfObject>(m, "BpfObject", "An eBPF object; wbpf.bpf.kernel.Object is its Python face.")
        .def_static("open", &BpfObject::open, "elf"_a, "name"_a, "btf_path"_a.none(),
                    nb::sig("def open(elf: bytes, name: str, btf_path: str | None) "
                            "-> tuple[BpfObject | None, int, str]"))
        .def("close", &BpfObject::close)
        .def("set", &BpfObject::set, "variable"_a, "value"_a)
        .def("resize_map", &BpfObject::resize_map, "map"_a, "value_bytes"_a, "entries"_a)
        .def("drop_map", &BpfObject::drop_map, "map"_a)
        .def("load", &BpfObject::load)
        .def("log", &BpfObject::log)
        .def("programs", &BpfObject::programs,
             nb::sig("def programs(self) -> list[tuple[str, str, int, int]]"))
        .def("maps", &BpfObject::maps, nb::sig("def maps(self) -> list[tuple[str, int, int, int, int, int]]"))
        .def("attach", &BpfObject::attach, "program"_a,
             nb::sig("def attach(self, program: str) -> tuple[BpfLink | None, int]"))
        .def("attach_clock", &BpfObject::attach_clock, "program"_a, "period_ns"_a, "cpu"_a,
             nb::sig("def attach_clock(self, program: str, period_ns: int, cpu: int) "
                     "-> tuple[BpfLink | None, int]"));
    m.def("bpf_map_lookup", &map_lookup, "fd"_a, "key"_a, "value_bytes"_a,
          nb::sig("def bpf_map_lookup(fd: int, key: bytes, value_bytes: int) -> bytes | int"));
    m.def("bpf_map_next_key", &map_next_key, "fd"_a, "key"_a.none(), "key_bytes"_a,
          nb::sig("def bpf_map_next_key(fd: int, key: bytes | None, key_bytes: int) -> bytes | int"));
    m.def(
        "bpf_map_update",
        [](int fd, nb::bytes key, nb::bytes value) {
            return wbpf_map_update(fd, key.c_str(), value.c_str(), 0);
        },
        "fd"_a, "key"_a, "value"_a);
    m.def(
        "bpf_map_delete", [](int fd, nb::bytes key) { return wbpf_map_delete(fd, key.c_str()); }, "fd"_a,
        "key"_a);
    m.def("bpf_program_run", &program_run, "fd"_a, "arguments"_a);
    m.def("bpf_possible_cpus", &wbpf_possible_cpus);
    m.def("bpf_probe_map", &wbpf_probe_map, "type"_a, "value_bytes"_a, "flags"_a);
    m.def("bpf_probe_fetch_add", &wbpf_probe_fetch_add);
    m.def("bpf_probe_helper", &probe_helper, "program_type"_a, "helper"_a);
    nb::class_<Tracees>(m, "Tracees", "A segment, for the processes that write to it.")
        .def(nb::init<std::string>(), "path"_a);
    nb::class_<KernelRings>(m, "KernelRings",
                            "Kernel rings as a segment; wbpf.bpf.rings.KernelRings is its Python face.")
        .def_static("create", &KernelRings::create, "path"_a, "host"_a, "service"_a, "pin"_a.none(),
                    "rings_fd"_a, "processes_fd"_a, "perf_fd"_a, "ring_bytes"_a,
                    nb::sig("def create(path: str, host: str, service: str, pin: str | None, rings_fd: int, "
                            "processes_fd: int, perf_fd: int, ring_bytes: int) "
                            "-> tuple[KernelRings | None, int, str]"))
        .def("close", &KernelRings::close, "keep"_a)
        .def("add_schema", &KernelRings::add_schema, "name"_a, "fields"_a)
        .def("follow", &KernelRings::follow, "segments"_a)
        .def("counters", &KernelRings::counters);
}
