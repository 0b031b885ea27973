"""Each fuzz target for a moment; for longer: `make fuzz TARGET=peers SECONDS=900`."""

from __future__ import annotations

import pytest

from tests.fuzz import hostcalls, peers, programs, records, segment, surroundings
from tests.fuzz.running import fuzz

#: Cases that a target once failed at, run again first; each target begins behind them.
FIRST = 1


def test_segments() -> None:
    assert "opened" in segment.fuzz(4, str(FIRST))


def test_hostcalls() -> None:
    said = hostcalls.fuzz(4, str(FIRST))
    assert " 0 exited" not in said and " 0 trapped" not in said


def test_records() -> None:
    cases, told = fuzz(records.one_case, 4, FIRST)
    assert cases > 5
    assert told["trace"] and told["otlp"] and told["run refused"] and told["delivery refused"]


def test_peers() -> None:
    cases, told = fuzz(peers.one_case, 4, FIRST)
    assert cases > 5
    for sort in ("to coordinator", "to agent", "to collector"):
        assert told[f"{sort} damaged"]
        assert told[f"{sort} refused"]
    assert told["concluded"]


def test_programs() -> None:
    cases, told = fuzz(programs.one_case, 4, FIRST)
    assert cases > 5
    assert told["proved"] and told["not proved"] and told["stopped"] and told["guarded"]
    assert told["values stopped"] and told["accesses"]


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_kept_programs(every: int) -> None:
    """The verifier finds of the corpus what it found; what it proves stays in its memory."""
    kept = surroundings.corpus()[::every]
    assert len(kept) > 90
    for found, one in kept:
        assert surroundings.outcome(one) == found, one
    proved = [one for found, one in kept if found == "proved" and one.kind != "memory"]
    assert {one.kind for one in proved} == set(surroundings.KINDS)
    programs = list(zip(proved, surroundings.load(*proved), strict=True))
    for first in range(0, len(programs), 40):
        surroundings.run_guarded(programs[first : first + 40], first)
