"""Which registers are still read after an instruction, and whose values make a difference to what is safe."""

from __future__ import annotations

from collections.abc import Callable

from wbpf.bpf.user.flow import Function, successors
from wbpf.bpf.user.isa import FETCH, Alu, Atomic, Class, Insn, Jump, Mode

_ARGUMENTS = 0b111110


def live_before(function: Function) -> dict[int, int]:
    """A bit for each register that is read later, by index of instruction."""
    return _before(function, lambda insn, after: after & ~uses(insn)[1] | uses(insn)[0])


def relevant_before(function: Function) -> dict[int, int]:
    """A bit for each register on whose value an address, a jump or a call depends later, by index."""
    called = function.entry != 0
    return _before(function, lambda insn, after: _relevant(insn, after, called=called))


def _relevant(insn: Insn, after: int, *, called: bool) -> int:
    """What is relevant before an instruction.

    Args:
        insn: the instruction.
        after: what is relevant behind it.
        called: the function's caller goes on with what it returns and stores.
    """
    read, written = uses(insn)
    before = after & ~written
    match insn.cls:
        case Class.ALU | Class.ALU64:
            return before | (read if after & written else 0)
        case Class.STX if insn.mode == Mode.MEM and insn.dst != 10 and not called:
            return before | 1 << insn.dst
        case Class.JMP if insn.is_exit:
            return int(called)
    return before | read


def _before(function: Function, rule: Callable[[Insn, int], int]) -> dict[int, int]:
    live = dict.fromkeys(function.insns, 0)
    before: dict[int, list[int]] = {}
    for insn in function.insns.values():
        for later in successors(insn):
            before.setdefault(later, []).append(insn.at)
    todo = list(function.insns)
    waiting = set(todo)
    while todo:
        at = todo.pop()
        waiting.discard(at)
        insn = function.insns[at]
        after = 0
        for later in successors(insn):
            after |= live[later]
        now = rule(insn, after)
        if now != live[at]:
            live[at] = now
            for earlier in before.get(at, ()):
                if earlier not in waiting:
                    waiting.add(earlier)
                    todo.append(earlier)
    return live


def uses(insn: Insn) -> tuple[int, int]:
    """Which registers an instruction reads, and which it writes; a bit for each."""
    dst, src = 1 << insn.dst, 1 << insn.src
    match insn.cls:
        case Class.ALU | Class.ALU64:
            read = src if insn.by_register and insn.code != Alu.END else 0
            return (read if insn.code == Alu.MOV else read | dst), dst
        case Class.JMP | Class.JMP32:
            return _jump(insn, dst, src)
        case Class.LD:
            if insn.is_wide:
                return 0, dst
            return 1 << 6 | (src if insn.mode == Mode.IND else 0), 0b111111
        case Class.LDX:
            return src, dst
        case Class.ST:
            return dst, 0
    if insn.mode != Mode.ATOMIC or insn.imm == Atomic.STORE_REL:
        return dst | src, 0
    if insn.imm == Atomic.LOAD_ACQ:
        return src, dst
    if insn.imm == Atomic.CMPXCHG | FETCH:
        return dst | src | 1, 1
    return dst | src, src if insn.imm & FETCH else 0


def _jump(insn: Insn, dst: int, src: int) -> tuple[int, int]:
    if insn.is_exit:
        return 1, 0
    if insn.code == Jump.CALL:
        return _ARGUMENTS | (dst if insn.by_register else 0), 0b111111
    if insn.code == Jump.JA:
        return 0, 0
    return dst | (src if insn.by_register else 0), 0
