"""What is computed of ranges holds for every number in them."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from wbpf.bpf.user.isa import Jump
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.branches import refine
from wbpf.bpf.user.verifier.ranges import ALL, HALF, Range, signed

EDGES = [0, 1, 2, 7, 31, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, HALF - 1, HALF, ALL - 1, ALL]
NUMBERS = st.sampled_from(EDGES) | st.integers(0, ALL) | st.integers(0, 300)
Sample = tuple[Range, int]


def low_half(number: int) -> int:
    return signed(number & ranges.ALL32, 32)


def holds(a: Range, number: int) -> bool:
    return (
        a.low <= number <= a.high
        and a.slow <= signed(number) <= a.shigh
        and a.wlow <= low_half(number) <= a.whigh
        and not (number ^ a.value) & ~a.mask & ALL
        and not a.value & a.mask
    )


@st.composite
def samples(draw: Callable[[st.SearchStrategy[int]], int]) -> Sample:
    """A range and a number in it."""
    number, other = draw(NUMBERS), draw(NUMBERS)
    mask = draw(NUMBERS)
    made = ranges.make(
        number & ~mask & ALL,
        mask,
        min(number, other),
        max(number, other),
        min(signed(number), signed(other)),
        max(signed(number), signed(other)),
        min(low_half(number), low_half(other)),
        max(low_half(number), low_half(other)),
    )
    made = made if made is not None and holds(made, number) else ranges.known(number)
    return made, number


@settings(max_examples=600)
@given(samples(), samples())
def test_arithmetic(a: Sample, b: Sample) -> None:
    (ra, x), (rb, y) = a, b
    assert holds(ranges.join(ra, rb), x)
    assert holds(ranges.join(ra, rb), y)
    assert holds(ranges.add(ra, rb), (x + y) & ALL)
    assert holds(ranges.subtract(ra, rb), (x - y) & ALL)
    assert holds(ranges.multiply(ra, rb), x * y & ALL)
    assert holds(ranges.both(ra, rb), x & y)
    assert holds(ranges.either(ra, rb), x | y)
    assert holds(ranges.differ(ra, rb), x ^ y)
    assert holds(ranges.divide(ra, rb), x // y if y else 0)
    assert holds(ranges.modulo(ra, rb), x % y if y else x)


@settings(max_examples=600)
@given(samples(), samples(), st.sampled_from([32, 64]))
def test_shifts_and_widths(a: Sample, b: Sample, bits: int) -> None:
    (ra, x), (rb, y) = a, b
    if bits == 32:
        ra, x = ranges.truncate(ra), x & 0xFFFFFFFF
        assert holds(ra, x)
    count, most = y & (bits - 1), (1 << bits) - 1
    assert holds(ranges.shift_left(ra, rb, bits), x << count & most)
    assert holds(ranges.shift_right(ra, rb, bits), x >> count)
    assert holds(ranges.shift_signed(ra, rb, bits), (signed(x, bits) >> count) & most)
    assert holds(ranges.sign_extend(ra, 16, 32), signed(x & 0xFFFF, 16) & 0xFFFFFFFF)
    for part in (8, 16, 32):
        assert holds(ranges.truncate(ra, part), x & ((1 << part) - 1))
        assert holds(ranges.sign_extend(ra, part), signed(x & ((1 << part) - 1), part) & ALL)


@settings(max_examples=1500)
@given(samples(), samples(), st.sampled_from([jump for jump in Jump if jump not in (0, 8, 9)]), st.booleans())
def test_branches(a: Sample, b: Sample, jump: Jump, narrow: bool) -> None:
    (ra, x), (rb, y) = a, b
    bits = 32 if narrow else 64
    u, v = x & ((1 << bits) - 1), y & ((1 << bits) - 1)
    s, t = signed(u, bits), signed(v, bits)
    taken = {
        Jump.JEQ: u == v,
        Jump.JNE: u != v,
        Jump.JSET: bool(u & v),
        Jump.JGT: u > v,
        Jump.JGE: u >= v,
        Jump.JLT: u < v,
        Jump.JLE: u <= v,
        Jump.JSGT: s > t,
        Jump.JSGE: s >= t,
        Jump.JSLT: s < t,
        Jump.JSLE: s <= t,
    }[jump]
    pair = refine(jump, ra, rb, taken=taken, narrow=narrow)
    assert pair is not None
    assert holds(pair[0], x)
    if jump is not Jump.JSET:
        assert holds(pair[1], y)


@given(samples(), samples(), samples())
def test_what_is_in_both(a: Sample, b: Sample, c: Sample) -> None:
    (ra, x), (rb, y), (rc, _) = a, b, c
    both = ranges.meet(ranges.join(ra, rb), ranges.join(ra, rc))
    assert both is not None
    assert holds(both, x)
    upper = ranges.meet_low(rb, ranges.truncate(ranges.join(rb, rc)))
    assert upper is not None
    assert holds(upper, y)


def test_an_error_or_a_length() -> None:
    """What `int n = bpf_probe_read_user_str(…); if (n < 0) …` knows of n, in three ways to compile it."""
    n = ranges.make(0, ALL, 0, ALL, -4095, 64)
    assert n is not None
    for read in (n, ranges.truncate(n), ranges.shift_left(n, ranges.known(32), 64)):
        if read.slow < -(1 << 31):
            read = ranges.shift_signed(read, ranges.known(32), 64)
        pair = refine(Jump.JSLT, read, ranges.known(0), taken=False, narrow=True)
        assert pair is not None
        assert (pair[0].low, pair[0].high) == (0, 64)
