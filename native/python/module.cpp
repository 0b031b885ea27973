#include <nanobind/nanobind.h>

namespace nb = nanobind;

NB_MODULE(_native, m) {
    m.doc() = "The native core of wBPF; its Python face is in the packages around it.";
    m.def("version", [] { return WBPF_VERSION; }, "The version the native core was built as.");
}
