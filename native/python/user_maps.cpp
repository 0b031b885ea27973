/* Maps in shared memory, from Python: what wbpf.bpf.user.maps wraps. */
#include "bindings.h"
#include "maps/maps.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

using Key = std::optional<nb::bytes>;

/* The functions that return an errno or bytes are those of bpf_map_…: without a descriptor. */
class UserMap
{
  public:
    explicit UserMap(wbpf_user_map *map) : map_(map)
    {
        wbpf_user_map_facts(map, &facts_);
        span_ = wbpf_user_map_value_span(map);
    }
    ~UserMap() { wbpf_user_map_close(map_); }
    UserMap(const UserMap &) = delete;
    UserMap &operator=(const UserMap &) = delete;

    static nb::object create(uint32_t kind, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags,
                             uint32_t extra, uint32_t lock_offset, uint32_t cpus,
                             std::tuple<uint32_t, uint32_t, uint32_t> inner, int fd)
    {
        auto [inner_kind, inner_key, inner_value] = inner;
        wbpf_user_map_spec spec = {kind,        key,  value,      entries,   flags,      extra,
                                   lock_offset, cpus, inner_kind, inner_key, inner_value};
        wbpf_user_map *map;
        int error = wbpf_user_map_create(&spec, fd, &map);
        return error ? nb::object(nb::int_(error))
                     : nb::cast(new UserMap(map), nb::rv_policy::take_ownership);
    }

    static nb::object open(int fd)
    {
        wbpf_user_map *map;
        int error = wbpf_user_map_open(fd, &map);
        return error ? nb::object(nb::int_(error))
                     : nb::cast(new UserMap(map), nb::rv_policy::take_ownership);
    }

    nb::tuple facts() const
    {
        return nb::make_tuple(
            facts_.kind, facts_.key_bytes, facts_.value_bytes, facts_.entries, facts_.flags,
            facts_.lock_offset,
            nb::make_tuple(facts_.inner_kind, facts_.inner_key_bytes, facts_.inner_value_bytes));
    }

    /* Address of the handle, of the row of values (0: none), and the stride. */
    nb::tuple place() const
    {
        uint32_t stride;
        void *row = wbpf_user_map_row(map_, &stride);
        return nb::make_tuple(reinterpret_cast<uint64_t>(map_), reinterpret_cast<uint64_t>(row), stride);
    }

    uint64_t entries() const { return wbpf_user_map_entries(map_); }

    nb::object lookup(Key key, uint64_t flags)
    {
        return filled(span_, [&](char *value) { return wbpf_user_map_lookup(map_, at(key), value, flags); });
    }

    nb::object take(Key key)
    {
        return filled(span_,
                      [&](char *value) { return wbpf_user_map_lookup_and_delete(map_, at(key), value, 0); });
    }

    int update(Key key, nb::bytes value, uint64_t flags)
    {
        return wbpf_user_map_update(map_, at(key), value.c_str(), flags);
    }

    int erase(nb::bytes key) { return wbpf_user_map_delete(map_, key.c_str()); }

    int contains(nb::bytes value)
    {
        std::string asked(value.c_str(), value.size());
        return wbpf_user_map_lookup(map_, nullptr, asked.data(), 0);
    }

    nb::object next_key(Key key)
    {
        return filled(facts_.key_bytes,
                      [&](char *next) { return wbpf_user_map_next_key(map_, at(key), next); });
    }

    /* As bpf_map_read_batch. */
    nb::tuple read_batch(Key cursor, uint32_t count, bool take)
    {
        std::string keys(static_cast<size_t>(count) * facts_.key_bytes, '\0'), values(count * span_, '\0');
        uint32_t position = 0;
        if (cursor)
            std::memcpy(&position, cursor->c_str(), sizeof position);
        int error = wbpf_user_map_read_batch(map_, &position, keys.data(), values.data(), &count, take);
        return nb::make_tuple(error, nb::bytes(keys.data(), count * facts_.key_bytes),
                              nb::bytes(values.data(), count * span_),
                              nb::bytes(reinterpret_cast<const char *>(&position), sizeof position));
    }

    int fd() const { return wbpf_user_map_fd(map_); }
    uint32_t id() const { return wbpf_user_map_id(map_); }

    /* Bytes at a place of an array's first value. */
    nb::object row(uint64_t offset, uint64_t bytes)
    {
        uint32_t stride;
        auto *values = static_cast<char *>(wbpf_user_map_row(map_, &stride));
        return nb::bytes(values + offset, bytes);
    }

    void freeze() { wbpf_user_map_freeze(map_); }

    void set_row(uint64_t offset, nb::bytes content)
    {
        uint32_t stride;
        auto *values = static_cast<char *>(wbpf_user_map_row(map_, &stride));
        std::memcpy(values + offset, content.c_str(), content.size());
    }

    nb::tuple wait(uint32_t seen, uint64_t timeout_ns)
    {
        bool rang;
        {
            nb::gil_scoped_release release;
            rang = wbpf_shared_ring_wait(map_, &seen, timeout_ns);
        }
        return nb::make_tuple(rang, seen);
    }

    void wake() { wbpf_shared_ring_wake(map_); }
    uint64_t lost() { return wbpf_shared_ring_lost(map_); }
    uint64_t query(uint64_t what) { return wbpf_shared_ring_query(map_, what); }

  private:
    static const char *at(const Key &key) { return key ? key->c_str() : nullptr; }

    template <typename Fill> static nb::object filled(size_t bytes, Fill fill)
    {
        std::string content(bytes, '\0');
        int error = fill(content.data());
        return error ? nb::object(nb::int_(error)) : nb::object(nb::bytes(content.data(), content.size()));
    }

    wbpf_user_map *map_;
    wbpf_user_map_spec facts_;
    size_t span_;
};

} // namespace

void bind_user_maps(nb::module_ &m)
{
    nb::class_<UserMap>(m, "UserMap")
        .def_static("create", &UserMap::create, "kind"_a, "key_bytes"_a, "value_bytes"_a, "entries"_a,
                    "flags"_a, "extra"_a, "lock_offset"_a, "cpus"_a, "inner"_a, "fd"_a,
                    nb::sig("def create(kind: int, key_bytes: int, value_bytes: int, entries: int, flags: "
                            "int, extra: int, lock_offset: int, cpus: int, inner: tuple[int, int, int], fd: "
                            "int) -> UserMap | int"))
        .def_static("open", &UserMap::open, "fd"_a, nb::sig("def open(fd: int) -> UserMap | int"))
        .def("facts", &UserMap::facts,
             nb::sig("def facts(self) -> tuple[int, int, int, int, int, int, tuple[int, int, int]]"))
        .def("entries", &UserMap::entries)
        .def("place", &UserMap::place, nb::sig("def place(self) -> tuple[int, int, int]"))
        .def("lookup", &UserMap::lookup, "key"_a.none(), "flags"_a = 0,
             nb::sig("def lookup(self, key: bytes | None, flags: int = 0) -> bytes | int"))
        .def("take", &UserMap::take, "key"_a.none(),
             nb::sig("def take(self, key: bytes | None) -> bytes | int"))
        .def("update", &UserMap::update, "key"_a.none(), "value"_a, "flags"_a = 0)
        .def("delete", &UserMap::erase, "key"_a)
        .def("contains", &UserMap::contains, "value"_a)
        .def("next_key", &UserMap::next_key, "key"_a.none(),
             nb::sig("def next_key(self, key: bytes | None) -> bytes | int"))
        .def("read_batch", &UserMap::read_batch, "cursor"_a.none(), "count"_a, "take"_a,
             nb::sig("def read_batch(self, cursor: bytes | None, count: int, take: bool) -> tuple[int, "
                     "bytes, bytes, bytes]"))
        .def("fd", &UserMap::fd)
        .def("id", &UserMap::id)
        .def("row", &UserMap::row, "offset"_a, "count"_a,
             nb::sig("def row(self, offset: int, count: int) -> bytes"))
        .def("freeze", &UserMap::freeze)
        .def("set_row", &UserMap::set_row, "offset"_a, "content"_a)
        .def("wait", &UserMap::wait, "seen"_a, "timeout_ns"_a,
             nb::sig("def wait(self, seen: int, timeout_ns: int) -> tuple[bool, int]"))
        .def("wake", &UserMap::wake)
        .def("lost", &UserMap::lost)
        .def("query", &UserMap::query, "what"_a);
}
