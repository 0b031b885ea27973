"""Following all ways through a program, with what is known of its values.

Each way is followed until it ends or comes to a place where more was allowed already. A loop is followed
exactly for `_PRECISE` rounds; then what its rounds have in common is looked for, by widening to the next
number that the program itself compares with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wbpf.bpf.user.flow import Flow, blocks, code_target
from wbpf.bpf.user.isa import Alu, Call, Class, Insn, Mode, Wide
from wbpf.bpf.user.proof import ArrayLookup, Proof
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.accesses import Accesses
from wbpf.bpf.user.verifier.arithmetic import arithmetic
from wbpf.bpf.user.verifier.callbacks import Callbacks
from wbpf.bpf.user.verifier.calls import TAIL_CALL, Calls
from wbpf.bpf.user.verifier.control import Control
from wbpf.bpf.user.verifier.copies import copies_before
from wbpf.bpf.user.verifier.liveness import live_before, relevant_before
from wbpf.bpf.user.verifier.loops import Loops, reached_from
from wbpf.bpf.user.verifier.memory import FAR, Surroundings, moved
from wbpf.bpf.user.verifier.models import Context, MapModel
from wbpf.bpf.user.verifier.ranges import UNKNOWN, Range, known, of_bits
from wbpf.bpf.user.verifier.signatures import SIGNATURES
from wbpf.bpf.user.verifier.state import Frame, State
from wbpf.bpf.user.verifier.values import SOMEWHERE, UNSET, Kind, Pointer, Unset, Value
from wbpf.bpf.user.verifier.widening import Widening

_PRECISE = 80  # visits of a place before states are merged
_PRECISE_AT_FIRST, _AT_FIRST = 4000, 100_000  # as long as so few instructions were followed
_INSNS_MOST = 8_000_000
#: How many visits are told apart, and how many instructions are followed so: where there is much to follow,
#: what the ways have in common may be enough.
_ATTEMPTS = ((_PRECISE_AT_FIRST, 20_000), (8, 60_000), (_PRECISE_AT_FIRST, _INSNS_MOST))
_BLOCK_MOST = 32
_LOOKED_AT = 12  # states at a place that a new one is compared with
_PACKET_MOST = 0xFFFF


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be proved.

    Args:
        at: index of the instruction.
    """

    at: int
    why: str

    def __str__(self) -> str:
        return f"instruction {self.at}: {self.why}"


@dataclass(slots=True)
class Verdict:
    """What was found out.

    Args:
        proof: for the translator; complete if there are no problems.
        problems: that a check at run time takes care of, the first found first.
        fatal: what no check can make right: a helper called with what it does not take.
        insns: followed, over all ways.
    """

    proof: Proof
    problems: list[Problem] = field(default_factory=list)
    fatal: list[Problem] = field(default_factory=list)
    insns: int = 0


def verify(flow: Flow, context: Context, maps: Sequence[MapModel] = ()) -> Verdict:
    """Look at all that a program may do.

    Args:
        flow: the program.
        context: what r1 points to.
        maps: in the order of their slots.
    """
    callbacks = Callbacks()
    for precise, most in _ATTEMPTS:
        while True:
            verifier = _Verifier(flow, context, list(maps), callbacks, precise, most)
            verdict = verifier.run()
            if not callbacks.was_deceived:
                break
            callbacks.again()
        if verifier.count <= most and (verdict.proof.complete or precise > _PRECISE):
            break
        callbacks.again()
    return verdict


class _Verifier:
    def __init__(
        self,
        flow: Flow,
        context: Context,
        maps: list[MapModel],
        callbacks: Callbacks,
        precise: int,
        most: int,
    ) -> None:
        self.precise, self.most = precise, most
        self.flow, self.maps, self.callbacks = flow, maps, callbacks
        self.around = Surroundings(context, maps, callbacks)
        self.insns: Mapping[int, Insn] = {}
        for function in flow.functions.values():
            self.insns = {**self.insns, **function.insns}
        self.leaders = frozenset().union(*(function.leaders for function in flow.functions.values()))
        #: where ways that have become alike are found in long blocks
        self.between = frozenset(
            insn.at
            for function in flow.functions.values()
            for block in blocks(function)
            for insn in block[_BLOCK_MOST::_BLOCK_MOST]
        )
        self.live = {entry: live_before(function) for entry, function in flow.functions.items()}
        self.relevant = {entry: relevant_before(function) for entry, function in flow.functions.items()}
        self.copies = {entry: copies_before(function) for entry, function in flow.functions.items()}
        self.seen: dict[tuple[int, tuple[int, ...]], list[State]] = {}
        #: by a hash of the registers: to find one that is alike among many
        self.same: dict[tuple[int, tuple[int, ...]], dict[int, State]] = {}
        self.cyclic: set[int] = set()
        self.visits: dict[tuple[int, tuple[int, ...]], int] = {}
        self.problems: dict[int, str] = {}
        self.fatal: dict[int, str] = {}
        self.reached: set[int] = set()
        self.pointers: dict[int, str] = {}
        self.lookups: dict[int, ArrayLookup | None] = {}
        self.context_loads: dict[int, int | None] = {}
        #: what is added where, by all ways: for loops()
        self.added: dict[int, Range] = {}
        self.moving: dict[int, bool] = {}
        self.work: list[State] = []
        self.count = 0
        self.accesses, self.control, self.calls = Accesses(self), Control(self), Calls(self)
        self.widening = Widening(self.insns.values(), maps)

    def run(self) -> Verdict:
        first = State(0)
        first.frames.append(Frame(0, -1))
        context = self.around.context
        kind = Kind.MEMORY if context.memory else Kind.CONTEXT
        first.frame.registers[1] = Pointer(kind, -1, known(0), context.bytes if context.memory else 0)
        if context.memory:
            first.frame.registers[2] = known(context.bytes)
        self.work.append(first)
        while self.work:
            self._follow(self.work.pop())
        return self._verdict()

    def _verdict(self) -> Verdict:
        proof = Proof()
        for at in self.reached:
            insn = self.insns[at]
            if insn.cls in (Class.LDX, Class.ST, Class.STX) and at not in self.problems:
                proof.safe.add(at)
        proof.pointers = {at: which for at, which in self.pointers.items() if which}
        proof.lookups = {at: lookup for at, lookup in self.lookups.items() if lookup and at not in self.fatal}
        proof.helpers = dict(self.around.context.helpers)
        proof.zeroed = self.around.zeroed
        proof.context_loads = {at: place for at, place in self.context_loads.items() if place is not None}
        proof.bounded = Loops(self.flow, self.added, self.cyclic, self.count).bounded
        for function in self.flow.functions.values():
            for insn in function.insns.values():
                back = insn.is_jump and insn.target <= insn.at
                if back and insn.at in self.reached and insn.at not in proof.bounded:
                    self.problems.setdefault(insn.at, "the loop is not proved to end")
        proof.complete = not self.problems and not self.fatal
        problems = [Problem(at, why) for at, why in sorted(self.problems.items())]
        fatal = [Problem(at, why) for at, why in sorted(self.fatal.items())]
        return Verdict(proof, problems, fatal, self.count)

    # ---- following ----

    def _follow(self, state: State) -> None:
        while True:
            if (state.at in self.leaders or state.at in self.between) and not self._is_new(state):
                return
            self.count += 1
            if self.count > self.most:
                self.fatal[state.at] = f"more than {self.most} instructions had to be followed"
                self.work.clear()
                return
            self.reached.add(state.at)
            insn = self.insns[state.at]
            if insn.is_exit:
                if not self.control.leave(state, insn):
                    return
            elif insn.cls in (Class.JMP, Class.JMP32):
                if not self.control.jump(state, insn):
                    return
            else:
                self._plain(state, insn)
                state.at = insn.next

    def _is_new(self, state: State) -> bool:
        """Whether it allows more than what was followed from here already; merges what is too much."""
        frame = state.frame
        live, relevant = self.live[frame.entry][state.at], self.relevant[frame.entry][state.at]
        registers = frame.registers
        for n in range(10):
            if not live >> n & 1:
                registers[n] = UNSET
            elif not relevant >> n & 1 and isinstance(registers[n], Range):
                registers[n] = UNKNOWN
        key = (state.at, state.chain)
        seen = self.seen.setdefault(key, [])
        same = self.same.setdefault(key, {})
        looks = hash(tuple(registers))
        candidates = seen[: -_LOOKED_AT - 1 : -1]
        if looks in same:
            candidates.append(same[looks])
        for other in candidates:
            if other.contains(state):
                if state.comes_from(other):
                    self.cyclic.add(state.at)
                return False
        visits = self.visits[key] = self.visits.get(key, 0) + 1
        precise = self.precise if self.count < _AT_FIRST else min(self.precise, _PRECISE)
        if visits > precise and state.at not in self.between:
            self.cyclic.add(state.at)
            compatible = [other for other in seen if other.keeps_as(state)]
            merged = state
            for other in compatible[-1:]:
                merged = self.widening.widened(other, other.joined(merged))
            self.seen[key] = seen = [other for other in seen if not other.keeps_as(state)]
            state.frames, state.room = merged.frames, merged.room
        kept = state.copy()
        state.parent = kept
        seen.append(kept)
        same[looks] = kept
        return True

    def moves_packet(self, entry: int) -> bool:
        """Whether a function, or one that it calls, may move the packet."""
        if entry not in self.moving:
            reached = reached_from(self.flow, entry)
            insns = (insn for function in reached for insn in self.flow.functions[function].insns.values())
            numbers = {insn.imm for insn in insns if insn.opcode == 0x85 and insn.src == Call.HELPER}
            known_ones = (SIGNATURES[number] for number in numbers if number in SIGNATURES)
            self.moving[entry] = TAIL_CALL in numbers or any(one.moves_packet for one in known_ones)
        return self.moving[entry]

    def problem(self, at: int, why: str) -> None:
        self.problems.setdefault(at, why)

    def refuse(self, at: int, why: str) -> None:
        self.fatal.setdefault(at, why)

    # ---- values ----

    def read(self, state: State, register: int, at: int) -> Value:
        value = state.get(register)
        if isinstance(value, Unset):
            self.problem(at, f"r{register} was never set")
            return UNKNOWN
        return value

    def _number(self, value: Value) -> Range:
        """As a number: an address can be any."""
        return value if isinstance(value, Range) else UNKNOWN

    def right(self, state: State, insn: Insn) -> Value:
        return self.read(state, insn.src, insn.at) if insn.by_register else known(insn.imm)

    def _plain(self, state: State, insn: Insn) -> None:
        match insn.cls:
            case Class.ALU | Class.ALU64:
                state.frame.registers[insn.dst] = self._alu(state, insn)
            case Class.LD if insn.is_wide:
                state.frame.registers[insn.dst] = self._wide(insn)
            case Class.LD:
                self.accesses.packet_load(state, insn)
            case Class.LDX:
                state.frame.registers[insn.dst] = self.accesses.load(state, insn)
            case _ if insn.mode == Mode.ATOMIC:
                self.accesses.atomic(state, insn)
            case _:
                value = known(insn.imm) if insn.cls is Class.ST else self.read(state, insn.src, insn.at)
                self.accesses.store(state, insn, value)

    def _wide(self, insn: Insn) -> Value:
        low, high = insn.imm & 0xFFFFFFFF, insn.imm >> 32
        match insn.src:
            case Wide.NUMBER:
                return known(insn.imm)
            case Wide.CODE:
                return Pointer(Kind.FUNCTION, code_target(insn), known(0))
        if insn.src not in (Wide.MAP_INDEX, Wide.MAP_INDEX_VALUE) or low >= len(self.maps):
            self.refuse(insn.at, "it refers to a map or a variable that is not there")
            return UNKNOWN
        match insn.src:
            case Wide.MAP_INDEX:
                return Pointer(Kind.MAP, low, known(0))
        model = self.maps[low]
        return Pointer(Kind.VALUE, low, known(high), model.value_bytes, writable=model.is_writable)

    def _alu(self, state: State, insn: Insn) -> Value:
        code, wide = insn.code, insn.cls is Class.ALU64
        if code == Alu.END:
            value = self._number(self.read(state, insn.dst, insn.at))
            little = not wide and not insn.by_register
            return ranges.truncate(value, insn.imm) if little else of_bits(insn.imm)
        right = self.right(state, insn) if code != Alu.NEG else known(0)
        if code == Alu.MOV:
            if insn.off:
                value = ranges.sign_extend(self._number(right), insn.off, 64 if wide else 32)
                return value if wide else ranges.truncate(value)
            return right if wide else ranges.truncate(self._number(right))
        left = self.read(state, insn.dst, insn.at)
        if wide and code in (Alu.ADD, Alu.SUB):
            return self._sum(state, insn, left, right)
        a, b = self._number(left), self._number(right)
        if not wide:
            a, b = ranges.truncate(a), ranges.truncate(b)
        if code in (Alu.ADD, Alu.SUB):
            self._note_sum(insn.at, a)
        result = arithmetic(Alu(code), a, b, 64 if wide else 32, is_signed=insn.off == 1)
        return result if wide else ranges.truncate(result)

    def _sum(self, state: State, insn: Insn, left: Value, right: Value) -> Value:
        """Addition and subtraction of 64 bits, which addresses go through."""
        plus = insn.code == Alu.ADD
        operand = ""
        result: Value
        if isinstance(left, Pointer) and isinstance(right, Range):
            operand, by = "dst", right if plus else ranges.subtract(known(0), right)
            result = self._moved(state, insn, left, by)
        elif plus and isinstance(right, Pointer) and isinstance(left, Range):
            operand, result = "src", self._moved(state, insn, right, left)
        elif isinstance(left, Range) and isinstance(right, Range):
            self._note_sum(insn.at, left)
            if self.pointers.setdefault(insn.at, ""):
                self.pointers[insn.at] = ""
                self.added[insn.at] = UNKNOWN
            return ranges.add(left, right) if plus else ranges.subtract(left, right)
        else:
            result = UNKNOWN
        # An address grows as a number does; it begins at most so far below its origin.
        # That of an address in the packet may be another in each round.
        grows = isinstance(left, Pointer) and left.kind is not Kind.PACKET and operand == "dst"
        grows = grows and self.pointers.get(insn.at) != ""
        place = ranges.add(left.offset, known(FAR)) if grows and isinstance(left, Pointer) else UNKNOWN
        self._note_sum(insn.at, place)
        if self.pointers.setdefault(insn.at, operand) != operand:
            self.pointers[insn.at] = ""
        return result

    def _note_sum(self, at: int, left: Range) -> None:
        self.added[at] = ranges.join(self.added[at], left) if at in self.added else left

    def _moved(self, state: State, insn: Insn, pointer: Pointer, by: Range) -> Value:
        if pointer.kind is not Kind.PACKET or by.is_known or pointer.nullable:
            return moved(pointer, by)
        if by.high > _PACKET_MOST or pointer.offset.slow < 0 or pointer.of == SOMEWHERE:
            return Pointer(Kind.PACKET, SOMEWHERE, known(0))
        # From here on another origin: how much is behind it is not known yet.
        return Pointer(Kind.PACKET, state.fresh_origin(), known(0))
