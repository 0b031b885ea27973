"""Perfetto's trace format, for https://ui.perfetto.dev: a process a host, slices, flows between hosts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import IO

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    ClockSnapshot,
    DebugAnnotation,
    TracePacket,
    TrackDescriptor,
    TrackEvent,
)
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace as PerfettoTrace

from wbpf.export.lanes import lay_out, span_ends
from wbpf.export.plain import plain_value
from wbpf.records import Fields, Record, Span, Trace, Value, span_id_hex
from wbpf.records.layout import Kind

_SEQUENCE = 1
_REALTIME, _BOOTTIME = 1, 6
_SIGNED, _UNSIGNED = range(-(1 << 63), 1 << 63), range(1 << 64)
_INSTANTS = (Kind.EVENT, Kind.LOG, Kind.TRIGGER)


def write_perfetto(traces: Iterable[Trace], out: IO[bytes]) -> None:
    traces = list(traces)
    packets = _Packets()
    for trace in traces:
        _TraceWriter(packets, trace, f" {trace.id[:8]}" if len(traces) > 1 else "").write()
    out.write(packets.serialize())


class _Packets:
    """Tracks and events of one packet sequence, the events sorted by time."""

    def __init__(self) -> None:
        self._tracks: list[TracePacket] = []
        self._events: list[tuple[int, TracePacket]] = []
        self.numbers = count(1)

    def track(self, parent: int = 0, name: str = "") -> TrackDescriptor:
        packet = TracePacket(trusted_packet_sequence_id=_SEQUENCE)
        self._tracks.append(packet)
        track = packet.track_descriptor
        track.uuid = next(self.numbers)
        if parent:
            track.parent_uuid = parent
        if name:
            track.name = name
        return track

    def event(self, time_ns: int, track: int, kind: TrackEvent.Type, name: str = "") -> TrackEvent:
        packet = TracePacket(timestamp=time_ns, trusted_packet_sequence_id=_SEQUENCE)
        self._events.append((time_ns, packet))
        event = packet.track_event
        event.track_uuid = track
        event.type = kind
        if name:
            event.name = name
        return event

    def serialize(self) -> bytes:
        self._events.sort(key=lambda item: item[0])
        start = self._events[0][0] if self._events else 0
        # Time stamps are in nanoseconds since 1970; this tells the viewer so.
        clocks = [ClockSnapshot.Clock(clock_id=clock, timestamp=start) for clock in (_BOOTTIME, _REALTIME)]
        first = TracePacket(
            trusted_packet_sequence_id=_SEQUENCE,
            sequence_flags=TracePacket.SEQ_INCREMENTAL_STATE_CLEARED,
            clock_snapshot=ClockSnapshot(clocks=clocks),
        )
        events = (packet for _, packet in self._events)
        return PerfettoTrace(packet=[first, *self._tracks, *events]).SerializeToString()


class _TraceWriter:
    """One trace. Its hosts are processes with numbers of their own: pids of two hosts may be the same."""

    def __init__(self, packets: _Packets, trace: Trace, suffix: str) -> None:
        self._packets = packets
        self._trace = trace
        self._suffix = suffix
        self._hosts: dict[str, tuple[int, int]] = {}
        self._threads: dict[tuple[str, int, int], int] = {}
        self._counters: dict[tuple[str, str], int] = {}
        self._span_tracks: dict[int, int] = {}
        self._begins: dict[int, TrackEvent] = {}

    def write(self) -> None:
        self._write_overview()
        self._make_hosts()
        self._write_slices()
        for record in self._trace.records:
            if record.kind == Kind.METRIC:
                self._write_counter(record)
            elif record.kind in _INSTANTS:
                self._write_instant(record)
        self._write_flows()

    def _write_overview(self) -> None:
        trace = self._trace
        track = self._packets.track(name=f"trace {trace.id}: {trace.status}")
        trigger = trace.trigger
        name = f"trigger {trigger.name}" if trigger else "not triggered"
        time_ns = trigger.time_unix_ns if trigger else trace.start_unix_ns
        event = self._packets.event(time_ns, track.uuid, TrackEvent.TYPE_INSTANT, name)
        _annotate(event, "trace_id", trace.id)
        _annotate(event, "status", str(trace.status))
        if trigger:
            _annotate(event, "value", trigger.value)
            _annotate(event, "host", trigger.host)
        for part in trace.hosts:
            _annotate(event, part.name, "; ".join([part.status, *part.reasons]))
        for i, lateral in enumerate(trace.laterals):
            _annotate(event, f"lateral[{i}]", lateral.hex())

    def _make_hosts(self) -> None:
        for part in self._trace.hosts:
            track = self._packets.track()
            pid = next(self._packets.numbers)
            track.process.pid = pid
            track.process.process_name = f"{part.name} ({part.status}){self._suffix}"
            track.process.process_labels.extend(part.reasons)
            self._hosts[part.name] = track.uuid, pid

    def _thread_track(self, origin: Span | Record) -> int:
        key = origin.host, origin.pid, origin.tid
        if key not in self._threads:
            host_track, pid = self._hosts[origin.host]
            track = self._packets.track(host_track)
            track.thread.pid = pid
            track.thread.tid = origin.tid
            track.thread.thread_name = _thread_name(origin)
            self._threads[key] = track.uuid
        return self._threads[key]

    def _write_slices(self) -> None:
        ends = span_ends(self._trace)
        for lane in lay_out(self._trace, ends):
            first = lane.steps[0].span
            if lane.number == 0:
                track = self._thread_track(first)
            else:
                name = f"{_thread_name(first)} ({lane.number + 1})"
                track = self._packets.track(self._hosts[first.host][0], name).uuid
            for step in lane.steps:
                if not step.begins:
                    self._packets.event(ends[step.span.span_id], track, TrackEvent.TYPE_SLICE_END)
                    continue
                self._span_tracks[step.span.span_id] = track
                self._write_begin(step.span, track)

    def _write_begin(self, span: Span, track: int) -> None:
        name = span.name or "(beginning not recorded)"
        event = self._packets.event(span.start_unix_ns, track, TrackEvent.TYPE_SLICE_BEGIN, name)
        event.categories.append(str(span.kind))
        _annotate(event, "span_id", span_id_hex(span.span_id))
        _annotate_all(event, span.attributes)
        if span.error is not None:
            _annotate(event, "error", span.error)
        if span.end_unix_ns is None:
            _annotate(event, "unfinished", True)
        self._begins[span.span_id] = event

    def _track_of(self, record: Record) -> int:
        return self._span_tracks.get(record.span_id) or self._thread_track(record)

    def _write_instant(self, record: Record) -> None:
        name = record.name
        if record.kind == Kind.LOG:
            name = str(record.fields.get("message", ""))
        elif record.kind == Kind.TRIGGER:
            name = f"trigger {record.name}"
        event = self._packets.event(
            record.time_unix_ns, self._track_of(record), TrackEvent.TYPE_INSTANT, name
        )
        event.categories.append(record.kind_name)
        if record.severity:
            _annotate(event, "level", record.severity)
        _annotate_all(event, record.fields)
        if not record.stamped:
            _annotate(event, "stamped", False)
        if record.cut:
            _annotate(event, "cut", True)

    def _write_counter(self, record: Record) -> None:
        key = record.host, record.name
        if key not in self._counters:
            track = self._packets.track(self._hosts[record.host][0], record.name)
            track.counter.SetInParent()
            self._counters[key] = track.uuid
        event = self._packets.event(record.time_unix_ns, self._counters[key], TrackEvent.TYPE_COUNTER)
        event.double_counter_value = float(record.fields["value"])

    def _write_flows(self) -> None:
        for edge in self._trace.edges:
            sender = self._begins.get(edge.edge_span_id)
            if sender is None or edge.sent is None or edge.received is None:
                continue
            receiver = self._begins.get(edge.received.span_id)
            if receiver is None:
                receiver = self._packets.event(
                    edge.received.time_unix_ns,
                    self._track_of(edge.received),
                    TrackEvent.TYPE_INSTANT,
                    "receive",
                )
            number = next(self._packets.numbers)
            sender.flow_ids.append(number)
            receiver.terminating_flow_ids.append(number)


def _thread_name(origin: Span | Record) -> str:
    program = f"{origin.process} " if origin.process else ""
    return f"{origin.service} {program}{origin.pid}/{origin.tid}"


def _annotate_all(event: TrackEvent, fields: Fields) -> None:
    for name, value in fields.items():
        _annotate(event, name, value)


def _annotate(event: TrackEvent, name: str, value: Value) -> None:
    annotation = DebugAnnotation(name=name)
    if isinstance(value, bool):
        annotation.bool_value = value
    elif isinstance(value, int) and value in _SIGNED:
        annotation.int_value = value
    elif isinstance(value, int) and value in _UNSIGNED:
        annotation.uint_value = value
    elif isinstance(value, float):
        annotation.double_value = value
    else:
        annotation.string_value = str(plain_value(value))
    event.debug_annotations.append(annotation)
