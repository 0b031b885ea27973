"""The functions of a program and how control flows in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wbpf.bpf.user.isa import FRAMES_MOST, Class, Insn, Jump, Mode, Wide, invalid


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a program: what can be reached from its first instruction without a call.

    Args:
        entry: index of that instruction; 0 is the program's own.
        insns: by their index, in order.
        leaders: indexes at which basic blocks begin.
        called: entries of the local functions that it calls.
        taken: entries of those whose address it takes.
        calls_registers: it calls a function whose address is in a register.
    """

    entry: int
    insns: Mapping[int, Insn]
    leaders: frozenset[int]
    called: frozenset[int]
    taken: frozenset[int]
    calls_registers: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """All functions of a program.

    Args:
        functions: by entry.
        callbacks: entries of those whose address is taken.
        depth: frames that calls need at most.
    """

    functions: Mapping[int, Function]
    callbacks: frozenset[int]
    depth: int


def successors(insn: Insn) -> tuple[int, ...]:
    """Where control may go after an instruction: for a conditional jump behind it, then its target."""
    if insn.is_exit:
        return ()
    if insn.is_jump:
        return (insn.target,) if insn.code == Jump.JA else (insn.next, insn.target)
    return (insn.next,)


def code_target(insn: Insn) -> int:
    """The entry of the function whose address a wide immediate is."""
    low = insn.imm & 0xFFFFFFFF
    return insn.at + 1 + (low - (1 << 32) if low >> 31 else low)


def resolve_calls(insns: Sequence[Insn]) -> list[Insn]:
    """As it is, but for calls of a register just set to a number: those call the helper of this number."""
    entered = {insn.target for insn in insns if insn.is_jump or insn.is_local_call}
    entered |= {code_target(insn) for insn in insns if insn.is_wide and insn.src == Wide.CODE}
    numbers: dict[int, int] = {}
    resolved = []
    for insn in insns:
        if insn.at in entered:
            numbers.clear()
        if insn.opcode == 0x8D and insn.dst in numbers:
            insn = replace(insn, opcode=0x85, dst=0, imm=numbers[insn.dst])
        resolved.append(insn)
        if insn.opcode == 0xB7:
            numbers[insn.dst] = insn.imm
        elif insn.cls in (Class.ALU, Class.ALU64, Class.LDX) or insn.is_wide:
            numbers.pop(insn.dst, None)
        elif not (insn.is_jump or insn.cls is Class.ST or (insn.cls is Class.STX and insn.mode == Mode.MEM)):
            numbers.clear()
    return resolved


def analyse(insns: Sequence[Insn]) -> Flow:
    """Find the functions.

    Raises:
        FormatError: control runs out of the program, or functions call themselves or too deep.
    """
    by_index = {insn.at: insn for insn in insns}
    functions: dict[int, Function] = {}
    todo = [0]
    while todo:
        entry = todo.pop()
        if entry not in functions:
            functions[entry] = function = _function(entry, by_index)
            todo.extend(function.called | function.taken)
    callbacks = frozenset().union(*(function.taken for function in functions.values()))
    depths: dict[int, int] = {}
    for entry in functions:
        _depth(entry, functions, callbacks, depths, [])
    return Flow(functions, callbacks, depths[0])


def _function(entry: int, by_index: Mapping[int, Insn]) -> Function:
    seen: dict[int, Insn] = {}
    leaders = {entry}
    called, taken = set(), set()
    calls_registers = False
    todo = [entry]
    while todo:
        at = todo.pop()
        while at not in seen:
            insn = by_index.get(at)
            if insn is None:
                raise invalid(at, "control gets here, but no instruction begins here")
            seen[at] = insn
            if insn.is_local_call:
                called.add(insn.target)
            elif insn.is_wide and insn.src == Wide.CODE:
                taken.add(code_target(insn))
            calls_registers |= insn.opcode == 0x8D
            following = successors(insn)
            if insn.is_jump:
                leaders.update(following)
                todo.extend(following[1:])
            if not following:
                break
            at = following[0]
    insns = dict(sorted(seen.items()))
    return Function(entry, insns, frozenset(leaders), frozenset(called), frozenset(taken), calls_registers)


def _depth(
    entry: int,
    functions: Mapping[int, Function],
    callbacks: frozenset[int],
    depths: dict[int, int],
    path: list[int],
) -> int:
    """How many frames a function needs with all that it may call, at most."""
    if entry in path:
        raise invalid(entry, "the function calls itself")
    if entry not in depths:
        function = functions[entry]
        path.append(entry)
        callees = function.called | function.taken | (callbacks if function.calls_registers else frozenset())
        depths[entry] = 1 + max(
            (_depth(callee, functions, callbacks, depths, path) for callee in sorted(callees)), default=0
        )
        path.pop()
        if depths[entry] > FRAMES_MOST:
            raise invalid(entry, f"calls are more than {FRAMES_MOST} frames deep")
    return depths[entry]


def blocks(function: Function) -> Iterator[list[Insn]]:
    """The basic blocks of a function, in the order of their instructions."""
    block: list[Insn] = []
    for insn in function.insns.values():
        if block and (insn.at in function.leaders or block[-1].next != insn.at):
            yield block
            block = []
        block.append(insn)
        if insn.is_jump or insn.is_exit:
            yield block
            block = []
    if block:
        yield block
