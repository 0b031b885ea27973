"""Loads, stores and atomic operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbpf.bpf.user.isa import FETCH, Atomic, Insn, Mode
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.ranges import Range, known, of_bits
from wbpf.bpf.user.verifier.state import State
from wbpf.bpf.user.verifier.values import UNSET, Kind, Pointer, Value

if TYPE_CHECKING:
    from wbpf.bpf.user.verifier.verifier import _Verifier as Verifier


class Accesses:
    """Judges accesses of memory for a verifier."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def packet_load(self, state: State, insn: Insn) -> None:
        early = state.copy()  # where the packet is too short, the function returns 0
        early.frame.registers[0] = known(0)
        if self._verifier.control.leave(early, insn):
            self._verifier.work.append(early)
        context = self._verifier.read(state, 6, insn.at)
        around = self._verifier.around.context
        if not around.memory and around.family not in ("socket", "tc"):
            self._verifier.refuse(
                insn.at, "loads from the packet are for socket filters and TC programs alone"
            )
        elif not isinstance(context, Pointer) or context.kind not in (Kind.CONTEXT, Kind.MEMORY):
            self._verifier.refuse(insn.at, f"r6 is {context}: loads from the packet want the context there")
        for n in range(1, 6):
            state.frame.registers[n] = UNSET
        state.frame.registers[0] = of_bits(8 * insn.width)

    def load(self, state: State, insn: Insn) -> Value:
        base = self._verifier.read(state, insn.src, insn.at)
        bits = 8 * insn.width
        why = self._verifier.around.problem(state, base, insn.off, insn.width, write=False)
        value: Value = of_bits(bits)
        place = None if why else self._verifier.around.place(base, insn.off, insn.width)
        if self._verifier.context_loads.setdefault(insn.at, place) != place:
            self._verifier.refuse(insn.at, "it loads an address from the context, or something else")
        if not why and isinstance(base, Pointer):
            value, why = self._verifier.around.load(state, base, insn.off, insn.width, insn.at)
        if why:
            self._verifier.problem(insn.at, why)
        if insn.mode == Mode.MEMSX and isinstance(value, Range):
            return ranges.sign_extend(value, bits)
        return value

    def store(self, state: State, insn: Insn, value: Value) -> None:
        base = self._verifier.read(state, insn.dst, insn.at)
        why = self._verifier.around.problem(state, base, insn.off, insn.width, write=True)
        if not why and isinstance(base, Pointer):
            why = self._verifier.around.store_problem(base, insn.off, insn.width)
        if why or not isinstance(base, Pointer):
            self._verifier.problem(insn.at, why)
            state.forget_stacks()
            self._verifier.callbacks.note_any_write(state)
        else:
            self._verifier.around.store(state, base, insn.off, insn.width, value)

    def atomic(self, state: State, insn: Insn) -> None:
        if insn.imm == Atomic.LOAD_ACQ:
            state.frame.registers[insn.dst] = self._aligned_load(state, insn, insn.src)
            return
        old = of_bits(8 * insn.width)
        value = self._verifier.read(state, insn.src, insn.at)
        if insn.imm != Atomic.STORE_REL:
            self._aligned_load(state, insn, insn.dst)
            value = old
        self._check_aligned(state, insn, insn.dst)
        self.store(state, insn, value)
        if insn.imm == Atomic.CMPXCHG | FETCH:
            self._verifier.read(state, 0, insn.at)
            state.frame.registers[0] = old
        elif insn.imm & FETCH and insn.imm != Atomic.STORE_REL:
            state.frame.registers[insn.src] = old

    def _aligned_load(self, state: State, insn: Insn, register: int) -> Value:
        base = self._verifier.read(state, register, insn.at)
        why = self._verifier.around.problem(state, base, insn.off, insn.width, write=False)
        if not why and isinstance(base, Pointer):
            _, why = self._verifier.around.load(state, base, insn.off, insn.width, insn.at)
        if why:
            self._verifier.problem(insn.at, why)
        self._check_aligned(state, insn, register)
        return of_bits(8 * insn.width)

    def _check_aligned(self, state: State, insn: Insn, register: int) -> None:
        base = state.get(register)
        if isinstance(base, Pointer):
            place = ranges.add(base.offset, known(insn.off))
            # Packets and plain memory begin anywhere.
            aligned = base.kind in (Kind.STACK, Kind.VALUE) and not (place.value | place.mask) & (
                insn.width - 1
            )
            if not aligned:
                self._verifier.problem(insn.at, f"the address is not known to be a multiple of {insn.width}")
