from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wbpf.collector import verdicts
from wbpf.collector.verdicts import Verdicts
from wbpf.records import Conclusion, HostPart, Status
from wbpf.store import Store

TRACE = b"t" * 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "traces.db") as opened:
        yield opened


def conclusion(status: Status, records: int, trigger: str = "slow") -> Conclusion:
    part = HostPart("a", 1, 1, status, ["why"], records=records)
    return Conclusion(TRACE, trigger, 1.5, "a", 1000, b"", [], [part], 2000)


def put(store: Store, one: Verdicts, what: Conclusion) -> bool:
    chosen = one.choose(what)
    if chosen is not None:
        store.conclude(chosen)
        one.note(chosen)
    return chosen is not None


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_trace_does_not_get_worse_by_being_gathered_again(store: Store, forgotten: bool) -> None:
    one = Verdicts(store)
    assert put(store, one, conclusion(Status.COMPLETE, 10))
    one = Verdicts(store) if forgotten else one
    # The store counts what it has: nothing was delivered here, so a forgetful collector knows of 0 records.
    fewer = 0 if forgotten else 10
    assert not put(store, one, conclusion(Status.UNKNOWN, fewer))
    assert store.trace(TRACE).status is Status.COMPLETE
    assert put(store, one, conclusion(Status.PARTIAL, 11)), "it knows of more"
    assert put(store, one, conclusion(Status.COMPLETE, 11))
    assert put(store, one, conclusion(Status.COMPLETE, 12))


def test_a_coordinator_that_forgot_leaves_the_trigger(store: Store) -> None:
    for one in (Verdicts(store), Verdicts(store)):
        put(store, one, conclusion(Status.PARTIAL, 5))
        put(store, one, conclusion(Status.PARTIAL, 5, ""))
        trigger = store.trace(TRACE).trigger
        assert trigger is not None and (trigger.name, trigger.value, trigger.time_unix_ns) == (
            "slow",
            1.5,
            1000,
        )
    put(store, Verdicts(store), conclusion(Status.COMPLETE, 6, ""))
    trigger = store.trace(TRACE).trigger
    assert trigger is not None and trigger.name == "slow"
    assert store.trace(TRACE).status is Status.COMPLETE


def test_a_trigger_that_nobody_knows_stays_without_a_name(store: Store) -> None:
    assert put(store, Verdicts(store), conclusion(Status.COMPLETE, 5, ""))


def test_memory_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "REMEMBERED", 10)
    one = Verdicts(store)
    for n in range(30):
        one.note(Conclusion(n.to_bytes(16, "big"), "slow", 0.0, "a", 1, b"", [], [], 1))
    assert len(one._earlier) == 10
