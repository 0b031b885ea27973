"""Names that two states have for the same: origins of addresses in the packet, and what is 0 together.

A state numbers the places in the packet that an offset led to, and the calls whose results may be 0. These
names mean nothing outside of it: states are compared, and joined, up to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.ranges import Range, known, signed
from wbpf.bpf.user.verifier.values import NULLS, SOMEWHERE, UNSET, Kind, Pointer, Unset, Value


def _offset(pointer: Pointer) -> int:
    return signed(pointer.offset.low)


class Match:
    """Whether what is right for one state is right for another, value by value."""

    def __init__(self) -> None:
        #: the first's origin -> the other's, and how far that is below
        self._origins: dict[int, tuple[int, int]] = {}
        self._nulls: dict[int, int] = {}

    def contains(self, a: Value, b: Value) -> bool:
        """Whether whatever is right for `a` is right for `b`."""
        if isinstance(a, Unset):
            return True
        if isinstance(a, Range):
            return isinstance(b, Range) and (a is b or a.contains(b))
        return (
            isinstance(b, Pointer)
            and a.kind is b.kind
            and a.bytes == b.bytes
            and a.token == b.token
            and a.writable == b.writable
            and a.found == b.found
            and self._place(a, b)
            and (a.nullable == b.nullable == 0 or self._null(a.nullable, b.nullable))
        )

    def _null(self, a: int, b: int) -> bool:
        return a > 0 and self._nulls.setdefault(a, b) == b

    def _place(self, a: Pointer, b: Pointer) -> bool:
        if a.kind is not Kind.PACKET or not a.of:
            return a.of == b.of and a.offset.contains(b.offset)
        if a.of == SOMEWHERE:
            return True
        to = b.of, _offset(b) - _offset(a)
        return b.of != SOMEWHERE and to[1] >= 0 and self._origins.setdefault(a.of, to) == to

    def has_room(self, mine: Mapping[int, int], other: Mapping[int, int]) -> bool:
        """Whether as much is there behind each origin that was met, and behind the packet's beginning."""
        for of, room in mine.items():
            its, below = (of, 0) if of <= 0 else self._origins.get(of, (0, -room))
            if other.get(its, 0) - below < room:
                return False
        return True


class Join:
    """What holds for either of two states, value by value.

    Args:
        pairs: all that are joined.
    """

    def __init__(self, pairs: Iterable[tuple[Value, Value]]) -> None:
        #: a pair of origins that are equally far apart in both states -> the lowest address, by the first
        self._lowest: dict[tuple[int, int, int], int] = {}
        self._origins: dict[tuple[int, int, int], int] = {}
        self._nulls: dict[tuple[int, int], int] = {}
        for a, b in pairs:
            if isinstance(a, Pointer) and isinstance(b, Pointer) and a.kind is b.kind is Kind.PACKET:
                key, at = _between(a, b), _offset(a)
                self._lowest[key] = min(self._lowest.get(key, at), at)

    def value(self, a: Value, b: Value) -> Value:
        """What both may be."""
        if isinstance(a, Range) and isinstance(b, Range):
            return ranges.join(a, b)
        if not isinstance(a, Pointer) or not isinstance(b, Pointer):
            return UNSET
        a_place, b_place = self._placed(a, b)
        if replace(b_place, offset=a_place.offset, nullable=a.nullable) != a_place:
            return UNSET
        offset = ranges.join(a_place.offset, b_place.offset)
        return replace(a_place, offset=offset, nullable=self._null(a, b))

    def _null(self, a: Pointer, b: Pointer) -> int:
        if a.nullable == b.nullable == 0:
            return 0
        if a.token:  # the same in both: they are settled together
            return a.nullable or b.nullable
        return self._nulls.setdefault((a.nullable, b.nullable), NULLS + len(self._nulls))

    def _placed(self, a: Pointer, b: Pointer) -> tuple[Pointer, Pointer]:
        """Both by the same origin, if they are addresses in the packet."""
        if a.kind is not Kind.PACKET or b.kind is not Kind.PACKET:
            return a, b
        key = _between(a, b)
        if key == (0, 0, 0):
            return a, b
        first = self._lowest[key] if key[2] else 0
        # Below an origin may be nothing: what is there is none.
        if SOMEWHERE in key[:2] or min(first, first + key[2]) < 0:
            of, at = SOMEWHERE, 0
        else:
            of, at = self._origins.setdefault(key, len(self._origins) + 1), _offset(a) - first
        return replace(a, of=of, offset=known(at)), replace(b, of=of, offset=known(at))

    def room(self, mine: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
        """Bytes of the packet that are there behind the origins of both."""
        rooms = {of: min(room, other[of]) for of, room in mine.items() if of <= 0 and of in other}
        for (of, its, apart), number in self._origins.items():
            # The origin is where the lowest of these addresses is, unless neither has moved.
            first = self._lowest[of, its, apart] if apart else 0
            rooms[number] = max(0, min(mine.get(of, 0) - first, other.get(its, 0) - first - apart))
        return rooms


def _between(a: Pointer, b: Pointer) -> tuple[int, int, int]:
    return a.of, b.of, _offset(b) - _offset(a)
