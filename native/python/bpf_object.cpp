/* eBPF objects, from Python: what wbpf.bpf.kernel wraps. */
#include "bpf.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

using Text = std::optional<std::string>;

const char *text_or_null(const Text &text)
{
    return text ? text->c_str() : nullptr;
}

nb::tuple find_libbpf()
{
    char why[WBPF_WHY_BYTES] = "";
    int error = wbpf_libbpf_find(why);
    return nb::make_tuple(error, decode_text(error ? why : wbpf_libbpf_version()));
}

nb::str explain(int error)
{
    char why[WBPF_WHY_BYTES] = "", text[256] = "";
    if (wbpf_libbpf_find(why) == 0)
        wbpf_libbpf_strerror(error, text, sizeof text);
    return decode_text(*text ? text : std::strerror(error < 0 ? -error : error));
}

class BpfLink : public Owned<wbpf_link, wbpf_link_destroy>
{
  public:
    using Owned::Owned;

    int fd() const { return wbpf_link_fd(use("link")); }

    nb::object tc_filter() const
    {
        wbpf_tc_filter filter;
        if (!wbpf_link_tc_filter(use("link"), &filter))
            return nb::none();
        return nb::make_tuple(filter.ifindex, filter.direction, filter.handle, filter.priority,
                              filter.program_id);
    }
};

int remove_tc_filter(int ifindex, uint32_t direction, uint32_t handle, uint32_t priority, uint32_t program_id)
{
    const wbpf_tc_filter filter = {ifindex, direction, handle, priority, program_id};
    return wbpf_tc_filter_remove(&filter);
}

class BpfObject : public Owned<wbpf_object, wbpf_object_close>
{
  public:
    using Owned::Owned;

    static nb::tuple open(nb::bytes elf, const std::string &name, const Text &btf_path, const Text &pin_root)
    {
        const wbpf_open_spec spec = {name.c_str(), text_or_null(btf_path), text_or_null(pin_root)};
        wbpf_object *object = nullptr;
        int error = wbpf_object_open(elf.c_str(), elf.size(), &spec, &object);
        nb::tuple result = made<BpfObject>(error, object);
        return nb::make_tuple(result[0], error, error ? decode_text(wbpf_open_log()) : nb::str(""));
    }

    int load()
    {
        wbpf_object *object = get();
        nb::gil_scoped_release release;
        return wbpf_object_load(object);
    }

    nb::str log() const { return decode_text(wbpf_object_log(get())); }

    nb::list programs() const
    {
        nb::list list;
        wbpf_program_info info;
        for (uint32_t i = 0; wbpf_object_program(get(), i, &info) == 0; i++)
            list.append(nb::make_tuple(decode_text(info.name), decode_text(info.section), info.type,
                                       info.attach_type, info.fd, info.autoload));
        return list;
    }

    nb::list maps() const
    {
        nb::list list;
        wbpf_map_info info;
        for (uint32_t i = 0; wbpf_object_map(get(), i, &info) == 0; i++)
            list.append(nb::make_tuple(decode_text(info.name), info.type, info.key_bytes, info.value_bytes,
                                       info.entries, info.flags, info.key_type, info.value_type, info.fd));
        return list;
    }

    nb::list variables() const
    {
        nb::list list;
        wbpf_variable_info info;
        for (uint32_t i = 0; wbpf_object_variable(get(), i, &info) == 0; i++)
            if (info.name && info.section)
                list.append(nb::make_tuple(decode_text(info.name), decode_text(info.section), info.bytes,
                                           nb::str(&info.kind, 1)));
        return list;
    }

    int set(const std::string &variable, nb::bytes value)
    {
        return wbpf_object_set(get(), variable.c_str(), value.c_str(), value.size());
    }

    nb::object read(const std::string &variable, uint32_t bytes)
    {
        std::string value(bytes, '\0');
        int error = wbpf_object_get(get(), variable.c_str(), value.data(), value.size());
        return error ? nb::object(nb::int_(error)) : nb::object(nb::bytes(value.data(), value.size()));
    }

    int autoload(const std::string &program, bool on)
    {
        return wbpf_object_autoload(get(), program.c_str(), on);
    }

    int aim(const std::string &program, const std::string &function, int other_fd)
    {
        return wbpf_object_aim(get(), program.c_str(), function.c_str(), other_fd);
    }

    int resize_map(const std::string &map, uint32_t value_bytes, uint32_t entries)
    {
        return wbpf_object_resize_map(get(), map.c_str(), value_bytes, entries);
    }

    int flag_map(const std::string &map, uint32_t flags)
    {
        return wbpf_object_flag_map(get(), map.c_str(), flags);
    }

    int drop_map(const std::string &map) { return wbpf_object_drop_map(get(), map.c_str()); }

    int reuse_map(const std::string &map, int fd) { return wbpf_object_reuse_map(get(), map.c_str(), fd); }

    nb::tuple attach(const std::string &program, int kind, const Text &path, const Text &provider,
                     const Text &name, uint64_t offset, uint64_t cookie, int pid, int fd,
                     uint32_t attach_type, uint32_t flags, bool is_return, int iter_map_fd,
                     int iter_cgroup_fd, uint32_t iter_pid)
    {
        const wbpf_place place = {static_cast<wbpf_place_kind>(kind),
                                  text_or_null(path),
                                  text_or_null(provider),
                                  text_or_null(name),
                                  offset,
                                  cookie,
                                  pid,
                                  fd,
                                  attach_type,
                                  flags,
                                  is_return,
                                  {iter_map_fd, iter_cgroup_fd, iter_pid}};
        wbpf_link *link = nullptr;
        int error = wbpf_object_attach(get(), program.c_str(), &place, &link);
        return made<BpfLink>(error, link);
    }

    nb::tuple attach_struct_ops(const std::string &map)
    {
        wbpf_link *link = nullptr;
        int error = wbpf_object_attach_struct_ops(get(), map.c_str(), &link);
        return made<BpfLink>(error, link);
    }

  private:
    wbpf_object *get() const { return use("eBPF object"); }
};

int probe_map_type(uint32_t map_type)
{
    char why[WBPF_WHY_BYTES];
    int error = wbpf_libbpf_find(why);
    return error ? error : wbpf_probe_map_type(map_type);
}

int probe_program(uint32_t program_type)
{
    char why[WBPF_WHY_BYTES];
    int error = wbpf_libbpf_find(why);
    return error ? error : wbpf_probe_program(program_type);
}

} // namespace

void bind_bpf_object(nb::module_ &m)
{
    m.def("find_libbpf", &find_libbpf, nb::sig("def find_libbpf() -> tuple[int, str]"),
          "0 and libbpf's version, or a negative errno and why it can't be used.");
    m.def("bpf_strerror", &explain, "error"_a);
    nb::class_<BpfLink>(m, "BpfLink", "An attached program; wbpf.bpf.links.Link is its Python face.")
        .def("destroy", &BpfLink::close)
        .def("fd", &BpfLink::fd)
        .def("tc_filter", &BpfLink::tc_filter,
             nb::sig("def tc_filter(self) -> tuple[int, int, int, int, int] | None"));
    m.def("bpf_remove_tc_filter", &remove_tc_filter, "ifindex"_a, "direction"_a, "handle"_a, "priority"_a,
          "program_id"_a);
    nb::class_<BpfObject>(m, "BpfObject", "An eBPF object; wbpf.bpf.kernel.Object is its Python face.")
        .def_static("open", &BpfObject::open, "elf"_a, "name"_a, "btf_path"_a.none(), "pin_root"_a.none(),
                    nb::sig("def open(elf: bytes, name: str, btf_path: str | None, pin_root: str | None) "
                            "-> tuple[BpfObject | None, int, str]"))
        .def("close", &BpfObject::close)
        .def("load", &BpfObject::load)
        .def("log", &BpfObject::log)
        .def("programs", &BpfObject::programs,
             nb::sig("def programs(self) -> list[tuple[str, str, int, int, int, bool]]"))
        .def("maps", &BpfObject::maps,
             nb::sig("def maps(self) -> list[tuple[str, int, int, int, int, int, int, int, int]]"))
        .def("variables", &BpfObject::variables,
             nb::sig("def variables(self) -> list[tuple[str, str, int, str]]"))
        .def("set", &BpfObject::set, "variable"_a, "value"_a)
        .def("get", &BpfObject::read, "variable"_a, "bytes"_a,
             nb::sig("def get(self, variable: str, bytes: int) -> bytes | int"))
        .def("autoload", &BpfObject::autoload, "program"_a, "on"_a)
        .def("aim", &BpfObject::aim, "program"_a, "function"_a, "other_fd"_a)
        .def("resize_map", &BpfObject::resize_map, "map"_a, "value_bytes"_a, "entries"_a)
        .def("flag_map", &BpfObject::flag_map, "map"_a, "flags"_a)
        .def("drop_map", &BpfObject::drop_map, "map"_a)
        .def("reuse_map", &BpfObject::reuse_map, "map"_a, "fd"_a)
        .def(
            "attach", &BpfObject::attach, "program"_a, "kind"_a, nb::kw_only(), "path"_a = nb::none(),
            "provider"_a = nb::none(), "name"_a = nb::none(), "offset"_a = 0, "cookie"_a = 0, "pid"_a = -1,
            "fd"_a = -1, "attach_type"_a = 0, "flags"_a = 0, "is_return"_a = false, "iter_map_fd"_a = 0,
            "iter_cgroup_fd"_a = 0, "iter_pid"_a = 0,
            nb::sig(
                "def attach(self, program: str, kind: int, *, path: str | None = None, provider: str | None "
                "= None, name: str | None = None, offset: int = 0, cookie: int = 0, pid: int = -1, fd: int = "
                "-1, attach_type: int = 0, flags: int = 0, is_return: bool = False, iter_map_fd: int = 0, "
                "iter_cgroup_fd: int = 0, iter_pid: int = 0) -> tuple[BpfLink | None, int]"))
        .def("attach_struct_ops", &BpfObject::attach_struct_ops, "map"_a,
             nb::sig("def attach_struct_ops(self, map: str) -> tuple[BpfLink | None, int]"));
    m.def("bpf_probe_map_type", &probe_map_type, "map_type"_a);
    m.def("bpf_probe_program", &probe_program, "program_type"_a);
}
