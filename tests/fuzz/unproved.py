"""Programs that are not proved and use memory at and around what is theirs: each access against a reference.

Addresses are numbers of the context, so that nothing is known of them, or what a lookup or a variable gives,
moved by such numbers. The reference says which bytes a program may use: its stack, values of maps but for
locks, the context; constants, and registers as context, only to read. What is not stopped has to change just
these bytes: the files of all maps are compared whole, and what lies around the context.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache

from tests.unit.bpf.user.programs import insn, wide
from tests.unit.bpf.user.unproved import load_unproved
from wbpf import _native
from wbpf.bpf.kinds import MapType, ProgramType
from wbpf.bpf.user.maps import UserMap
from wbpf.bpf.user.program import LoadedMap, ProgramSpec, load_programs
from wbpf.bpf.user.slots import Stop
from wbpf.bpf.user.verifier import Context

_STACK_BYTES, _CONTEXT_BYTES, _MOST, _KEY_AT = 4096, 128, 12, -512
_CANARY = b"\xa5" * 256
_CPUS = _native.bpf_cpu_count()
_M64 = (1 << 64) - 1
_LOCK, _LOCK_BYTES = 4, 4
_WIDTHS = {0x71: 1, 0x69: 2, 0x61: 4, 0x79: 8, 0x73: 1, 0x6B: 2, 0x63: 4, 0x7B: 8, 0xC3: 4, 0xDB: 8}
_LOADS, _STORES, _ATOMICS = (0x71, 0x69, 0x61, 0x79), (0x73, 0x6B, 0x63, 0x7B), (0xC3, 0xDB)
_ADD, _FETCH_ADD, _XCHG, _CMPXCHG = 0, 1, 0xE1, 0xF1
_OPERATIONS = (_ADD, _FETCH_ADD, _XCHG, _CMPXCHG)
_CONSTANT = bytes(range(1, 17))
_FAR = (0, 1, 8, 4096, 1 << 31, 1 << 47, (1 << 47) - 8, 1 << 63, _M64, _M64 - 3, _M64 - 7)


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes that may be used. Args: slot: of the map; at: in its file; lock: in it, -1 for none."""

    low: int
    bytes: int
    slot: int
    at: int
    writable: bool = True
    lock: int = -1

    def allows(self, address: int, width: int, write: bool) -> bool:
        """Whether an access is right."""
        at = address - self.low
        inside = at >= 0 and at + width <= self.bytes and (self.writable or not write)
        locked = self.lock >= 0 and at < self.lock + _LOCK_BYTES and at + width > self.lock
        return inside and not locked


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The maps, and their values where programs use them."""

    maps: tuple[LoadedMap, ...]
    regions: tuple[Region, ...]

    def files(self) -> list[bytearray]:
        """The content of all maps, with all that is around their values."""
        owners = (one.owner for one in self.maps)
        return [bytearray(os.pread(one.fileno(), 1 << 20, 0)) for one in owners if isinstance(one, UserMap)]

    def put_back(self, files: list[bytearray]) -> None:
        """Write the values again."""
        for one in self.regions:
            owner = self.maps[one.slot].owner
            assert isinstance(owner, UserMap)
            os.pwrite(owner.fileno(), files[one.slot][one.at : one.at + one.bytes], one.at)


@cache
def surroundings() -> Surroundings:
    """An array, one per CPU, a hash whose values have a lock, and constants."""
    array = UserMap("array", MapType.ARRAY, 4, 20, 3)
    per_cpu = UserMap("percpu", MapType.PERCPU_ARRAY, 4, 12, 3)
    locked = UserMap("locked", MapType.HASH, 4, 20, 4, lock_offset=_LOCK)
    constants = UserMap(".rodata", MapType.ARRAY, 4, 16, 1, flags=1 << 7)
    regions, loaded = [], []
    for slot, one in enumerate((array, per_cpu, locked, constants)):
        one.make()
        if one is constants:
            one.native.set_row(0, _CONSTANT)
        address, values, _ = one.native.place()
        model = one.model(_CONSTANT if one is constants else None)
        loaded.append(LoadedMap(model, address, values, one, one.native.entries()))
        stride = (one.element_bytes + 7) // 8 * 8
        row = (one.entries * stride + 63) // 64 * 64
        if one is not locked:
            places = (cpu * row + n * stride for cpu in range(_CPUS) for n in range(one.entries))
            regions += [
                Region(values + at, one.element_bytes, slot, 4096 + at, one is not constants)
                for at in (places if one is per_cpu else range(0, one.entries * stride, stride))
            ]
    return Surroundings(tuple(loaded), (*regions, *_values_of_hash(loaded, locked, 2)))


def _values_of_hash(maps: list[LoadedMap], one: UserMap, slot: int) -> list[Region]:
    """Where a program finds its values, and those of the element that is filled next."""
    found = []
    code = insn(0x61, 3, 1) + insn(0x63, 10, 3, -4) + insn(0xBF, 2, 10) + insn(0x07, 2, 0, 0, -4)
    code += wide(1, slot, src=5) + insn(0x85, 0, 0, 0, 1) + insn(0x95)
    program = load_unproved(code, Context(8), tuple(maps))
    for n in range(one.entries):
        key = n.to_bytes(4, "little")
        one[key] = bytes([0x41 + n] * one.value_bytes)
        file = os.pread(one.fileno(), 1 << 20, 0)
        at = file.index(bytes([0x41 + n] * 4) + bytes(_LOCK_BYTES) + bytes([0x41 + n] * 12))
        found.append((program.run(bytearray(key.ljust(8, b"\0"))).value, at))
    found.sort()
    step = found[1][0] - found[0][0]
    assert [low - found[0][0] for low, _ in found] == [n * step for n in range(one.entries)]
    found.append((found[-1][0] + step, found[-1][1] + step))
    return [Region(low, one.value_bytes, slot, at, lock=_LOCK) for low, at in found]


@dataclass(frozen=True, slots=True)
class Access:
    """One. Args: base: where its address begins, `absolute`, `stack`, `context` or a region's number."""

    at: int
    base: str | int
    opcode: int
    operation: int
    off: int
    number: int
    mask: int
    value: int


class Maker:
    """Makes a program, and says what it has to do."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.around = rng, surroundings()
        self.code = insn(0xBF, 6, 1) + insn(0xB7, 9) + insn(0xBF, 8, 10)
        self.accesses: list[Access] = []
        #: of lookups, by the index of the access behind each
        self.keys: dict[int, int] = {}
        for n in range(rng.randrange(1, _MOST)):
            self._access(n)
        self.code += insn(0xBF, 0, 9) + insn(0x95)

    def _access(self, n: int) -> None:
        rng, regions = self.rng, self.around.regions
        opcode = rng.choice(rng.choice((_LOADS, _STORES, _STORES, _ATOMICS)))
        width, mask, off = _WIDTHS[opcode], _M64, rng.choice((-8, -1, 0, 0, 0, 1, 4, 8, 100))
        base: str | int = rng.choice(("absolute", "absolute", "stack", "context", 0, 0))
        near = rng.choice((1, 2, 3, 4, 12))
        size = {"stack": _STACK_BYTES, "context": _CONTEXT_BYTES}.get(str(base), 0)
        if base == 0:
            chosen = [n for n, one in enumerate(regions) if one.slot != 1 and n + 1 != len(regions)]
            base = rng.choice(chosen)
            size = regions[base].bytes
        if base == "absolute":
            region = rng.choice(regions)
            number = region.low + self._place(region.bytes, width, near)
        else:
            number = self._place(size, width, near) - (_STACK_BYTES if base == "stack" else 0)
        if rng.random() < 0.02:
            number = rng.choice(_FAR)
        if isinstance(base, int) and rng.random() < 0.3:
            mask, off, number = 7, 0, rng.choice((0, 4, 7, rng.getrandbits(64)))
        value = rng.getrandbits(64)
        number = (number - off) & _M64
        begin, key = self._begin(base)
        self.code += begin + insn(0x79, 1, 6, 8 * n)
        if mask != _M64:
            self.code += insn(0x57, 1, 0, 0, mask)
        self.code += insn(0x0F, 2, 1) + wide(3, value) + insn(0xB7, 0)
        operation = rng.choice(_OPERATIONS) if opcode in _ATOMICS else 0
        self.accesses.append(Access(len(self.code) // 8, base, opcode, operation, off, number, mask, value))
        if key >= 0:
            self.keys[len(self.code) // 8] = key
        dst, src = (0, 2) if opcode in _LOADS else (2, 3)
        self.code += insn(opcode, dst, src, off, operation) + insn(0xAF, 9, 0)
        if opcode in _ATOMICS:
            self.code += insn(0xAF, 9, 3)

    def _place(self, size: int, width: int, near: int) -> int:
        """In an object, or up to a few bytes beside it; most of the time where it is right."""
        if self.rng.random() < 0.95:
            return self.rng.randrange((size - width) // width + 1) * width
        return self.rng.choice((-near, self.rng.randrange(size), size - width + near, size))

    def _begin(self, base: str | int) -> tuple[bytes, int]:
        """Its address into r2; and the key that is looked up for that, -1 for none."""
        plain = {"absolute": insn(0xB7, 2), "stack": insn(0xBF, 2, 10), "context": insn(0xBF, 2, 6)}
        if isinstance(base, str):
            return plain[base], -1
        region = self.around.regions[base]
        if region.slot == 3 or (region.slot == 0 and self.rng.random() < 0.5):  # as a variable
            place = region.low - self.around.maps[region.slot].values
            return wide(2, region.slot | place << 32, src=6), -1
        # Elements of the hash are taken in order.
        key = base - next(n for n, one in enumerate(self.around.regions) if one.slot == region.slot)
        out = insn(0x62, 10, 0, _KEY_AT, key) + insn(0xBF, 2, 10) + insn(0x07, 2, 0, 0, _KEY_AT)
        out += wide(1, region.slot, src=5) + insn(0x85, 0, 0, 0, 1)
        return out + insn(0x55, 0, 0, 1) + insn(0x95) + insn(0xBF, 2, 0), key


class Expected:
    """What a program does, by the reference."""

    def __init__(self, maker: Maker, writable: bool, files: list[bytearray]) -> None:
        self.files, self.writable, self.around = [bytearray(one) for one in files], writable, maker.around
        self.stack, self.value, self.stopped = bytearray(_STACK_BYTES), 0, -1
        numbers = b"".join(one.number.to_bytes(8, "little") for one in maker.accesses)
        self.context = bytearray(numbers.ljust(_CONTEXT_BYTES, b"\0"))
        for n, one in enumerate(maker.accesses):
            if (key := maker.keys.get(one.at)) is not None:
                self.stack[_STACK_BYTES + _KEY_AT : _STACK_BYTES + _KEY_AT + 4] = key.to_bytes(4, "little")
            number = int.from_bytes(self.context[8 * n : 8 * n + 8], "little")
            if not self._do(one, (number & one.mask)):
                self.stopped = one.at
                return

    def _do(self, one: Access, number: int) -> bool:
        width, write = _WIDTHS[one.opcode], one.opcode not in _LOADS
        place = self._place(one, number, width, write)
        if place is None:
            return False
        memory, at = place
        old = int.from_bytes(memory[at : at + width], "little")
        most = (1 << 8 * width) - 1
        new, result, source = one.value & most, 0, one.value
        if not write:
            result, new = old, old
        elif one.opcode in _ATOMICS:
            new, result, source = {
                _ADD: ((old + new) & most, 0, source),
                _FETCH_ADD: ((old + new) & most, 0, old),
                _XCHG: (new, 0, old),
                _CMPXCHG: (old if old else new, old, source),
            }[one.operation]
            self.value ^= source
        memory[at : at + width] = new.to_bytes(width, "little")
        self.value ^= result
        return True

    def _place(self, one: Access, number: int, width: int, write: bool) -> tuple[bytearray, int] | None:
        aligned = one.opcode in _ATOMICS
        address = (number + one.off) & _M64
        if one.base in ("stack", "context"):
            signed = address - (1 << 64) if address >> 63 else address
            at, memory = signed, self.context
            if one.base == "stack":
                at, memory = signed + _STACK_BYTES, self.stack
            right = 0 <= at <= len(memory) - width and (memory is self.stack or not write or self.writable)
            return (memory, at) if right and not (aligned and at % width) else None
        if isinstance(one.base, int):
            address = (address + self.around.regions[one.base].low) & _M64
        for region in self.around.regions:
            if region.allows(address, width, write) and not (aligned and address % width):
                return self.files[region.slot], region.at + address - region.low
        return None


def one_case(rng: random.Random, told: Counter[str]) -> None:
    """Make a program and run it, with what the verifier proves and with nothing proved."""
    maker = Maker(rng)
    kind = rng.choice((ProgramType.SYSCALL, ProgramType.KPROBE))
    writable = kind == ProgramType.SYSCALL
    context = Context(_CONTEXT_BYTES, writable=None if writable else frozenset(), kind=kind)
    maps, before = maker.around.maps, maker.around.files()
    expected = Expected(maker, writable, before)
    spec = ProgramSpec(maker.code, context, True, maps)
    for program in (load_programs({"one": spec})["one"], load_unproved(maker.code, context, maps)):
        numbers = b"".join(one.number.to_bytes(8, "little") for one in maker.accesses)
        whole = bytearray(_CANARY + numbers.ljust(_CONTEXT_BYTES, b"\0") + _CANARY)
        inside = memoryview(whole)[len(_CANARY) : -len(_CANARY)]
        value, stopped, at, _ = program.native.run(inside, 1000)
        after = maker.around.files()
        maker.around.put_back(before)
        assert bytes(whole) == _CANARY + bytes(expected.context) + _CANARY, "of the context"
        assert after == expected.files, "of a map"
        assert (at if stopped else -1) == expected.stopped, (at, stopped, expected.stopped)
        assert not stopped or stopped == Stop.MEMORY
        assert stopped or value == expected.value
        told["values stopped" if stopped else "values used"] += 1
        told["accesses"] += sum(one.at < at for one in maker.accesses) if stopped else len(maker.accesses)
