/* Packets through translated programs, from Python: what wbpf.bpf.user.attach.packets wraps. */
#include "bindings.h"
#include "user/packet_flow.h"
#include <cerrno>
#include <cstring>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

/* The program has to live as long. */
class PacketFlow
{
  public:
    PacketFlow(nb::object program, int kind) : program_(program)
    {
        if (wbpf_packet_flow_create(user_program_of(program), static_cast<wbpf_packet_kind>(kind), &flow_))
            throw std::bad_alloc();
    }
    ~PacketFlow() { wbpf_packet_flow_destroy(flow_); }
    PacketFlow(const PacketFlow &) = delete;
    PacketFlow &operator=(const PacketFlow &) = delete;

    /* A batch: bytes, and one wbpf_packet_record each; the records with their verdicts, and what goes on. */
    nb::tuple feed(nb::bytes bytes, nb::bytes records)
    {
        size_t count = records.size() / sizeof(wbpf_packet_record);
        std::vector<wbpf_packet_record> batch(count);
        std::memcpy(batch.data(), records.c_str(), count * sizeof(wbpf_packet_record));
        std::string out;
        const char *first = bytes.c_str();
        size_t total = bytes.size();
        {
            nb::gil_scoped_release release;
            for (wbpf_packet_record &one : batch) {
                wbpf_packet_facts facts = {};
                const uint8_t *data;
                size_t size;
                facts.time_ns = one.time_ns;
                facts.type = one.type;
                bool on = one.offset + one.bytes <= total &&
                          wbpf_packet_flow_run(flow_, first + one.offset, one.bytes, &facts, &one.verdict,
                                               &data, &size);
                one.out_bytes = on ? static_cast<uint32_t>(size) : UINT32_MAX;
                if (on)
                    out.append(reinterpret_cast<const char *>(data), size);
            }
        }
        return nb::make_tuple(nb::bytes(batch.data(), count * sizeof(wbpf_packet_record)),
                              nb::bytes(out.data(), out.size()));
    }

    int pump(int fd, int stop_fd, int source)
    {
        nb::gil_scoped_release release;
        return wbpf_packet_flow_pump(flow_, fd, stop_fd, static_cast<wbpf_packet_source>(source));
    }

    /* packets, bytes, invalid, stopped, unsent, more_targets; by verdict; (kind, map, index, value, count)…
     */
    nb::tuple counts() const
    {
        wbpf_packet_counts counts;
        wbpf_packet_flow_counts(flow_, &counts);
        nb::list verdicts, targets;
        for (uint64_t count : counts.verdicts)
            verdicts.append(count);
        for (uint32_t i = 0; i < counts.target_count; i++) {
            const wbpf_packet_target &one = counts.targets[i];
            targets.append(nb::make_tuple(one.kind, one.map, one.index, one.value, one.count));
        }
        return nb::make_tuple(nb::make_tuple(counts.packets, counts.bytes, counts.invalid, counts.stopped,
                                             counts.unsent, counts.more_targets),
                              verdicts, targets);
    }

  private:
    nb::object program_;
    wbpf_packet_flow *flow_ = nullptr;
};

} // namespace

void bind_user_packets(nb::module_ &m)
{
    nb::class_<PacketFlow>(m, "PacketFlow")
        .def(nb::init<nb::object, int>(), "program"_a, "kind"_a,
             nb::sig("def __init__(self, program: UserProgram, kind: int) -> None"))
        .def("feed", &PacketFlow::feed, "data"_a, "records"_a,
             nb::sig("def feed(self, data: bytes, records: bytes) -> tuple[bytes, bytes]"))
        .def("pump", &PacketFlow::pump, "fd"_a, "stop_fd"_a, "source"_a)
        .def("counts", &PacketFlow::counts,
             nb::sig("def counts(self) -> tuple[tuple[int, int, int, int, int, int], list[int], "
                     "list[tuple[int, int, int, int, int]]]"));
}
