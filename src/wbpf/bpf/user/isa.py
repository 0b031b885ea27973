"""The eBPF instruction set, version 4 (RFC 9669): decoding, and what an instruction may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from wbpf.errors import FormatError

INSN_BYTES = 8
STACK_BYTES = 512
#: Called where an instruction needs what there is not: no helper has this number.
POISON = 0xBAD2310
FRAMES_MOST = 8
TAIL_CALLS_MOST = 33
_LAYOUT = Struct("<BBhi")


class Class(IntEnum):
    """Instruction classes: the low three bits of an opcode (section 3)."""

    LD = 0
    LDX = 1
    ST = 2
    STX = 3
    ALU = 4
    JMP = 5
    JMP32 = 6
    ALU64 = 7


_CLASSES = tuple(Class)


class Alu(IntEnum):
    """Operations of ALU and ALU64 (section 4.1)."""

    ADD = 0
    SUB = 1
    MUL = 2
    DIV = 3
    OR = 4
    AND = 5
    LSH = 6
    RSH = 7
    NEG = 8
    MOD = 9
    XOR = 10
    MOV = 11
    ARSH = 12
    END = 13


class Jump(IntEnum):
    """Operations of JMP and JMP32 (section 4.3)."""

    JA = 0
    JEQ = 1
    JGT = 2
    JGE = 3
    JSET = 4
    JNE = 5
    JSGT = 6
    JSGE = 7
    CALL = 8
    EXIT = 9
    JLT = 10
    JLE = 11
    JSLT = 12
    JSLE = 13


class Mode(IntEnum):
    """Modes of loads and stores (section 5)."""

    IMM = 0
    ABS = 1
    IND = 2
    MEM = 3
    MEMSX = 4
    ATOMIC = 6


class Atomic(IntEnum):
    """Atomic operations without the bit that fetches (section 5.3); acquire, release: of kernel 6.14."""

    ADD = 0x00
    OR = 0x40
    AND = 0x50
    XOR = 0xA0
    XCHG = 0xE0
    CMPXCHG = 0xF0
    LOAD_ACQ = 0x100
    STORE_REL = 0x110


FETCH = 1
_READ_MODIFY_WRITE = frozenset(Atomic) - {Atomic.LOAD_ACQ, Atomic.STORE_REL}


class Wide(IntEnum):
    """What the 64 bits of a wide immediate mean: its source register (section 5.4)."""

    NUMBER = 0
    MAP_FD = 1
    MAP_VALUE = 2
    VARIABLE = 3
    CODE = 4
    MAP_INDEX = 5
    MAP_INDEX_VALUE = 6


class Call(IntEnum):
    """What is called: the source register of CALL (section 4.3.1)."""

    HELPER = 0
    LOCAL = 1
    KFUNC = 2


WIDTHS = {0: 4, 1: 2, 2: 1, 3: 8}  # by bits 3 and 4 of an opcode of loads and stores


@dataclass(frozen=True, slots=True)
class Insn:
    """One instruction.

    Args:
        at: its index, in slots of 8 bytes; a wide immediate takes two.
        imm: signed 32 bits; of a wide immediate all 64, unsigned.
    """

    at: int
    opcode: int
    dst: int
    src: int
    off: int
    imm: int

    @property
    def cls(self) -> Class:
        return _CLASSES[self.opcode & 7]

    @property
    def code(self) -> int:
        """The operation of arithmetic and jumps: the high four bits."""
        return self.opcode >> 4

    @property
    def by_register(self) -> bool:
        """Whether the second operand of arithmetic or a jump is a register."""
        return bool(self.opcode & 8)

    @property
    def mode(self) -> int:
        return self.opcode >> 5

    @property
    def width(self) -> int:
        """Bytes that a load or store moves."""
        return WIDTHS[self.opcode >> 3 & 3]

    @property
    def is_wide(self) -> bool:
        return self.opcode == 0x18

    @property
    def next(self) -> int:
        return self.at + 1 + self.is_wide

    @property
    def is_jump(self) -> bool:
        """Whether control may go on elsewhere; calls come back."""
        return self.cls in (Class.JMP, Class.JMP32) and self.code not in (Jump.CALL, Jump.EXIT)

    @property
    def is_exit(self) -> bool:
        return self.opcode == 0x95

    @property
    def target(self) -> int:
        """Where a jump goes, or the first instruction of a local function that is called."""
        if self.opcode == 0x06 or (self.cls is Class.JMP and self.code == Jump.CALL):
            return self.at + 1 + self.imm
        return self.at + 1 + self.off

    @property
    def is_local_call(self) -> bool:
        return self.opcode == 0x85 and self.src == Call.LOCAL


def decode(code: bytes) -> list[Insn]:
    """Decode and check each instruction by itself; slots behind the first of a wide immediate are left out.

    Raises:
        FormatError: an instruction is not one of the set, with its index.
    """
    if not code or len(code) % INSN_BYTES:
        raise FormatError("no eBPF program", f"{len(code)} bytes are no multiple of {INSN_BYTES}, above 0")
    slots = list(_LAYOUT.iter_unpack(code))
    insns: list[Insn] = []
    at = 0
    while at < len(slots):
        opcode, registers, off, imm = slots[at]
        if opcode == 0x18:
            if at + 1 == len(slots):
                raise invalid(at, "the second half of the wide immediate is missing")
            pad, pad_registers, pad_off, high = slots[at + 1]
            if pad or pad_registers or pad_off:
                raise invalid(at + 1, "the second half of a wide immediate has more than its number")
            imm = (high & 0xFFFFFFFF) << 32 | imm & 0xFFFFFFFF
        insn = Insn(at, opcode, registers & 15, registers >> 4, off, imm)
        if why := _fault(insn):
            raise invalid(at, why)
        insns.append(insn)
        at = insn.next
    _validate_targets(insns, len(slots))
    return insns


def invalid(at: int, why: str) -> FormatError:
    """The error for an instruction that can't be."""
    return FormatError(f"instruction {at} is invalid", why, "compile for the instruction set of RFC 9669")


def _validate_targets(insns: Sequence[Insn], count: int) -> None:
    starts = {insn.at for insn in insns}
    for insn in insns:
        local = insn.is_local_call
        function = insn.is_wide and insn.src == Wide.CODE
        if (insn.is_jump or local) and insn.target not in starts:
            outside = not 0 <= insn.target < count
            raise invalid(
                insn.at, "it leads outside of the program" if outside else "it leads into a wide one"
            )
        if function and insn.at + 1 + _signed32(insn.imm & 0xFFFFFFFF) not in starts:
            raise invalid(insn.at, "the function's address lies outside of the program")
    last = insns[-1]
    if not (last.is_exit or last.opcode in (0x05, 0x06)):
        raise invalid(last.at, "control runs out of the program: it must end with an exit or a jump")


def _signed32(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _fault(insn: Insn) -> str:
    """Why it is no instruction of the set; empty if it is."""
    if insn.dst > 10 or insn.src > 10:
        return f"there is no register r{max(insn.dst, insn.src)}"
    match insn.cls:
        case Class.ALU | Class.ALU64:
            return _alu_fault(insn)
        case Class.JMP | Class.JMP32:
            return _jump_fault(insn)
        case Class.LD:
            return _load_fault(insn)
    return _memory_fault(insn)


def _unused(insn: Insn, *fields: str) -> str:
    for field in fields:
        if getattr(insn, field):
            return f"its field {field} must be 0"
    return ""


def _alu_fault(insn: Insn) -> str:
    code, wide = insn.code, insn.cls is Class.ALU64
    if code > Alu.END:
        return f"opcode {insn.opcode:#04x} is not known"
    if insn.dst == 10:
        return "r10 can't be written"
    if code == Alu.END:
        if insn.imm not in (16, 32, 64):
            return f"{insn.imm} bits can't be swapped"
        return "it can't be of this class" if wide and insn.by_register else _unused(insn, "src", "off")
    if code == Alu.NEG:
        return "it takes no register" if insn.by_register else _unused(insn, "src", "off", "imm")
    if code in (Alu.DIV, Alu.MOD):
        if insn.off not in (0, 1):
            return "its field off must be 0, or 1 for signed numbers"
    elif code == Alu.MOV and insn.by_register:
        if insn.off not in ((0, 8, 16, 32) if wide else (0, 8, 16)):
            return f"a sign of {insn.off} bits can't be extended"
    elif insn.off:
        return _unused(insn, "off")
    return _unused(insn, "imm") if insn.by_register else _unused(insn, "src")


def _jump_fault(insn: Insn) -> str:
    code, narrow = insn.code, insn.cls is Class.JMP32
    if code > Jump.JSLE:
        return f"opcode {insn.opcode:#04x} is not known"
    if code == Jump.JA:
        if insn.by_register:
            return f"opcode {insn.opcode:#04x} is not known"
        return _unused(insn, "dst", "src", "off" if narrow else "imm")
    if code in (Jump.CALL, Jump.EXIT):
        if narrow or (code == Jump.EXIT and insn.by_register):
            return f"opcode {insn.opcode:#04x} is not known"
        if code == Jump.EXIT:
            return _unused(insn, "dst", "src", "off", "imm")
        if insn.by_register:
            return _unused(insn, "src", "off", "imm")
        if insn.src > Call.KFUNC:
            return f"there are no calls of kind {insn.src}"
        return _unused(insn, "dst") if insn.src == Call.KFUNC else _unused(insn, "dst", "off")
    return _unused(insn, "imm") if insn.by_register else _unused(insn, "src")


def _load_fault(insn: Insn) -> str:
    if insn.is_wide:
        if insn.src > Wide.MAP_INDEX_VALUE:
            return f"there are no wide immediates of kind {insn.src}"
        if insn.src in (Wide.MAP_FD, Wide.MAP_INDEX, Wide.CODE) and insn.imm >> 32:
            return "the second half must be 0"
        return "r10 can't be written" if insn.dst == 10 else _unused(insn, "off")
    if insn.mode in (Mode.ABS, Mode.IND) and insn.width < 8:
        return _unused(insn, "dst", "off") or ("" if insn.mode == Mode.IND else _unused(insn, "src"))
    return f"opcode {insn.opcode:#04x} is not known"


def _memory_fault(insn: Insn) -> str:
    known = f"opcode {insn.opcode:#04x} is not known"
    match insn.cls, insn.mode:
        case Class.LDX, Mode.MEM:
            return "r10 can't be written" if insn.dst == 10 else _unused(insn, "imm")
        case Class.LDX, Mode.MEMSX:
            if insn.width == 8:
                return known
            return "r10 can't be written" if insn.dst == 10 else _unused(insn, "imm")
        case Class.ST, Mode.MEM:
            return _unused(insn, "src")
        case Class.STX, Mode.MEM:
            return _unused(insn, "imm")
        case Class.STX, Mode.ATOMIC:
            return _atomic_fault(insn)
    return known


def _atomic_fault(insn: Insn) -> str:
    if insn.imm in (Atomic.LOAD_ACQ, Atomic.STORE_REL):
        return "r10 can't be written" if insn.imm == Atomic.LOAD_ACQ and insn.dst == 10 else ""
    if insn.width < 4:
        return "atomic operations take 4 or 8 bytes"
    base = insn.imm & ~FETCH
    if base not in _READ_MODIFY_WRITE or insn.imm in (Atomic.XCHG, Atomic.CMPXCHG):
        return f"there is no atomic operation {insn.imm:#x}"
    return "r10 can't be written" if insn.imm & FETCH and insn.src == 10 and base != Atomic.CMPXCHG else ""
