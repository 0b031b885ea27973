"""Guests with a real kernel behind them."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.unit.wasm.guests import FUNCTIONS, WASM_BPF, guest_text
from wbpf.wasm.guest import Guest
from wbpf.wasm.module import Module, module_of_text
from wbpf.wasm.result import RunResult
from wbpf.wasm.sections import with_sections

#: Where the object is in the memory of a guest for wasm_bpf.
ELF_AT = 131072
#: Words that guests print: a count of 32 bits each.
PRINT = """(func $print (param i32)
  (i32.store (i32.const 32) (local.get 0))
  (i32.store (i32.const 40) (i32.const 32)) (i32.store (i32.const 44) (i32.const 4))
  (drop (call $fd_write (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 48))))"""
_WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))'


def module_of(
    body: str, elf: bytes | None = None, *, extra: str = "", compat: bytes | None = None, imports: str = ""
) -> Module:
    """A module whose `_start` is the body; imports are those that it calls.

    Args:
        body: text.
        elf: an object that it carries as `wbpf.object.guest`.
        extra: more definitions.
        imports: more of them.
        compat: an object that it has in its memory at ELF_AT, for wasm_bpf.
    """
    used = [
        name for name in (*FUNCTIONS, *WASM_BPF) if f"${name} " in body + extra or f"${name})" in body + extra
    ]
    data = "".join(f"\\{byte:02x}" for byte in compat) if compat else ""
    names = {
        256: "on_enter",
        272: "events",
        288: "other",
        304: "counts",
        320: "calls",
        336: "perf",
        352: "shared",
        368: "tail",
    }
    named = "".join(f'(data (i32.const {at}) "{name}\\00")' for at, name in names.items())
    extra = f'{PRINT} {named} (data (i32.const {ELF_AT}) "{data}") {extra}'
    text = guest_text(body, *used, extra=extra, memory="16").replace(
        "(module ", f"(module {_WRITE} {imports}"
    )
    wasm = module_of_text(text)
    return Module(with_sections(wasm, {"wbpf.object.guest": elf}) if elf else wasm, "guest")


class Ran:
    """A guest that runs, and what it prints."""

    def __init__(self, module: Module, **options: Any) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed with it
        self.guest: Guest = module.start(stdout=self._out.fileno(), **options)

    def printed(self) -> list[int]:
        """The numbers printed so far."""
        content = os.pread(self._out.fileno(), 1 << 20, 0)
        return [int.from_bytes(content[at : at + 4], "little") for at in range(0, len(content), 4)]

    def until(self, count: int, timeout_s: float = 20) -> list[int]:
        """Wait until so many numbers are printed."""
        stop = threading.Event()
        for _ in range(int(timeout_s / 0.01)):
            if len(self.printed()) >= count or self.guest.has_ended:
                break
            stop.wait(0.01)
        assert len(self.printed()) >= count, self.guest.wait(0)
        return self.printed()

    def end(self, timeout_s: float = 20) -> RunResult:
        """Its end, and all closed."""
        try:
            return self.guest.wait(timeout_s)
        finally:
            self.guest.close()


def links() -> int:
    """How many links this process holds."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += "bpf_link" in str(entry.readlink())
        except OSError:
            continue
    return found
