"""Following all ways through a program, with what is known of its values.

Each way is followed until it ends or comes to a place where more was allowed already. A loop is followed
exactly for `_PRECISE` rounds; then what its rounds have in common is looked for, by widening to the next
number that the program itself compares with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wbpf.bpf.user.flow import Flow, code_target
from wbpf.bpf.user.isa import FETCH, FRAMES_MOST, Alu, Atomic, Call, Class, Insn, Jump, Mode, Wide
from wbpf.bpf.user.proof import ArrayLookup, Proof
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.branches import refine
from wbpf.bpf.user.verifier.calls import Calls
from wbpf.bpf.user.verifier.liveness import live_before, relevant_before
from wbpf.bpf.user.verifier.loops import Loops
from wbpf.bpf.user.verifier.memory import FAR, Surroundings, moved
from wbpf.bpf.user.verifier.models import Context, MapModel
from wbpf.bpf.user.verifier.ranges import UNKNOWN, Range, known, of_bits
from wbpf.bpf.user.verifier.state import Frame, State
from wbpf.bpf.user.verifier.values import UNSET, Kind, Pointer, Unset, Value
from wbpf.bpf.user.verifier.widening import Widening

_PRECISE = 80  # visits of a place before states are merged
_PRECISE_AT_FIRST, _AT_FIRST = 4000, 50_000  # as long as so few instructions were followed
_LOOKED_AT = 12  # states at a place that a new one is compared with
_PACKET_MOST = 0xFFFF
_INSNS_MOST = 8_000_000


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
    return _Verifier(flow, context, list(maps)).run()


class _Verifier:
    def __init__(self, flow: Flow, context: Context, maps: list[MapModel]) -> None:
        self.flow, self.maps = flow, maps
        self.around = Surroundings(context, maps)
        self.insns: Mapping[int, Insn] = {}
        for function in flow.functions.values():
            self.insns = {**self.insns, **function.insns}
        self.leaders = frozenset().union(*(function.leaders for function in flow.functions.values()))
        self.live = {entry: live_before(function) for entry, function in flow.functions.items()}
        self.relevant = {entry: relevant_before(function) for entry, function in flow.functions.items()}
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
        self.work: list[State] = []
        self.count = 0
        self.calls = Calls(self)
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
            if state.at in self.leaders and not self._is_new(state):
                return
            self.count += 1
            if self.count > _INSNS_MOST:
                self.fatal[state.at] = f"more than {_INSNS_MOST} instructions had to be followed"
                self.work.clear()
                return
            self.reached.add(state.at)
            insn = self.insns[state.at]
            if insn.is_exit:
                if not self._return(state, insn):
                    return
            elif insn.cls in (Class.JMP, Class.JMP32):
                if not self._jump(state, insn):
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
        if visits > (_PRECISE_AT_FIRST if self.count < _AT_FIRST else _PRECISE):
            self.cyclic.add(state.at)
            compatible = [other for other in seen if other.tokens == state.tokens]
            merged = state
            for other in compatible[-1:]:
                merged = self.widening.widened(other, other.joined(merged))
            self.seen[key] = seen = [other for other in seen if other.tokens != state.tokens]
            state.frames, state.room = merged.frames, merged.room
        kept = state.copy()
        state.parent = kept
        seen.append(kept)
        same[looks] = kept
        return True

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

    def _right(self, state: State, insn: Insn) -> Value:
        return self.read(state, insn.src, insn.at) if insn.by_register else known(insn.imm)

    def _plain(self, state: State, insn: Insn) -> None:
        match insn.cls:
            case Class.ALU | Class.ALU64:
                state.frame.registers[insn.dst] = self._alu(state, insn)
            case Class.LD if insn.is_wide:
                state.frame.registers[insn.dst] = self._wide(insn)
            case Class.LD:
                self._packet_load(state, insn)
            case Class.LDX:
                state.frame.registers[insn.dst] = self._load(state, insn)
            case _ if insn.mode == Mode.ATOMIC:
                self._atomic(state, insn)
            case _:
                value = known(insn.imm) if insn.cls is Class.ST else self.read(state, insn.src, insn.at)
                self._store(state, insn, value)

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
        return Pointer(Kind.VALUE, low, known(high), model.value_bytes, writable=model.constant is None)

    def _alu(self, state: State, insn: Insn) -> Value:
        code, wide = insn.code, insn.cls is Class.ALU64
        if code == Alu.END:
            value = self._number(self.read(state, insn.dst, insn.at))
            little = not wide and not insn.by_register
            return ranges.truncate(value, insn.imm) if little else of_bits(insn.imm)
        right = self._right(state, insn) if code != Alu.NEG else known(0)
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
        result = _arithmetic(Alu(code), a, b, 64 if wide else 32, is_signed=insn.off == 1)
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
        grows = isinstance(left, Pointer) and operand == "dst" and self.pointers.get(insn.at) != ""
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
        if by.high > _PACKET_MOST or pointer.offset.slow < 0:
            return UNSET
        # From here on another origin: how much is behind it is not known yet.
        state.forget_pointers(insn.at + 1, Kind.PACKET)
        return Pointer(Kind.PACKET, insn.at + 1, known(0))

    # ---- memory ----

    def _packet_load(self, state: State, insn: Insn) -> None:
        self._demand_nothing_kept(state, insn)  # a packet that is too short ends the program
        context = self.read(state, 6, insn.at)
        around = self.around.context
        if not around.memory and around.family not in ("socket", "tc"):
            self.refuse(insn.at, "loads from the packet are for socket filters and TC programs alone")
        elif not isinstance(context, Pointer) or context.kind not in (Kind.CONTEXT, Kind.MEMORY):
            self.refuse(insn.at, f"r6 is {context}: loads from the packet want the context there")
        for n in range(1, 6):
            state.frame.registers[n] = UNSET
        state.frame.registers[0] = of_bits(8 * insn.width)

    def _load(self, state: State, insn: Insn) -> Value:
        base = self.read(state, insn.src, insn.at)
        bits = 8 * insn.width
        why = self.around.problem(state, base, insn.off, insn.width, write=False)
        value: Value = of_bits(bits)
        place = None if why else self.around.place(base, insn.off, insn.width)
        if self.context_loads.setdefault(insn.at, place) != place:
            self.refuse(insn.at, "it loads an address from the context, or something else")
        if not why and isinstance(base, Pointer):
            value, why = self.around.load(state, base, insn.off, insn.width, insn.at)
        if why:
            self.problem(insn.at, why)
        if insn.mode == Mode.MEMSX and isinstance(value, Range):
            return ranges.sign_extend(value, bits)
        return value

    def _store(self, state: State, insn: Insn, value: Value) -> None:
        base = self.read(state, insn.dst, insn.at)
        why = self.around.problem(state, base, insn.off, insn.width, write=True)
        if not why and isinstance(base, Pointer):
            why = self.around.store_problem(base, insn.off, insn.width)
        if why or not isinstance(base, Pointer):
            self.problem(insn.at, why)
            state.forget_stacks()
        else:
            self.around.store(state, base, insn.off, insn.width, value)

    def _atomic(self, state: State, insn: Insn) -> None:
        if insn.imm == Atomic.LOAD_ACQ:
            state.frame.registers[insn.dst] = self._aligned_load(state, insn, insn.src)
            return
        old = of_bits(8 * insn.width)
        value = self.read(state, insn.src, insn.at)
        if insn.imm != Atomic.STORE_REL:
            self._aligned_load(state, insn, insn.dst)
            value = old
        self._check_aligned(state, insn, insn.dst)
        self._store(state, insn, value)
        if insn.imm == Atomic.CMPXCHG | FETCH:
            self.read(state, 0, insn.at)
            state.frame.registers[0] = old
        elif insn.imm & FETCH and insn.imm != Atomic.STORE_REL:
            state.frame.registers[insn.src] = old

    def _aligned_load(self, state: State, insn: Insn, register: int) -> Value:
        base = self.read(state, register, insn.at)
        why = self.around.problem(state, base, insn.off, insn.width, write=False)
        if not why and isinstance(base, Pointer):
            _, why = self.around.load(state, base, insn.off, insn.width, insn.at)
        if why:
            self.problem(insn.at, why)
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
                self.problem(insn.at, f"the address is not known to be a multiple of {insn.width}")

    # ---- control ----

    def _return(self, state: State, insn: Insn) -> bool:
        value = self.read(state, 0, insn.at)
        frame = state.frames.pop()
        if not state.frames or frame.back < 0:  # or a callback
            self._demand_nothing_kept(state, insn)
            return False
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

    def _jump(self, state: State, insn: Insn) -> bool:
        if insn.code == Jump.CALL:
            return self._call(state, insn)
        if insn.code == Jump.JA:
            state.at = insn.target
            return True
        left, right = self.read(state, insn.dst, insn.at), self._right(state, insn)
        other = state.copy()
        if self._assume(other, insn, left, right, taken=False):
            other.at = insn.next
            self.work.append(other)
        state.at = insn.target
        return self._assume(state, insn, left, right, taken=True)

    def _assume(self, state: State, insn: Insn, left: Value, right: Value, *, taken: bool) -> bool:
        """Note what holds on one side of a jump; false if control can't get there."""
        jump, narrow = Jump(insn.code), insn.cls is Class.JMP32
        if isinstance(left, Range) and isinstance(right, Range):
            pair = refine(jump, left, right, taken=taken, narrow=narrow)
            if pair is None:
                return False
            state.frame.registers[insn.dst] = pair[0]
            if insn.by_register and insn.src != insn.dst and insn.src != 10 and jump is not Jump.JSET:
                state.frame.registers[insn.src] = pair[1]
            return True
        if narrow:
            return True
        if isinstance(left, Pointer) and isinstance(right, Range) and right.is_known and not right.low:
            return self._assume_null(state, jump, left, taken=taken)
        if isinstance(left, Pointer) and isinstance(right, Pointer):
            _assume_room(state, jump, left, right, taken=taken)
        return True

    def _assume_null(self, state: State, jump: Jump, pointer: Pointer, *, taken: bool) -> bool:
        if jump not in (Jump.JEQ, Jump.JNE):
            return True
        null = taken == (jump is Jump.JEQ)
        if not pointer.nullable:
            return not null
        state.settle_null(pointer.nullable, null=null)
        return True

    def _call(self, state: State, insn: Insn) -> bool:
        if not insn.by_register and insn.src == Call.LOCAL:
            return self._call_local(state, insn, insn.target)
        if insn.by_register:
            function = self.read(state, insn.dst, insn.at)
            if (
                not isinstance(function, Pointer)
                or function.kind is not Kind.FUNCTION
                or not function.offset.is_known
            ):
                self.refuse(insn.at, f"r{insn.dst} is {function}, not a function of the program")
                return False
            return self._call_local(state, insn, function.of)
        if insn.src == Call.KFUNC:
            self.refuse(insn.at, "there are no kernel functions in user space")
            return False
        return self.calls.helper(state, insn)

    def _demand_nothing_kept(self, state: State, insn: Insn) -> None:
        if state.holds_lock:
            self.refuse(insn.at, "a lock is held here")
        elif state.tokens:
            taken = min(state.tokens) - 1
            self.refuse(insn.at, f"what instruction {taken} reserved is neither submitted nor discarded")

    def _call_local(self, state: State, insn: Insn, entry: int) -> bool:
        if state.holds_lock:
            self.refuse(insn.at, "a lock is held: no function may be called")
            return False
        if len(state.frames) >= FRAMES_MOST:
            self.refuse(insn.at, f"calls are more than {FRAMES_MOST} frames deep")
            return False
        self.enter(state, entry, insn.next)
        return True


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
    inside = {Jump.JGT: not taken, Jump.JLE: taken, Jump.JGE: not taken, Jump.JLT: taken}.get(jump, False)
    if inside:
        more = 1 if jump in (Jump.JGE, Jump.JLT) else 0
        room = ranges.signed(left.offset.low) + more
        state.room[left.of] = max(state.room.get(left.of, 0), room)


def _arithmetic(code: Alu, a: Range, b: Range, bits: int, *, is_signed: bool) -> Range:
    match code:
        case Alu.ADD:
            return ranges.add(a, b)
        case Alu.SUB | Alu.NEG:
            return ranges.subtract(a, b) if code is Alu.SUB else ranges.subtract(known(0), a)
        case Alu.MUL:
            return ranges.multiply(a, b)
        case Alu.AND:
            return ranges.both(a, b)
        case Alu.OR:
            return ranges.either(a, b)
        case Alu.XOR:
            return ranges.differ(a, b)
        case Alu.LSH:
            return ranges.shift_left(a, b, bits)
        case Alu.RSH:
            return ranges.shift_right(a, b, bits)
        case Alu.ARSH:
            return ranges.shift_signed(a, b, bits)
        case Alu.DIV:
            return of_bits(bits) if is_signed else ranges.divide(a, b)
        case _:
            return of_bits(bits) if is_signed else ranges.modulo(a, b)
