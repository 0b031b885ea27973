from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.records.building import EPOCH_NS
from tests.unit.records.cluster import LATERAL, TRACE_ID, conclusion, part, sources, trace
from tests.unit.store.filling import fill, put_sources
from wbpf.errors import StoreError
from wbpf.records import Calibration, Conclusion, Piece, Source, Status, assemble
from wbpf.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "traces.db") as opened:
        yield opened


def pieces_of(given: list[Source]) -> list[Piece]:
    return [piece for source in given for piece in source.pieces]


def test_a_trace_comes_back_as_it_was_gathered(store: Store) -> None:
    put_sources(store, sources())
    store.conclude(conclusion())
    assert store.trace(TRACE_ID) == trace()


def test_delivery_twice_changes_nothing(store: Store) -> None:
    for _ in range(2):
        put_sources(store, sources())
        store.conclude(conclusion())
    assert store.trace(TRACE_ID) == trace()
    assert store.stats().pieces == len(pieces_of(sources()))


def test_a_longer_piece_takes_the_place_of_a_shorter_one_in_any_order(store: Store) -> None:
    whole = pieces_of(sources())
    put_sources(store, sources(), pieces=False)
    short = [replace(piece, data=piece.data[:40]) for piece in whole]
    rest = [
        replace(piece, start_unit=piece.start_unit + 5, data=piece.data[40:], starts_run=False)
        for piece in whole
    ]
    for pieces in (rest, short, whole, short):
        store.put_pieces(pieces)
    store.conclude(conclusion())
    assert store.trace(TRACE_ID).records == trace().records


def test_a_trace_is_open_until_it_is_concluded(store: Store) -> None:
    put_sources(store, sources())
    assert store.stats().open_gathers == 1
    (summary,) = store.traces()
    assert (summary.status, summary.concluded_unix_ns) == (Status.UNKNOWN, 0)
    assert store.trace(TRACE_ID) == assemble(TRACE_ID, sources())
    store.conclude(conclusion())
    assert store.stats().open_gathers == 0


def test_an_open_trace_is_found_by_the_hosts_of_its_pieces(store: Store) -> None:
    put_sources(store, sources())
    assert [s.trace_id for s in store.traces(host="host2")] == [TRACE_ID]
    assert list(store.traces(host="host9")) == []
    # From here on the conclusion says who took part.
    store.conclude(conclusion(part("host1")))
    assert list(store.traces(host="host2")) == []


def test_a_later_conclusion_replaces_the_earlier_one(store: Store) -> None:
    store.conclude(conclusion(part("host1", Status.PARTIAL, "host2 did not answer"), part("host2")))
    assert store.trace(TRACE_ID).status == Status.PARTIAL
    store.conclude(conclusion(part("host1")))
    gathered = store.trace(TRACE_ID)
    assert (gathered.status, [p.name for p in gathered.hosts]) == (Status.COMPLETE, ["host1"])


def test_a_summary_says_what_the_conclusion_said(store: Store) -> None:
    given = conclusion(
        replace(part("host1"), records=5, bytes=100, offset_ns=-3),
        replace(part("host2", Status.PARTIAL, "why", "and why"), records=7, bytes=20, host_id=(1 << 64) - 1),
    )
    store.conclude(given)
    (summary,) = store.traces()
    assert (summary.trigger_name, summary.trigger_value, summary.trigger_host) == ("slow", 12.5, "host1")
    assert (summary.records, summary.bytes, summary.status) == (12, 120, Status.PARTIAL)
    assert summary.hosts == given.hosts
    assert (summary.laterals, summary.group_id) == ((LATERAL,), TRACE_ID)


def test_values_of_triggers_may_be_nan(store: Store) -> None:
    store.conclude(replace(conclusion(), trigger_value=math.nan))
    assert math.isnan(next(store.traces()).trigger_value)


def test_filters_and_the_limit_of_lists(store: Store) -> None:
    def conclude(number: int, **changes: object) -> None:
        store.conclude(
            replace(
                conclusion(),
                trace_id=bytes([number]) * 16,
                fired_unix_ns=EPOCH_NS + number,
                **changes,  # type: ignore[arg-type]
            )
        )

    conclude(1, trigger_name="slow", hosts=[part("host1")])
    conclude(2, trigger_name="stale", hosts=[part("host1"), part("host2", Status.PARTIAL, "r")])
    conclude(3, trigger_name="slow", hosts=[part("host3", Status.UNKNOWN, "r")], group_id=b"g")

    def numbers(**filters: object) -> list[int]:
        return [summary.trace_id[0] for summary in store.traces(**filters)]  # type: ignore[arg-type]

    assert numbers() == [3, 2, 1]
    assert numbers(limit=2) == [3, 2]
    assert numbers(limit=0) == []
    assert numbers(trigger="slow") == [3, 1]
    assert numbers(host="host1") == [2, 1]
    assert numbers(status="partial") == [2]
    assert numbers(since=EPOCH_NS + 2) == [3, 2]
    assert numbers(group=b"g") == [3]
    assert numbers(trigger="slow", host="host1") == [1]
    assert store.stats().traces == {"complete": 1, "partial": 1, "unknown": 1}


def test_ids_are_found_by_prefix(store: Store) -> None:
    fill(store, ["abcd00", "ab9", "cd"])
    assert store.find("c").hex().startswith("cd")
    assert store.find("AB9").hex().startswith("ab9")
    assert store.find("latest") == next(store.traces()).trace_id
    with pytest.raises(StoreError, match=r"'ab' is not one trace: it begins ab9.*, abcd"):
        store.find("ab")
    with pytest.raises(StoreError, match="did you mean abcd00"):
        store.find("abce00")
    with pytest.raises(StoreError, match="wbpf traces list"):
        store.find("77")
    for wrong in ("", "xyz", "0" * 33):
        with pytest.raises(StoreError, match="hex digits"):
            store.find(wrong)


def test_a_triggered_trace_comes_before_its_laterals(store: Store) -> None:
    store.conclude(replace(conclusion(), trace_id=bytes(15) + b"\1", laterals=()))
    store.conclude(conclusion())
    assert store.find("latest") == TRACE_ID
    assert [summary.trace_id for summary in store.traces()] == [TRACE_ID, bytes(15) + b"\1"]
    assert [summary.trace_id for summary in store.traces(limit=1)] == [TRACE_ID]


def test_an_empty_store_has_no_latest_trace(store: Store) -> None:
    with pytest.raises(StoreError, match="is empty"):
        store.find("latest")
    assert list(store.traces()) == [] and store.stats().newest_unix_ns == 0


def test_a_batch_is_written_as_a_whole_or_not_at_all(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.batch():
        put_sources(store, sources())
        store.conclude(conclusion())
        raise KeyboardInterrupt
    assert list(store.traces()) == [] and store.stats().hosts == 0
    with store.batch():
        put_sources(store, sources())
        store.conclude(conclusion())
    assert store.trace(TRACE_ID) == trace()


def test_of_many_calibrations_those_around_the_trace_are_used(store: Store) -> None:
    put_sources(store, sources())
    store.conclude(conclusion())
    for source in sources():
        # Hours of calibrations, with a clock that was set forward a minute after the trace.
        store.put_calibrations(
            source.segment.segment_id,
            [
                Calibration(s * 10**9, s * 10**9, EPOCH_NS + s * 10**9 + 3600 * 10**9, 100)
                for s in range(60, 7200)
            ],
        )
    assert [r.time_unix_ns for r in store.trace(TRACE_ID).records] == [
        r.time_unix_ns for r in trace().records
    ]


def test_pieces_of_an_unknown_segment_are_shown_as_such(store: Store) -> None:
    store.put_pieces(pieces_of(sources())[:1])
    store.conclude(conclusion())
    gathered = store.trace(TRACE_ID)
    assert gathered.status == Status.UNKNOWN
    assert gathered.records[0].service.startswith("segment-")


def test_numbers_out_of_range_are_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match="out of range"):
        store.conclude(conclusion(replace(part("host1"), records=1 << 70)))
    assert list(store.traces()) == []


def test_a_trace_without_hosts_is_unknown(store: Store) -> None:
    made = Conclusion(TRACE_ID, "t", 1.0, "h", EPOCH_NS, b"", (), (), EPOCH_NS)
    store.conclude(made)
    gathered = store.trace(TRACE_ID.hex()[:6])
    assert (gathered.records, gathered.status) == ([], Status.UNKNOWN)
