"""Which loops end: a register grows, or shrinks, in every round, and there is only so much room for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wbpf.bpf.user.flow import Flow, Function, successors
from wbpf.bpf.user.isa import Alu, Class, Insn
from wbpf.bpf.user.verifier.liveness import uses
from wbpf.bpf.user.verifier.ranges import ALL, ALL32, Range

ROUNDS_MOST = 1 << 26  # of all loops of a program inside each other, with those of the functions they call


def bounded_jumps(flow: Flow, added: Mapping[int, Range]) -> set[int]:
    """The jumps back that are taken a limited number of times.

    Args:
        flow: the program.
        added: what the destination of an addition or subtraction can hold before it.
    """
    bounded: set[int] = set()
    costs: dict[int, int] = {}
    for entry in flow.functions:
        _cost(flow, entry, added, costs, bounded)
    return bounded


def _cost(
    flow: Flow, entry: int, added: Mapping[int, Range], costs: dict[int, int], bounded: set[int]
) -> int:
    """Jumps back that a call of a function may take, with those of its callees, at most about."""
    if entry in costs:
        return costs[entry]
    function = flow.functions[entry]
    inner = 1 + sum(
        _cost(flow, callee, added, costs, bounded) for callee in sorted(function.called | function.taken)
    )
    loops = {
        insn.at: _body(function, insn)
        for insn in function.insns.values()
        if insn.is_jump and insn.target <= insn.at
    }
    rounds = {at: _rounds(function, body, at, added) for at, body in loops.items()}
    worst = 1
    for at, body in loops.items():
        total = inner
        for other, around in loops.items():
            if body <= around:
                total *= max(rounds[other] or 1, 1)
        if rounds[at] and total <= ROUNDS_MOST:
            bounded.add(at)
            worst = max(worst, total)
    costs[entry] = max(worst, inner)
    return costs[entry]


def _body(function: Function, jump: Insn) -> frozenset[int]:
    """The instructions of a loop: those from which the jump back is reached without passing its beginning.

    Empty if the loop can be entered elsewhere.
    """
    before: dict[int, list[int]] = {}
    for insn in function.insns.values():
        for later in successors(insn):
            before.setdefault(later, []).append(insn.at)
    body = {jump.target}
    todo = [jump.at]
    while todo:
        at = todo.pop()
        if at in body:
            continue
        body.add(at)
        todo.extend(before.get(at, ()))
    if function.entry in body and function.entry != jump.target:
        return frozenset()
    return frozenset(body)


def _rounds(function: Function, body: frozenset[int], jump: int, added: Mapping[int, Range]) -> int | None:
    """How often a loop is run through at most; None if that is not known."""
    best = None
    for at in body:
        insn = function.insns[at]
        if (
            insn.cls not in (Class.ALU, Class.ALU64)
            or insn.code not in (Alu.ADD, Alu.SUB)
            or insn.by_register
        ):
            continue
        step = insn.imm if insn.code == Alu.ADD else -insn.imm
        room = added.get(at)
        if not step or room is None or not _is_only_writer(function, body, insn):
            continue
        most = ALL if insn.cls is Class.ALU64 else ALL32
        if room.high + step > most or room.low + step < 0 or not _is_passed(function, body, jump, at):
            continue
        rounds = (room.high - room.low) // abs(step) + 1
        best = rounds if best is None else min(best, rounds)
    return best


def _is_only_writer(function: Function, body: Iterable[int], add: Insn) -> bool:
    bit = 1 << add.dst
    return all(at == add.at or not uses(function.insns[at])[1] & bit for at in body)


def _is_passed(function: Function, body: frozenset[int], jump: int, at: int) -> bool:
    """Whether every round goes through an instruction."""
    start = function.insns[jump].target
    if at in (start, jump):
        return True
    seen = {at}
    todo = [start]
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        if place == jump:
            return False
        seen.add(place)
        todo.extend(later for later in successors(function.insns[place]) if later in body)
    return True
