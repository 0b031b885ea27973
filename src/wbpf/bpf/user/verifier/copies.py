"""Which registers and slots are surely copies of one another: what a comparison says of one it says of all.

The kernel's verifier numbers values while it follows a program; here the equalities are found before, for
all ways that lead to an instruction at once (available copies, as a compiler's copy propagation has them), so
that they add no states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wbpf.bpf.user.flow import Function, successors
from wbpf.bpf.user.isa import STACK_BYTES, Alu, Class, Insn, Mode
from wbpf.bpf.user.verifier.liveness import uses
from wbpf.bpf.user.verifier.ranges import ALL, ALL32

#: (a, b) -> (c, whole): a = b + c modulo 2^64; if not whole, of the low 32 bits and modulo 2^32. Below 0 are
#: slots of the stack, as `slot` numbers them.
Copies = Mapping[tuple[int, int], tuple[int, bool]]


_CALL, _CALL_REGISTER = 0x85, 0x8D
_NARROW = 1 << 10  # slots of 4 bytes are numbered from here on down


def slot(number: int) -> tuple[int, int]:
    """Offset from r10, and bytes."""
    return (number + _NARROW, 4) if number < -_NARROW else (number, 8)


def copies_before(function: Function) -> dict[int, Copies]:
    """The equalities before each conditional jump, by its index; jumps without one are left out."""
    jumps = [insn.at for insn in function.insns.values() if len(successors(insn)) > 1]
    before: dict[int, Copies] = {function.entry: {}} if jumps else {}
    todo = list(before)
    while todo:
        at = todo.pop()
        after = _after(function.insns[at], before[at])
        for later in successors(function.insns[at]):
            known = before.get(later)
            both = (
                after
                if known is None
                else {pair: how for pair, how in known.items() if after.get(pair) == how}
            )
            if known is None or len(both) < len(known):
                before[later] = both
                todo.append(later)
    return {at: before[at] for at in jumps if before.get(at)}


def _after(insn: Insn, before: Copies) -> Copies:
    written = uses(insn)[1]
    kept = before
    if written and before:
        kept = {pair: how for pair, how in kept.items() if not any(n >= 0 and 1 << n & written for n in pair)}
    if insn.cls in (Class.ST, Class.STX) or insn.opcode in (_CALL, _CALL_REGISTER):
        kept = {
            pair: how for pair, how in kept.items() if not any(n < 0 and _is_stored(insn, n) for n in pair)
        }
    if insn.mode == Mode.MEM and -STACK_BYTES <= insn.off < 0 and insn.width in (4, 8):
        wide = insn.width == 8
        number = insn.off if wide else insn.off - _NARROW
        if insn.cls is Class.LDX and insn.src == 10:
            return {**kept, **_of(insn.dst, 0, _copied(number, insn.dst, wide, before))}
        if insn.cls is Class.STX and insn.dst == 10 and insn.src != 10:
            return {**kept, **_of(number, 0, _copied(insn.src, number, wide, kept))}
    if insn.cls not in (Class.ALU, Class.ALU64):
        return kept
    dst, src, wide = insn.dst, insn.src, insn.cls is Class.ALU64
    if insn.code == Alu.MOV and insn.by_register and not insn.off and 10 not in (dst, src):
        if dst == src:  # what is above the low 32 bits is gone
            return {**kept, **_of(dst, 0, _halves(dst, before))}
        return {**kept, **_of(dst, 0, _copied(src, dst, wide, before))}
    if insn.code in (Alu.ADD, Alu.SUB) and not insn.by_register:
        step = insn.imm if insn.code == Alu.ADD else -insn.imm
        others = dict(_others(dst, before)) if wide else _halves(dst, before)
        return {**kept, **_of(dst, step, others)}
    return kept


def _is_stored(insn: Insn, number: int) -> bool:
    """Whether a store or a call may change a slot; it may, if it is not directly to another one."""
    if insn.cls not in (Class.ST, Class.STX) or insn.dst != 10:
        return True
    at, size = slot(number)
    return at < insn.off + insn.width and insn.off < at + size


def _copied(source: int, to: int, wide: bool, before: Copies) -> dict[int, tuple[int, bool]]:
    """What a copy of a register or slot is equal to."""
    added = {other: (c, whole and wide) for other, (c, whole) in _others(source, before) if other != to}
    return {**added, source: (0, wide)}


def _others(register: int, before: Copies) -> Iterable[tuple[int, tuple[int, bool]]]:
    return ((b, how) for (a, b), how in before.items() if a == register)


def _halves(register: int, before: Copies) -> dict[int, tuple[int, bool]]:
    return {other: (c, False) for other, (c, _) in _others(register, before)}


def _of(register: int, step: int, others: Mapping[int, tuple[int, bool]]) -> Copies:
    """Both directions of equalities of a register to which `step` was added."""
    made = {}
    for other, (c, whole) in others.items():
        bits = ALL if whole else ALL32
        made[register, other] = (c + step & bits, whole)
        made[other, register] = (-(c + step) & bits, whole)
    return made
