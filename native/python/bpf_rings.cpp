/* Rings of records, from Python: what wbpf.bpf.ringbuf wraps. */
#include "bpf.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

/* Of a batch; the exception of a failed append waits until the ring's positions are right. */
struct Batch {
    PyObject *list;
    bool failed;
};

int append(void *context, const void *data, uint32_t bytes, uint32_t)
{
    Batch *batch = static_cast<Batch *>(context);
    PyObject *record =
        PyBytes_FromStringAndSize(static_cast<const char *>(data), static_cast<Py_ssize_t>(bytes));
    batch->failed = !record || PyList_Append(batch->list, record) != 0;
    Py_XDECREF(record);
    return batch->failed;
}

class BpfRing : public Owned<wbpf_ring_reader, wbpf_ring_close>
{
  public:
    using Owned::Owned;

    static nb::tuple open_file(int fd, uint64_t at, uint64_t bytes)
    {
        wbpf_ring_reader *ring = nullptr;
        int error = wbpf_ring_open_file(fd, at, bytes, &ring);
        return made<BpfRing>(error, ring);
    }

    static nb::tuple open(int fd, uint32_t perf_pages)
    {
        wbpf_ring_reader *ring = nullptr;
        int error = wbpf_ring_open(fd, perf_pages, &ring);
        return made<BpfRing>(error, ring);
    }

    nb::list read(uint32_t max)
    {
        nb::list list;
        Batch batch = {list.ptr(), false};
        wbpf_ring_for_each(get(), max, append, &batch);
        if (batch.failed)
            throw nb::python_error();
        return list;
    }

    nb::object read_frames(uint64_t room)
    {
        PyObject *frames = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(room));
        if (!frames)
            throw nb::python_error();
        int64_t bytes = wbpf_ring_read(get(), PyBytes_AS_STRING(frames), room);
        if (bytes < 0) {
            Py_DECREF(frames);
            return nb::int_(bytes);
        }
        if (_PyBytes_Resize(&frames, static_cast<Py_ssize_t>(bytes)) != 0)
            throw nb::python_error();
        return nb::steal(frames);
    }

    bool pending() const { return wbpf_ring_pending(get()); }
    int64_t lost() const { return wbpf_ring_lost(get()); }
    uint64_t next_bytes() const { return wbpf_ring_next_bytes(get()); }
    wbpf_ring_reader *get() const { return use("ring"); }
};

class WaitSet : public Owned<wbpf_wait_set, wbpf_wait_set_destroy>
{
  public:
    using Owned::Owned;

    static nb::tuple create()
    {
        wbpf_wait_set *set = nullptr;
        int error = wbpf_wait_set_create(&set);
        return made<WaitSet>(error, set);
    }

    int add(const BpfRing &ring, uint32_t tag) { return wbpf_wait_set_add(get(), ring.get(), tag); }
    void remove(const BpfRing &ring) { wbpf_wait_set_remove(get(), ring.get()); }
    void wake() { wbpf_wait_set_wake(get()); }
    int fd() const { return wbpf_wait_set_fd(get()); }

    nb::object wait(int timeout_ms, uint32_t max)
    {
        std::vector<uint32_t> tags(max);
        wbpf_wait_set *set = get();
        int found;
        {
            nb::gil_scoped_release release;
            found = wbpf_wait_set_wait(set, timeout_ms, tags.data(), max);
        }
        if (found < 0)
            return nb::int_(found);
        tags.resize(static_cast<size_t>(found));
        return nb::cast(tags);
    }

  private:
    wbpf_wait_set *get() const { return use("set of rings"); }
};

class UserRing : public Owned<wbpf_user_ring, wbpf_user_ring_close>
{
  public:
    using Owned::Owned;

    static nb::tuple open(int fd)
    {
        wbpf_user_ring *ring = nullptr;
        int error = wbpf_user_ring_open(fd, &ring);
        return made<UserRing>(error, ring);
    }

    static nb::tuple open_file(int fd, uint64_t at, uint64_t size)
    {
        wbpf_user_ring *ring = nullptr;
        int error = wbpf_user_ring_open_file(fd, at, size, &ring);
        return made<UserRing>(error, ring);
    }

    int submit(nb::bytes record)
    {
        return wbpf_user_ring_submit(use("ring"), record.c_str(), static_cast<uint32_t>(record.size()));
    }
};

} // namespace

void bind_bpf_rings(nb::module_ &m)
{
    nb::class_<BpfRing>(m, "BpfRing", "A ring that is read; wbpf.bpf.ringbuf.Ring is its Python face.")
        .def_static("open", &BpfRing::open, "fd"_a, "perf_pages"_a,
                    nb::sig("def open(fd: int, perf_pages: int) -> tuple[BpfRing | None, int]"))
        .def_static("open_file", &BpfRing::open_file, "fd"_a, "at"_a, "size"_a,
                    nb::sig("def open_file(fd: int, at: int, size: int) -> tuple[BpfRing | None, int]"))
        .def("close", &BpfRing::close)
        .def("read", &BpfRing::read, "max"_a, nb::sig("def read(self, max: int) -> list[bytes]"))
        .def("read_frames", &BpfRing::read_frames, "room"_a,
             nb::sig("def read_frames(self, room: int) -> bytes | int"))
        .def("pending", &BpfRing::pending)
        .def("lost", &BpfRing::lost)
        .def("next_bytes", &BpfRing::next_bytes);
    nb::class_<WaitSet>(m, "WaitSet", "Rings to wait for; wbpf.bpf.ringbuf.Rings is its Python face.")
        .def_static("create", &WaitSet::create, nb::sig("def create() -> tuple[WaitSet | None, int]"))
        .def("close", &WaitSet::close)
        .def("add", &WaitSet::add, "ring"_a, "tag"_a)
        .def("remove", &WaitSet::remove, "ring"_a)
        .def("wait", &WaitSet::wait, "timeout_ms"_a, "max"_a,
             nb::sig("def wait(self, timeout_ms: int, max: int) -> list[int] | int"))
        .def("wake", &WaitSet::wake)
        .def("fd", &WaitSet::fd);
    nb::class_<UserRing>(m, "UserRing",
                         "A ring that programs read; wbpf.bpf.ringbuf.UserRing is its Python face.")
        .def_static("open", &UserRing::open, "fd"_a,
                    nb::sig("def open(fd: int) -> tuple[UserRing | None, int]"))
        .def_static("open_file", &UserRing::open_file, "fd"_a, "at"_a, "size"_a,
                    nb::sig("def open_file(fd: int, at: int, size: int) -> tuple[UserRing | None, int]"))
        .def("close", &UserRing::close)
        .def("submit", &UserRing::submit, "record"_a);
}
