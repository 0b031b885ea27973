"""Makes pieces as a recorder would write them: the encoder that the codec is tested against."""

from __future__ import annotations

from dataclasses import dataclass, field

from wbpf.records import (
    Calibration,
    HostInfo,
    Piece,
    ProcessInfo,
    Schema,
    SegmentInfo,
    Source,
    Value,
    host_id,
    schema_id,
)
from wbpf.records.layout import (
    BEGIN_PAYLOAD,
    BREADCRUMB_PAYLOAD,
    END_PAYLOAD,
    METRIC_PAYLOAD,
    RECORD_HEADER,
    STAMPED,
    TRIGGER_PAYLOAD,
    Direction,
    Kind,
    Level,
)

#: Ticks of 1 ns that start here, so that a test's ticks are nanoseconds since then.
EPOCH_NS = 1_760_000_000_000_000_000


def encode(
    kind: int, payload: bytes = b"", ticks: int | None = None, schema: int = 0, level: int = Level.INFO
) -> bytes:
    stamp = b"" if ticks is None else ticks.to_bytes(8, "little")
    size = RECORD_HEADER.size + len(stamp) + len(payload)
    flags = 0 if ticks is None else STAMPED
    return RECORD_HEADER.pack(size, kind | flags, level, schema) + stamp + payload + bytes(-size % 8)


@dataclass
class SegmentWriter:
    """One service of one host, with a counter of 1 GHz."""

    host: str
    service: str = "app"
    segment_id: int = 0
    incarnation: int = 7
    skew_ns: int = 0
    descriptors: dict[int, str] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.segment_id = self.segment_id or host_id(f"{self.host}/{self.service}")

    def schema(self, descriptor: str) -> int:
        number = schema_id(descriptor)
        self.descriptors[number] = descriptor
        return number

    def run(
        self,
        trace_id: bytes,
        chunk: int = 0,
        start_unit: int = 4,
        uses: int = 1,
        tid: int = 11,
        pid: int = 10,
    ) -> RunWriter:
        return RunWriter(self, trace_id, chunk, start_unit, uses, tid, pid)

    def source(self) -> Source:
        return Source(
            HostInfo(host_id(self.host), self.incarnation, self.host),
            SegmentInfo(
                self.segment_id, host_id(self.host), self.incarnation, self.service, 1_000_000_000, 3
            ),
            self.descriptors,
            [
                Calibration(at, at, EPOCH_NS + at + self.skew_ns, 100)
                for at in (0, 1_000_000_000, 2_000_000_000)
            ],
            [ProcessInfo(0, 10, "prog")],
            self.pieces,
        )


@dataclass
class RunWriter:
    """One run; `done()` gives its piece to the segment."""

    segment: SegmentWriter
    trace_id: bytes
    chunk: int
    start_unit: int
    uses: int
    tid: int
    pid: int
    data: bytearray = field(default_factory=bytearray)

    def begin(self, span: int, parent: int, ticks: int, name: str = "request") -> RunWriter:
        return self._add(Kind.BEGIN, BEGIN_PAYLOAD.pack(span, parent, EPOCH_NS), ticks, name)

    def end(self, span: int, ticks: int) -> RunWriter:
        return self._add(Kind.END, END_PAYLOAD.pack(span), ticks)

    def span_begin(self, span: int, parent: int, ticks: int, name: str) -> RunWriter:
        return self._add(Kind.SPAN_BEGIN, BEGIN_PAYLOAD.pack(span, parent, 0), ticks, name)

    def span_end(self, span: int, ticks: int) -> RunWriter:
        return self._add(Kind.SPAN_END, END_PAYLOAD.pack(span), ticks)

    def resume(self, span: int, ticks: int) -> RunWriter:
        return self._add(Kind.RESUME, END_PAYLOAD.pack(span), ticks)

    def event(
        self,
        descriptor: str,
        values: dict[str, Value],
        ticks: int | None = None,
        kind: Kind = Kind.EVENT,
        level: int = Level.INFO,
    ) -> RunWriter:
        payload = Schema.parse(descriptor).encode(values)
        return self._add(kind, payload, ticks, descriptor, level)

    def attributes(self, descriptor: str, values: dict[str, Value]) -> RunWriter:
        return self.event(descriptor, values, kind=Kind.ATTRIBUTES)

    def log(self, text: str, ticks: int, level: int = Level.WARN) -> RunWriter:
        return self._add(Kind.LOG, text.encode(), ticks, level=level)

    def metric(self, name: str, value: float, ticks: int) -> RunWriter:
        return self._add(Kind.METRIC, METRIC_PAYLOAD.pack(value), ticks, name)

    def trigger(self, name: str, value: float, ticks: int, laterals: tuple[bytes, ...] = ()) -> RunWriter:
        payload = TRIGGER_PAYLOAD.pack(value, len(laterals), 0) + b"".join(laterals)
        return self._add(Kind.TRIGGER, payload, ticks, name)

    def send(self, edge: int, peer: str, span: int, ticks: int) -> RunWriter:
        peer_id = host_id(peer) if peer else 0
        return self._add(
            Kind.BREADCRUMB, BREADCRUMB_PAYLOAD.pack(peer_id, edge, span, Direction.OUT, 0), ticks
        )

    def receive(self, edge: int, peer: str, ticks: int) -> RunWriter:
        peer_id = host_id(peer) if peer else 0
        return self._add(Kind.BREADCRUMB, BREADCRUMB_PAYLOAD.pack(peer_id, edge, 0, Direction.IN, 0), ticks)

    def done(self, starts_run: bool = True) -> Piece:
        piece = Piece(
            self.trace_id,
            self.segment.segment_id,
            self.chunk,
            self.uses,
            self.start_unit,
            self.tid,
            self.pid,
            starts_run,
            bytes(self.data),
        )
        self.segment.pieces.append(piece)
        return piece

    def _add(
        self, kind: Kind, payload: bytes, ticks: int | None, descriptor: str = "", level: int = Level.INFO
    ) -> RunWriter:
        schema = self.segment.schema(descriptor) if descriptor else 0
        self.data += encode(kind, payload, ticks, schema, level)
        return self
