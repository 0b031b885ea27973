"""A peer on the same programs: the JIT compiler of rbpf (crates.io), which checks nothing; where Rust is."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Self

from bench.build import BUILD, BenchError

HERE = Path(__file__).parent / "rbpf"
_RUN = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64))


@cache
def library() -> ctypes.CDLL | None:
    """The peer; None: there is no Rust here.

    Raises:
        BenchError: it can't be built.
    """
    if shutil.which("cargo") is None:
        return None
    target = BUILD / "rbpf"
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(target)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        raise BenchError("rbpf can't be built", done.stderr.strip().splitlines()[-1], f"in {HERE}")
    loaded = ctypes.CDLL(str(target / "release/libwbpf_bench_rbpf.so"))
    loaded.peer_load.restype = ctypes.c_void_p
    loaded.peer_repeat.restype = ctypes.c_uint64
    loaded.peer_repeat.argtypes = _RUN
    return loaded


class Peer:
    """One program."""

    def __init__(self, native: ctypes.CDLL, program: int) -> None:
        self._native, self._program = native, program

    @classmethod
    def of(cls, code: bytes) -> Self | None:
        """None: there is no peer, or it takes no such program."""
        native = library()
        program = native and native.peer_load(code, ctypes.c_size_t(len(code)))
        return cls(native, program) if native and program else None

    def run(self, memory: bytearray, count: int = 1) -> tuple[int, float]:
        """What it returns, and nanoseconds a run."""
        result = ctypes.c_uint64()
        room = (ctypes.c_char * len(memory)).from_buffer(memory)
        total = self._native.peer_repeat(self._program, room, len(memory), count, ctypes.byref(result))
        return result.value, total / count
