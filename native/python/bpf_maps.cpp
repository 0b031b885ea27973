/* bpf(2) from Python: maps, running programs once, files, probes. Sizes are the caller's to know. */
#include "bpf.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

using Key = std::optional<nb::bytes>;

const char *bytes_or_null(const Key &key)
{
    return key ? key->c_str() : nullptr;
}

nb::bytes as_bytes(const std::string &content)
{
    return nb::bytes(content.data(), content.size());
}

nb::object bytes_or_error(int error, const std::string &content)
{
    return error ? nb::object(nb::int_(error)) : nb::object(as_bytes(content));
}

nb::object map_lookup(int fd, Key key, uint64_t value_bytes, uint64_t flags)
{
    std::string value(value_bytes, '\0');
    return bytes_or_error(wbpf_map_lookup(fd, bytes_or_null(key), value.data(), flags), value);
}

nb::object map_take(int fd, Key key, uint64_t value_bytes, uint64_t flags)
{
    std::string value(value_bytes, '\0');
    return bytes_or_error(wbpf_map_lookup_and_delete(fd, bytes_or_null(key), value.data(), flags), value);
}

nb::object map_next_key(int fd, Key key, uint32_t key_bytes)
{
    std::string next(key_bytes, '\0');
    return bytes_or_error(wbpf_map_next_key(fd, bytes_or_null(key), next.data()), next);
}

nb::tuple map_read_batch(int fd, Key cursor, uint32_t key_bytes, uint64_t value_bytes, uint32_t count,
                         bool take)
{
    std::string keys(static_cast<size_t>(key_bytes) * count, '\0'), values(value_bytes * count, '\0');
    std::string next(key_bytes < 4 ? 4 : key_bytes, '\0');
    wbpf_map_batch_spec spec = {bytes_or_null(cursor), next.data(), keys.data(), values.data(), count, 0};
    int error = wbpf_map_batch(fd, take ? WBPF_BATCH_LOOKUP_AND_DELETE : WBPF_BATCH_LOOKUP, &spec);
    uint32_t done = error && error != -ENOENT ? 0 : spec.count;
    keys.resize(static_cast<size_t>(key_bytes) * done);
    values.resize(value_bytes * done);
    return nb::make_tuple(error, as_bytes(keys), as_bytes(values), as_bytes(next));
}

nb::tuple map_update_batch(int fd, nb::bytes keys, nb::bytes values, uint32_t count, uint64_t flags)
{
    wbpf_map_batch_spec spec = {
        nullptr, nullptr, const_cast<char *>(keys.c_str()), const_cast<char *>(values.c_str()), count, flags};
    int error = wbpf_map_batch(fd, WBPF_BATCH_UPDATE, &spec);
    return nb::make_tuple(error, spec.count);
}

nb::tuple map_delete_batch(int fd, nb::bytes keys, uint32_t count)
{
    wbpf_map_batch_spec spec = {nullptr, nullptr, const_cast<char *>(keys.c_str()), nullptr, count, 0};
    int error = wbpf_map_batch(fd, WBPF_BATCH_DELETE, &spec);
    return nb::make_tuple(error, spec.count);
}

nb::object map_ask(int fd)
{
    wbpf_map_facts facts;
    int error = wbpf_map_ask(fd, &facts);
    if (error)
        return nb::int_(error);
    return nb::make_tuple(decode_text(facts.name), facts.type, facts.key_bytes, facts.value_bytes,
                          facts.entries, facts.flags, facts.id);
}

nb::tuple program_run(int fd, nb::bytes data, nb::bytes context, uint32_t repeat, uint32_t data_room,
                      uint32_t context_room)
{
    std::string data_out(data_room, '\0'), context_out(context_room, '\0');
    std::string context_in(context.c_str(),
                           context.size()); /* where programs of type syscall write as well */
    wbpf_program_run_spec spec = {};
    spec.data = data.size() ? data.c_str() : nullptr;
    spec.data_bytes = static_cast<uint32_t>(data.size());
    spec.context = context_in.empty() ? nullptr : context_in.data();
    spec.context_bytes = static_cast<uint32_t>(context.size());
    spec.repeat = repeat;
    spec.data_out = data_room ? data_out.data() : nullptr;
    spec.data_out_bytes = data_room;
    spec.context_out = context_room ? context_out.data() : nullptr;
    spec.context_out_bytes = context_room;
    int error;
    {
        nb::gil_scoped_release release;
        error = wbpf_program_run(fd, &spec);
    }
    data_out.resize(std::min(spec.data_out_bytes, data_room));
    context_out.resize(std::min(spec.context_out_bytes, context_room));
    return nb::make_tuple(error, spec.result, spec.duration_ns, as_bytes(data_out),
                          as_bytes(context_room ? context_out : context_in));
}

} // namespace

void bind_bpf_maps(nb::module_ &m)
{
    m.def("bpf_map_lookup", &map_lookup, "fd"_a, "key"_a.none(), "value_bytes"_a, "flags"_a = 0,
          nb::sig("def bpf_map_lookup(fd: int, key: bytes | None, value_bytes: int, flags: int = 0) "
                  "-> bytes | int"));
    m.def("bpf_map_lookup_and_delete", &map_take, "fd"_a, "key"_a.none(), "value_bytes"_a, "flags"_a = 0,
          nb::sig("def bpf_map_lookup_and_delete(fd: int, key: bytes | None, value_bytes: int, "
                  "flags: int = 0) -> bytes | int"));
    m.def("bpf_map_next_key", &map_next_key, "fd"_a, "key"_a.none(), "key_bytes"_a,
          nb::sig("def bpf_map_next_key(fd: int, key: bytes | None, key_bytes: int) -> bytes | int"));
    m.def(
        "bpf_map_update",
        [](int fd, Key key, nb::bytes value, uint64_t flags) {
            return wbpf_map_update(fd, bytes_or_null(key), value.c_str(), flags);
        },
        "fd"_a, "key"_a.none(), "value"_a, "flags"_a = 0);
    m.def(
        "bpf_map_contains",
        [](int fd, nb::bytes value) {
            std::string asked(value.c_str(), value.size());
            return wbpf_map_lookup(fd, nullptr, asked.data(), 0);
        },
        "fd"_a, "value"_a);
    m.def(
        "bpf_map_delete", [](int fd, nb::bytes key) { return wbpf_map_delete(fd, key.c_str()); }, "fd"_a,
        "key"_a);
    m.def("bpf_map_read_batch", &map_read_batch, "fd"_a, "cursor"_a.none(), "key_bytes"_a, "value_bytes"_a,
          "count"_a, "take"_a,
          nb::sig("def bpf_map_read_batch(fd: int, cursor: bytes | None, key_bytes: int, value_bytes: int, "
                  "count: int, take: bool) -> tuple[int, bytes, bytes, bytes]"));
    m.def("bpf_map_update_batch", &map_update_batch, "fd"_a, "keys"_a, "values"_a, "count"_a, "flags"_a,
          nb::sig("def bpf_map_update_batch(fd: int, keys: bytes, values: bytes, count: int, flags: int) "
                  "-> tuple[int, int]"));
    m.def("bpf_map_delete_batch", &map_delete_batch, "fd"_a, "keys"_a, "count"_a,
          nb::sig("def bpf_map_delete_batch(fd: int, keys: bytes, count: int) -> tuple[int, int]"));
    m.def("bpf_map_ask", &map_ask, "fd"_a,
          nb::sig("def bpf_map_ask(fd: int) -> tuple[str, int, int, int, int, int, int] | int"));
    m.def("bpf_map_value_span", &wbpf_map_value_span, "type"_a, "value_bytes"_a);
    m.def("bpf_map_is_per_cpu", &wbpf_map_is_per_cpu, "type"_a);
    m.def("bpf_program_run", &program_run, "fd"_a, "data"_a, "context"_a, "repeat"_a, "data_room"_a,
          "context_room"_a,
          nb::sig("def bpf_program_run(fd: int, data: bytes, context: bytes, repeat: int, data_room: int, "
                  "context_room: int) -> tuple[int, int, int, bytes, bytes]"));
    m.def("bpf_possible_cpus", &wbpf_possible_cpus);
    m.def("bpf_cpu_count", &wbpf_cpu_count);
    m.def(
        "bpf_pin", [](int fd, const std::string &path) { return wbpf_pin(fd, path.c_str()); }, "fd"_a,
        "path"_a);
    m.def("bpf_pinned", [](const std::string &path) { return wbpf_pinned(path.c_str()); }, "path"_a);
    m.def("bpf_iter_open", &wbpf_iter_open, "link_fd"_a);
    m.def("tracefs_open", &wbpf_tracefs_open);
    m.def("perf_event_open", &wbpf_perf_event_open, "type"_a, "config"_a, "frequency_hz"_a, "pid"_a, "cpu"_a);
    m.def("bpf_probe_map", &wbpf_probe_map, "type"_a, "value_bytes"_a, "flags"_a);
    m.def("bpf_probe_helper", &wbpf_probe_helper, "program_type"_a, "helper"_a);
    m.def("bpf_probe_fetch_add", &wbpf_probe_fetch_add);
}
