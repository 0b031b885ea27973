"""The records that hosts write: their format, their clocks, and the traces they make up."""

from wbpf.records.assemble import Source, assemble
from wbpf.records.clocks import Calibration, Clock, clock_error_ns
from wbpf.records.codec import RawRecord, decode_run, iter_run, tick_range
from wbpf.records.conclusion import Conclusion, HostPart, Status, worst
from wbpf.records.context import NO_TRACE, host_id, parse_trace_id, span_id_hex, trace_id_hex
from wbpf.records.kinds import kind_name, level_name, severity
from wbpf.records.origin import HostInfo, ProcessInfo, SegmentInfo
from wbpf.records.piece import Piece, join
from wbpf.records.schema import Fields, Schema, Value, parse_schemas, schema_id
from wbpf.records.trace import (
    Edge,
    EdgeEnd,
    Record,
    RecordId,
    Span,
    SpanKind,
    Trace,
    Trigger,
)

__all__ = [
    "NO_TRACE",
    "Calibration",
    "Clock",
    "Conclusion",
    "Edge",
    "EdgeEnd",
    "Fields",
    "HostInfo",
    "HostPart",
    "Piece",
    "ProcessInfo",
    "RawRecord",
    "Record",
    "RecordId",
    "Schema",
    "SegmentInfo",
    "Source",
    "Span",
    "SpanKind",
    "Status",
    "Trace",
    "Trigger",
    "Value",
    "assemble",
    "clock_error_ns",
    "decode_run",
    "host_id",
    "iter_run",
    "join",
    "kind_name",
    "level_name",
    "parse_schemas",
    "parse_trace_id",
    "schema_id",
    "severity",
    "span_id_hex",
    "tick_range",
    "trace_id_hex",
    "worst",
]
