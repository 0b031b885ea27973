"""Which loops end: they were followed to the end, or a register grows in each round and has not much room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wbpf.bpf.user.flow import Flow, Function, successors
from wbpf.bpf.user.isa import Alu, Class, Insn
from wbpf.bpf.user.verifier.liveness import uses
from wbpf.bpf.user.verifier.ranges import ALL, ALL32, Range

ROUNDS_MOST = 1 << 26  # of all loops of a program inside each other, with those of the functions they call


class Loops:
    """Judges the jumps back of a program; what is left of its loops without one that ends is looked at again.

    Args:
        flow: the program.
        added: what the destination of an addition or subtraction can hold before it, by index.
        cyclic: places to which a way came back with nothing new: what goes through them may go on for ever.
        followed: instructions, over all ways.
    """

    def __init__(self, flow: Flow, added: Mapping[int, Range], cyclic: set[int], followed: int) -> None:
        self._flow, self._added, self._cyclic, self._followed = flow, added, cyclic, followed
        self._costs: dict[int, int] = {}
        self.bounded: set[int] = set()
        for entry in flow.functions:
            self._cost(entry)

    def _cost(self, entry: int) -> int:
        """Jumps back that a call of a function may take, with those of its callees, at most."""
        if entry in self._costs:
            return self._costs[entry]
        function = self._flow.functions[entry]
        inner = 1 + sum(self._cost(callee) for callee in sorted(function.called | function.taken))
        ends = not any(
            self._cyclic.intersection(self._flow.functions[reached].insns)
            for reached in reached_from(self._flow, entry)
        )
        cost = inner
        rounds_so_far = 1
        gone = _in_no_loop(function)  # jumps back that were judged to be bounded
        self.bounded.update(gone)
        while True:
            found = {}
            for loop in _components(function, gone):
                for at in loop:
                    insn = function.insns[at]
                    if not insn.is_jump or insn.target > at or insn.target not in loop or at in gone:
                        continue
                    rounds = self._followed if ends else self._rounds(function, loop, at)
                    if rounds:
                        found[at] = rounds
            if not found:
                break
            rounds_so_far = min(rounds_so_far * max(found.values()), ALL)
            gone.update(found)
            if rounds_so_far * inner <= ROUNDS_MOST or ends:
                self.bounded.update(found)
                cost = max(cost, inner if ends else rounds_so_far * inner)
        self._costs[entry] = cost
        return cost

    def _rounds(self, function: Function, loop: frozenset[int], jump: int) -> int | None:
        """How often a jump back is taken at most, as long as control stays in the loop; None: not known."""
        best = None
        for at in loop:
            insn = function.insns[at]
            if insn.cls not in (Class.ALU, Class.ALU64) or insn.code not in (Alu.ADD, Alu.SUB):
                continue
            if insn.by_register:
                continue
            step = insn.imm if insn.code == Alu.ADD else -insn.imm
            room = self._added.get(at)
            if not step or room is None or not _is_only_writer(function, loop, insn):
                continue
            most = ALL if insn.cls is Class.ALU64 else ALL32
            if room.high + step > most or room.low + step < 0 or not _is_passed(function, loop, jump, at):
                continue
            rounds = (room.high - room.low) // abs(step) + 1
            best = rounds if best is None else min(best, rounds)
        return best


def reached_from(flow: Flow, entry: int) -> set[int]:
    """A function and all that it may call, directly or through others."""
    found: set[int] = set()
    todo = [entry]
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            function = flow.functions[at]
            todo.extend(flow.callbacks if function.calls_registers else ())
            todo.extend(function.called | function.taken)
    return found


def _in_no_loop(function: Function) -> set[int]:
    """Jumps back that the compiler's order of the code has made: nothing leads to them from where they go."""
    loops = list(_components(function, set()))
    back = (insn for insn in function.insns.values() if insn.is_jump and insn.target <= insn.at)
    return {insn.at for insn in back if not any(insn.at in loop and insn.target in loop for loop in loops)}


def _components(function: Function, gone: set[int]) -> Iterator[frozenset[int]]:
    """The strongly connected components with a loop, without the jumps `gone` (Tarjan, not recursive)."""
    insns = function.insns
    if not any(insn.is_jump and insn.target <= insn.at and insn.at not in gone for insn in insns.values()):
        return
    order: dict[int, int] = {}
    lowest: dict[int, int] = {}
    stack: list[int] = []
    waiting: set[int] = set()
    for root in insns:
        if root in order:
            continue
        work = [(root, iter(_next(insns[root], gone)))]
        order[root] = lowest[root] = len(order)
        stack.append(root)
        waiting.add(root)
        while work:
            at, later = work[-1]
            for follower in later:
                if follower not in order:
                    order[follower] = lowest[follower] = len(order)
                    stack.append(follower)
                    waiting.add(follower)
                    work.append((follower, iter(_next(insns[follower], gone))))
                    break
                if follower in waiting:
                    lowest[at] = min(lowest[at], order[follower])
            else:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[at])
                if lowest[at] == order[at]:
                    members = set()
                    while at not in members:
                        members.add(stack.pop())
                    waiting -= members
                    if len(members) > 1 or at in _next(insns[at], gone):
                        yield frozenset(members)


def _next(insn: Insn, gone: set[int]) -> tuple[int, ...]:
    """Where control may go, without a jump that is gone."""
    after = successors(insn)
    return tuple(at for at in after if at != insn.target) if insn.at in gone else after


def _is_only_writer(function: Function, loop: frozenset[int], add: Insn) -> bool:
    bit = 1 << add.dst
    return all(at == add.at or not uses(function.insns[at])[1] & bit for at in loop)


def _is_passed(function: Function, loop: frozenset[int], jump: int, at: int) -> bool:
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
        todo.extend(later for later in successors(function.insns[place]) if later in loop)
    return True
