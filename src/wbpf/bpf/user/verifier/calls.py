"""Calls of helpers: whether the arguments are right, and what comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wbpf.bpf.user.isa import POISON, STACK_BYTES, Insn
from wbpf.bpf.user.proof import ArrayLookup
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.models import Arg, MapModel, Returns, Signature
from wbpf.bpf.user.verifier.ranges import UNKNOWN, Range, known, of_bits
from wbpf.bpf.user.verifier.signatures import SIGNATURES
from wbpf.bpf.user.verifier.state import Frame, State, caller_of
from wbpf.bpf.user.verifier.values import UNSET, Kind, Pointer, Unset, Value

if TYPE_CHECKING:
    from wbpf.bpf.user.verifier.verifier import _Verifier as Verifier

_CHANGES = {2, 3, 87, 88}  # update, delete, push, pop
_LOOKUP, _FOR_EACH, _DRAIN = 1, 164, 209
TAIL_CALL = 12
_LOCK, _UNLOCK = 93, 94
_PERCPU_ARRAY = 6
_PROG_ARRAY, _PERF, _STACKS, _OF_MAPS, _QUEUES, _RINGBUF = {3}, {4}, {7}, {12, 13}, {22, 23, 30}, {27}
_TARGETS = {14, 16, 17, 25}
_CONTEXTS = (Kind.CONTEXT, Kind.MEMORY)
_BYTES_MOST = 1 << 29
_ERRNO_MOST = 4095
#: Kinds of maps that a helper is for; helpers without an entry take those that have keys.
_KINDS = {
    12: _PROG_ARRAY,
    25: _PERF,
    27: _STACKS,
    51: _TARGETS,
    87: _QUEUES,
    88: _QUEUES,
    89: _QUEUES,
    130: _RINGBUF,
    131: _RINGBUF,
    134: _RINGBUF,
    209: {31},
}
_WITHOUT_KEYS = _PROG_ARRAY | _PERF | _QUEUES | _RINGBUF | _TARGETS | {31}
_FAMILIES = {"xdp": "XDP programs", "socket": "socket filters", "tc": "TC programs"}


class _Refused(Exception):
    """An argument is not right."""


class Calls:
    """Judges calls for a verifier."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def helper(self, state: State, insn: Insn) -> bool:
        """Follow a call of a helper; false if the way ends here."""
        signature = SIGNATURES.get(insn.imm)
        if signature is None:
            why = f"there is no helper {insn.imm} in user space"
            if insn.imm == POISON:
                why = "the types that it is for have no such member or value"
            self._verifier.refuse(insn.at, why)
            return False
        if signature.families and self._verifier.around.context.family not in signature.families:
            kinds = " and ".join(_FAMILIES[family] for family in signature.families)
            self._verifier.refuse(insn.at, f"bpf_{signature.name} is for {kinds} alone")
            return False
        try:
            call = _Call(self._verifier, state, insn, signature)
            call.check()
        except _Refused as refused:
            self._verifier.refuse(insn.at, f"bpf_{signature.name}: {refused}")
            return False
        if insn.imm == TAIL_CALL:
            self._go_on_elsewhere(state, insn)
        call.finish()
        state.at = insn.next
        return True

    def _go_on_elsewhere(self, state: State, insn: Insn) -> None:
        """A tail call ends the program, or its function; the other program may return anything."""
        self._verifier.control.demand_nothing_kept(state, insn)
        if len(state.frames) > 1:
            after = state.copy()
            after.drop_packets()
            after.frame.registers[0] = UNKNOWN
            if self._verifier.control.leave(after, insn):
                self._verifier.work.append(after)


class _Call:
    def __init__(self, verifier: Verifier, state: State, insn: Insn, signature: Signature) -> None:
        self.verifier, self.state, self.insn, self.signature = verifier, state, insn, signature
        self.slot = -1
        self.constant = 0
        self.function = -1
        self.record = 0
        self.bytes_most = 0

    @property
    def model(self) -> MapModel:
        return self.verifier.maps[self.slot]

    def check(self) -> None:
        if self.state.holds_lock and self.insn.imm != _UNLOCK:
            raise _Refused("a lock is held: only bpf_spin_unlock() may be called")
        args = self.signature.args
        for n, arg in enumerate(args, 1):
            value = self.state.get(n)
            if isinstance(value, Unset):
                raise _Refused(f"r{n} was never set; it wants {arg.value}")
            after = args[n] if n < len(args) else None
            if after in (Arg.SIZE, Arg.SIZE_OR_0):
                self._memory(n, value, arg, after)
            else:
                self._argument(n, value, arg)

    def _argument(self, n: int, value: Value, arg: Arg) -> None:
        wrong = _Refused(f"r{n} is {value}; it wants {arg.value}")
        match arg:
            case Arg.NUMBER:
                if not isinstance(value, Range):
                    raise wrong
            case Arg.CONTEXT:
                if not isinstance(value, Pointer) or value.kind not in _CONTEXTS or value.nullable:
                    raise wrong
                if value.of != -1 or value.offset != known(0):
                    raise wrong
            case Arg.MAP:
                self._map(value, wrong)
            case Arg.KEY:
                self._bytes(n, value, self.model.key_bytes, write=False)
            case Arg.VALUE_IN:
                self._bytes(n, value, self.model.value_bytes, write=False)
            case Arg.VALUE_OUT:
                self._bytes(n, value, self.model.value_bytes, write=True)
            case Arg.CONSTANT:
                if not isinstance(value, Range) or not value.is_known or not 0 < value.low < _BYTES_MOST:
                    raise wrong
                self.constant = value.low
            case Arg.RECORD:
                if (
                    not isinstance(value, Pointer)
                    or not value.token
                    or value.nullable
                    or value.offset != known(0)
                ):
                    raise wrong
                self.record = value.token
            case Arg.DYNPTR:
                if not isinstance(value, Pointer) or value.kind is not Kind.DYNPTR:
                    raise wrong
            case Arg.LOCK:
                self._lock(value, wrong)
            case Arg.FUNCTION:
                if (
                    not isinstance(value, Pointer)
                    or value.kind is not Kind.FUNCTION
                    or value.offset != known(0)
                ):
                    raise wrong
                self.function = value.of
            case Arg.TEXT:
                model = (
                    self.verifier.maps[value.of]
                    if isinstance(value, Pointer) and value.kind is Kind.VALUE
                    else None
                )
                if (
                    model is None
                    or model.constant is None
                    or not isinstance(value, Pointer)
                    or value.nullable
                    or not value.offset.is_known
                ):
                    raise wrong
                if b"\0" not in model.constant[value.offset.low :]:
                    raise _Refused(f"the text at r{n} does not end")

    def _lock(self, value: Value, wrong: _Refused) -> None:
        if not isinstance(value, Pointer) or value.kind is not Kind.VALUE or value.nullable:
            raise wrong
        lock = self.verifier.maps[value.of].lock
        if lock < 0 or value.offset != known(lock):
            raise _Refused(f"r1 is not the address of {Arg.LOCK.value}")
        if value.found < 0:
            raise _Refused("it is not known which value this is: look it up again before")
        token = -1 - (value.of << 32 | value.found)
        if self.insn.imm == _LOCK:
            self.state.tokens |= {token}
        elif token in self.state.tokens:
            self.state.tokens -= {token}
        else:
            raise _Refused("it is not held")

    def _map(self, value: Value, wrong: _Refused) -> None:
        if (
            not isinstance(value, Pointer)
            or value.kind is not Kind.MAP
            or value.offset != known(0)
            or value.nullable
        ):
            raise wrong
        self.slot = value.of
        kinds = _KINDS.get(self.insn.imm)
        if self.model.kind not in kinds if kinds else self.model.kind in _WITHOUT_KEYS:
            raise _Refused(f"map {self.model.name!r} is of a type that it is not for")
        if self.insn.imm in _CHANGES and not self.model.is_writable:
            raise _Refused(f"map {self.model.name!r} can't be changed by programs")
        if self.insn.imm in (2, 3) and self.model.kind in _OF_MAPS:
            raise _Refused(f"map {self.model.name!r} can't be changed by programs")

    def _memory(self, n: int, value: Value, arg: Arg, sized: Arg) -> None:
        size = self.state.get(n + 1)
        if not isinstance(size, Range):
            raise _Refused(f"r{n + 1} is {size}; it wants {sized.value}")
        if size.high > _BYTES_MOST:
            raise _Refused(f"r{n + 1} can be {size}: compare it with a limit before")
        if sized is Arg.SIZE and not size.low:
            raise _Refused(f"r{n + 1} can be 0; it wants {sized.value}")
        if not size.high:
            return
        self.bytes_most = size.high
        self._bytes(n, value, size.high, write=arg is Arg.MEMORY_OUT, sure=size.is_known)

    def _bytes(self, n: int, value: Value, size: int, *, write: bool, sure: bool = True) -> None:
        """Memory that the helper reads, or fills: if `sure`, all of it."""
        around = self.verifier.around
        if not isinstance(value, Pointer):
            raise _Refused(f"r{n} is {value}; it wants {size} bytes of memory")
        if value.kind is Kind.CONTEXT:
            raise _Refused(f"r{n} is the context; copy what it wants to the stack before")
        if why := around.problem(self.state, value, 0, size, write=write):
            raise _Refused(f"r{n}: {why}")
        if not write:
            _, why = around.load(self.state, value, 0, size, self.insn.at)
            if why:
                raise _Refused(f"r{n}: {why}")
        elif value.kind is Kind.STACK:
            frame = self.state.frames[value.of]
            low = value.offset.slow + STACK_BYTES
            span = value.offset.shigh - value.offset.slow + size
            frame.forget(low, span)
            self.verifier.callbacks.note_write(self.state, value.of, low, span)
            if sure and value.offset.is_known:
                frame.written |= ((1 << size) - 1) << low

    # ---- behind the call ----

    def finish(self) -> None:
        state, at = self.state, self.insn.at
        if self.record:
            state.drop_token(self.record)
        if self.function >= 0:
            self._callback()
        self._note_lookup()
        if self.signature.moves_packet:
            state.drop_packets()
        for n in range(1, 6):
            state.frame.registers[n] = UNSET
        state.frame.registers[0] = self._result(at)

    def _result(self, at: int) -> Value:
        state, number = self.state, at + 1
        match self.signature.returns:
            case Returns.NUMBER:
                return UNKNOWN if self.insn.imm not in (7, 8) else of_bits(32)
            case Returns.BYTES:
                return ranges.make(0, ranges.ALL, 0, ranges.ALL, -_ERRNO_MOST, self.bytes_most) or UNKNOWN
        if self.signature.returns is not Returns.VALUE_OR_NULL:
            state.map_pointers(lambda p: UNSET if p.nullable == number or p.token == number else p)
        if self.signature.returns is Returns.RECORD_OR_NULL:
            if number in state.tokens:
                self.verifier.refuse(at, "it reserves again before the last record is submitted or discarded")
            state.tokens |= {number}
            return Pointer(Kind.MEMORY, number, known(0), self.constant, nullable=number, token=number)
        if self.signature.returns is Returns.MEMORY_OR_NULL:
            return Pointer(Kind.MEMORY, number, known(0), self.constant, nullable=number)
        model = self.model
        nullable = state.fresh_null()
        if model.kind in _OF_MAPS:
            return Pointer(Kind.MAP, model.inner, known(0), nullable=nullable)
        found = number if model.lock >= 0 else 0
        if found:  # an older value is another
            state.map_pointers(lambda p: replace(p, found=-1) if p.found == number else p)
        return Pointer(
            Kind.VALUE,
            self.slot,
            known(0),
            model.value_bytes,
            nullable=nullable,
            writable=model.is_writable,
            found=found,
        )

    def _note_lookup(self) -> None:
        if self.insn.imm != _LOOKUP:
            return
        model = self.model
        inline = ArrayLookup(self.slot, model.inline, model.kind == _PERCPU_ARRAY) if model.inline else None
        if self.verifier.lookups.setdefault(self.insn.at, inline) != inline:
            self.verifier.lookups[self.insn.at] = None

    def _callback(self) -> None:
        """Follow the function that the helper is given: it begins with what it may leave behind."""
        state = self.state
        context = state.get(3)
        is_stack = isinstance(context, Pointer) and context.kind is Kind.STACK
        deepest = context.of if isinstance(context, Pointer) and is_stack else -1
        self.verifier.callbacks.trust(state, self.insn.at, deepest)
        if self.verifier.moves_packet(self.function):
            state.drop_packets()
        context = state.get(3)
        inside = state.copy()
        frame = Frame(self.function, caller_of(self.insn.at))
        frame.tokens = state.tokens
        if self.insn.imm == _FOR_EACH:
            key = Pointer(Kind.MEMORY, self.insn.at + 1, known(0), self.model.key_bytes, writable=False)
            found = self.insn.at + 1 if self.model.lock >= 0 else 0
            writable = self.model.is_writable
            value = Pointer(
                Kind.VALUE, self.slot, known(0), self.model.value_bytes, writable=writable, found=found
            )
            frame.registers[1:5] = [state.get(1), key, value, context]
        elif self.insn.imm == _DRAIN:
            frame.registers[1:3] = [Pointer(Kind.DYNPTR, self.insn.at + 1, known(0)), context]
        else:
            frame.registers[1:3] = [of_bits(32), context]
        inside.frames.append(frame)
        inside.at = self.function
        self.verifier.work.append(inside)
