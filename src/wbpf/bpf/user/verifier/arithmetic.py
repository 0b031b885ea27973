"""What arithmetic instructions make of ranges of numbers."""

from __future__ import annotations

from wbpf.bpf.user.isa import Alu
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.ranges import Range, known, of_bits


def arithmetic(code: Alu, a: Range, b: Range, bits: int, *, is_signed: bool) -> Range:
    """The result of an instruction of so many bits, before it is cut to them."""
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
