"""Which instructions of a program can run, as the verifier sees it: branches on what is known are followed.

So a program may name a helper or field that the kernel lacks, behind `bpf_core_field_exists()` or a constant
of `.rodata`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import Struct as Layout

from wbpf.bpf.btf.core import Resolved
from wbpf.bpf.object_file import ObjectFile, ProgramDefinition, Symbol
from wbpf.errors import FormatError

_INSTRUCTION = Layout("<BBhi")
_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_LD_IMM64, _CALL, _EXIT, _ATOMIC = 0x18, 0x85, 0x95, 0xC0
_JUMP, _JUMP_FAR = 0x05, 0x06
_BY_REGISTER = 8
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_64 = (1 << 64) - 1

#: What a register holds: a number, a place in `.rodata`, or nobody knows.
Value = int | tuple[str, int] | None
State = tuple[Value, ...]
_UNKNOWN: State = (None,) * 11

_ARITHMETIC: dict[int, Callable[[int, int, int], int]] = {
    0x00: lambda a, b, bits: a + b,
    0x10: lambda a, b, bits: a - b,
    0x20: lambda a, b, bits: a * b,
    0x40: lambda a, b, bits: a | b,
    0x50: lambda a, b, bits: a & b,
    0x60: lambda a, b, bits: a << b % bits,
    0x70: lambda a, b, bits: a >> b % bits,
    0xA0: lambda a, b, bits: a ^ b,
    0xC0: lambda a, b, bits: _signed(a, bits) >> b % bits,
}
_COMPARISONS: dict[int, Callable[[int, int, int], bool]] = {
    0x10: lambda a, b, bits: a == b,
    0x20: lambda a, b, bits: a > b,
    0x30: lambda a, b, bits: a >= b,
    0x40: lambda a, b, bits: bool(a & b),
    0x50: lambda a, b, bits: a != b,
    0x60: lambda a, b, bits: _signed(a, bits) > _signed(b, bits),
    0x70: lambda a, b, bits: _signed(a, bits) >= _signed(b, bits),
    0xA0: lambda a, b, bits: a < b,
    0xB0: lambda a, b, bits: a <= b,
    0xC0: lambda a, b, bits: _signed(a, bits) < _signed(b, bits),
    0xD0: lambda a, b, bits: _signed(a, bits) <= _signed(b, bits),
}


@dataclass
class Reached:
    """What a program can come to; each with (section, offset) of one instruction that does.

    Args:
        helpers: by number.
        kfuncs: kernel functions, by name.
        failed: relocations without a value.
        instructions: all that can run, by section and offset.
    """

    helpers: dict[int, tuple[str, int]] = field(default_factory=dict)
    kfuncs: dict[str, tuple[str, int]] = field(default_factory=dict)
    failed: list[Resolved] = field(default_factory=list)
    instructions: set[tuple[str, int]] = field(default_factory=set)


def reached(
    file: ObjectFile, program: ProgramDefinition, resolved: Mapping[tuple[str, int], Resolved] | None = None
) -> Reached:
    """Follow a program.

    Args:
        file: the object.
        program: one of its programs.
        resolved: its CO-RE relocations, by section and offset; None if nothing is known of them.

    Raises:
        FormatError: it jumps to where there is no instruction.
    """
    walk = _Walk(file, resolved)
    walk.come(program.section, program.offset, _UNKNOWN)
    while walk.waiting:
        section, at = walk.waiting.pop()
        try:
            walk.step(section, at)
        except (KeyError, IndexError):
            raise FormatError(
                "the eBPF object is damaged", f"program {program.name!r} leaves its code"
            ) from None
    walk.found.instructions = set(walk.states)
    return walk.found


class _Walk:
    def __init__(self, file: ObjectFile, resolved: Mapping[tuple[str, int], Resolved] | None) -> None:
        self.file, self.resolved = file, resolved
        self.found = Reached()
        self.waiting: list[tuple[str, int]] = []
        self.states: dict[tuple[str, int], State] = {}
        self.code = {
            name: list(_INSTRUCTION.iter_unpack(content[: len(content) // 8 * 8]))
            for name, content in file.code.items()
        }

    def come(self, section: str, at: int, state: State) -> None:
        """Another way to an instruction: what is not the same on all of them is not known."""
        before = self.states.get((section, at))
        if before is not None:
            state = tuple(a if a == b else None for a, b in zip(before, state, strict=True))
            if state == before:
                return
        self.states[section, at] = state
        self.waiting.append((section, at))

    def step(self, section: str, at: int) -> None:
        if at < 0:
            raise IndexError
        operation, registers, jump, number = self.code[section][at // 8]
        one = self.resolved.get((section, at)) if self.resolved is not None else None
        core = self.resolved is None and at in self.file.core.get(section, ())
        if one is not None and one.value is None:
            if one not in self.found.failed:
                self.found.failed.append(one)
            return
        state = list(self.states[section, at])
        target, source = registers & 15, registers >> 4
        kind = operation & 7
        after = at + 8
        if operation == _LD_IMM64:
            high = self.code[section][at // 8 + 1][3]
            after = at + 16
            state[target] = None if core else self._wide(section, at, source, number, high, one)
        elif kind in (_ALU, _ALU64):
            value: Value = number if one is None or one.value is None else one.value
            if operation & _BY_REGISTER:
                value = state[source]
            state[target] = None if core else _computed(operation, state[target], value)
        elif kind == _LDX:
            place = state[source]
            offset = jump if one is None or one.value is None else one.value
            size = _SIZES[operation & 0x18]
            plain = operation & 0xE0 == 0x60
            state[target] = self._read(place, offset, size) if plain and isinstance(place, tuple) else None
        elif kind == _STX and operation & 0xE0 == _ATOMIC:
            state[source] = state[0] = None
        elif operation == _CALL:
            self._call(section, at, source, number)
            state[:6] = [None] * 6
        elif operation == _EXIT:
            return
        elif operation in (_JUMP, _JUMP_FAR):
            after = at + 8 + 8 * (jump if operation == _JUMP else number)
        elif kind in (_JMP, _JMP32):
            other = state[source] if operation & _BY_REGISTER else number
            taken = _compared(operation, state[target], other)
            if taken is not False:
                self.come(section, at + 8 + 8 * jump, tuple(state))
            if taken is True:
                return
        self.come(section, after, tuple(state))

    def _wide(self, section: str, at: int, source: int, low: int, high: int, one: Resolved | None) -> Value:
        symbol = self.file.links.get(section, {}).get(at)
        if one is not None:
            return one.value
        if symbol is None:
            return (low & 0xFFFFFFFF) | (high & 0xFFFFFFFF) << 32 if source == 0 else None
        if symbol.section in self.code:  # a callback
            self.come(symbol.section, symbol.value + low, _UNKNOWN)
        return (symbol.section, symbol.value + low) if symbol.section.startswith(".rodata") else None

    def _read(self, place: tuple[str, int], offset: int, size: int) -> int | None:
        section, start = place
        start += offset
        content = self.file.data.get(section, b"")
        if start < 0 or start + size > len(content):
            return None
        return int.from_bytes(content[start : start + size], "little")

    def _call(self, section: str, at: int, source: int, number: int) -> None:
        symbol = self.file.links.get(section, {}).get(at)
        if symbol is not None and not symbol.section:
            self.found.kfuncs.setdefault(symbol.name, (section, at))
        elif source == 1:
            self.come(*_called(symbol, section, at, number), _UNKNOWN)
        elif source == 0:
            self.found.helpers.setdefault(number, (section, at))


def _called(symbol: Symbol | None, section: str, at: int, number: int) -> tuple[str, int]:
    if symbol is None:
        return section, at + 8 + 8 * number
    return symbol.section, symbol.value + 8 * (number + 1)


def _computed(operation: int, old: Value, value: Value) -> Value:
    bits = 64 if operation & 7 == _ALU64 else 32
    mask = (1 << bits) - 1
    if operation & 0xF0 == 0xB0:
        return value & mask if isinstance(value, int) else value if bits == 64 else None
    if isinstance(old, tuple) and isinstance(value, int) and operation & 0xF0 == 0x00:
        return (old[0], old[1] + _signed(value & _64, 64))
    arithmetic = _ARITHMETIC.get(operation & 0xF0)
    if arithmetic is None or not isinstance(old, int) or not isinstance(value, int):
        return None
    return arithmetic(old & mask, value & mask, bits) & mask


def _compared(operation: int, one: Value, other: Value) -> bool | None:
    bits = 64 if operation & 7 == _JMP else 32
    mask = (1 << bits) - 1
    if not isinstance(one, int) or not isinstance(other, int):
        return None
    return _COMPARISONS[operation & 0xF0](one & mask, other & mask, bits)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
