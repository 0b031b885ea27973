"""From eBPF instructions to LLVM's: one function for the program, one for each local function.

A translated program is called as `uint64_t entry(struct wbpf_env *env, uint64_t context)`
(native/user/env.h).
Registers are variables that LLVM's first passes turn into values; each has a second one that holds the same
address as a pointer, so that LLVM sees which object an access belongs to. What the verifier could not prove
is checked while the program runs: then the stack is the environment's, else each function has its own frame.
"""

from __future__ import annotations

from collections.abc import Iterable

from wbpf.bpf.user.flow import Flow, Function, blocks, code_target
from wbpf.bpf.user.isa import FETCH, POISON, STACK_BYTES, Alu, Atomic, Call, Class, Insn, Jump, Mode, Wide
from wbpf.bpf.user.proof import ArrayLookup, Proof
from wbpf.bpf.user.slots import LOAD_PACKET, NESTED_TAIL_CALL, TAIL_CALL, Env, Slots, Stop
from wbpf.bpf.user.verifier.loops import reached_from

_COMPARE = {
    Jump.JEQ: "eq",
    Jump.JGT: "ugt",
    Jump.JGE: "uge",
    Jump.JNE: "ne",
    Jump.JSGT: "sgt",
    Jump.JSGE: "sge",
    Jump.JLT: "ult",
    Jump.JLE: "ule",
    Jump.JSLT: "slt",
    Jump.JSLE: "sle",
}
_PLAIN = {
    Alu.ADD: "add",
    Alu.SUB: "sub",
    Alu.MUL: "mul",
    Alu.OR: "or",
    Alu.AND: "and",
    Alu.XOR: "xor",
    Alu.LSH: "shl",
    Alu.RSH: "lshr",
    Alu.ARSH: "ashr",
}
_SHIFTS = (Alu.LSH, Alu.RSH, Alu.ARSH)
_RMW = {Atomic.ADD: "add", Atomic.OR: "or", Atomic.AND: "and", Atomic.XOR: "xor", Atomic.XCHG: "xchg"}
_WRITE, _ALIGNED = 1 << 8, 1 << 9
_MAP_LOOKUP = 1
_PARAMETERS = ", ".join(f"i64 %a{n}" for n in range(1, 6))
_HEAD = """\
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
"""
# Loops are not turned into calls of memcpy: a blob calls nothing by name.
_TAIL = """\
attributes #0 = { nounwind "no-builtins" }
attributes #1 = { cold noreturn nounwind }
attributes #2 = { nounwind }
!0 = !{}
!1 = !{!"branch_weights", i32 2000, i32 1}
"""


def translate(name: str, flow: Flow, slots: Slots, proof: Proof) -> str:
    """The LLVM assembly of a program, without what all programs share.

    Args:
        name: of the program among those that are compiled together.
        flow: the program.
        slots: where helpers and maps are in the environment; helpers are added as they are met.
        proof: what needs no check.
    """
    parts = [_Body(name, flow, function, slots, proof).text() for function in flow.functions.values()]
    parts += [_callback(name, entry) for entry in sorted(flow.callbacks)]
    return "\n".join(parts)


def module(programs: Iterable[str], triple: str) -> str:
    """A module of translated programs.

    Args:
        programs: their assembly.
        triple: of the target, as `x86_64-unknown-linux-gnu`.
    """
    return "\n".join([f'target triple = "{triple}"', _HEAD, *programs, _TAIL])


def _callback(name: str, entry: int) -> str:
    """A local function as helpers call it; its frame is below that of the caller of the helper."""
    return f"""\
define internal i64 @"{name}.cb{entry}"(ptr %env, {_PARAMETERS}) #0 {{
  %at = getelementptr i8, ptr %env, i64 {Env.FRAME}
  %caller = load ptr, ptr %at
  %frame = getelementptr i8, ptr %caller, i64 {-STACK_BYTES}
  %low.at = getelementptr i8, ptr %env, i64 {Env.STACK_LOW}
  %low = load ptr, ptr %low.at
  %deep = icmp ult ptr %frame, %low
  br i1 %deep, label %stop, label %go
stop:
  %stop.at = getelementptr i8, ptr %env, i64 {Env.STOP}
  %stop.function = load ptr, ptr %stop.at
  call void %stop.function(ptr %env, i64 {int(Stop.DEPTH)}, i64 {entry}) #1
  unreachable
go:
  store ptr %frame, ptr %at
  %r = call i64 @"{name}.f{entry}"(ptr %env, {_PARAMETERS}, ptr %frame)
  store ptr %caller, ptr %at
  ret i64 %r
}}
"""


class _Body:
    """Writes one function."""

    def __init__(self, name: str, flow: Flow, function: Function, slots: Slots, proof: Proof) -> None:
        self._name = name
        self._flow, self._function, self._slots, self._proof = flow, function, slots, proof
        self._main = function.entry == 0
        #: helpers call it, or what calls it
        self._repeated = any(function.entry in reached_from(flow, entry) for entry in flow.callbacks)
        self._lines: list[str] = []
        self._emit = self._lines.append
        self._count = 0

    def text(self) -> str:
        if self._main:
            self._emit(f'define i64 @"{self._name}"(ptr %env, i64 %a1) #0 {{\nstart:')
        else:
            head = f"{self._local(self._function.entry)}(ptr %env, {_PARAMETERS}, ptr %frame)"
            self._emit(f"define internal i64 {head} #0 {{\nstart:")
        for n in range(10):
            self._emit(f"  %r{n} = alloca i64\n  %p{n} = alloca ptr\n  store i64 0, ptr %r{n}")
        if self._proof.complete:
            self._emit(f"  %low = alloca [{STACK_BYTES} x i8], align 16")
            self._emit(f"  %fp = getelementptr i8, ptr %low, i64 {STACK_BYTES}")
            zeroed = self._proof.zeroed.get(self._function.entry, 0)
            for at in range(0, STACK_BYTES, 8):
                if zeroed >> at & 0xFF:
                    self._emit(
                        f"  store i64 0, ptr {self._value(f'getelementptr i8, ptr %low, i64 {at}')}, align 8"
                    )
        elif self._main:
            self._emit(f"  %fp = bitcast ptr {self._env(Env.FRAME)} to ptr")
        else:
            self._emit("  %fp = bitcast ptr %frame to ptr")
        self._emit("  %r10 = ptrtoint ptr %fp to i64")
        for n in range(1, 2 if self._main else 6):
            self._set(n, f"%a{n}")
        if self._main:  # the size of contexts that are plain memory
            self._set(2, self._env(Env.CONTEXT_BYTES, "i64"))
        self._emit(f"  br label %b{self._function.entry}")
        for block in blocks(self._function):
            self._emit(f"b{block[0].at}:")
            for insn in block:
                self._insn(insn)
            if not (block[-1].is_jump or block[-1].is_exit):
                self._emit(f"  br label %b{block[-1].next}")
        self._emit("}\n")
        return "\n".join(self._lines)

    def _local(self, entry: int) -> str:
        return f'@"{self._name}.f{entry}"'

    def _callback(self, entry: int) -> str:
        return f'@"{self._name}.cb{entry}"'

    # ---- values ----

    def _value(self, text: str) -> str:
        self._count += 1
        name = f"%v{self._count}"
        self._emit(f"  {name} = {text}")
        return name

    def _label(self) -> str:
        self._count += 1
        return f"l{self._count}"

    def _get(self, register: int) -> str:
        return "%r10" if register == 10 else self._value(f"load i64, ptr %r{register}")

    def _pointer(self, register: int) -> str:
        return "%fp" if register == 10 else self._value(f"load ptr, ptr %p{register}")

    def _set(self, register: int, value: str, pointer: str | None = None) -> None:
        pointer = pointer or self._value(f"inttoptr i64 {value} to ptr")
        self._emit(f"  store i64 {value}, ptr %r{register}\n  store ptr {pointer}, ptr %p{register}")

    def _env(self, offset: int, kind: str = "ptr") -> str:
        at = self._value(f"getelementptr i8, ptr %env, i64 {offset}")
        return self._value(f"load {kind}, ptr {at}")

    def _listed(self, table: int, slot: int, kind: str) -> str:
        """Entry `slot`, of 8 bytes, of one of the environment's tables."""
        tables = self._value(f"getelementptr i8, ptr %env, i64 {int(table)}")
        tables = self._value(f"load ptr, ptr {tables}, !invariant.load !0")
        at = self._value(f"getelementptr i8, ptr {tables}, i64 {8 * slot}")
        return self._value(f"load {kind}, ptr {at}, !invariant.load !0")

    def _narrow(self, value: str, bits: int) -> str:
        return value if bits == 64 else self._value(f"trunc i64 {value} to i{bits}")

    def _widen(self, value: str, bits: int, *, signed: bool = False) -> str:
        return value if bits == 64 else self._value(f"{'s' if signed else 'z'}ext i{bits} {value} to i64")

    def _branch(self, condition: str, usual: str, other: str) -> None:
        self._emit(f"  br i1 {condition}, label %{usual}, label %{other}, !prof !1")

    def _stop(self, why: Stop, at: int) -> None:
        stop = self._env(Env.STOP)
        self._emit(f"  call void {stop}(ptr %env, i64 {int(why)}, i64 {at}) #1\n  unreachable")

    # ---- instructions ----

    def _insn(self, insn: Insn) -> None:
        match insn.cls:
            case Class.ALU | Class.ALU64:
                self._alu(insn)
            case Class.JMP | Class.JMP32:
                self._jump(insn)
            case Class.LD:
                self._load_wide(insn) if insn.is_wide else self._load_packet(insn)
            case Class.LDX:
                self._load(insn)
            case _ if insn.mode == Mode.ATOMIC:
                self._atomic(insn)
            case _:
                self._store(insn)

    def _alu(self, insn: Insn) -> None:
        bits = 64 if insn.cls is Class.ALU64 else 32
        code = insn.code
        if code == Alu.END:
            self._set(insn.dst, self._swapped(insn))
            return
        if code == Alu.MOV and bits == 64 and insn.by_register and not insn.off:
            self._set(insn.dst, self._get(insn.src), self._pointer(insn.src))
            return
        right = self._narrow(self._get(insn.src), bits) if insn.by_register else str(_wrapped(insn.imm, bits))
        if code == Alu.MOV:
            if insn.off:
                part = self._value(f"trunc i{bits} {right} to i{insn.off}")
                right = self._value(f"sext i{insn.off} {part} to i{bits}")
            self._set(insn.dst, self._widen(right, bits))
            return
        if bits == 64 and code in (Alu.ADD, Alu.SUB) and (operand := self._proof.pointers.get(insn.at)):
            self._add_to_pointer(insn, operand, right)
            return
        left = self._narrow(self._get(insn.dst), bits)
        if code == Alu.NEG:
            result = self._value(f"sub i{bits} 0, {left}")
        elif code in (Alu.DIV, Alu.MOD):
            result = self._divided(left, right, bits, signed=insn.off == 1, rest=code == Alu.MOD)
        else:
            if code in _SHIFTS:
                right = self._value(f"and i{bits} {right}, {bits - 1}")
            result = self._value(f"{_PLAIN[Alu(code)]} i{bits} {left}, {right}")
        self._set(insn.dst, self._widen(result, bits))

    def _add_to_pointer(self, insn: Insn, operand: str, right: str) -> None:
        left = self._get(insn.dst)
        result = self._value(f"{_PLAIN[Alu(insn.code)]} i64 {left}, {right}")
        base, offset = (
            self._pointer(insn.dst if operand == "dst" else insn.src),
            right if operand == "dst" else left,
        )
        if insn.code == Alu.SUB:
            offset = self._value(f"sub i64 0, {offset}")
        self._set(insn.dst, result, self._value(f"getelementptr i8, ptr {base}, i64 {offset}"))

    def _swapped(self, insn: Insn) -> str:
        swap = insn.cls is Class.ALU64 or insn.by_register  # to big-endian
        part = self._narrow(self._get(insn.dst), insn.imm)
        if swap:
            part = self._value(f"call i{insn.imm} @llvm.bswap.i{insn.imm}(i{insn.imm} {part})")
        return self._widen(part, insn.imm)

    def _divided(self, left: str, right: str, bits: int, *, signed: bool, rest: bool) -> str:
        """Division by 0 gives 0, the rest of it the dividend; the least number by -1 gives itself, rest 0."""
        zero = self._value(f"icmp eq i{bits} {right}, 0")
        divisor = self._value(f"select i1 {zero}, i{bits} 1, i{bits} {right}")
        if signed:
            minus = self._value(f"icmp eq i{bits} {right}, -1")
            divisor = self._value(f"select i1 {minus}, i{bits} 1, i{bits} {divisor}")
        result = self._value(f"{'s' if signed else 'u'}{'rem' if rest else 'div'} i{bits} {left}, {divisor}")
        if signed and not rest:
            negated = self._value(f"sub i{bits} 0, {left}")
            result = self._value(f"select i1 {minus}, i{bits} {negated}, i{bits} {result}")
        return self._value(f"select i1 {zero}, i{bits} {left if rest else 0}, i{bits} {result}")

    # ---- control ----

    def _jump(self, insn: Insn) -> None:
        if insn.is_exit:
            self._emit(f"  ret i64 {self._get(0)}")
        elif insn.code == Jump.CALL:
            self._call(insn)
        else:
            condition = self._condition(insn) if insn.code != Jump.JA else None
            target = f"b{insn.target}"
            back = insn.target <= insn.at
            bounded = insn.at in self._proof.bounded
            if back and (not bounded or self._repeated):
                target = self._label()
            if condition is None:
                self._emit(f"  br label %{target}")
            else:
                self._emit(f"  br i1 {condition}, label %{target}, label %b{insn.next}")
            if target != f"b{insn.target}":
                self._emit(f"{target}:")
                self._burn(insn, stops=not bounded)
                self._emit(f"  br label %b{insn.target}")

    def _condition(self, insn: Insn) -> str:
        bits = 64 if insn.cls is Class.JMP else 32
        left = self._narrow(self._get(insn.dst), bits)
        right = self._narrow(self._get(insn.src), bits) if insn.by_register else str(_wrapped(insn.imm, bits))
        if insn.code == Jump.JSET:
            return self._value(f"icmp ne i{bits} {self._value(f'and i{bits} {left}, {right}')}, 0")
        return self._value(f"icmp {_COMPARE[Jump(insn.code)]} i{bits} {left}, {right}")

    def _burn(self, insn: Insn, *, stops: bool) -> None:
        """Pay for a jump back. If it stops nothing, helpers that call functions over and over look at it."""
        at = self._value(f"getelementptr i8, ptr %env, i64 {Env.FUEL}")
        left = self._value(f"sub i64 {self._value(f'load i64, ptr {at}')}, 1")
        self._emit(f"  store i64 {left}, ptr {at}")
        if not stops:
            return
        some, none = self._label(), self._label()
        self._branch(self._value(f"icmp sgt i64 {left}, 0"), some, none)
        self._emit(f"{none}:")
        self._stop(Stop.FUEL, insn.at)
        self._emit(f"{some}:")

    def _call(self, insn: Insn) -> None:
        if insn.by_register:
            self._call_register(insn)
        elif insn.src == Call.LOCAL:
            self._set(
                0,
                self._value(f"call i64 {self._local(insn.target)}({self._arguments()}, ptr {self._below()})"),
            )
        elif lookup := self._proof.lookups.get(insn.at):
            self._array_lookup(lookup)
        elif insn.src == Call.HELPER and insn.imm == POISON:
            after = self._label()
            self._stop(Stop.CALL, insn.at)
            self._emit(f"{after}:")
        elif insn.src == Call.HELPER and insn.imm == TAIL_CALL:
            self._tail_call()
        else:
            self._set(0, self._call_helper(insn.imm, self._arguments()))

    def _arguments(self) -> str:
        return ", ".join(["ptr %env", *(f"i64 {self._get(n)}" for n in range(1, 6))])

    def _below(self) -> str:
        return (
            "null" if self._proof.complete else self._value(f"getelementptr i8, ptr %fp, i64 {-STACK_BYTES}")
        )

    def _call_helper(self, number: int, arguments: str) -> str:
        if self._flow.callbacks and not self._proof.complete:
            self._emit(f"  store ptr %fp, ptr {self._value(f'getelementptr i8, ptr %env, i64 {Env.FRAME}')}")
        number = self._proof.helpers.get(number, number)
        function = self._listed(Env.HELPERS, self._slots.helper(number), "ptr")
        return self._value(f"call i64 {function}({arguments}) #2")

    def _call_register(self, insn: Insn) -> None:
        """Call one of the functions whose address the program takes, and nothing else."""
        wanted, done = self._get(insn.dst), self._label()
        arguments = self._arguments()
        for entry in sorted(self._flow.callbacks):
            here, on = self._label(), self._label()
            same = self._value(f"icmp eq i64 {wanted}, ptrtoint (ptr {self._callback(entry)} to i64)")
            self._emit(f"  br i1 {same}, label %{here}, label %{on}")
            self._emit(f"{here}:")
            self._set(0, self._value(f"call i64 {self._local(entry)}({arguments}, ptr {self._below()})"))
            self._emit(f"  br label %{done}\n{on}:")
        self._stop(Stop.CALL, insn.at)
        self._emit(f"{done}:")

    def _tail_call(self) -> None:
        """bpf_tail_call: goes on in the other program, or here if there is none."""
        if not self._main:
            answer = self._call_helper(NESTED_TAIL_CALL, self._arguments())
            failed = self._value(f"icmp slt i64 {answer}, 0")
            on, gone = self._label(), self._label()
            self._emit(f"  br i1 {failed}, label %{on}, label %{gone}\n{gone}:")
            self._emit(f"  ret i64 {answer}\n{on}:")
            self._set(0, answer)
            return
        context = self._get(1)
        answer = self._call_helper(TAIL_CALL, self._arguments())
        failed = self._value(f"icmp slt i64 {answer}, 0")
        on, gone = self._label(), self._label()
        self._emit(f"  br i1 {failed}, label %{on}, label %{gone}\n{gone}:")
        program = self._value(f"inttoptr i64 {answer} to ptr")
        result = self._value(f"musttail call i64 {program}(ptr %env, i64 {context})")
        self._emit(f"  ret i64 {result}\n{on}:")
        self._set(0, answer)

    def _array_lookup(self, lookup: ArrayLookup) -> None:
        index = self._value(f"load i32, ptr {self._pointer(2)}, align 1")
        base = self._listed(Env.VALUES, lookup.slot, "ptr")
        count = self._listed(Env.ENTRIES, lookup.slot, "i64")
        entries = self._value(f"trunc i64 {count} to i32")
        place = self._value(f"mul i64 {self._widen(index, 32)}, {lookup.stride}")
        if lookup.per_cpu:
            place = self._value(f"add i64 {place}, {self._row_of_cpu(count, entries, lookup.stride)}")
        there = self._value(f"getelementptr i8, ptr {base}, i64 {place}")
        inside = self._value(f"icmp ult i32 {index}, {entries}")
        found = self._value(f"select i1 {inside}, ptr {there}, ptr null")
        self._set(0, self._value(f"ptrtoint ptr {found} to i64"), found)

    def _row_of_cpu(self, count: str, entries: str, stride: int) -> str:
        """Where the values of this processor begin: native/maps/array.c lays them out."""
        at = self._value(f"getelementptr i8, ptr %env, i64 {int(Env.CPU)}")
        at = self._value(f"load ptr, ptr {at}, !invariant.load !0")
        cpu = self._value(f"load volatile i32, ptr {at}")
        cpus = self._value(f"trunc i64 {self._value(f'lshr i64 {count}, 32')} to i32")
        known = self._value(f"icmp ult i32 {cpu}, {cpus}")
        cpu = self._widen(self._value(f"select i1 {known}, i32 {cpu}, i32 0"), 32)
        row = self._value(f"mul i64 {self._widen(entries, 32)}, {stride}")
        row = self._value(f"and i64 {self._value(f'add i64 {row}, 63')}, -64")
        return self._value(f"mul i64 {cpu}, {row}")

    # ---- memory ----

    def _load_wide(self, insn: Insn) -> None:
        low, high = insn.imm & 0xFFFFFFFF, insn.imm >> 32
        match insn.src:
            case Wide.NUMBER:
                self._set(insn.dst, str(_wrapped(insn.imm, 64)))
            case Wide.CODE:
                function = self._callback(code_target(insn))
                self._set(insn.dst, self._value(f"ptrtoint ptr {function} to i64"), function)
            case Wide.MAP_INDEX:
                self._set(insn.dst, self._listed(Env.MAPS, low, "i64"))
            case Wide.MAP_INDEX_VALUE:
                base = self._listed(Env.VALUES, low, "ptr")
                place = self._value(f"getelementptr i8, ptr {base}, i64 {high}")
                self._set(insn.dst, self._value(f"ptrtoint ptr {place} to i64"), place)
            case kind:
                raise AssertionError(f"wide immediate of kind {kind} was not relocated")

    def _load_packet(self, insn: Insn) -> None:
        """A load from the packet, out of date since version 4: a program ends with 0 if it is too short."""
        offset = str(_wrapped(insn.imm, 64))
        if insn.mode == Mode.IND:
            offset = self._value(f"add i64 {self._get(insn.src)}, {offset}")
        context = self._get(6)
        answer = self._call_helper(
            LOAD_PACKET, f"ptr %env, i64 {context}, i64 {offset}, i64 {insn.width}, i64 0, i64 0"
        )
        short, on = self._label(), self._label()
        self._emit(f"  br i1 {self._value(f'icmp slt i64 {answer}, 0')}, label %{short}, label %{on}")
        self._emit(f"{short}:\n  ret i64 0\n{on}:")
        self._set(0, answer)

    def _address(self, insn: Insn, register: int, *, write: bool, aligned: bool = False) -> str:
        """The place that an instruction reads or writes, after a check if it was not proved to be there."""
        if insn.at in self._proof.safe:
            base = self._pointer(register)
            return self._value(f"getelementptr i8, ptr {base}, i64 {insn.off}") if insn.off else base
        address = self._get(register)
        if insn.off:
            address = self._value(f"add i64 {address}, {insn.off}")
        known, slow = self._label(), self._label()
        if not aligned:
            places = [(Env.STACK_LOW, Env.STACK_BYTES)]
            if not write:  # which contexts are written, the check knows
                places.append((Env.CONTEXT, Env.CONTEXT_BYTES))
            for low, size in places:
                distance = self._value(f"sub i64 {address}, {self._env(low, 'i64')}")
                # Both are lengths less than 2^63: below 0, the size is too small for any access.
                most = self._value(f"sub i64 {self._env(size, 'i64')}, {insn.width}")
                fits = self._value(f"icmp ule i64 {distance}, {most}")
                sensible = self._value(f"icmp sge i64 {most}, 0")
                other = self._label()
                self._branch(self._value(f"and i1 {fits}, {sensible}"), known, other)
                self._emit(f"{other}:")
        self._emit(f"  br label %{slow}\n{slow}:")
        what = insn.width | (_WRITE if write else 0) | (_ALIGNED if aligned else 0)
        self._emit(
            f"  call void {self._env(Env.CHECK)}(ptr %env, i64 {address}, i64 {what}, i64 {insn.at}) #2"
        )
        self._emit(f"  br label %{known}\n{known}:")
        return self._value(f"inttoptr i64 {address} to ptr")

    def _load(self, insn: Insn) -> None:
        if (there := self._proof.context_loads.get(insn.at)) is not None:
            at = self._value(f"getelementptr i8, ptr {self._env(Env.CONTEXT)}, i64 {there}")
            address = self._value(f"load ptr, ptr {at}")
            self._set(insn.dst, self._value(f"ptrtoint ptr {address} to i64"), address)
            return
        place, bits = self._address(insn, insn.src, write=False), 8 * insn.width
        value = self._value(f"load i{bits}, ptr {place}, align 1")
        self._set(insn.dst, self._widen(value, bits, signed=insn.mode == Mode.MEMSX))

    def _store(self, insn: Insn) -> None:
        place, bits = self._address(insn, insn.dst, write=True), 8 * insn.width
        value = (
            str(_wrapped(insn.imm, bits)) if insn.cls is Class.ST else self._narrow(self._get(insn.src), bits)
        )
        self._emit(f"  store i{bits} {value}, ptr {place}, align 1")

    def _atomic(self, insn: Insn) -> None:
        bits, width = 8 * insn.width, insn.width
        kind = f"i{bits}"
        if insn.imm == Atomic.LOAD_ACQ:
            place = self._address(insn, insn.src, write=False, aligned=True)
            value = self._value(f"load atomic {kind}, ptr {place} acquire, align {width}")
            self._set(insn.dst, self._widen(value, bits))
            return
        place = self._address(insn, insn.dst, write=True, aligned=True)
        value = self._narrow(self._get(insn.src), bits)
        if insn.imm == Atomic.STORE_REL:
            self._emit(f"  store atomic {kind} {value}, ptr {place} release, align {width}")
        elif insn.imm == Atomic.CMPXCHG | FETCH:
            wanted = self._narrow(self._get(0), bits)
            pair = self._value(
                f"cmpxchg ptr {place}, {kind} {wanted}, {kind} {value} seq_cst seq_cst, align {width}"
            )
            self._set(0, self._widen(self._value(f"extractvalue {{ {kind}, i1 }} {pair}, 0"), bits))
        else:
            operation, fetch = Atomic(insn.imm & ~FETCH), insn.imm & FETCH
            order = "seq_cst" if fetch else "monotonic"
            old = self._value(
                f"atomicrmw {_RMW[operation]} ptr {place}, {kind} {value} {order}, align {width}"
            )
            if fetch:
                self._set(insn.src, self._widen(old, bits))


def _wrapped(number: int, bits: int) -> int:
    """A number as LLVM writes it in so many bits: signed."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number
