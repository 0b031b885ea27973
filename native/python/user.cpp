/* Translated eBPF programs, from Python: what wbpf.bpf.user wraps. */
#include "bindings.h"
#include "user/helpers.h"
#include "user/injected.h"
#include "user/program.h"
#include "user/timer.h"
#include <cerrno>
#include <cstring>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

class UserProgram
{
  public:
    UserProgram(nb::bytes code, size_t entry, const std::vector<int32_t> &helpers,
                const std::vector<uint64_t> &maps, const std::vector<uint64_t> &values,
                const std::vector<uint64_t> &entries, bool checked, uint32_t kind)
    {
        std::vector<wbpf_helper> functions;
        for (int32_t number : helpers) {
            wbpf_helper function = wbpf_user_helper(number);
            if (!function)
                raise_error("BpfError", "the program can't be loaded",
                            "there is no helper " + std::to_string(number) + " in user space", "");
            functions.push_back(function);
        }
        wbpf_user_spec spec = {};
        spec.code = code.c_str();
        spec.bytes = code.size();
        spec.entry = entry;
        spec.helpers = functions.data();
        spec.helper_count = static_cast<uint32_t>(functions.size());
        spec.maps = maps.data();
        spec.values = values.data();
        spec.entries = entries.data();
        spec.map_count = static_cast<uint32_t>(maps.size());
        spec.checked = checked;
        spec.kind = kind;
        int error = wbpf_user_program_create(&spec, &program_);
        if (error)
            raise_error("BpfError", "the program can't be loaded", std::strerror(-error), "");
    }
    ~UserProgram() { wbpf_user_program_destroy(program_); }
    UserProgram(const UserProgram &) = delete;
    UserProgram &operator=(const UserProgram &) = delete;

    /* Returns result, why it was stopped (enum wbpf_stop), the instruction, the address. */
    nb::tuple run(nb::object context, int64_t fuel)
    {
        Context view(context);
        wbpf_user_run run = view.prepare(fuel);
        wbpf_user_program_run(program_, &run);
        return nb::make_tuple(run.result, static_cast<int>(run.stopped), run.stopped_at, run.stopped_address);
    }

    nb::tuple repeat(nb::object context, int64_t fuel, uint64_t count)
    {
        Context view(context);
        wbpf_user_run run = view.prepare(fuel);
        uint64_t total_ns = 0;
        {
            nb::gil_scoped_release release;
            wbpf_user_program_repeat(program_, &run, count, &total_ns);
        }
        return nb::make_tuple(run.result, static_cast<int>(run.stopped), total_ns);
    }

    /* See wbpf_user_timer_run(); `counts` are those of a wbpf_user_timer_counts. */
    int run_every(nb::object context, uint64_t period_ns, int stop_fd, nb::object counts)
    {
        Context view(context), out(counts);
        wbpf_user_run run = view.prepare(0);
        auto *there = static_cast<wbpf_user_timer_counts *>(out.memory(sizeof(wbpf_user_timer_counts)));
        nb::gil_scoped_release release;
        return wbpf_user_timer_run(program_, &run, period_ns, stop_fd, there);
    }

    uint32_t id() const { return wbpf_user_program_id(program_); }
    wbpf_user_program *native() const { return program_; }

  private:
    /* A writable buffer for as long as a run takes. */
    class Context
    {
      public:
        explicit Context(nb::object object)
        {
            if (!object.is_none() && PyObject_GetBuffer(object.ptr(), &view_, PyBUF_WRITABLE) < 0)
                throw nb::python_error();
        }
        ~Context() { PyBuffer_Release(&view_); }
        Context(const Context &) = delete;
        Context &operator=(const Context &) = delete;

        void *memory(size_t least) const
        {
            if (static_cast<size_t>(view_.len) < least)
                throw nb::value_error("the buffer is too small");
            return view_.buf;
        }

        wbpf_user_run prepare(int64_t fuel) const
        {
            wbpf_user_run run = {};
            run.context = view_.buf;
            run.context_bytes = static_cast<size_t>(view_.len);
            run.fuel = fuel;
            return run;
        }

      private:
        Py_buffer view_ = {};
    };

    wbpf_user_program *program_ = nullptr;
};

} // namespace

wbpf_user_program *user_program_of(nb::handle object)
{
    return nb::cast<const UserProgram &>(object).native();
}

void bind_user(nb::module_ &m)
{
    nb::class_<UserProgram>(m, "UserProgram")
        .def(nb::init<nb::bytes, size_t, const std::vector<int32_t> &, const std::vector<uint64_t> &,
                      const std::vector<uint64_t> &, const std::vector<uint64_t> &, bool, uint32_t>(),
             "code"_a, "entry"_a, "helpers"_a, "maps"_a, "values"_a, "entries"_a, "checked"_a, "kind"_a = 0)
        .def("id", &UserProgram::id)
        .def("run_every", &UserProgram::run_every, "context"_a, "period_ns"_a, "stop_fd"_a, "counts"_a,
             nb::sig("def run_every(self, context: bytearray, period_ns: int, stop_fd: int, "
                     "counts: bytearray) -> int"))
        .def("run", &UserProgram::run, "context"_a.none(), "fuel"_a,
             nb::sig("def run(self, context: bytearray | memoryview | None, fuel: int) -> tuple[int, int, "
                     "int, int]"))
        .def("repeat", &UserProgram::repeat, "context"_a.none(), "fuel"_a, "count"_a,
             nb::sig("def repeat(self, context: bytearray | memoryview | None, fuel: int, count: int) -> "
                     "tuple[int, int, int]"));
    bind_user_maps(m);
    bind_user_packets(m);
    m.def(
        "injected_code",
        []() {
            uint32_t bytes;
            const uint8_t *code = wbpf_injected_code(&bytes);
            return nb::bytes(code, bytes);
        },
        "Code that loads a library in another process; empty where there is none for this machine.");
    m.def("have_user_helper", [](int32_t number) { return wbpf_user_helper(number) != nullptr; }, "number"_a);
}
