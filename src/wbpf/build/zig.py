"""The C compiler that the package ziglang carries: for eBPF and for WebAssembly."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wbpf.errors import BuildError

_MESSAGE = re.compile(
    r"^(?P<place>[^\s:][^:\n]*:\d+(?::\d+)?): (?P<kind>fatal error|error|warning): (?P<text>.*)$", re.M
)
_HINTS = {
    r"'bpf/[\w.]+' file not found": "include <wbpf/program.bpf.h>, or install libbpf-dev (Debian, Ubuntu)",
    r"'vmlinux\.h' file not found": "include <wbpf/vmlinux.h>, the compact one",
    r"unknown type name 'u(8|16|32|64)'": "include vmlinux.h or <wbpf/vmlinux.h> first",
}


@dataclass(frozen=True)
class Message:
    """What the compiler found: `opensnoop.bpf.c:12:5`, and what is wrong there."""

    place: str
    kind: str
    text: str


def compile_c(sources: Sequence[Path], out: Path, flags: Sequence[str], folder: Path | None = None) -> str:
    """Compile sources of C into one file; returns the compiler's warnings.

    Args:
        sources: files of C.
        out: the file.
        flags: of clang.
        folder: that the compiler runs in; None for this process's.

    Raises:
        BuildError: it can't be compiled; the text has the first error, `log` all of them.
    """
    command = [sys.executable, "-m", "ziglang", "cc", *flags, *map(str, sources), "-o", str(out)]
    _folder()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise compile_error(out.name, done.stderr)
    return done.stderr


def compile_error(name: str, log: str) -> BuildError:
    """The error for what a compiler said."""
    found = [message for message in messages(log) if message.kind != "warning"]
    what = f"{name} can't be compiled"
    if not found:
        error = BuildError(what, log.strip().splitlines()[-1] if log.strip() else "the compiler says nothing")
    else:
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        hints = (hint for pattern, hint in _HINTS.items() if re.search(pattern, first.text))
        error = BuildError(what, f"{first.place}: {first.text}{more}", next(hints, ""))
    error.log = log
    return error


def messages(log: str) -> list[Message]:
    """The compiler's messages."""
    return [Message(found["place"], found["kind"], found["text"]) for found in _MESSAGE.finditer(log)]


def zig_include(name: str) -> Path:
    """A folder of headers that ziglang carries: `any-linux-any` has the kernel's."""
    return _folder() / "lib/libc/include" / name


@cache
def _folder() -> Path:
    found = importlib.util.find_spec("ziglang")
    if found is None or not found.submodule_search_locations:
        raise BuildError(
            "there is no compiler", "the package ziglang is not installed", "pip install 'wbpf[build]'"
        )
    return Path(next(iter(found.submodule_search_locations)))
