/* Reading segments from Python: the classes that wbpf.recorder.segment and its neighbours wrap. */
#include "segments.h"
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

using Ids = std::vector<uint8_t>;          /* 16 bytes each */
using Header = struct wbpf_segment_header; /* a function has the same name */

const Header *header_of(const wbpf_segment *segment)
{
    return wbpf_segment_header(segment);
}

const uint8_t (*rows(const Ids &ids))[16]
{
    return reinterpret_cast<const uint8_t (*)[16]>(ids.data());
}

void append_id(Ids &ids, nb::handle object)
{
    nb::bytes id;
    if (!nb::try_cast(object, id) || id.size() != 16)
        raise_error("ConfigError", repr_of(object.ptr()) + " is not a trace id", "",
                    "pass bytes of length 16");
    ids.insert(ids.end(), id.c_str(), id.c_str() + 16);
}

Ids ids_from(nb::iterable objects)
{
    Ids ids;
    for (nb::handle object : objects)
        append_id(ids, object);
    return ids;
}

nb::list list_of(const uint8_t (*ids)[16], size_t count)
{
    nb::list list;
    for (size_t i = 0; i < count; i++)
        list.append(nb::bytes(ids[i], 16));
    return list;
}

/* Of a copy: the memory may change while it is decoded. */
nb::str text_of(const std::string &text)
{
    return nb::steal<nb::str>(
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

template <size_t N> nb::str text_of(const char (&text)[N])
{
    return text_of(std::string(text, strnlen(text, N)));
}

/* After reading: what was read may be zeros. */
void demand_whole(const wbpf_segment *segment, const std::string &path)
{
    if (wbpf_segment_was_cut(segment))
        raise_error("SegmentError", "the segment " + path + " can't be read",
                    "its file was cut while it was open",
                    "find who truncates files of the segment folder; its service has to make a new segment");
}

std::string reason(int error)
{
    return std::strerror(-error);
}

/* A mapped segment. Closing it while another thread reads lets that reader finish. */
class Segment
{
  public:
    Segment(std::string path, bool writable) : path_(std::move(path)), writable_(writable)
    {
        char why[512] = "";
        wbpf_segment *segment = nullptr;
        int error;
        {
            nb::gil_scoped_release release;
            error = wbpf_segment_open(path_.c_str(), writable, &segment, why);
        }
        if (error)
            raise_error(error == -EACCES || error == -EPERM ? "AccessError"
                        : error == -EPROTO                  ? "FormatError"
                                                            : "SegmentError",
                        "the segment " + path_ + " can't be opened", *why ? why : reason(error), hint(error));
        segment_.reset(segment, wbpf_segment_close);
    }

    Segment(SegmentPointer segment, std::string path)
        : path_(std::move(path)), writable_(false), segment_(std::move(segment))
    {
    }

    void close() { segment_.reset(); }

    const std::string &path() const { return path_; }

    /* Raises when it is closed. */
    SegmentPointer use() const
    {
        if (!segment_)
            raise_error("SegmentError", "the segment " + path_ + " can't be read", "it was closed",
                        "open it again with Segment.open()");
        demand_whole(segment_.get(), path_);
        return segment_;
    }

    SegmentPointer use_writable(const char *what) const
    {
        if (!writable_)
            raise_error("SegmentError", std::string(what) + " needs a writable segment",
                        path_ + " was opened for reading", "open it with Segment.open(path, writable=True)");
        return use();
    }

    nb::dict facts() const
    {
        SegmentPointer segment = use();
        const Header *header = header_of(segment.get());
        nb::dict facts;
        facts["segment_id"] = header->segment_id;
        facts["host"] = text_of(header->host);
        facts["host_id"] = header->host_id;
        facts["incarnation"] = header->incarnation;
        facts["service"] = text_of(header->service);
        facts["chunk_bytes"] = header->chunk_bytes;
        facts["chunk_count"] = header->chunk_count;
        facts["clock_kind"] = header->clock_kind;
        facts["ticks_hz"] = header->ticks_hz;
        facts["created_unix_ns"] = header->created_unix_ns;
        facts["size_bytes"] = header->segment_bytes;
        return facts;
    }

    nb::tuple schemas(uint32_t offset) const
    {
        SegmentPointer segment = use();
        nb::list list;
        uint32_t id, bytes;
        const char *text;
        while (wbpf_segment_next_schema(segment.get(), &offset, &id, &text, &bytes))
            list.append(nb::make_tuple(id, text_of(std::string(text, bytes))));
        demand_whole(segment.get(), path_);
        return nb::make_tuple(offset, list);
    }

    void calibrate() const
    {
        SegmentPointer segment = use_writable("calibrating");
        if (int error = wbpf_segment_calibrate(segment.get()))
            raise_error("SegmentError", "the clocks of " + path_ + " can't be calibrated", reason(error),
                        "calibrate only segments of this host, from this host");
    }

    nb::list calibrations() const
    {
        SegmentPointer segment = use();
        wbpf_calibration readings[WBPF_CALIBRATIONS];
        uint32_t count = wbpf_segment_calibrations(segment.get(), readings);
        nb::list list;
        for (uint32_t i = 0; i < count; i++)
            list.append(nb::make_tuple(readings[i].ticks, readings[i].mono_ns, readings[i].unix_ns,
                                       readings[i].error_ns));
        return list;
    }

    uint64_t ticks_to_unix_ns(uint64_t ticks) const
    {
        return wbpf_segment_ticks_to_unix_ns(use().get(), ticks);
    }

    uint64_t now_ticks() const { return wbpf_segment_now_ticks(use().get()); }

    nb::dict counters() const
    {
        SegmentPointer segment = use();
        wbpf_counters c;
        wbpf_segment_counters(segment.get(), &c);
        demand_whole(segment.get(), path_);
        nb::dict counters;
        counters["resident_records"] = c.resident_records;
        counters["recycled_records"] = c.recycled_records;
        counters["resident_bytes"] = c.resident_bytes;
        counters["recycled_bytes"] = c.recycled_bytes;
        counters["refused"] = c.refused;
        counters["truncated"] = c.truncated;
        counters["triggers_dropped"] = c.triggers_dropped;
        counters["chunks_owned"] = c.chunks_owned;
        counters["chunks_used"] = c.chunks_used;
        counters["processes_alive"] = c.processes_alive;
        counters["threads"] = c.threads;
        counters["oldest_ticks"] = c.oldest_ticks;
        counters["lost_until_ticks"] = c.lost_until_ticks;
        return counters;
    }

    /* Of every process slot that was ever used. */
    nb::list processes() const
    {
        SegmentPointer segment = use();
        nb::list list;
        uint32_t count = header_of(segment.get())->process_count;
        for (uint32_t i = 0; i < count; i++) {
            const wbpf_process_slot *slot = wbpf_segment_process(segment.get(), i);
            uint32_t generation = slot ? __atomic_load_n(&slot->generation, __ATOMIC_ACQUIRE) : 0;
            if (!generation)
                continue;
            list.append(nb::make_tuple(i, generation, slot->pid, text_of(slot->name),
                                       wbpf_segment_process_alive(segment.get(), i, generation),
                                       __atomic_load_n(&slot->refused, __ATOMIC_RELAXED),
                                       __atomic_load_n(&slot->truncated, __ATOMIC_RELAXED)));
        }
        demand_whole(segment.get(), path_);
        return list;
    }

    nb::list take_triggers(bool again) const
    {
        SegmentPointer segment = use_writable("taking triggers");
        std::vector<wbpf_fired> fired(header_of(segment.get())->trigger_count);
        uint32_t count;
        {
            nb::gil_scoped_release release;
            count = wbpf_segment_take_triggers(segment.get(), again, fired.data(),
                                               static_cast<uint32_t>(fired.size()));
        }
        demand_whole(segment.get(), path_);
        nb::list list;
        for (uint32_t i = 0; i < count; i++) {
            const wbpf_trigger_slot &what = fired[i].what;
            uint64_t id[2] = {what.trace_id_lo, what.trace_id_hi};
            auto *laterals = reinterpret_cast<const uint8_t (*)[16]>(what.laterals);
            size_t lateral_count = std::min<size_t>(what.lateral_count, WBPF_TRIGGER_LATERALS);
            list.append(nb::make_tuple(fired[i].slot, fired[i].token, what.verb, what.trigger_id,
                                       nb::bytes(reinterpret_cast<const char *>(id), 16), what.start_unix_ns,
                                       what.value, what.ticks, what.level, list_of(laterals, lateral_count)));
        }
        return list;
    }

    void ack_trigger(uint32_t slot, uint64_t token) const
    {
        SegmentPointer segment = use_writable("acknowledging a trigger");
        if (slot < header_of(segment.get())->trigger_count)
            wbpf_segment_ack_trigger(segment.get(), slot, token);
    }

    nb::tuple cleared(uint64_t position) const
    {
        SegmentPointer segment = use_writable("reading cleared ids");
        Ids ids(16 * static_cast<size_t>(header_of(segment.get())->clear_count));
        auto *out = reinterpret_cast<uint8_t (*)[16]>(ids.data());
        uint32_t count =
            wbpf_segment_cleared(segment.get(), &position, out, static_cast<uint32_t>(ids.size() / 16));
        demand_whole(segment.get(), path_);
        return nb::make_tuple(position, list_of(out, count));
    }

    uint32_t clear(nb::iterable objects) const
    {
        SegmentPointer segment = use_writable("clearing traces");
        Ids ids = ids_from(objects);
        nb::gil_scoped_release release;
        return wbpf_segment_clear(segment.get(), rows(ids), ids.size() / 16);
    }

    void set_level(uint32_t level) const
    {
        wbpf_segment_set_level(use_writable("setting the level").get(), level);
    }

    void set_trace_level(nb::bytes id, uint32_t level) const
    {
        SegmentPointer segment = use_writable("setting a trace's level");
        Ids ids;
        append_id(ids, id);
        if (int error = wbpf_segment_set_trace_level(segment.get(), ids.data(), level))
            raise_error("SegmentError", "the trace can't get a level of its own",
                        error == -ENOSPC ? "as many traces as the segment has room for have one"
                                         : reason(error),
                        "remove another trace's level: set_trace_level(trace_id, 0)");
    }

  private:
    static std::string hint(int error)
    {
        switch (error) {
        case -ENOENT:
            return "look at what is there with `wbpf status`; a service makes its segment at wbpf.open()";
        case -EACCES:
        case -EPERM:
            return "run as the user or in the group that owns the file; it must not be writable by everybody";
        case -EPROTO:
            return "read it with the version of wBPF that wrote it, or remove the file if it is damaged";
        default:
            return "check the path";
        }
    }

    std::string path_;
    bool writable_;
    SegmentPointer segment_;
};

/* A watch and the segment it reads; one caller at a time. */
class Watch
{
  public:
    Watch(const Segment &segment, nb::type_object piece)
        : segment_(segment.use()), path_(segment.path()), piece_(piece)
    {
        if (!PyType_IsSubtype(reinterpret_cast<PyTypeObject *>(piece.ptr()), &PyTuple_Type))
            throw nb::type_error("pieces are made as tuples");
        if (int error = wbpf_watch_create(segment_.get(), &watch_))
            raise_error("SegmentError", "the segment can't be watched", reason(error), "free some memory");
    }
    ~Watch() { wbpf_watch_destroy(watch_); }
    Watch(const Watch &) = delete;
    Watch &operator=(const Watch &) = delete;

    void add(nb::iterable objects)
    {
        Ids ids = ids_from(objects);
        int error;
        {
            nb::gil_scoped_release release;
            std::lock_guard<std::mutex> guard(lock_);
            error = wbpf_watch_add(watch_, rows(ids), ids.size() / 16);
        }
        if (error)
            raise_error("SegmentError", "traces can't be watched", reason(error), "watch fewer at a time");
    }

    void remove(nb::iterable objects)
    {
        Ids ids = ids_from(objects);
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> guard(lock_);
        wbpf_watch_remove(watch_, rows(ids), ids.size() / 16);
    }

    nb::tuple poll()
    {
        const wbpf_piece *pieces = nullptr;
        size_t count = 0;
        uint64_t lost_until = 0;
        int error;
        nb::object list;
        {
            nb::gil_scoped_release release;
            std::lock_guard<std::mutex> guard(lock_);
            error = wbpf_watch_poll(watch_, &pieces, &count, &lost_until);
            nb::gil_scoped_acquire acquire; /* pieces point into the watch: copy them before it is let go */
            list = list_from(pieces, error ? 0 : count);
        }
        demand_whole(segment_.get(), path_);
        if (error)
            raise_error("SegmentError", "the segment can't be searched", reason(error), "watch fewer traces");
        return nb::make_tuple(list, lost_until);
    }

    nb::tuple dump(uint32_t cursor)
    {
        const wbpf_piece *pieces = nullptr;
        size_t count = 0;
        int error;
        nb::object list;
        {
            nb::gil_scoped_release release;
            std::lock_guard<std::mutex> guard(lock_);
            error = wbpf_watch_dump(watch_, &cursor, &pieces, &count);
            nb::gil_scoped_acquire acquire;
            list = list_from(pieces, error ? 0 : count);
        }
        demand_whole(segment_.get(), path_);
        if (error)
            raise_error("SegmentError", "the segment can't be dumped", reason(error), "free some memory");
        return nb::make_tuple(cursor, list);
    }

  private:
    nb::object list_from(const wbpf_piece *pieces, size_t count) const
    {
        nb::object list = nb::steal(PyList_New(static_cast<Py_ssize_t>(count)));
        if (!list)
            throw nb::python_error();
        for (size_t i = 0; i < count; i++)
            PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), piece_from(pieces[i]).release().ptr());
        return list;
    }

    nb::object piece_from(const wbpf_piece &piece) const
    {
        nb::list breadcrumbs;
        for (uint32_t i = 0; i < piece.breadcrumb_count; i++) {
            const wbpf_breadcrumb &crumb = piece.breadcrumbs[i];
            breadcrumbs.append(nb::make_tuple(crumb.direction, crumb.peer_host_id, crumb.edge_span_id));
        }
        nb::object values[] = {nb::bytes(piece.trace_id, 16),
                               nb::int_(piece.chunk),
                               nb::int_(piece.uses),
                               nb::int_(piece.start_unit),
                               nb::int_(piece.process),
                               nb::int_(piece.tid),
                               nb::int_(piece.records),
                               nb::int_(piece.begins),
                               nb::int_(piece.ends),
                               nb::bool_(piece.starts_run),
                               nb::bool_(piece.cleared),
                               nb::bytes(piece.data, piece.bytes),
                               breadcrumbs,
                               list_of(piece.laterals, piece.lateral_count)};
        auto *type = reinterpret_cast<PyTypeObject *>(piece_.ptr());
        nb::object made = nb::steal(type->tp_alloc(type, std::size(values)));
        if (!made)
            throw nb::python_error();
        for (size_t i = 0; i < std::size(values); i++)
            PyTuple_SET_ITEM(made.ptr(), static_cast<Py_ssize_t>(i), values[i].release().ptr());
        return made;
    }

    SegmentPointer segment_;
    std::string path_;
    nb::type_object piece_; /* a NamedTuple with these slots */
    wbpf_watch *watch_ = nullptr;
    std::mutex lock_;
};

} // namespace

SegmentPointer segment_of(nb::handle object)
{
    return nb::cast<Segment &>(object).use();
}

nb::object segment_from(wbpf_segment *segment, const std::string &name)
{
    return nb::cast(new Segment(SegmentPointer(segment, wbpf_segment_close), name),
                    nb::rv_policy::take_ownership);
}

void bind_reader(nb::module_ &m)
{
    nb::class_<Segment>(m, "Segment", "A mapped segment; wbpf.recorder.Segment is its Python face.")
        .def(nb::init<std::string, bool>(), "path"_a, "writable"_a = false)
        .def("close", &Segment::close)
        .def("facts", &Segment::facts, nb::sig("def facts(self) -> dict[str, typing.Any]"))
        .def("schemas", &Segment::schemas, "offset"_a = 0,
             nb::sig("def schemas(self, offset: int = 0) -> tuple[int, list[tuple[int, str]]]"))
        .def("calibrate", &Segment::calibrate)
        .def("calibrations", &Segment::calibrations,
             nb::sig("def calibrations(self) -> list[tuple[int, int, int, int]]"))
        .def("ticks_to_unix_ns", &Segment::ticks_to_unix_ns, "ticks"_a)
        .def("now_ticks", &Segment::now_ticks)
        .def("counters", &Segment::counters, nb::sig("def counters(self) -> dict[str, int]"))
        .def("processes", &Segment::processes,
             nb::sig("def processes(self) -> list[tuple[int, int, int, str, bool, int, int]]"))
        .def("take_triggers", &Segment::take_triggers, "again"_a = false,
             nb::sig(
                 "def take_triggers(self, again: bool = False) -> list[tuple[int, int, int, int, bytes, int, "
                 "float, int, int, list[bytes]]]"))
        .def("ack_trigger", &Segment::ack_trigger, "slot"_a, "token"_a)
        .def("cleared", &Segment::cleared, "position"_a,
             nb::sig("def cleared(self, position: int) -> tuple[int, list[bytes]]"))
        .def("clear", &Segment::clear, "ids"_a,
             nb::sig("def clear(self, ids: collections.abc.Iterable[bytes]) -> int"))
        .def("set_level", &Segment::set_level, "level"_a)
        .def("set_trace_level", &Segment::set_trace_level, "trace_id"_a, "level"_a);
    nb::class_<Watch>(m, "Watch", "A set of trace ids and how far a segment was read for them.")
        .def(nb::init<const Segment &, nb::type_object>(), "segment"_a, "piece"_a,
             nb::sig("def __init__(self, segment: Segment, piece: type[tuple[typing.Any, ...]]) -> None"))
        .def("add", &Watch::add, "ids"_a,
             nb::sig("def add(self, ids: collections.abc.Iterable[bytes]) -> None"))
        .def("remove", &Watch::remove, "ids"_a,
             nb::sig("def remove(self, ids: collections.abc.Iterable[bytes]) -> None"))
        .def("poll", &Watch::poll, nb::sig("def poll(self) -> tuple[list[typing.Any], int]"))
        .def("dump", &Watch::dump, "cursor"_a,
             nb::sig("def dump(self, cursor: int) -> tuple[int, list[typing.Any]]"));
}
