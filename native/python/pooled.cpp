/* Segments in the pool; wbpf.pooled is their Python face. */
#include "pooled/pooled.h"
#include "pool.h"
#include "segments.h"
#include <cerrno>
#include <cstring>
#include <mutex>
#include <nanobind/stl/string.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

[[noreturn]] void raise_region_error(int error, const std::string &id, const char *why)
{
    const char *type = error == -ENOSPC || error == -ENFILE || error == -EMFILE ? "PoolFull"
                       : error == -EEXIST                                       ? "ObjectExists"
                       : error == -ENOENT                                       ? "ObjectNotFound"
                       : error == -EPROTO                                       ? "FormatError"
                       : error == -EINVAL                                       ? "ConfigError"
                                                                                : "PoolError";
    const char *hint = error == -ENOSPC || error == -ENFILE
                           ? "make a larger pool, or give regions less: WBPF_POOL_MB"
                       : error == -EINVAL ? "give it more: WBPF_POOL_MB"
                                          : "";
    raise_error(type, "the segment's region " + id + " can't be used", *why ? why : std::strerror(-error),
                hint);
}

/* A region of a segment and what writes it. Rounds are one at a time; stop() may be called meanwhile. */
class Flusher
{
  public:
    Flusher(nb::handle segment, nb::handle member, std::string id, uint64_t size_bytes)
        : id_(std::move(id)), segment_(segment_of(segment)), host_(host_of(member))
    {
        char why[256] = "";
        int error;
        {
            nb::gil_scoped_release release;
            error = wbpf_flusher_create(segment_.get(), host_.get(), id_.c_str(), size_bytes, &flusher_, why);
        }
        if (error)
            raise_region_error(error, id_, why);
    }
    ~Flusher() { wbpf_flusher_destroy(flusher_); }
    Flusher(const Flusher &) = delete;
    Flusher &operator=(const Flusher &) = delete;

    void round()
    {
        check(without_gil([this] { return wbpf_flusher_round(flusher_); }));
    }

    void run(uint32_t every_us, uint32_t every_kib)
    {
        check(without_gil([=] { return wbpf_flusher_run(flusher_, every_us, every_kib); }));
    }

    void stop() { wbpf_flusher_stop(flusher_); }

    nb::dict counts() const
    {
        wbpf_flush_counts counts;
        wbpf_flusher_get_counts(flusher_, &counts);
        nb::dict fields;
        fields["rounds"] = counts.rounds;
        fields["groups"] = counts.groups;
        fields["bytes"] = counts.bytes;
        fields["flushed_unix_ns"] = counts.flushed_unix_ns;
        fields["slots"] = counts.slots;
        return fields;
    }

  private:
    template <typename Work> int without_gil(Work work)
    {
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> guard(lock_);
        return work();
    }
    void check(int error) const
    {
        if (error)
            raise_region_error(error, id_, "");
    }

    std::string id_;
    SegmentPointer segment_;
    SharedHost host_;
    wbpf_flusher *flusher_ = nullptr;
    std::mutex lock_;
};

nb::object recover(nb::handle member, const std::string &id, uint64_t known)
{
    SharedHost host = host_of(member);
    wbpf_segment *segment = nullptr;
    wbpf_recovery recovery;
    char why[256] = "";
    int error;
    {
        nb::gil_scoped_release release;
        error = wbpf_segment_recover(host.get(), id.c_str(), known, &segment, &recovery, why);
    }
    if (error == -EALREADY)
        return nb::none();
    if (error)
        raise_region_error(error, id, why);
    return nb::make_tuple(segment_from(segment, "pool:" + id), recovery.sequence, recovery.flushed_unix_ns,
                          recovery.groups, recovery.torn);
}

} // namespace

void bind_pooled(nb::module_ &m)
{
    nb::class_<Flusher>(m, "Flusher", "Writes a segment to a region of the pool; wbpf.pooled wraps it.")
        .def(
            nb::init<nb::handle, nb::handle, std::string, uint64_t>(), "segment"_a, "member"_a, "id"_a,
            "size_bytes"_a,
            nb::sig(
                "def __init__(self, segment: Segment, member: PoolMember, id: str, size_bytes: int) -> None"))
        .def("round", &Flusher::round)
        .def("run", &Flusher::run, "every_us"_a, "every_kib"_a)
        .def("stop", &Flusher::stop)
        .def("counts", &Flusher::counts, nb::sig("def counts(self) -> dict[str, int]"));
    m.def("recover_segment", recover, "member"_a, "id"_a, "known"_a,
          nb::sig(
              "def recover_segment(member: PoolMember, id: str, known: int) -> tuple[Segment, int, int, int, "
              "int] | None"));
}
