"""The programs of programs.c: translated in user space beside the same source compiled for this machine."""

from __future__ import annotations

import ctypes
import platform
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench.build import BUILD, BenchError
from bench.user.peers import Peer
from wbpf.bpf.elf import sections
from wbpf.bpf.user.program import ProgramSpec, UserProgram, load_programs
from wbpf.bpf.user.verifier import Context
from wbpf.build import compile_bpf
from wbpf.build.zig import compile_c

SOURCE, NATIVE = Path(__file__).with_name("programs.c"), Path(__file__).with_name("native.c")
MEMORY_BYTES = 8192
_SECTION = "program/"
_SLICE_NS = 2_000_000
_BASELINE = {"x86_64": "x86_64_v2", "aarch64": "generic"}


class Pair:
    """One program, in all ways."""

    def __init__(self, name: str, program: UserProgram, peer: Peer | None, library: ctypes.CDLL) -> None:
        self.name, self.program, self.peer = name, program, peer
        self._library, self._native = library, getattr(library, name)
        library.repeat.restype = ctypes.c_uint64
        self._native.restype = ctypes.c_uint64
        self._count = 1

    def verify(self, seed: int) -> None:
        """All do the same with the same memory; a peer that does not is left out.

        Raises:
            BenchError: the translation does not do what the native program does.
        """
        for round_ in range(20):
            memory = _memory(seed + round_)
            other = ctypes.create_string_buffer(bytes(memory), MEMORY_BYTES)
            mine, native = self.program.run(memory).value, self._native(other)
            if mine != native or bytes(memory) != other.raw:
                raise BenchError(f"{self.name} is translated wrong", f"it returns {mine}, natively {native}")
            again = _memory(seed + round_)
            if self.peer is not None and (self.peer.run(again)[0], again) != (mine, memory):
                self.peer = None

    def calibrate(self) -> None:
        """Find how many runs a slice takes."""
        while self.native_ns(self._count * 2) * self._count * 2 < _SLICE_NS:
            self._count *= 2

    def native_ns(self, count: int = 0) -> float:
        """Nanoseconds a run."""
        count = count or self._count
        memory = ctypes.create_string_buffer(bytes(_memory(1)), MEMORY_BYTES)
        total: int = self._library.repeat(self._native, memory, ctypes.c_uint64(count))
        return total / count

    def translated_ns(self) -> float:
        return self.program.native.repeat(_memory(1), 1 << 60, self._count)[2] / self._count

    def peer_ns(self) -> float:
        assert self.peer is not None
        return self.peer.run(_memory(1), self._count)[1]


def _memory(seed: int) -> bytearray:
    return bytearray(random.Random(seed).randbytes(MEMORY_BYTES))


def pairs() -> list[Pair]:
    """Compile and load all programs."""
    BUILD.mkdir(parents=True, exist_ok=True)
    elf = compile_bpf(SOURCE, BUILD / "programs.bpf.o").read_bytes()
    library = BUILD / "programs.so"
    flags = ["-O2", "-shared", "-fPIC", f"-mcpu={_BASELINE[platform.machine()]}", "-fno-sanitize=all"]
    compile_c([SOURCE, NATIVE], library, flags)
    loaded = ctypes.CDLL(str(library))
    context = Context(MEMORY_BYTES, memory=True)
    codes = {
        name.removeprefix(_SECTION): code for name, code in sections(elf).items() if name.startswith(_SECTION)
    }
    proved = load_programs({name: ProgramSpec(code, context, checks=True) for name, code in codes.items()})
    return [Pair(name, program, Peer.of(codes[name]), loaded) for name, program in proved.items()]


def measure(rounds: int, seed: int) -> dict[str, list[float]]:
    """Samples in nanoseconds a run: `NAME`, `NAME/native` and, where the peer has it, `NAME/rbpf`."""
    order = random.Random(seed)
    samples: dict[str, list[float]] = defaultdict(list)
    all_pairs = pairs()
    for pair in all_pairs:
        pair.verify(seed)
        pair.calibrate()
    for _ in range(rounds):
        order.shuffle(all_pairs)
        for pair in all_pairs:
            ways: dict[str, Callable[[], float]] = {
                pair.name: pair.translated_ns,
                f"{pair.name}/native": pair.native_ns,
            }
            if pair.peer is not None:
                ways[f"{pair.name}/rbpf"] = pair.peer_ns
            for way in order.sample(list(ways), len(ways)):
                samples[way].append(ways[way]())
    return samples
