from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.errors import FormatError
from wbpf.records import Piece, join

TRACE = bytes(range(16))


def piece(start: int, data: bytes, starts_run: bool = True, trace_id: bytes = TRACE) -> Piece:
    return Piece(trace_id, 1, 2, 3, start, 11, 10, starts_run, data)


@given(
    st.integers(1, 60), st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), max_size=8), st.randoms()
)
def test_pieces_that_cover_a_run_give_it_back(
    units: int, stretches: list[tuple[int, int]], rng: random.Random
) -> None:
    whole = piece(5, bytes(rng.randbytes(units * 8)))
    cuts = sorted({0, units, *(start for start, _ in stretches if start < units)})
    spans = [*pairwise(cuts), *((a, min(a + n, units)) for a, n in stretches if a < units)]
    parts = [piece(5 + a, whole.data[a * 8 : b * 8], starts_run=a == 0) for a, b in spans]
    rng.shuffle(parts)
    assert join(parts) == [whole]


def test_runs_beside_each_other_stay_apart() -> None:
    first, second = piece(4, bytes(16)), piece(6, bytes(8))
    assert join([second, first]) == [first, second]


def test_a_hole_is_not_closed() -> None:
    first, later = piece(4, bytes(16)), piece(8, bytes(8), starts_run=False)
    assert join([later, first]) == [first, later]


def test_chunks_uses_and_traces_do_not_mix() -> None:
    first = piece(4, bytes(8))
    others = [
        replace(first, start_unit=5, starts_run=False, chunk=9),
        replace(first, start_unit=5, starts_run=False, uses=9),
        replace(first, start_unit=5, starts_run=False, trace_id=bytes(15) + b"\1"),
    ]
    assert sorted(join([first, *others]), key=repr) == sorted([first, *others], key=repr)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trace_id": b"short"},
        {"data": b""},
        {"data": bytes(7)},
        {"uses": -1},
        {"segment_id": 1 << 64},
        {"start_unit": 1 << 32},
    ],
)
def test_impossible_pieces_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="not a piece of a trace"):
        replace(piece(4, bytes(8)), **wrong)  # type: ignore[arg-type]
