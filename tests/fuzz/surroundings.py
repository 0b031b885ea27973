"""Hostile programs that use packets, maps and helpers, run where a byte too far is a fault.

The packet ends, or begins, at a page that can't be touched, and programs run in a child: one that was proved
and faults there, or that changes a map's file beside its values, is a failure.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import re
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.unit.bpf.user.programs import MEMORY_BYTES, insn, wide
from wbpf.bpf.kinds import MapType
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.maps import UserMap
from wbpf.bpf.user.packets import CONTEXTS, PacketRun
from wbpf.bpf.user.program import LoadedMap, ProgramSpec, UserProgram, load_programs
from wbpf.bpf.user.verifier import Context, verify
from wbpf.errors import WbpfError

CORPUS = Path(__file__).parent / "corpus/programs/surroundings.txt"
MEMORY = Context(MEMORY_BYTES, memory=True)
KINDS = {"xdp": 6, "tc": 3, "socket": 1}
_PAGE = mmap.PAGESIZE
_LOADS, _STORES = (0x71, 0x69, 0x61, 0x79), (0x73, 0x6B, 0x63, 0x7B)
_DATA = {"xdp": (0, 4), "tc": (76, 80), "socket": (0, 4)}
_MAPS = (
    ("array", MapType.ARRAY, 4, 16, 3),
    ("percpu", MapType.PERCPU_ARRAY, 4, 8, 3),
    ("hash", MapType.HASH, 4, 16, 4),
    ("trie", MapType.LPM_TRIE, 8, 8, 4),
    ("ring", MapType.RINGBUF, 0, 0, 4096),
)
_MOVES = (-100_000, -64, -15, -14, -1, 0, 1, 8, 13, 14, 15, 60, 64, 255, 4096, 1 << 29)
_OFFSETS = (-8, -1, 0, 0, 0, 1, 4, 6, 7, 8, 12, 13, 15, 16, 60)


@dataclass(frozen=True, slots=True)
class Hostile:
    """A program. Args: kind: of KINDS."""

    kind: str
    code: bytes


@cache
def maps() -> tuple[LoadedMap, ...]:
    """What programs are given, by slots."""
    loaded = []
    for name, kind, key, value, entries in _MAPS:
        flags = 1 if kind == MapType.LPM_TRIE else 0
        one = UserMap.create(name, kind, key, value, entries, flags=flags)
        address, values, _ = one.native.place()
        loaded.append(LoadedMap(one.model(), address, values, one, one.native.entries()))
    return tuple(loaded)


def made(rng: random.Random) -> Hostile:
    """A program of parts that are right most of the time. r6 is the context, r7 and r8 point somewhere."""
    kind = rng.choice(tuple(KINDS))
    parts = [insn(0xBF, 6, 1), insn(0xB7, 9, 0, 0, rng.choice(_MOVES)), insn(0xBF, 7, 10), insn(0xBF, 8, 6)]
    parts += [insn(0x7A, 10, 0, -slot, rng.choice((0, 1, 2, 7, 40))) for slot in (8, 16, 24, 32)]
    parts += [_part(rng, kind) for _ in range(rng.randrange(2, 9))]
    code = b"".join(parts) + insn(0xB7, 0, 0, 0, rng.randrange(4)) + insn(0x95)
    if rng.random() < 0.25:
        code = _damaged(rng, code)
    return Hostile(kind, code)


def _part(rng: random.Random, kind: str) -> bytes:
    match rng.randrange(8):
        case 0 | 1:
            return _packet(rng, kind)
        case 2:
            return _value(rng)
        case 3:
            return _call(rng, kind)
        case 4:
            at = rng.choice((12, 16) if kind == "xdp" else (0, 4, 8, 16, 40, 48))
            at = at if rng.random() < 0.9 else rng.choice((0, 4, 8, 76, 80, 140, 168, 188))
            return insn(0x61 if rng.random() < 0.9 else rng.choice(_LOADS), 9, 6, at)
        case 5:
            return _record(rng)
        case 6:  # what comes from a packet, or is not known, bounded or not
            mask = rng.choice((7, 15, 255, 0xFFFF, -1))
            return insn(0x85, 0, 0, 0, 7) + insn(0xBF, 9, 0) + insn(0x57, 9, 0, 0, mask)
        case _:
            return (
                _access(rng, 10, 0) if rng.random() < 0.3 else insn(0x79, 9, 10, rng.choice((-8, -16, -32)))
            )


def _access(rng: random.Random, register: int, size: int = 0) -> bytes:
    """A load or a store; most of the time inside of `size` bytes, if those are known to be there."""
    at = rng.randrange(4)
    off = rng.choice(_OFFSETS)
    if size and rng.random() < 0.9:
        at = min(at, size.bit_length() - 1)
        off = rng.randrange(size - (1 << at) + 1)
    if rng.random() < 0.5:
        return insn(_LOADS[at], rng.choice((0, 9, 9)), register, off)
    return insn(_STORES[at], register, 9, off)


def _packet(rng: random.Random, kind: str) -> bytes:
    """Compare with the packet's end, and use what is before it, or a little more."""
    begin, end = _DATA[kind]
    size = rng.choice((1, 2, 8, 14, 15, 16, 60, 64))
    if kind == "socket" and rng.random() < 0.9:
        at = rng.choice((-0x200000, -0x100000, 0, 0)) + rng.choice((0, 1, 13, 14, 60, 99, 1 << 30))
        opcode = rng.choice((0x20, 0x28, 0x30, 0x40, 0x48, 0x50))
        return insn(opcode, 0, 9 if opcode & 0x40 else 0, 0, at) + insn(0xBF, 9, 0)
    out = insn(0x61, 7, 6, begin) + insn(0x61, 3, 6, end)
    if rng.random() < 0.3:
        out += insn(0x57, 9, 0, 0, rng.choice((15, 63, 0xFFFF, 0x1FFFF))) + insn(0x0F, 7, 9)
    if rng.random() < 0.1:
        out += insn(0x07, 7, 0, 0, rng.choice(_MOVES))
    out += insn(0xBF, 4, 7) + insn(0x07, 4, 0, 0, size)
    inside = b"".join(_access(rng, 7, size) for _ in range(rng.randrange(1, 4)))
    jump = rng.choice((0x2D, 0x2D, 0x2D, 0x2D, 0x3D, 0xAD, 0xBD, 0x1D))
    return out + insn(jump, 4, 3, len(inside) // 8) + inside


def _value(rng: random.Random) -> bytes:
    slot = rng.randrange(4)
    out = insn(0xBF, 2, 10) + insn(0x07, 2, 0, 0, rng.choice((-8, -16, -32, -4)))
    out += wide(1, slot, src=5) + insn(0x85, 0, 0, 0, 1) + insn(0xBF, 7, 0)
    size = _MAPS[slot][3]
    moved = b""
    if rng.random() < 0.3:
        moved = insn(0x57, 9, 0, 0, rng.choice((3, 7, 7, 8, 15))) + insn(0x0F, 7, 9)
        size = max(size - 7, 1) if rng.random() < 0.9 else 0
    inside = moved + b"".join(_access(rng, 7, size) for _ in range(rng.randrange(1, 3)))
    return out + (insn(0x15, 7, 0, len(inside) // 8) if rng.random() < 0.95 else b"") + inside


_CALLS = {
    "xdp": (2, 3, 16, 28, 44, 54, 65, 112, 189, 190),
    "tc": (2, 3, 9, 10, 11, 16, 26, 28, 38, 39, 43, 48, 68, 112),
    "socket": (2, 3, 16, 26, 68, 112),
}


def _call(rng: random.Random, kind: str) -> bytes:
    number = rng.choice(_CALLS[kind if rng.random() < 0.95 else rng.choice(tuple(KINDS))])
    place = rng.choice((-32, -32, -24, -16, -8))
    room = -place
    third = insn(0xBF, 3, 10) + insn(0x07, 3, 0, 0, place)
    if number in (38, 43, 10, 11) and rng.random() < 0.9:
        third = insn(0xB7, 3, 0, 0, rng.choice((0, 0, 1, 0xFFFF)))
    size = rng.choice((room, room, 1, 8, 0, room + 1)) if rng.random() < 0.3 else rng.choice((1, 4, 8))
    fourth = insn(0xB7, 4, 0, 0, size)
    if rng.random() < 0.1:
        fourth = insn(0xBF, 4, 9)
    fifth = insn(0xB7, 5, 0, 0, rng.choice((0, 0, 1, 2, 4, 16)))
    first, second = insn(0xBF, 1, 6), insn(0xB7, 2, 0, 0, rng.choice(_MOVES))
    if number in (2, 3):
        first = wide(1, rng.randrange(4), src=5)
        second = insn(0xBF, 2, 10) + insn(0x07, 2, 0, 0, rng.choice((-8, -32)))
        fourth = insn(0xB7, 4, 0, 0, rng.choice((0, 0, 1, 2)))
    if number in (16, 28, 112):
        first = insn(0xBF, 1, 10) + insn(0x07, 1, 0, 0, place)
        second = insn(0xB7, 2, 0, 0, rng.choice((8, 8, 4, room, room + 4, 0)))
    if number == 112 and rng.random() < 0.5:
        third = insn(0xB7, 3, 0, 0, rng.choice((0, 8, 4096)))
    if rng.random() < 0.03:
        first = insn(0xBF, 1, rng.choice((7, 8, 10)))
    return first + second + third + fourth + fifth + insn(0x85, 0, 0, 0, number)


def _record(rng: random.Random) -> bytes:
    size = rng.choice((8, 16, 24))
    out = wide(1, 4, src=5) + insn(0xB7, 2, 0, 0, size) + insn(0xB7, 3) + insn(0x85, 0, 0, 0, 131)
    submit = insn(0xBF, 1, 8) + insn(0xB7, 2) + insn(0x85, 0, 0, 0, rng.choice((132, 133)))
    inside = b"".join(_access(rng, 8, size) for _ in range(rng.randrange(1, 3)))
    inside += submit if rng.random() < 0.95 else b""
    return out + insn(0xBF, 8, 0) + insn(0x15, 8, 0, len(inside) // 8) + inside


def _damaged(rng: random.Random, code: bytes) -> bytes:
    out = bytearray(code)
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(out) // 8) * 8
        match rng.randrange(3):
            case 0:
                out[at + 1] = rng.randrange(11) | rng.randrange(11) << 4
            case 1:
                out[at + 2 : at + 4] = rng.randrange(-20, 40).to_bytes(2, "little", signed=True)
            case 2:
                out[at + 4 : at + 8] = rng.choice((0, 1, 8, 64, -1)).to_bytes(4, "little", signed=True)
    return bytes(out)


def outcome(one: Hostile) -> str:
    """What the verifier finds: a word, and the first reason without its numbers."""
    try:
        flow = analyse(decode(one.code))
    except WbpfError:
        return "no program"
    plain = one.kind == "memory"
    context = MEMORY if plain else CONTEXTS[KINDS[one.kind]]
    verdict = verify(flow, context, [] if plain else [each.model for each in maps()])
    for word, found in (("refused", verdict.fatal), ("not proved", verdict.problems)):
        if found:
            return f"{word}: {re.sub(r'-?[0-9]+', 'N', found[0].why)}"
    return "proved"


def load(*programs: Hostile) -> list[UserProgram]:
    """The machine code of programs that are proved."""
    specs = {
        str(n): ProgramSpec(one.code, CONTEXTS[KINDS[one.kind]], maps=maps())
        for n, one in enumerate(programs)
    }
    return list(load_programs(specs).values())


def run_guarded(programs: list[tuple[Hostile, UserProgram]], seed: int) -> None:
    """Run programs over packets beside forbidden pages, in a child.

    Raises:
        AssertionError: one did what it may not.
    """
    child = os.fork()
    if child == 0:
        rng = random.Random(seed)
        os._exit(max(_run_packets(program, KINDS[one.kind], rng) for one, program in programs))
    _, status = os.waitpid(child, 0)
    assert not os.WIFSIGNALED(status), f"it was ended by signal {os.WTERMSIG(status)}: {programs}"
    assert os.WEXITSTATUS(status) == 0, f"it changed a map beside its values: {programs}"


def _run_packets(program: UserProgram, kind: int, rng: random.Random) -> int:
    libc = ctypes.CDLL(None)
    before = [_around(one) for one in maps()]
    for at_end in (True, False):
        for size in (14, 15, 28, 60, 64, 100):
            pages = mmap.mmap(-1, 3 * _PAGE)
            base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
            for page in (0, 2):
                libc.mprotect(ctypes.c_void_p(base + page * _PAGE), ctypes.c_size_t(_PAGE), 0)
            data = rng.randbytes(size)
            start = base + 2 * _PAGE - size if at_end else base + _PAGE
            ctypes.memmove(start, data, size)
            run = PacketRun(kind, data)
            first = start + 14 if kind == KINDS["socket"] else start
            end = start + size
            struct.pack_into("<7Q", run.memory, 192, first, end, first, start, end, start, start + 14)
            program.run(run.memory)
    return int(before != [_around(one) for one in maps()])


def _around(one: LoadedMap) -> bytes:
    """Of arrays all that programs do not write."""
    assert isinstance(one.owner, UserMap)
    _, kind, _, value, entries = next(row for row in _MAPS if row[0] == one.owner.name)
    if kind != MapType.ARRAY:
        return b""
    content = os.pread(one.owner.fileno(), 1 << 16, 0)
    return content[:4096] + content[4096 + value * entries :]


def one_case(rng: random.Random, told: Counter[str]) -> None:
    """Make a program; if it is proved, run it."""
    one = made(rng)
    word = outcome(one).partition(":")[0]
    told[f"{one.kind} {word}"] += 1
    if word == "proved" and rng.random() < 0.5:
        run_guarded([(one, *load(one))], rng.getrandbits(32))
        told["guarded"] += 1


def corpus() -> list[tuple[str, Hostile]]:
    """Programs that are kept, and what the verifier found."""
    lines = CORPUS.read_text().splitlines()
    rows = [line.split("|") for line in lines if not line.startswith("#")]
    return [(found, Hostile(kind, bytes.fromhex(code))) for kind, found, code in rows]


def renew(seconds: float, plain: Callable[[random.Random], bytes]) -> None:
    """Choose another corpus: for each finding, and each set of helpers of a proved program, the shortest."""
    best: dict[tuple[str, ...], tuple[str, Hostile]] = {}
    end_s = time.monotonic() + seconds
    seed = 0
    while time.monotonic() < end_s:
        seed += 1
        rng = random.Random(seed)
        one = made(rng) if rng.random() < 0.8 else Hostile("memory", plain(rng))
        found = outcome(one)
        key = (one.kind, found, _features(one.code) if found == "proved" else "")
        if found != "no program" and (key not in best or len(one.code) < len(best[key][1].code)):
            best[key] = found, one
    rows = sorted((one.kind, found, one.code.hex()) for found, one in best.values())
    head = "# Made by tests/fuzz/surroundings.py: kind of context, what the verifier finds, code.\n"
    CORPUS.write_text(head + "".join("|".join(row) + "\n" for row in rows))


def _features(code: bytes) -> str:
    calls = {code[at + 4] for at in range(0, len(code), 8) if code[at] == 0x85}
    classes = {code[at] & 7 for at in range(0, len(code), 8)}
    return f"{sorted(calls)[:3]} {sorted(classes)}"
