/* Kernel rings and the processes that they follow, from Python: what wbpf.bpf.rings wraps. */
#include "bindings.h"
#include "bpf.h"
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
            return nb::make_tuple(nb::none(), error, decode_text(*why ? why : std::strerror(-error)));
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
    bind_bpf_object(m);
    bind_bpf_maps(m);
    bind_bpf_rings(m);
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
