"""Which registers are still read after an instruction: what the others hold makes no difference."""

from __future__ import annotations

from wbpf.bpf.user.flow import Function, successors
from wbpf.bpf.user.isa import FETCH, Alu, Atomic, Class, Insn, Jump, Mode

_ARGUMENTS = 0b111110


def live_before(function: Function) -> dict[int, int]:
    """A bit for each register that is read later, by index of instruction."""
    live = dict.fromkeys(function.insns, 0)
    before: dict[int, list[int]] = {}
    for insn in function.insns.values():
        for later in successors(insn):
            before.setdefault(later, []).append(insn.at)
    todo = set(function.insns)
    while todo:
        at = max(todo)
        todo.remove(at)
        insn = function.insns[at]
        after = 0
        for later in successors(insn):
            after |= live[later]
        read, written = uses(insn)
        now = after & ~written | read
        if now != live[at]:
            live[at] = now
            todo.update(before.get(at, ()))
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
