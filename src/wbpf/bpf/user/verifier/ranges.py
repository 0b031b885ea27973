"""What is known of a number: intervals of both readings, of its low half, and which bits are sure.

The bits are a tristate number as in the kernel's verifier (Vishwanathan et al., "Sound, Precise, and Fast
Abstract Interpretation with Tristate Numbers", CGO 2022): bits of `mask` are not known, the others are
those of `value`.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = (1 << 64) - 1
HALF = 1 << 63
ALL32 = (1 << 32) - 1
HALF32 = 1 << 31
_HALF_ALL = (-HALF32, HALF32 - 1)


@dataclass(frozen=True, slots=True)
class Range:
    """A set of 64-bit numbers.

    Args:
        value: the known bits.
        mask: the bits that are not known.
        low: least, read as unsigned.
        high: greatest, read as unsigned.
        slow: least, read as signed.
        shigh: greatest, read as signed.
        wlow: least of the low 32 bits, read as signed.
        whigh: greatest of the low 32 bits, read as signed.
    """

    value: int
    mask: int
    low: int
    high: int
    slow: int
    shigh: int
    wlow: int = -HALF32
    whigh: int = HALF32 - 1

    @property
    def is_known(self) -> bool:
        return self.low == self.high

    @property
    def is_narrow(self) -> bool:
        """Whether it fits into 32 bits."""
        return self.high <= ALL32

    def contains(self, other: Range) -> bool:
        return (
            self.low <= other.low
            and other.high <= self.high
            and self.slow <= other.slow
            and other.shigh <= self.shigh
            and self.wlow <= other.wlow
            and other.whigh <= self.whigh
            and not other.mask & ~self.mask
            and not (other.value ^ self.value) & ~self.mask
        )

    def __str__(self) -> str:
        if self.is_known:
            return str(signed(self.low))
        if self == UNKNOWN:
            return "any number"
        if self.high < HALF:
            return f"{self.low}..{self.high}"
        return f"{self.slow}..{self.shigh}"


def signed(number: int, bits: int = 64) -> int:
    """A number of so many bits, read as signed."""
    return number - (1 << bits) if number >> (bits - 1) else number


UNKNOWN = Range(0, ALL, 0, ALL, -HALF, HALF - 1)


def known(number: int) -> Range:
    """One number."""
    number &= ALL
    as_signed, low_half = signed(number), signed(number & ALL32, 32)
    return Range(number, 0, number, number, as_signed, as_signed, low_half, low_half)


def between(low: int, high: int) -> Range:
    """All from `low` to `high`, unsigned."""
    return make(0, ALL, low, high, -HALF, HALF - 1) or known(low)


def of_bits(bits: int) -> Range:
    """All numbers of so many bits."""
    return UNKNOWN if bits == 64 else between(0, (1 << bits) - 1)


def make(
    value: int,
    mask: int,
    low: int,
    high: int,
    slow: int,
    shigh: int,
    wlow: int = -HALF32,
    whigh: int = HALF32 - 1,
) -> Range | None:
    """A range in which each part is as narrow as the others allow; None if it is empty."""
    for _ in range(2):
        low, high = max(low, value), min(high, value | mask)
        # Where the low bits are sure, the bounds have them too.
        step = (mask & -mask) - 1 if mask else 0
        low += value - low & step
        high -= high - value & step
        # Both readings agree where the sign can't change.
        if low > high or slow > shigh:
            return None
        if high < HALF or low >= HALF:
            slow, shigh = max(slow, signed(low)), min(shigh, signed(high))
        if slow > shigh:
            return None
        if slow >= 0 or shigh < 0:
            low, high = max(low, slow & ALL), min(high, shigh & ALL)
        if low > high:
            return None
        # What fits into 32 bits is its low half, and what is the sign extension of its low half as well.
        if high <= ALL32:
            if high < HALF32 or low >= HALF32:
                wlow, whigh = max(wlow, signed(low, 32)), min(whigh, signed(high, 32))
            if wlow >= 0 or whigh < 0:
                low, high = max(low, wlow & ALL32), min(high, whigh & ALL32)
        elif slow >= -HALF32 and shigh < HALF32:
            wlow = slow = max(slow, wlow)
            whigh = shigh = min(shigh, whigh)
        if low > high or slow > shigh or wlow > whigh:
            return None
        # The bits above the highest in which the bounds differ are sure.
        unsure = (1 << (low ^ high).bit_length()) - 1
        sure = ~(unsure | mask) & ALL
        if (value ^ low) & sure & ~unsure:
            return None
        value = value & ~mask | low & ~unsure & mask
        mask &= unsure
        value &= ~mask & ALL
    low, high = max(low, value), min(high, value | mask)
    return known(low) if low == high else Range(value, mask, low, high, slow, shigh, wlow, whigh)


def join(a: Range, b: Range) -> Range:
    """All of both."""
    if a == b:
        return a
    mask = (a.mask | b.mask | (a.value ^ b.value)) & ALL
    made = make(
        a.value & ~mask,
        mask,
        min(a.low, b.low),
        max(a.high, b.high),
        min(a.slow, b.slow),
        max(a.shigh, b.shigh),
        min(a.wlow, b.wlow),
        max(a.whigh, b.whigh),
    )
    assert made is not None
    return made


def meet(a: Range, b: Range) -> Range | None:
    """All that is in both."""
    if (a.value ^ b.value) & ~a.mask & ~b.mask:
        return None
    return make(
        a.value | b.value & a.mask,
        a.mask & b.mask,
        max(a.low, b.low),
        min(a.high, b.high),
        max(a.slow, b.slow),
        min(a.shigh, b.shigh),
        max(a.wlow, b.wlow),
        min(a.whigh, b.whigh),
    )


def meet_low(a: Range, half: Range) -> Range | None:
    """All whose low 32 bits are in `half`, which has no others."""
    if a.is_narrow:
        return meet(a, half)
    if (a.value ^ half.value) & ~a.mask & ~half.mask & ALL32:
        return None
    return make(
        a.value | half.value & a.mask,
        a.mask & (half.mask | ~ALL32 & ALL),
        a.low,
        a.high,
        a.slow,
        a.shigh,
        max(a.wlow, half.wlow),
        min(a.whigh, half.whigh),
    )


def truncate(a: Range, bits: int = 32) -> Range:
    """The low bits, the others 0."""
    most = (1 << bits) - 1
    if a.high <= most:
        return a
    value, mask = a.value & most, a.mask & most
    low, high = (a.low & most, a.high & most) if a.low >> bits == a.high >> bits else (0, most)
    half = (a.wlow, a.whigh) if bits == 32 else _HALF_ALL
    return make(value, mask, low, high, -HALF, HALF - 1, *half) or of_bits(bits)


def sign_extend(a: Range, bits: int, to: int = 64) -> Range:
    """The low bits, read as signed, in `to` bits."""
    a = truncate(a, bits)
    half = 1 << (bits - 1)
    if a.high < half:
        return a
    upper = (1 << to) - (1 << bits)
    if a.low >= half:
        return make(a.value | upper, a.mask, a.low | upper, a.high | upper, -HALF, HALF - 1) or of_bits(to)
    low, high = (a.wlow, a.whigh) if bits == 32 else (-half, half - 1)
    if to == 64:
        return make(0, ALL, 0, ALL, low, high) or UNKNOWN
    return make(0, ALL32, 0, ALL32, -HALF, HALF - 1, low, high) or of_bits(to)


def add(a: Range, b: Range) -> Range:
    """Sum, modulo 2^64."""
    sums = (a.mask + b.mask) & ALL
    values = (a.value + b.value) & ALL
    chi = ((sums + values) & ALL) ^ values
    mask = chi | a.mask | b.mask
    low, high = a.low + b.low, a.high + b.high
    if high > ALL and low <= ALL:
        low, high = 0, ALL
    slow, shigh = a.slow + b.slow, a.shigh + b.shigh
    if slow < -HALF or shigh >= HALF:
        slow, shigh = -HALF, HALF - 1
    half = _half(a.wlow + b.wlow, a.whigh + b.whigh)
    return make(values & ~mask, mask, low & ALL, high & ALL, slow, shigh, *half) or UNKNOWN


def _half(low: int, high: int) -> tuple[int, int]:
    """Bounds of a low half, if they fit into it."""
    return (low, high) if low >= -HALF32 and high < HALF32 else _HALF_ALL


def subtract(a: Range, b: Range) -> Range:
    """Difference, modulo 2^64."""
    values = (a.value - b.value) & ALL
    chi = ((values + a.mask) & ALL) ^ ((values - b.mask) & ALL)
    mask = chi | a.mask | b.mask
    low, high = (a.low - b.high, a.high - b.low) if a.low >= b.high else (0, ALL)
    slow, shigh = a.slow - b.shigh, a.shigh - b.slow
    if slow < -HALF or shigh >= HALF:
        slow, shigh = -HALF, HALF - 1
    half = _half(a.wlow - b.whigh, a.whigh - b.wlow)
    return make(values & ~mask, mask, low, high, slow, shigh, *half) or UNKNOWN


def multiply(a: Range, b: Range) -> Range:
    """Product, modulo 2^64."""
    if a.is_known and b.is_known:
        return known(a.low * b.low)
    low, high = a.low * b.low, a.high * b.high
    if high > ALL:
        low, high = 0, ALL
    zeros = min(_zeros(a) + _zeros(b), 64)
    return make(0, ALL & ~((1 << zeros) - 1), low, high, -HALF, HALF - 1) or UNKNOWN


def _zeros(a: Range) -> int:
    """How many low bits are surely 0."""
    bits = a.value | a.mask
    return 64 if not bits else (bits & -bits).bit_length() - 1


def both(a: Range, b: Range) -> Range:
    """Bitwise and."""
    alpha, beta = a.value | a.mask, b.value | b.mask
    value, high = a.value & b.value, min(a.high, b.high)
    if high <= ALL32:  # what is known of either low half holds for all of it
        high = min(truncate(a).high, truncate(b).high)
    return make(value, alpha & beta & ~value, 0, high, -HALF, HALF - 1) or UNKNOWN


def either(a: Range, b: Range) -> Range:
    """Bitwise or."""
    value, mask = a.value | b.value, a.mask | b.mask
    return make(value, mask & ~value, max(a.low, b.low), ALL, -HALF, HALF - 1) or UNKNOWN


def differ(a: Range, b: Range) -> Range:
    """Bitwise exclusive or."""
    mask = a.mask | b.mask
    return make((a.value ^ b.value) & ~mask, mask, 0, ALL, -HALF, HALF - 1) or UNKNOWN


def shift_left(a: Range, by: Range, bits: int) -> Range:
    """Of a number of so many bits."""
    most = (1 << bits) - 1
    if not by.is_known:
        return of_bits(bits)
    count = by.low & (bits - 1)
    low, high = a.low << count, a.high << count
    if high > most:
        low, high = 0, most
    # The first half of a sign extension.
    slow, shigh = (a.wlow << 32, a.whigh << 32) if count == 32 else (-HALF, HALF - 1)
    return make(a.value << count & most, a.mask << count & most, low, high, slow, shigh) or of_bits(bits)


def shift_right(a: Range, by: Range, bits: int) -> Range:
    """Zeros come in from above."""
    if not by.is_known:
        return between(0, a.high)
    count = by.low & (bits - 1)
    half = (a.slow >> 32, a.shigh >> 32) if count == 32 else _HALF_ALL
    made = make(a.value >> count, a.mask >> count, a.low >> count, a.high >> count, -HALF, HALF - 1, *half)
    return made or of_bits(bits)


def shift_signed(a: Range, by: Range, bits: int) -> Range:
    """The sign comes in from above; the result has `bits` bits."""
    wide = a if bits == 64 else sign_extend(a, bits)
    if not by.is_known:
        return of_bits(bits)
    count = by.low & (bits - 1)
    made = make(0, ALL, 0, ALL, wide.slow >> count, wide.shigh >> count) or UNKNOWN
    return made if bits == 64 else truncate(made)


def divide(a: Range, b: Range) -> Range:
    """Unsigned; by 0 it is 0."""
    low = a.low // b.high if b.low and b.high else 0
    return between(low, a.high // max(b.low, 1))


def modulo(a: Range, b: Range) -> Range:
    """Unsigned; by 0 it is the dividend."""
    if b.low == 0:
        return between(0, a.high)
    return a if a.high < b.low else between(0, min(a.high, b.high - 1))
