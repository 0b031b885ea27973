"""libbpf itself, asked through ctypes: what it says and does when it loads an object."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).resolve()


class _Options(ctypes.Structure):
    _fields_ = (
        ("bytes", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("attach_prog_fd", ctypes.c_uint32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("kernel_log_buf", ctypes.c_char_p),
        ("kernel_log_size", ctypes.c_size_t),
        ("kernel_log_level", ctypes.c_uint32),
        ("more", ctypes.c_uint32),
    )


def load(path: Path, btf: Path | None = None, only: str | None = None) -> tuple[bool, str]:
    """Load an object, or one program of it, in a process of its own: whether it loads, and libbpf's log."""
    command = [sys.executable, str(_SCRIPT), str(path), str(btf or ""), only or ""]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return done.returncode == 0, done.stderr.decode(errors="replace")


def patched(log: str) -> dict[tuple[str, int], int | None]:
    """What libbpf made of relocations, by program and number; None: what must not be reached."""
    found: dict[tuple[str, int], int | None] = {}
    pattern = (
        r"prog '(\w+)': relo #(\d+): "
        r"(?:patched insn #\d+ \([^)]*\) (?:off|imm|imm64) -?\d+ -> (-?\d+)|(subst))"
    )
    for program, number, value, poisoned in re.findall(pattern, log):
        found.setdefault((program, int(number)), None if poisoned else int(value))
    return found


def _main(path: str, btf: str, only: str) -> int:
    libbpf, libc = ctypes.CDLL("libbpf.so.1", use_errno=True), ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(1 << 20)

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    def say(level: int, text: bytes, arguments: int) -> int:
        libc.vsnprintf(buffer, len(buffer), text, ctypes.c_void_p(arguments))
        sys.stderr.buffer.write(buffer.value)
        return 0

    libbpf.libbpf_set_print(say)
    for name in ("bpf_object__open_file", "bpf_object__next_program", "bpf_program__name"):
        getattr(libbpf, name).restype = ctypes.c_void_p
    options = _Options(bytes=ctypes.sizeof(_Options), btf_custom_path=btf.encode() or None)
    opened = ctypes.c_void_p(libbpf.bpf_object__open_file(path.encode(), ctypes.byref(options)))
    if not opened:
        return 2
    program = None
    while program := libbpf.bpf_object__next_program(opened, ctypes.c_void_p(program)):
        name = ctypes.string_at(libbpf.bpf_program__name(ctypes.c_void_p(program))).decode()
        libbpf.bpf_program__set_autoload(ctypes.c_void_p(program), not only or name == only)
    return 0 if libbpf.bpf_object__load(opened) == 0 else 1


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
