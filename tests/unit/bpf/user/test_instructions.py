"""Each instruction of RFC 9669 by itself, with all pairs of edge values; and what is no instruction."""

from __future__ import annotations

import itertools
import struct
from functools import cache

import pytest

from tests.unit.bpf.user.interpreter import Machine
from tests.unit.bpf.user.programs import insn, wide
from wbpf.bpf.user.isa import Alu, Jump
from wbpf.bpf.user.program import ProgramSpec, UserProgram, load_programs
from wbpf.bpf.user.verifier import Context
from wbpf.errors import BpfError, FormatError

EXIT = insn(0x95)
CONTEXT = Context(32, memory=True)
EDGES = [0, 1, 2, 7, 31, 32, 63, 64, 255, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
EDGES += [0x100000000, 1 << 63, (1 << 63) - 1, (1 << 64) - 1, 0x0123456789ABCDEF, 0xFEDCBA9876543210]
#: r2 and r3 are loaded, the result goes behind them.
LOAD, STORE = insn(0x79, 2, 1, 0) + insn(0x79, 3, 1, 8), insn(0x7B, 1, 2, 16) + insn(0xBF, 0, 2) + EXIT
IMMEDIATES = [0, 1, -1, 7, 31, 0x7FFFFFFF, -0x80000000, 0x12345678]


def arithmetic() -> dict[str, bytes]:
    """Programs that apply one instruction to r2 and r3."""
    cases: dict[str, bytes] = {}
    for cls, bits in ((4, 32), (7, 64)):
        for code in Alu:
            if code in (Alu.END, Alu.NEG):
                continue
            offsets = (0, 1) if code in (Alu.DIV, Alu.MOD) else (0,)
            if code is Alu.MOV:
                offsets = (0, 8, 16, 32) if bits == 64 else (0, 8, 16)
            for off in offsets:
                cases[f"{code.name}{bits} r, off {off}"] = insn(code << 4 | 8 | cls, 2, 3, off)
                if code is Alu.MOV and off:
                    continue
                for imm in IMMEDIATES:
                    cases[f"{code.name}{bits} {imm}, off {off}"] = insn(code << 4 | cls, 2, 0, off, imm)
        cases[f"NEG{bits}"] = insn(0x80 | cls, 2)
    for opcode, name in ((0xD4, "LE"), (0xDC, "BE"), (0xD7, "BSWAP")):
        for bits in (16, 32, 64):
            cases[f"{name}{bits}"] = insn(opcode, 2, 0, 0, bits)
    for width, size in ((0xC3, 4), (0xDB, 8)):
        for operation in (0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1):
            # On the stack, whose places are aligned; what was there comes back into r2.
            cases[f"ATOMIC{size} {operation:#x}"] = (
                insn(0x7B, 10, 2, -8)
                + insn(0xBF, 0, 2)
                + insn(width, 10, 3, -8, operation)
                + insn(0x79, 2, 10, -8)
                + insn(0x0F, 2, 3)
                + insn(0x0F, 2, 0)
            )
    return {name: LOAD + code + STORE for name, code in cases.items()}


def jumps() -> dict[str, bytes]:
    """Programs that return 1 if r2 and r3 compare so."""
    cases: dict[str, bytes] = {}
    tail = insn(0xB7, 0, 0, 0, 0) + EXIT + insn(0xB7, 0, 0, 0, 1) + EXIT
    for cls, bits in ((5, 64), (6, 32)):
        for code in Jump:
            if code in (Jump.JA, Jump.CALL, Jump.EXIT):
                continue
            cases[f"{code.name}{bits} r"] = LOAD + insn(code << 4 | 8 | cls, 2, 3, 2) + tail
            for imm in IMMEDIATES:
                cases[f"{code.name}{bits} {imm}"] = LOAD + insn(code << 4 | cls, 2, 0, 2, imm) + tail
    return cases


def loads() -> dict[str, bytes]:
    """Programs that read and write so many bytes."""
    cases = {}
    for name, opcode in (
        ("B", 0x71),
        ("H", 0x69),
        ("W", 0x61),
        ("DW", 0x79),
        ("SB", 0x91),
        ("SH", 0x89),
        ("SW", 0x81),
    ):
        cases[f"LDX {name}"] = insn(opcode, 2, 1, 3) + STORE
    for name, register, immediate in (
        ("B", 0x73, 0x72),
        ("H", 0x6B, 0x6A),
        ("W", 0x63, 0x62),
        ("DW", 0x7B, 0x7A),
    ):
        cases[f"STX {name}"] = LOAD + insn(register, 1, 2, 19) + STORE
        cases[f"ST {name}"] = LOAD + insn(immediate, 1, 0, 19, -2) + insn(0x79, 0, 1, 19) + EXIT
    cases["LDDW"] = wide(2, 0xFEDCBA9876543210) + STORE
    cases["JA"] = insn(0xB7, 0, 0, 0, 1) + insn(0x05, 0, 0, 1) + insn(0xB7, 0, 0, 0, 2) + EXIT
    cases["JA32"] = insn(0xB7, 0, 0, 0, 1) + insn(0x06, 0, 0, 0, 1) + insn(0xB7, 0, 0, 0, 2) + EXIT
    cases["CALL"] = (
        LOAD + insn(0xBF, 1, 3) + insn(0x85, 0, 1, 0, 1) + EXIT + insn(0xBF, 0, 1) + insn(0x0F, 0, 2) + EXIT
    )
    return cases


CASES = arithmetic() | jumps() | loads()


@cache
def programs() -> dict[str, UserProgram]:
    specs = {name: ProgramSpec(code, CONTEXT) for name, code in CASES.items()}
    return load_programs(specs)


@pytest.mark.parametrize("name", CASES)
def test_each_instruction(name: str) -> None:
    program = programs()[name]
    assert program.is_proved
    for a, b in itertools.product(EDGES, repeat=2):
        memory = bytearray(struct.pack("<QQQQ", a, b, a ^ b, ~b & ((1 << 64) - 1)))
        expected_memory = bytearray(memory)
        expected = Machine(CASES[name], expected_memory).run()
        assert (program.run(memory).value, memory) == (expected, expected_memory), f"{a:#x}, {b:#x}"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"", "no multiple of 8"),
        (EXIT[:7], "no multiple of 8"),
        (insn(0xB7, 11) + EXIT, "there is no register r11"),
        (insn(0xBF, 0, 12) + EXIT, "there is no register r12"),
        (insn(0xB7, 10) + EXIT, "r10 can't be written"),
        (insn(0x79, 10, 1) + EXIT, "r10 can't be written"),
        (insn(0xE7, 0) + EXIT, "opcode 0xe7 is not known"),
        (insn(0xE5, 0) + EXIT, "opcode 0xe5 is not known"),
        (insn(0x0D, 0) + EXIT, "opcode 0x0d is not known"),
        (insn(0x86, 0) + EXIT, "opcode 0x86 is not known"),
        (insn(0x9D, 0) + EXIT, "opcode 0x9d is not known"),
        (insn(0x99, 0, 1) + EXIT, "opcode 0x99 is not known"),
        (insn(0xB7, 0, 1) + EXIT, "field src must be 0"),
        (insn(0xBF, 0, 1, 0, 1) + EXIT, "field imm must be 0"),
        (insn(0x07, 0, 0, 1, 1) + EXIT, "field off must be 0"),
        (insn(0x37, 0, 0, 2, 1) + EXIT, "off must be 0, or 1"),
        (insn(0xBF, 0, 1, 24) + EXIT, "a sign of 24 bits"),
        (insn(0xBC, 0, 1, 32) + EXIT, "a sign of 32 bits"),
        (insn(0x87, 0, 1) + EXIT, "field src must be 0"),
        (insn(0x8F, 0, 1) + EXIT, "takes no register"),
        (insn(0xD4, 0, 0, 0, 8) + EXIT, "8 bits can't be swapped"),
        (insn(0xDF, 0, 0, 0, 16) + EXIT, "can't be of this class"),
        (insn(0x61, 0, 1, 0, 1) + EXIT, "field imm must be 0"),
        (insn(0x62, 1, 1, 0, 1) + EXIT, "field src must be 0"),
        (insn(0x63, 1, 0, 0, 1) + EXIT, "field imm must be 0"),
        (insn(0xCB, 1, 0, 0, 0) + EXIT, "atomic operations take 4 or 8 bytes"),
        (insn(0xDB, 1, 0, 0, 0x10) + EXIT, "no atomic operation 0x10"),
        (insn(0xDB, 1, 0, 0, 0xE0) + EXIT, "no atomic operation 0xe0"),
        (insn(0xDB, 1, 0, 0, 0x101) + EXIT, "no atomic operation 0x101"),
        (insn(0x05, 0, 0, 5) + EXIT, "leads outside of the program"),
        (insn(0x05, 0, 0, -2) + EXIT, "leads outside of the program"),
        (insn(0x05, 0, 0, 1) + wide(0, 1) + EXIT, "leads into a wide one"),
        (insn(0x05, 1, 0, 0) + EXIT, "field dst must be 0"),
        (insn(0x95, 1), "field dst must be 0"),
        (wide(0, 1)[:8], "second half of the wide immediate is missing"),
        (wide(0, 1, src=7) + EXIT, "no wide immediates of kind 7"),
        (insn(0x18, 0) + insn(0xB7, 0) + EXIT, "more than its number"),
        (insn(0xB7, 0), "control runs out of the program"),
        (insn(0x85, 0, 3, 0, 1) + EXIT, "no calls of kind 3"),
        (insn(0x85, 0, 1, 0, -1) + EXIT, "calls itself"),
        (insn(0x85, 0, 1, 0, 40) + EXIT, "leads outside of the program"),
    ],
)
def test_what_is_no_instruction(code: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        UserProgram.load(code, CONTEXT, checks=True)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (insn(0x85, 0, 0, 0, 99999) + EXIT, "no helper number 99999 in user space"),
        (insn(0x85, 0, 0, 0, 169) + EXIT, "no helper bpf_timer_init in user space"),
        (insn(0x85, 0, 2, 0, 1) + EXIT, "no kernel functions"),
    ],
)
def test_calls_of_what_is_not_there(code: bytes, why: str) -> None:
    with pytest.raises(BpfError, match=why):
        UserProgram.load(code, CONTEXT, checks=True)
