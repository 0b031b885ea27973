"""Jumps, calls and returns: what is known where control goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbpf.bpf.user.isa import FRAMES_MOST, STACK_BYTES, Call, Class, Insn, Jump
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.branches import refine
from wbpf.bpf.user.verifier.copies import slot
from wbpf.bpf.user.verifier.ranges import Range, known
from wbpf.bpf.user.verifier.state import Frame, State
from wbpf.bpf.user.verifier.values import SOMEWHERE, UNSET, Kind, Pointer, Value

if TYPE_CHECKING:
    from wbpf.bpf.user.verifier.verifier import _Verifier as Verifier


_LOWEST = 4096  # nothing lies lower in memory


class Control:
    """Follows control for a verifier."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def leave(self, state: State, insn: Insn) -> bool:
        if state.frame.back < 0:  # the program's own, or a callback's
            self._verifier.read(state, 0, insn.at)
            if state.frame.back == -1 or not state.frame.tokens:
                self.demand_nothing_kept(state, insn)
            elif state.tokens != state.frame.tokens:
                self._verifier.refuse(insn.at, "the callback leaves more or less reserved than it found")
            return False
        value = state.get(0)  # of a function that returns nothing it need not be set
        frame = state.frames.pop()
        gone = len(state.frames)
        if isinstance(value, Pointer) and value.kind is Kind.STACK and value.of == gone:
            value = UNSET
        state.map_pointers(lambda p: UNSET if p.kind is Kind.STACK and p.of >= gone else p)
        for n in range(1, 6):
            state.frame.registers[n] = UNSET
        state.frame.registers[0] = value
        state.at = frame.back
        return True

    def enter(self, state: State, entry: int, back: int) -> None:
        """Call a local function; its registers are those of the arguments."""
        frame = Frame(entry, back)
        frame.registers[1:6] = state.frame.registers[1:6]
        state.frames.append(frame)
        state.at = entry

    def jump(self, state: State, insn: Insn) -> bool:
        if insn.code == Jump.CALL:
            return self._call(state, insn)
        if insn.code == Jump.JA:
            state.at = insn.target
            return True
        left, right = self._verifier.read(state, insn.dst, insn.at), self._verifier.right(state, insn)
        other = state.copy()
        if self._assume(other, insn, left, right, taken=False):
            other.at = insn.next
            self._verifier.work.append(other)
        state.at = insn.target
        return self._assume(state, insn, left, right, taken=True)

    def _assume(self, state: State, insn: Insn, left: Value, right: Value, *, taken: bool) -> bool:
        """Note what holds on one side of a jump; false if control can't get there."""
        jump, narrow = Jump(insn.code), insn.cls is Class.JMP32
        if isinstance(left, Range) and isinstance(right, Range):
            pair = refine(jump, left, right, taken=taken, narrow=narrow)
            if pair is None:
                return False
            self._learn(state, insn, insn.dst, pair[0])
            if insn.by_register and insn.src != insn.dst and insn.src != 10 and jump is not Jump.JSET:
                self._learn(state, insn, insn.src, pair[1])
            return True
        if narrow:
            return True
        if isinstance(left, Pointer) and isinstance(right, Range) and right.is_known and not right.low:
            return self._assume_null(state, jump, left, taken=taken)
        if isinstance(left, Pointer) and isinstance(right, Pointer):
            _assume_room(state, jump, left, right, taken=taken)
        return True

    def _learn(self, state: State, insn: Insn, register: int, value: Range) -> None:
        """What is known of a register now, and so of those that are copies of it."""
        registers = state.frame.registers
        registers[register] = value
        copies = self._verifier.copies[state.frame.entry].get(insn.at, {})
        for (copy, of), (more, is_whole) in copies.items():
            if of != register:
                continue
            there = ranges.add(value, known(more))
            if copy >= 0:
                registers[copy] = _met(registers[copy], there, is_whole=is_whole)
                continue
            offset, size = slot(copy)
            held = state.frame.slots.get(STACK_BYTES + offset)
            if held and held[0] == size:
                state.frame.slots[STACK_BYTES + offset] = (size, _met(held[1], there, is_whole=is_whole))

    def _assume_null(self, state: State, jump: Jump, pointer: Pointer, *, taken: bool) -> bool:
        if jump not in (Jump.JEQ, Jump.JNE):
            return True
        null = taken == (jump is Jump.JEQ)
        if not pointer.nullable:  # moved far down it may be 0: memory can lie as low as that
            return not null or pointer.offset.slow < -_LOWEST
        state.settle_null(pointer.nullable, null=null)
        return True

    def _call(self, state: State, insn: Insn) -> bool:
        if not insn.by_register and insn.src == Call.LOCAL:
            return self._call_local(state, insn, insn.target)
        if insn.by_register:
            function = self._verifier.read(state, insn.dst, insn.at)
            if (
                not isinstance(function, Pointer)
                or function.kind is not Kind.FUNCTION
                or not function.offset.is_known
            ):
                self._verifier.refuse(insn.at, f"r{insn.dst} is {function}, not a function of the program")
                return False
            return self._call_local(state, insn, function.of)
        if insn.src == Call.KFUNC:
            self._verifier.refuse(insn.at, "there are no kernel functions in user space")
            return False
        return self._verifier.calls.helper(state, insn)

    def demand_nothing_kept(self, state: State, insn: Insn) -> None:
        if state.holds_lock:
            self._verifier.refuse(insn.at, "a lock is held here")
        elif state.tokens:
            taken = min(state.tokens) - 1
            self._verifier.refuse(
                insn.at, f"what instruction {taken} reserved is neither submitted nor discarded"
            )

    def _call_local(self, state: State, insn: Insn, entry: int) -> bool:
        if state.holds_lock:
            self._verifier.refuse(insn.at, "a lock is held: no function may be called")
            return False
        if len(state.frames) >= FRAMES_MOST:
            self._verifier.refuse(insn.at, f"calls are more than {FRAMES_MOST} frames deep")
            return False
        self.enter(state, entry, insn.next)
        return True


def _met(copy: Value, there: Range, *, is_whole: bool) -> Value:
    """What a copy can be when it is also in another range."""
    if not isinstance(copy, Range):
        return copy
    if is_whole:
        return ranges.meet(copy, there) or copy
    return ranges.meet_low(copy, ranges.truncate(there)) or copy


def _assume_room(state: State, jump: Jump, left: Pointer, right: Pointer, *, taken: bool) -> None:
    """How much is there, by a comparison of an address with the packet's end, or with its beginning."""
    mirrored = {Jump.JGT: Jump.JLT, Jump.JLT: Jump.JGT, Jump.JGE: Jump.JLE, Jump.JLE: Jump.JGE}
    if left.kind is Kind.PACKET_END or right.kind is Kind.PACKET_META:
        left, right = right, left
        jump = mirrored.get(jump, jump)
    begins = right.kind is Kind.PACKET and not right.of and right.offset == known(0)
    is_end = right.kind is Kind.PACKET_END if left.kind is Kind.PACKET else begins
    if left.kind not in (Kind.PACKET, Kind.PACKET_META) or not is_end or not left.offset.is_known:
        return
    if left.of == SOMEWHERE:
        return
    inside = {Jump.JGT: not taken, Jump.JLE: taken, Jump.JGE: not taken, Jump.JLT: taken}.get(jump, False)
    if inside:
        more = 1 if jump in (Jump.JGE, Jump.JLT) else 0
        room = ranges.signed(left.offset.low) + more
        state.room[left.of] = max(state.room.get(left.of, 0), room)
