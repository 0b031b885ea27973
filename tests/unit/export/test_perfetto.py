from __future__ import annotations

import io
from collections import defaultdict
from typing import Any

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace as PerfettoTrace
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackDescriptor, TrackEvent

from tests.unit.export.tracing import EPOCH_NS, LATERAL, TRACE_ID, awkward, lateral, plain
from wbpf.export import export
from wbpf.records import Trace


class Parsed:
    """The exported file, read by Perfetto's own schema."""

    def __init__(self, *traces: Trace) -> None:
        out = io.BytesIO()
        export(traces, "perfetto", out)
        packets = PerfettoTrace.FromString(out.getvalue()).packet
        self.packets: list[TracePacket] = list(packets)
        self.tracks: dict[int, TrackDescriptor] = {
            p.track_descriptor.uuid: p.track_descriptor for p in packets if p.HasField("track_descriptor")
        }
        self.events = [(p.timestamp, p.track_event) for p in packets if p.HasField("track_event")]

    def path(self, uuid: int) -> str:
        track = self.tracks[uuid]
        name = track.process.process_name or track.thread.thread_name or track.name
        return f"{self.path(track.parent_uuid)}/{name}" if track.parent_uuid else name


def notes(event: TrackEvent) -> dict[str, Any]:
    return {a.name: getattr(a, str(a.WhichOneof("value"))) for a in event.debug_annotations}


@pytest.mark.parametrize("traces", [(plain(),), (awkward(),), (plain(), lateral()), (plain(-1_000_000),)])
def test_the_file_holds_together(traces: tuple[Trace, ...]) -> None:
    parsed = Parsed(*traces)
    assert all(p.trusted_packet_sequence_id for p in parsed.packets)
    assert parsed.packets[0].sequence_flags == TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert len(parsed.tracks) == sum(p.HasField("track_descriptor") for p in parsed.packets)
    assert all(not t.parent_uuid or t.parent_uuid in parsed.tracks for t in parsed.tracks.values())
    times = [time for time, _ in parsed.events]
    assert times == sorted(times) and times[0] >= EPOCH_NS - 10**9
    pids = [t.process.pid for t in parsed.tracks.values() if t.HasField("process")]
    assert len(pids) == len(set(pids))
    assert all(t.thread.pid in pids for t in parsed.tracks.values() if t.HasField("thread"))
    # Slices nest on every track, and all of them end.
    depth: dict[int, int] = defaultdict(int)
    for _, event in parsed.events:
        assert event.track_uuid in parsed.tracks
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            depth[event.track_uuid] += 1
        elif event.type == TrackEvent.TYPE_SLICE_END:
            depth[event.track_uuid] -= 1
            assert depth[event.track_uuid] >= 0
    assert set(depth.values()) <= {0}
    begins = [e for _, e in parsed.events if e.type == TrackEvent.TYPE_SLICE_BEGIN]
    assert len(begins) == sum(1 for trace in traces for _ in trace.spans())
    # Flows have one beginning, and after it one end.
    started: set[int] = set()
    ended: list[int] = []
    for _, event in parsed.events:
        assert not set(event.terminating_flow_ids) - started
        ended += event.terminating_flow_ids
        assert not started & set(event.flow_ids)
        started |= set(event.flow_ids)
    assert sorted(started) == sorted(ended)
    assert len(started) == sum(1 for trace in traces for e in trace.edges if e.sent and e.received)


def test_hosts_are_processes_and_threads_are_theirs() -> None:
    parsed = Parsed(plain())
    assert {parsed.path(uuid) for uuid in parsed.tracks} == {
        f"trace {TRACE_ID.hex()}: complete",
        "host1 (complete)",
        "host1 (complete)/front prog 10/11",
        "host1 (complete)/queue.length",
        "host2 (complete)",
        "host2 (complete)/join 20/21",
        "host3 (complete)",
        "host3 (complete)/store 30/31",
    }


def test_slices_and_flows_are_those_of_the_spans() -> None:
    parsed = Parsed(plain())
    slices = {
        e.name: (parsed.path(e.track_uuid).split(" ")[0], time - EPOCH_NS, list(e.categories))
        for time, e in parsed.events
        if e.type == TrackEvent.TYPE_SLICE_BEGIN
    }
    assert slices == {
        "query": ("host1", 1_000, ["internal"]),
        "plan": ("host1", 2_000, ["internal"]),
        "send host2": ("host1", 10_000, ["client"]),
        "join": ("host2", 15_000, ["server"]),
        "send host3": ("host2", 40_000, ["client"]),
        "fetch": ("host3", 45_000, ["server"]),
    }
    flows = {f: e.name for _, e in parsed.events for f in e.flow_ids}
    ends = {f: e.name for _, e in parsed.events for f in e.terminating_flow_ids}
    assert sorted((flows[f], ends[f]) for f in flows) == [("send host2", "join"), ("send host3", "fetch")]


def test_events_logs_and_triggers_are_instants_with_their_fields() -> None:
    parsed = Parsed(plain())
    instants = {e.name: e for _, e in parsed.events if e.type == TrackEvent.TYPE_INSTANT}
    assert {"pool.get", "large join", "disk.read", "exception", "trigger slow"} == set(instants)
    # Virtual time stays a field: the event stands where it was recorded.
    get = [(t - EPOCH_NS, notes(e)) for t, e in parsed.events if e.name == "pool.get"]
    assert get[1] == (
        30_000,
        {"level": "INFO", "object": "planes/1", "generation": 2, "bytes": 512, "virtual_ns": 900},
    )
    assert get[0][1]["stamped"] is False
    overview = next(e for _, e in parsed.events if parsed.path(e.track_uuid).startswith("trace "))
    assert notes(overview) == {
        "trace_id": TRACE_ID.hex(),
        "status": "complete",
        "value": 12.5,
        "host": "host1",
        "host1": "complete",
        "host2": "complete",
        "host3": "complete",
        "lateral[0]": LATERAL.hex(),
    }


def test_metrics_are_counters() -> None:
    parsed = Parsed(plain())
    ((time, counter),) = [(t, e) for t, e in parsed.events if e.type == TrackEvent.TYPE_COUNTER]
    assert (time - EPOCH_NS, counter.double_counter_value) == (91_000, 17.0)
    track = parsed.tracks[counter.track_uuid]
    assert track.HasField("counter") and track.name == "queue.length"


def test_what_is_missing_is_said() -> None:
    parsed = Parsed(awkward())
    hosts = {t.process.process_name: list(t.process.process_labels) for t in parsed.tracks.values()}
    assert hosts["host1 (partial)"] == ["process 10 died", "host9 did not answer"]
    assert hosts["host9 (unknown)"] == []
    hangs = next(e for _, e in parsed.events if e.name == "hangs")
    assert notes(hangs)["unfinished"] is True
    values = notes(next(e for _, e in parsed.events if e.name == "values"))
    assert (values["big"], values["raw"], values["flag"]) == ((1 << 64) - 1, "00ff", True)


def test_several_traces_keep_their_hosts_apart() -> None:
    parsed = Parsed(plain(), lateral())
    names = [t.process.process_name for t in parsed.tracks.values() if t.HasField("process")]
    assert names == [
        "host1 (complete) 4bf92f35",
        "host2 (complete) 4bf92f35",
        "host3 (complete) 4bf92f35",
        "host1 (complete) 00f067aa",
    ]
