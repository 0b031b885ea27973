# made by tools/generate.py from native/record_format.toml: do not edit
"""Numbers and structures of the record format (docs/record-format.md)."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct

FORMAT_MAJOR = 1
FORMAT_MINOR = 0
SEGMENT_MAGIC = 0x3147455346504277
ENDIAN_MARK = 0x1020304
SEGMENT_HEADER_BYTES = 8192
CALIBRATIONS = 64
LEVEL_OVERRIDES = 32
TRIGGER_LATERALS = 12
UNIT_BYTES = 8
WORD_FRONT_BITS = 13
WORD_DIRECTORY_BITS = 13
WORD_RECORDS_BITS = 13
WORD_GENERATION_BITS = 25
MAX_CHUNK_BYTES = 65528
SCHEMA_ID_MASK = 0x7fffffff
STAMPED = 128
KERNEL_MAGIC = 0x314e524b46504277
KERNEL_SLOT_BYTES = 64
KERNEL_MAX_RECORD_BYTES = 512


class Kind(IntEnum):
    """What a record says (record_header.kind without STAMPED)."""

    BEGIN = 1
    END = 2
    EVENT = 3
    BREADCRUMB = 4
    SPAN_BEGIN = 5
    SPAN_END = 6
    LOG = 7
    METRIC = 8
    TRIGGER = 9
    ATTRIBUTES = 10
    RESUME = 11


class Slot(IntEnum):
    """What a directory slot says (directory_slot.type)."""

    RUN_NEW = 1
    RUN = 2
    THREAD = 3


class Flag(IntFlag):
    """Bits of directory_slot.flags."""

    CLEARED = 1


class Chunk(IntEnum):
    """Kinds of chunk."""

    THREAD = 1
    KERNEL = 2


class KernelRing(IntEnum):
    """Where kernel records lie (kernel_source.variant)."""

    ARRAY = 1
    PERF = 2


class KernelFlag(IntEnum):
    """Bits of kernel_record_header.flags."""

    NESTED = 1


class Clock(IntEnum):
    """Where time stamps come from (segment_header.clock_kind)."""

    TSC = 1
    CNTVCT = 2
    MONOTONIC = 3


class Direction(IntEnum):
    """Breadcrumb.direction."""

    OUT = 1
    IN = 2


class Verb(IntEnum):
    """What a trigger slot asks for."""

    DUMP = 1
    REDUCE = 2


class TriggerState(IntEnum):
    """Trigger_slot.state, low byte."""

    FREE = 0
    CLAIMED = 1
    READY = 2
    TAKEN = 3


class Level(IntEnum):
    """Severity, OpenTelemetry's numbers; a record is written when its level is at least the threshold."""

    TRACE = 1
    DEBUG = 5
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21
    OFF = 255


#: the tick counter against two clocks, read together: ticks, mono_ns, unix_ns, error_ns
CALIBRATION = Struct("<QQQQ")
#: a trace with a level of its own: trace_id_lo, trace_id_hi, level, reserved
LEVEL_OVERRIDE = Struct("<QQII")
#: a process that writes; live while it holds the lock on byte `index` of the lock file: generation, pid, started_unix_ns, refused, truncated, uid, reserved, name, writer_offset, slot_offset, pid_namespace
PROCESS_SLOT = Struct("<IIQQQII32sQII40x")
#: what a thread works on now; read by the agent and by eBPF programs: owner, sequence, tid, level, reserved, trace_id_lo, trace_id_hi, span_id
THREAD_SLOT = Struct("<QIIIIQQQ80x")
#: a request from an application to the agent: state, ticks, trigger_id, lateral_count, verb, level, trace_id_lo, trace_id_hi, start_unix_ns, value, reserved, laterals
TRIGGER_SLOT = Struct("<QQIHBBQQQdQ192s")
#: a trace known to be good; lossy ring: sequence, trace_id_lo, trace_id_hi, reserved
CLEAR_SLOT = Struct("<QQQQ")
#: schema area: entries one after another, 8-byte aligned; text follows: bytes, schema_id, text_bytes, reserved
SCHEMA_ENTRY = Struct("<IIII")
#: one a chunk, apart from the chunks' data: word, owner, uses, open_ticks, close_ticks, recycled_records, recycled_bytes, pending_records, pending_bytes, cleared_ids, ids, kind, process
CHUNK_HEADER = Struct("<QQQQQQQQQIIII40x")
#: slot i of a chunk's directory is the 8 bytes that end at chunk_bytes - 8 * i: start, type, flags, value
DIRECTORY_SLOT = Struct("<HBBI")
#: before every record of a thread chunk: bytes, kind, level, schema_id
RECORD_HEADER = Struct("<HBBI")
#: payload of BEGIN and SPAN_BEGIN: span_id, parent_span_id, start_unix_ns
BEGIN_PAYLOAD = Struct("<QQQ")
#: payload of END, SPAN_END and RESUME: span_id
END_PAYLOAD = Struct("<Q")
#: payload of BREADCRUMB: peer_host_id, edge_span_id, parent_span_id, direction, reserved
BREADCRUMB_PAYLOAD = Struct("<QQQII")
#: payload of METRIC; the schema names it: value
METRIC_PAYLOAD = Struct("<d")
#: payload of TRIGGER; lateral ids of 16 bytes follow: value, lateral_count, reserved
TRIGGER_PAYLOAD = Struct("<dII")
#: first bytes of a kernel chunk: one a CPU, in a BPF_F_MMAPABLE array: magic, ring_bytes, tail, key, cpu, nested, open, records, refused
KERNEL_RING_HEADER = Struct("<QQQQIIQQQ")
#: before every record of a kernel chunk: commit, bytes, kind, level, slots, flags, trace_id_lo, trace_id_hi, span_id, mono_ns, pid_tgid, schema_id, reserved2
KERNEL_RECORD_HEADER = Struct("<QIBBBBQQQQQII")
#: data of a segment's chunk of kind KERNEL: where its ring is; the loader is the process of the chunk: magic, variant, map_id, map_bytes, header_offset, perf_id, perf_bytes, map_fd, perf_fd, pin
KERNEL_SOURCE = Struct("<QIIQQQQII192s8x")
