"""What a module imports that this host does not have, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable

from wbpf import _native
from wbpf.errors import WasmError

_WASM_BPF = (
    "wasm_load_bpf_object",
    "wasm_close_bpf_object",
    "wasm_attach_bpf_program",
    "wasm_attach_bpf_program_fd",
    "wasm_bpf_map_fd_by_name",
    "wasm_bpf_map_operate",
    "wasm_bpf_buffer_poll",
)
#: Other hosts' modules, by how their imports begin.
_OTHERS = {
    "env": ("is a function that the linker did not find", "link what defines it, or remove the call"),
    "ig": ("belongs to Inspektor Gadget", "run it with `ig`, or build it for wbpf"),
    "wali": ("belongs to WALI, Linux's system calls", "build it for wasm32-wasip1 without WALI"),
    "wasi_snapshot_preview2": ("belongs to WASI 0.2", "build it for wasm32-wasip1"),
    "wasi:": ("belongs to WASI 0.2, whose modules are components", "build it for wasm32-wasip1"),
    "__wbindgen": ("belongs to wasm-bindgen, for browsers", "build it for wasm32-wasip1"),
    "wbg": ("belongs to wasm-bindgen, for browsers", "build it for wasm32-wasip1"),
    "gojs": ("belongs to Go's js/wasm port, for browsers", "build it with GOOS=wasip1"),
    "go": ("belongs to Go's js/wasm port, for browsers", "build it with GOOS=wasip1"),
    "wasi_nn": ("belongs to WASI-NN", "build it without that"),
}
_HAVE = "this host has wbpf 1, wasm_bpf and WASI preview 1"


def validate_imports(imports: Iterable[tuple[str, str]]) -> None:
    """Raise what a module imports in vain.

    Raises:
        WasmError: for the first such import; it says what it belongs to.
    """
    known = {
        "wbpf": set(_native.abi_functions()),
        "wasm_bpf": set(_WASM_BPF),
        "callback-wrapper": {"wasm_bpf_buffer_poll"},
    }
    for module, name in imports:
        if module in ("wasi_snapshot_preview1", "wasi_unstable") or name in known.get(module, ()):
            continue
        if module == "env" and name in _WASM_BPF:  # as built with wasm-bpf's first headers
            continue
        raise _unknown(module, name, known)


def _unknown(module: str, name: str, known: dict[str, set[str]]) -> WasmError:
    what = f"the module imports {module}.{name}, which is unknown"
    if module in known:
        from difflib import get_close_matches

        near = get_close_matches(name, known[module], 1)
        why = f"{module} has no such function" + (f": did you mean {near[0]}?" if near else "")
        return WasmError(what, why, "build it for this version, wbpf 1, or use a newer wBPF")
    for begin, (why, hint) in _OTHERS.items():
        if module == begin or (len(begin) > 3 and module.startswith(begin)):
            return WasmError(what, f"it {why}; {_HAVE}", hint)
    return WasmError(what, f"it is of no ABI known here; {_HAVE}", "build it for one of them")
