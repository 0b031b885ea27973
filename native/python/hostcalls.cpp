/* WebAssembly modules from Python: what wbpf.wasm wraps. */
#include "hostcalls/hostcalls.h"
#include "bindings.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <optional>
#include <tuple>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

nb::str decode(const char *text, size_t bytes)
{
    return nb::steal<nb::str>(PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(bytes), "replace"));
}

nb::str decode(const char *text)
{
    return decode(text, std::strlen(text));
}

/* ---- modules ---- */

class WasmModule
{
  public:
    explicit WasmModule(wbpf_wasm_module *module) : module_(module) {}
    ~WasmModule() { wbpf_wasm_module_release(module_); }
    WasmModule(const WasmModule &) = delete;
    WasmModule &operator=(const WasmModule &) = delete;

    static nb::tuple compile(nb::bytes wasm, bool with_fuel)
    {
        wbpf_wasm_module *module = nullptr;
        char why[WBPF_WASM_WHY_BYTES] = "";
        int error;
        {
            nb::gil_scoped_release release;
            error = wbpf_wasm_module_compile(wasm.c_str(), wasm.size(), with_fuel, &module, why);
        }
        return made(error, module, why);
    }

    static nb::tuple load(const std::string &path, bool with_fuel)
    {
        wbpf_wasm_module *module = nullptr;
        char why[WBPF_WASM_WHY_BYTES] = "";
        int error = wbpf_wasm_module_load(path.c_str(), with_fuel, &module, why);
        return made(error, module, why);
    }

    nb::tuple save(int fd) const
    {
        char why[WBPF_WASM_WHY_BYTES] = "";
        int error = wbpf_wasm_module_save(module_, fd, why);
        return nb::make_tuple(error, decode(why));
    }

    nb::list imports() const
    {
        nb::list list;
        wbpf_wasm_import import;
        for (uint32_t i = 0; wbpf_wasm_module_import(module_, i, &import) == 0; i++)
            list.append(nb::make_tuple(decode(import.module), decode(import.name)));
        return list;
    }

    wbpf_wasm_module *get() const { return module_; }

  private:
    static nb::tuple made(int error, wbpf_wasm_module *module, const char *why)
    {
        if (error)
            return nb::make_tuple(nb::none(), decode(why));
        return nb::make_tuple(nb::cast(new WasmModule(module), nb::rv_policy::take_ownership), "");
    }

    wbpf_wasm_module *module_;
};

/* ---- guests ---- */

using Texts = std::vector<std::string>;

std::vector<const char *> pointers(const Texts &texts)
{
    std::vector<const char *> out;
    for (const std::string &text : texts)
        out.push_back(text.c_str());
    return out;
}

class WasmGuest
{
  public:
    WasmGuest(const WasmModule &module, nb::callable call, const Texts &arguments, const Texts &names,
              const Texts &values, const std::vector<std::tuple<std::string, std::string, bool>> &folders,
              bool with_stdin, int stdout_fd, int stderr_fd, uint64_t memory_bytes, uint64_t deadline_ns,
              uint64_t fuel, bool tells_waiting, const Texts &addresses)
        : call_(std::move(call))
    {
        std::vector<wbpf_guest_folder> places;
        for (const auto &[host, guest, read_only] : folders)
            places.push_back({host.c_str(), guest.c_str(), read_only});
        auto argument_pointers = pointers(arguments), name_pointers = pointers(names),
             value_pointers = pointers(values), address_pointers = pointers(addresses);
        wbpf_guest_spec spec = {};
        spec.arguments = argument_pointers.data();
        spec.argument_count = static_cast<uint32_t>(arguments.size());
        spec.names = name_pointers.data();
        spec.values = value_pointers.data();
        spec.variable_count = static_cast<uint32_t>(names.size());
        spec.folders = places.data();
        spec.folder_count = static_cast<uint32_t>(places.size());
        spec.addresses = address_pointers.data();
        spec.address_count = static_cast<uint32_t>(addresses.size());
        spec.with_stdin = with_stdin;
        spec.stdout_fd = stdout_fd;
        spec.stderr_fd = stderr_fd;
        spec.memory_bytes = memory_bytes;
        spec.deadline_ns = deadline_ns;
        spec.fuel = fuel;
        spec.tells_waiting = tells_waiting;
        spec.call = [](void *user, const char *function, wbpf_guest_argument *all, uint32_t count) {
            return static_cast<WasmGuest *>(user)->answer(function, all, count);
        };
        spec.user = this;
        char why[WBPF_WASM_WHY_BYTES] = "";
        if (int error = wbpf_guest_create(module.get(), &spec, &guest_, why))
            raise_error("WasmError", "the module can't be run", *why ? why : std::strerror(-error), "");
    }
    ~WasmGuest() { close(); }
    WasmGuest(const WasmGuest &) = delete;
    WasmGuest &operator=(const WasmGuest &) = delete;

    nb::tuple run()
    {
        wbpf_guest *guest = use();
        auto end = std::make_unique<wbpf_guest_end>();
        running_ = true;
        {
            nb::gil_scoped_release release;
            wbpf_guest_run(guest, end.get());
        }
        running_ = false;
        return nb::make_tuple(static_cast<int>(end->cause), end->exit_status, decode(end->why),
                              decode(end->trace));
    }

    void interrupt()
    {
        if (guest_)
            wbpf_guest_interrupt(guest_);
    }

    void stop()
    {
        if (guest_)
            wbpf_guest_stop(guest_);
    }

    void close()
    {
        if (running_)
            return; /* its thread is in it: left where it is */
        wbpf_guest *guest = guest_;
        guest_ = nullptr;
        if (guest)
            wbpf_guest_destroy(guest);
        call_.reset(); /* which knows of this object */
    }

    void refuse(const std::string &why, bool ends) { wbpf_guest_refuse(use(), ends, "%s", why.c_str()); }

    nb::tuple failed() const
    {
        const char *why;
        const char *function = wbpf_guest_failed(use(), &why);
        return function ? nb::make_tuple(function, decode(why)) : nb::make_tuple("", "");
    }

    bool has_told() const { return wbpf_guest_has_told(use()); }

    int32_t add(const std::string &kind, int32_t owner) { return wbpf_guest_add(use(), kind[0], owner); }

    nb::tuple add_map(int32_t owner, int fd)
    {
        char why[WBPF_WASM_WHY_BYTES] = "";
        int32_t handle = wbpf_guest_add_map(use(), owner, fd, why);
        return nb::make_tuple(handle, decode(why));
    }

    nb::tuple set_map(int32_t handle, int fd)
    {
        char why[WBPF_WASM_WHY_BYTES] = "";
        int error = wbpf_guest_set_map(use(), handle, fd, why);
        return nb::make_tuple(error, decode(why));
    }

    /* The address of a map of user space, as UserMap.place() has it. */
    int set_user_map(int32_t handle, uint64_t address)
    {
        return wbpf_guest_set_user_map(use(), handle, reinterpret_cast<wbpf_user_map *>(address));
    }

    void release(int32_t handle) { wbpf_guest_release(use(), handle); }
    uint32_t handles() const { return wbpf_guest_handles(use()); }
    uint64_t memory_bytes() const { return wbpf_guest_memory_bytes(use()); }
    int32_t open_ring(int32_t map, bool in_place) { return wbpf_guest_open_ring(use(), map, in_place); }
    int64_t map_window(int32_t map, bool writable) { return wbpf_guest_map_window(use(), map, writable); }

  private:
    wbpf_guest *use() const
    {
        if (!guest_)
            raise_error("WasmError", "the guest can't be used", "it was closed", "run the module again");
        return guest_;
    }

    /* A call of the guest's that Python answers with a number, and bytes for each place to write to. */
    int64_t answer(const char *function, wbpf_guest_argument *all, uint32_t count)
    {
        nb::gil_scoped_acquire acquire;
        try {
            nb::list given;
            for (uint32_t i = 0; i < count; i++)
                given.append(as_python(all[i]));
            nb::object result = call_(function, given);
            if (nb::isinstance<nb::int_>(result))
                return nb::cast<int64_t>(result);
            nb::tuple parts = nb::cast<nb::tuple>(result);
            size_t next = 1;
            for (uint32_t i = 0; i < count && next < parts.size(); i++)
                if (std::strchr("wxs", all[i].kind)) {
                    nb::bytes bytes = nb::cast<nb::bytes>(parts[next++]);
                    std::memcpy(all[i].data, bytes.c_str(), std::min<size_t>(bytes.size(), all[i].bytes));
                }
            return nb::cast<int64_t>(parts[0]);
        } catch (nb::python_error &error) {
            std::string text = repr_of(error.value().ptr());
            wbpf_guest_refuse(guest_, true, "the host failed in %s: %s", function, text.c_str());
            return WBPF_GUEST_END;
        }
    }

    static nb::object as_python(const wbpf_guest_argument &one)
    {
        switch (one.kind) {
        case 't':
            return decode(reinterpret_cast<const char *>(one.data), one.bytes);
        case 'b':
        case 'x':
            return nb::bytes(one.data, one.bytes);
        case 'w':
        case 's':
            return nb::int_(one.bytes);
        case 'U':
            return nb::int_(static_cast<uint64_t>(one.number));
        default:
            return nb::int_(one.number);
        }
    }

    nb::object call_;
    wbpf_guest *guest_ = nullptr;
    bool running_ = false;
};

nb::tuple open_wasmtime(const std::string &path)
{
    char why[WBPF_WASM_WHY_BYTES] = "";
    int error = wbpf_wasmtime_open(path.c_str(), why);
    return nb::make_tuple(error, decode(why));
}

nb::tuple wasm_from_text(nb::bytes text)
{
    char why[WBPF_WASM_WHY_BYTES] = "";
    std::string wasm;
    auto take = [](void *to, const char *data, size_t size) {
        static_cast<std::string *>(to)->assign(data, size);
    };
    int error = wbpf_wasm_from_text(text.c_str(), text.size(), take, &wasm, why);
    return nb::make_tuple(nb::bytes(wasm.data(), wasm.size()), decode(error ? why : ""));
}

std::vector<std::string> abi_functions()
{
    std::vector<std::string> names;
    const char *name = nullptr;
    for (uint32_t i = 0; i < wbpf_guest_function(i, &name); i++)
        names.emplace_back(name);
    return names;
}

} // namespace

void bind_hostcalls(nb::module_ &m)
{
    m.def("open_wasmtime", &open_wasmtime, "path"_a,
          nb::sig("def open_wasmtime(path: str) -> tuple[int, str]"));
    m.def("wasm_from_text", &wasm_from_text, "text"_a,
          nb::sig("def wasm_from_text(text: bytes) -> tuple[bytes, str]"));
    m.def("abi_functions", &abi_functions);
    m.def(
        "is_address_pattern", [](const std::string &text) { return wbpf_is_address_pattern(text.c_str()); },
        "text"_a);
    nb::class_<WasmModule>(m, "WasmModule", "Compiled code; wbpf.wasm.Module is its Python face.")
        .def_static("compile", &WasmModule::compile, "wasm"_a, "with_fuel"_a,
                    nb::sig("def compile(wasm: bytes, with_fuel: bool) -> tuple[WasmModule | None, str]"))
        .def_static("load", &WasmModule::load, "path"_a, "with_fuel"_a,
                    nb::sig("def load(path: str, with_fuel: bool) -> tuple[WasmModule | None, str]"))
        .def("save", &WasmModule::save, "fd"_a, nb::sig("def save(self, fd: int) -> tuple[int, str]"))
        .def("imports", &WasmModule::imports, nb::sig("def imports(self) -> list[tuple[str, str]]"));
    nb::class_<WasmGuest>(m, "WasmGuest", "One run of a module; wbpf.wasm.Guest is its Python face.")
        .def(nb::init<const WasmModule &, nb::callable, const Texts &, const Texts &, const Texts &,
                      const std::vector<std::tuple<std::string, std::string, bool>> &, bool, int, int,
                      uint64_t, uint64_t, uint64_t, bool, const Texts &>(),
             "module"_a, "call"_a, nb::kw_only(), "arguments"_a, "names"_a, "values"_a, "folders"_a,
             "with_stdin"_a, "stdout_fd"_a, "stderr_fd"_a, "memory_bytes"_a, "deadline_ns"_a, "fuel"_a,
             "tells_waiting"_a = false, "addresses"_a = Texts(),
             nb::sig("def __init__(self, module: WasmModule, call: Callable[[str, list[Any]], Any], *, "
                     "arguments: Sequence[str], names: Sequence[str], values: Sequence[str], "
                     "folders: Sequence[tuple[str, str, bool]], with_stdin: bool, stdout_fd: int, "
                     "stderr_fd: int, memory_bytes: int, deadline_ns: int, fuel: int, "
                     "tells_waiting: bool = False, addresses: Sequence[str] = ...) -> None"))
        .def("run", &WasmGuest::run, nb::sig("def run(self) -> tuple[int, int, str, str]"))
        .def("interrupt", &WasmGuest::interrupt)
        .def("stop", &WasmGuest::stop)
        .def("close", &WasmGuest::close)
        .def("refuse", &WasmGuest::refuse, "why"_a, "ends"_a)
        .def("failed", &WasmGuest::failed, nb::sig("def failed(self) -> tuple[str, str]"))
        .def("has_told", &WasmGuest::has_told)
        .def("add", &WasmGuest::add, "kind"_a, "owner"_a)
        .def("add_map", &WasmGuest::add_map, "owner"_a, "fd"_a,
             nb::sig("def add_map(self, owner: int, fd: int) -> tuple[int, str]"))
        .def("set_map", &WasmGuest::set_map, "handle"_a, "fd"_a,
             nb::sig("def set_map(self, handle: int, fd: int) -> tuple[int, str]"))
        .def("set_user_map", &WasmGuest::set_user_map, "handle"_a, "address"_a)
        .def("release", &WasmGuest::release, "handle"_a)
        .def("handles", &WasmGuest::handles)
        .def("memory_bytes", &WasmGuest::memory_bytes)
        .def("open_ring", &WasmGuest::open_ring, "map"_a, "in_place"_a)
        .def("map_window", &WasmGuest::map_window, "map"_a, "writable"_a);
}
