from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wbpf
from tests.unit.recorder.reading import events, read_trace, segment_in, source_of
from wbpf.demo import groupby
from wbpf.demo.data import FLIGHT, MISSING, OBSERVATION, PLANE, Names, Tables
from wbpf.demo.injector import Fault, FaultKind, Stage
from wbpf.demo.messages import Map, Mapped, Reduce, Reduced, WorkerSpec
from wbpf.demo.tasks import Tasks
from wbpf.pool import Pool
from wbpf.records import decode_run, parse_schemas
from wbpf.records.layout import Kind

STALE = Fault(FaultKind.STALE_READ, Stage.REDUCE, 0.0)
NAMES = Names(("AA", "UA"), ("unknown", "BOEING"))
ROWS = 20


class Cluster:
    """Two hosts in this process: `mapper` maps, and `reader` owns all carriers."""

    def __init__(self, pool: Pool, segment: Path) -> None:
        self.segment = segment
        flights = np.zeros(ROWS, FLIGHT)
        flights["carrier"], flights["station_hour"] = np.arange(ROWS) % 2, 7
        flights["tailnum"], flights["dep_delay"] = b"N1", np.arange(ROWS)
        flights["arr_delay"][:5] = MISSING
        tables = Tables(flights, np.array([(7, 4)], OBSERVATION), np.array([(b"N1", 1)], PLANE))
        self.spec = WorkerSpec("host0", ("host0", "host1"), "", "", (1, 1), NAMES, 1)
        self.capacity_bytes, self.host1 = pool.stats().capacity_bytes, pool.join("host1")
        self.mapper = Tasks(self.spec, pool.join("host0"), tables)
        self.reader = Tasks(replace(self.spec, host="host1"), self.host1, tables)
        self.requests = 0

    def request(self, in_map: Fault | None = None, in_reduce: Fault | None = None) -> tuple[Mapped, Reduced]:
        mapped = self.mapper.map(Map(self.requests, 0, ROWS, in_map))
        self.requests += 1
        (part,) = mapped.parts
        return mapped, self.reader.reduce(Reduce(mapped.request, part, mapped.virtual_ns, in_reduce, False))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    wbpf.open("shop", host="host1", directory=tmp_path, size_mib=16)
    with Pool.create(tmp_path / "pool", 4 << 20, hosts=("host0", "host1"), seed=3) as pool:
        yield Cluster(pool, segment_in(tmp_path))
    wbpf.attach(None)
    wbpf.close()


def test_nothing_is_noticed_when_nothing_is_wrong(cluster: Cluster) -> None:
    for _ in range(2000):
        mapped, reduced = cluster.request()
        assert not (mapped.triggered or reduced.triggered)
        assert mapped.effect is reduced.effect is None
    answer = dict(zip(groupby.TOTALS, cluster.reader.totals.sum(0), strict=True))
    assert answer["flights"] == 2000 * ROWS
    assert answer["arrived"] == 2000 * (ROWS - 5)


def test_a_stale_read_is_noticed_asked_for_and_mended(cluster: Cluster) -> None:
    cluster.request()
    before = cluster.reader.totals.copy()
    mapped, reduced = cluster.request(in_reduce=STALE)
    assert reduced.effect
    assert reduced.effect.took_effect
    assert reduced.effect.lines_stale > 0
    assert reduced.triggered
    assert not mapped.triggered
    assert (cluster.reader.totals == 2 * before).all()
    trace = read_trace(cluster.segment, reduced.trace_id)
    assert [record.name for record in trace.records if record.kind == Kind.TRIGGER] == ["stale_read"]
    (seen,) = [record.fields for record in events(trace) if record.name == "stale.seen"]
    assert seen["object"] == "1.1"
    assert seen["seen_generation"] != seen["generation"]
    assert seen["writer"] == "host0"
    assert bytes.fromhex(str(seen["writer_trace"])) not in (b"", reduced.trace_id)


def test_a_stale_read_without_old_lines_takes_no_effect(cluster: Cluster) -> None:
    cluster.host1.invalidate((0, cluster.capacity_bytes))
    _, reduced = cluster.request(in_reduce=STALE)
    assert reduced.effect
    assert reduced.effect.fired
    assert not reduced.effect.took_effect
    assert not reduced.triggered


@pytest.mark.parametrize("operations", [1, 2, 3])
@pytest.mark.parametrize("factor", [1.5, 8.0])
def test_a_congested_link_is_noticed_and_asked_for_once(
    cluster: Cluster, factor: float, operations: int
) -> None:
    for _ in range(30):
        cluster.request()
    fault = Fault(FaultKind.CONGESTION, Stage.MAP, 0.0, factor, operations)
    for mapped, reduced in (cluster.request(in_map=fault), cluster.request(in_reduce=fault)):
        hit, other = (mapped, reduced) if mapped.effect else (reduced, mapped)
        assert hit.effect
        assert hit.effect.took_effect
        assert hit.triggered
        assert not other.triggered
        trace = read_trace(cluster.segment, hit.trace_id)
        assert [record.name for record in trace.records if record.kind == Kind.TRIGGER] == ["congestion"]
    mapped, reduced = cluster.request()
    assert not (mapped.triggered or reduced.triggered)


def test_the_calls_that_are_charged_are_those_that_were_made(cluster: Cluster) -> None:
    for _ in range(50):
        cluster.request()
    source = source_of(cluster.segment)
    schemas = parse_schemas(source.descriptors)
    written: Counter[str] = Counter()
    for piece in source.pieces:
        for record in decode_run(piece.data, schemas):
            written["pool" if record.name.startswith("pool.") else Kind(record.kind).name] += 1
    calls = cluster.mapper.calls
    calls.add(cluster.reader.calls)
    assert written["BEGIN"] == written["END"] == calls.begin + calls.join == 100
    assert written["SPAN_BEGIN"] == written["SPAN_END"] == calls.span
    assert written["EVENT"] == calls.event
    assert written["BREADCRUMB"] == calls.send + calls.join
    assert written["pool"] > 0
    total = sum(written.values()) - written["pool"] - written["RESUME"]
    assert calls.records == total
