"""Guests written in WebAssembly's text format, run on the native core with a host that keeps nothing."""

from __future__ import annotations

import os
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wbpf import _native
from wbpf.wasm.module import module_of_text
from wbpf.wasm.result import Cause

ABI = tomllib.loads((Path(__file__).parents[3] / "native/guest_abi.toml").read_text())
FUNCTIONS: dict[str, dict[str, Any]] = {function["name"]: function for function in ABI["functions"]}
HANDLES = {"object": "o", "program": "p", "link": "l", "map": "m", "ring": "r", "socket": "k"}
#: of the memory that these guests have
MEMORY_BYTES = 65536
#: wasm_bpf's functions: parameters and results, `i` and `I`
WASM_BPF = {
    "wasm_load_bpf_object": ("ii", "I"),
    "wasm_close_bpf_object": ("I", "i"),
    "wasm_attach_bpf_program": ("Iii", "i"),
    "wasm_attach_bpf_program_fd": ("Iii", "i"),
    "wasm_bpf_map_fd_by_name": ("Ii", "i"),
    "wasm_bpf_map_operate": ("iiiiiI", "i"),
    "wasm_bpf_buffer_poll": ("Iiiiiii", "i"),
}
_TYPES = {"i": "i32", "I": "i64"}


class End(NamedTuple):
    """How a guest ended, and what it left behind."""

    cause: Cause
    status: int
    why: str
    trace: str
    handles: int


class StubHost:
    """Gives handles of all kinds, and has no kernel behind them."""

    def __init__(self) -> None:
        self.guest: _native.WasmGuest
        self.calls: list[tuple[str, list[Any]]] = []

    def answer(self, function: str, arguments: list[Any]) -> Any:
        self.calls.append((function, arguments))
        if function in ("object_open", "object_open_mem", "wasm_load_bpf_object"):
            return self.guest.add("o", 0)
        if function == "program_find":
            return self.guest.add("p", arguments[0])
        if function in ("program_attach", "wasm_attach_bpf_program"):
            return self.guest.add("l", arguments[0])
        if function == "map_find":
            return self.guest.add_map(arguments[0], -1)[0]
        if function in ("object_close", "link_detach"):
            self.guest.release(arguments[0])
        if function == "ring_open":
            return self.guest.open_ring(arguments[0], bool(arguments[1]))
        if function == "map_window":
            return self.guest.map_window(arguments[0], bool(arguments[1]))
        return 0


def kinds_of(function: str) -> list[str]:
    """The kinds of a function's parameters."""
    return [kind for kind, _ in FUNCTIONS[function]["params"]]


def signature(function: str) -> tuple[str, str]:
    """Wasm types of a function of wbpf."""
    text = ""
    for kind in kinds_of(function):
        if kind in ("i64", "u64"):
            text += "I"
        elif kind in ("text", "bytes", "buffer", "inout"):
            text += "ii"
        else:
            text += "i"
    return text, "I" if FUNCTIONS[function]["result"] == "number" else "i"


def imported(function: str) -> str:
    """An import in text; the function is `$NAME`."""
    module = "wasm_bpf" if function in WASM_BPF else "wbpf"
    parameters, result = WASM_BPF.get(function) or signature(function)
    types = " ".join(_TYPES[letter] for letter in parameters)
    return f'(import "{module}" "{function}" (func ${function} (param {types}) (result {_TYPES[result]})))'


def guest_text(body: str, *functions: str, extra: str = "", memory: str = "1") -> str:
    """A module with imports, whose `_start` is the body; `$exit` ends it with the negative of a number."""
    imports = "\n".join(map(imported, functions))
    return f"""(module {imports}
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") {memory})
      (data (i32.const 64) "name\\00")
      (func $exit (param i32) (call $proc_exit (i32.sub (i32.const 0) (local.get 0))))
      {extra}
      (func (export "_start") {body}))"""


def run(
    text: str,
    *,
    host: StubHost | None = None,
    deadline_ms: int = 5000,
    memory_mib: int = 4,
    stop_after_s: float = 0,
    interrupt_after_s: float = 0,
    addresses: Sequence[str] = (),
) -> End:
    """Run a guest; it has to end."""
    module, why = _native.WasmModule.compile(module_of_text(text), False)
    assert module is not None, why
    host = host or StubHost()
    null = os.open(os.devnull, os.O_WRONLY)
    guest = _native.WasmGuest(
        module, host.answer, arguments=["guest"], names=[], values=[], folders=[], with_stdin=False,
        stdout_fd=null, stderr_fd=null, memory_bytes=memory_mib << 20,
        deadline_ns=deadline_ms * 1_000_000, fuel=0, addresses=addresses,
    )  # fmt: skip
    host.guest = guest
    after_s = stop_after_s or interrupt_after_s
    timer = threading.Timer(after_s, guest.stop if stop_after_s else guest.interrupt)
    if after_s:
        timer.start()
    number, status, why, trace = guest.run()
    timer.cancel()
    end = End(list(Cause)[number], status, why, trace, guest.handles())
    guest.close()
    os.close(null)
    return end
