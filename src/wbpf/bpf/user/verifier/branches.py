"""What is known on either side of a conditional jump."""

from __future__ import annotations

from wbpf.bpf.user.isa import Jump
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.ranges import ALL, HALF, Range, make

_OPPOSITE = {
    Jump.JEQ: Jump.JNE,
    Jump.JNE: Jump.JEQ,
    Jump.JGT: Jump.JLE,
    Jump.JLE: Jump.JGT,
    Jump.JGE: Jump.JLT,
    Jump.JLT: Jump.JGE,
    Jump.JSGT: Jump.JSLE,
    Jump.JSLE: Jump.JSGT,
    Jump.JSGE: Jump.JSLT,
    Jump.JSLT: Jump.JSGE,
}
_MIRRORED = {
    Jump.JEQ: Jump.JEQ,
    Jump.JNE: Jump.JNE,
    Jump.JGT: Jump.JLT,
    Jump.JLT: Jump.JGT,
    Jump.JGE: Jump.JLE,
    Jump.JLE: Jump.JGE,
    Jump.JSGT: Jump.JSLT,
    Jump.JSLT: Jump.JSGT,
    Jump.JSGE: Jump.JSLE,
    Jump.JSLE: Jump.JSGE,
}
Pair = tuple[Range, Range] | None


def refine(jump: Jump, a: Range, b: Range, *, taken: bool, narrow: bool) -> Pair:
    """Both operands on one side of a jump; None if control can't get there.

    Args:
        jump: the comparison.
        a: what the first operand can be.
        b: what the second operand can be.
        taken: the side on which it holds.
        narrow: it compares the low 32 bits.
    """
    if jump is Jump.JSET:
        return _bits(a, ranges.truncate(b) if narrow else b, taken=taken)
    if not taken:
        jump = _OPPOSITE[jump]
    if narrow:
        return _narrow(jump, a, b)
    first = _holds(jump, a, b)
    second = _holds(_MIRRORED[jump], b, a)
    return None if first is None or second is None else (first, second)


def _narrow(jump: Jump, a: Range, b: Range) -> Pair:
    """The low 32 bits are compared; numbers that fit into them become narrower themselves."""
    is_signed = jump in (Jump.JSGT, Jump.JSGE, Jump.JSLT, Jump.JSLE)
    low_a, low_b = ranges.truncate(a), ranges.truncate(b)
    if is_signed:
        wide_a, wide_b = ranges.sign_extend(low_a, 32), ranges.sign_extend(low_b, 32)
        first, second = _holds(jump, wide_a, wide_b), _holds(_MIRRORED[jump], wide_b, wide_a)
        if first is None or second is None:
            return None
        first, second = ranges.truncate(first), ranges.truncate(second)
    else:
        maybe, other = _holds(jump, low_a, low_b), _holds(_MIRRORED[jump], low_b, low_a)
        if maybe is None or other is None:
            return None
        first, second = maybe, other
    return (ranges.meet_low(a, first) or a, ranges.meet_low(b, second) or b)


def _bounded(
    a: Range, low: int = 0, high: int = ALL, slow: int = -HALF, shigh: int = HALF - 1
) -> Range | None:
    low, high = max(a.low, low), min(a.high, high)
    slow, shigh = max(a.slow, slow), min(a.shigh, shigh)
    if low > high or slow > shigh:
        return None
    return make(a.value, a.mask, low, high, slow, shigh, a.wlow, a.whigh)


def _holds(jump: Jump, a: Range, b: Range) -> Range | None:
    """The first operand where the comparison holds."""
    match jump:
        case Jump.JEQ:
            return ranges.meet(a, b)
        case Jump.JNE:
            if not b.is_known:
                return a
            if a.is_known:
                return None if a.low == b.low else a
            low, high, slow, shigh = a.low, a.high, a.slow, a.shigh
            low += b.low == low
            high -= b.low == high
            slow += b.slow == slow
            shigh -= b.slow == shigh
            return _bounded(a, low, high, slow, shigh)
        case Jump.JGT:
            return _bounded(a, low=b.low + 1)
        case Jump.JGE:
            return _bounded(a, low=b.low)
        case Jump.JLT:
            return _bounded(a, high=b.high - 1)
        case Jump.JLE:
            return _bounded(a, high=b.high)
        case Jump.JSGT:
            return _bounded(a, slow=b.slow + 1)
        case Jump.JSGE:
            return _bounded(a, slow=b.slow)
        case Jump.JSLT:
            return _bounded(a, shigh=b.shigh - 1)
        case _:
            return _bounded(a, shigh=b.shigh)


def _bits(a: Range, b: Range, *, taken: bool) -> Pair:
    """JSET; for one of 32 bits `b` has only those."""
    if taken:
        return None if not (a.value | a.mask) & (b.value | b.mask) else (a, b)
    if a.value & b.value:
        return None
    # No bit of b is set.
    made = make(a.value, a.mask & ~b.value, a.low, a.high, a.slow, a.shigh, a.wlow, a.whigh)
    return None if made is None else (made, b)
