from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.records.building import EPOCH_NS
from tests.unit.records.cluster import TRACE_ID, conclusion, sources, trace
from tests.unit.store.filling import fill, put_sources
from wbpf.store import Store

FOREVER_S = 1e9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "traces.db") as opened:
        yield opened


def ids(store: Store) -> set[bytes]:
    return {summary.trace_id for summary in store.traces()}


def test_the_oldest_traces_go_until_the_size_fits_and_the_file_shrinks(store: Store) -> None:
    written = fill(store, [f"{i:04x}" for i in range(600)], bytes_each=8000)
    before = store.stats()
    assert before.used_bytes > 4_000_000
    deleted = store.retain(max_bytes=2_000_000, max_age_s=FOREVER_S)
    after = store.stats()
    assert after.used_bytes <= 2_000_000
    assert store.path.stat().st_size <= 2_000_000 and after.file_bytes <= 2_100_000
    assert ids(store) == set(written[deleted:])
    # No more than needed.
    assert after.used_bytes > 1_500_000
    assert store.retain(max_bytes=2_000_000, max_age_s=FOREVER_S) == 0


def test_traces_go_when_they_are_too_old(store: Store) -> None:
    written = fill(store, ["aa", "bb", "cc", "dd"])
    age_s = (time.time_ns() - EPOCH_NS) / 1e9
    assert store.retain(1 << 40, age_s - 1.5) == 2
    assert ids(store) == set(written[2:])


def test_a_group_goes_as_one(store: Store) -> None:
    first, second, third = fill(store, ["aa", "bb", "cc"])
    for trace_id in (first, third):
        store.conclude(
            replace(
                conclusion(), trace_id=trace_id, group_id=first, fired_unix_ns=EPOCH_NS + trace_id[0] * 10**9
            )
        )
    age_s = (time.time_ns() - EPOCH_NS) / 1e9
    assert store.retain(1 << 40, age_s - 0xAA - 1) == 3
    assert ids(store) == set()
    assert second not in ids(store)


def test_what_is_deleted_is_gone_and_the_rest_stays(store: Store) -> None:
    fill(store, ["aa", "bb"])
    put_sources(store, sources())
    store.conclude(conclusion())
    assert store.delete([store.find("aa"), bytes(16)]) == 1
    assert {trace_id.hex()[:2] for trace_id in ids(store)} == {"bb", "4b"}
    assert store.trace(TRACE_ID) == trace()


def test_facts_of_segments_without_traces_go_but_not_those_of_this_writer(
    store: Store, tmp_path: Path
) -> None:
    put_sources(store, sources())
    store.conclude(conclusion())
    fill(store, ["aa"])
    store.retain(0, FOREVER_S)
    assert store.stats().segments == 4
    # More pieces on the same connection can be understood still.
    store.put_pieces([piece for source in sources() for piece in source.pieces])
    store.conclude(conclusion())
    assert store.trace(TRACE_ID) == trace()
    store.close()
    with Store.open(tmp_path / "traces.db") as later:
        fill(later, ["bb"])
        later.retain(0, FOREVER_S)
        assert later.stats().segments == 1


def test_while_a_reader_looks_the_space_is_given_back_later(store: Store) -> None:
    fill(store, [f"{i:02x}" for i in range(100)], bytes_each=20_000)
    with Store.open(store.path, readonly=True) as reader, reader.batch():
        assert len(ids(reader)) == 100
        store.retain(100_000, FOREVER_S)
        assert len(ids(reader)) == 100
    store.shrink()
    assert store.stats().file_bytes < 200_000
