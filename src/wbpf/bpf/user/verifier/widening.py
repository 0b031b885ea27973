"""Widening: from what two rounds of a loop leave to what all may leave (Cousot and Cousot, POPL 1977)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import replace

from wbpf.bpf.user.isa import Class, Insn
from wbpf.bpf.user.verifier.models import MapModel
from wbpf.bpf.user.verifier.ranges import ALL, HALF, HALF32, UNKNOWN, Range, make
from wbpf.bpf.user.verifier.state import State
from wbpf.bpf.user.verifier.values import Kind, Pointer, Value

_LIMITS = {0, 0xFF, 511, 512, 4095, 4096, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, HALF - 1, HALF, ALL}
_WITH_NUMBERS = (Class.JMP, Class.JMP32, Class.ALU, Class.ALU64)


class Widening:
    """Moves bounds that grow to the next number that the program has to do with.

    Args:
        insns: of the program.
        maps: its maps.
    """

    def __init__(self, insns: Iterable[Insn], maps: Iterable[MapModel]) -> None:
        numbers = set(_LIMITS)
        for insn in insns:
            if insn.cls in _WITH_NUMBERS and not insn.by_register:
                numbers.update(number & ALL for number in (insn.imm - 1, insn.imm, insn.imm + 1))
        for model in maps:
            numbers.update((model.entries, max(model.entries - 1, 0), model.value_bytes))
        self._steps = sorted(numbers)

    def widened(self, old: State, new: State) -> State:
        """`new`, which allows all that `old` does, with more room where it has grown."""
        for before, after in zip(old.frames, new.frames, strict=True):
            for n, value in enumerate(after.registers):
                after.registers[n] = self._value(before.registers[n], value)
            for at, (size, value) in list(after.slots.items()):
                if at in before.slots:
                    after.slots[at] = (size, self._value(before.slots[at][1], value))
        return new

    def _value(self, before: Value, after: Value) -> Value:
        if isinstance(before, Range) and isinstance(after, Range):
            return self._range(before, after)
        if isinstance(before, Pointer) and isinstance(after, Pointer) and after.kind is not Kind.PACKET:
            return replace(after, offset=self._range(before.offset, after.offset))
        return after

    def _range(self, before: Range, after: Range) -> Range:
        if before == after:
            return after
        low, high, slow, shigh = after.low, after.high, after.slow, after.shigh
        if low < before.low:
            low = self._steps[bisect_right(self._steps, low) - 1]
        if high > before.high:
            high = self._above(high)
        if slow < before.slow:
            slow = -HALF if slow < -0x80000000 else -0x80000000 if slow < 0 else 0
        if shigh > before.shigh:
            shigh = min(self._above(max(shigh, 0)), HALF - 1)
        wlow, whigh = after.wlow, after.whigh
        if wlow < before.wlow:
            wlow = -HALF32 if wlow < 0 else 0
        if whigh > before.whigh:
            whigh = min(self._above(max(whigh, 0)), HALF32 - 1)
        # What is a multiple of a power of two stays one.
        bits = after.value | after.mask
        mask = ALL & ~((bits & -bits) - 1) if bits else 0
        return make(0, mask, low, high, slow, shigh, wlow, whigh) or UNKNOWN

    def _above(self, number: int) -> int:
        return self._steps[bisect_left(self._steps, number)]
