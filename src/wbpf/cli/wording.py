"""Times, sizes and records in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from wbpf.cli.output import visible
from wbpf.records import Fields, Record, Trace, Value
from wbpf.records.layout import Kind, Level

_SPANS = (Kind.BEGIN, Kind.SPAN_BEGIN)
#: A modelled access that takes this many times its base has queued; without a queue it stays within 1.07.
_SLOW = 1.5
STATUS_STYLES: Mapping[str, str] = {"complete": "green", "partial": "yellow", "unknown": "magenta"}
_VERIFIED = {0: "ok", 1: "another generation", 2: "wrong checksum"}


def duration(ns: int) -> str:
    """`950 ns`, `12.3 µs`, `4.56 ms`, `1.23 s`."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if abs(ns) >= size:
            value = ns / size
            return f"{value:.{max(0, 3 - len(str(int(abs(value)))))}f} {unit}"
    return f"{ns} ns"


def size(count: int) -> str:
    """`512 B`, `4.0 KiB`, `1.5 MiB`."""
    if count < 1024:
        return f"{count} B"
    value, units = count / 1024, iter(("KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while value >= 1024 and unit != "TiB":
        value, unit = value / 1024, next(units)
    return f"{value:.1f} {unit}"


def moment(unix_ns: int) -> str:
    """`2025-10-09T08:53:20.000095Z`; empty for 0."""
    if unix_ns <= 0:
        return ""
    try:
        whole = datetime.fromtimestamp(unix_ns // 10**9, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{unix_ns} ns"
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{unix_ns % 10**9 // 1000:06d}Z"


def value_text(value: Value) -> str:
    """A field's value: text that would not stand out is quoted, bytes are in hex."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return str(value)
    text = visible(value)
    return f"'{text}'" if " " in text or not text else text


def fields_text(fields: Fields) -> str:
    return " ".join(f"{visible(name)}={value_text(value)}" for name, value in fields.items())


@dataclass(frozen=True, slots=True)
class Words:
    """What a record says: the head stands out, the rest explains it."""

    head: str
    rest: str = ""
    style: str = ""


class Wording:
    """Says what the records of one trace mean: with hosts' and objects' names instead of their numbers."""

    def __init__(self, trace: Trace) -> None:
        self._hosts = {part.host_id: part.name for part in trace.hosts}
        self._objects = _object_names(trace.records)
        self._start_ns = trace.start_unix_ns
        self._seals = {
            (record.fields.get("host"), record.fields.get("generation")): record
            for record in trace.records
            if record.kind == Kind.EVENT and record.name == "pool.seal"
        }

    def host(self, number: Value | None) -> str:
        """The name of the host with this id."""
        if not isinstance(number, int) or not number:
            return "an unknown host"
        return visible(self._hosts.get(number, f"host {number:016x}"))

    def record(self, record: Record) -> Words:
        """What one record says, without what it takes other records to know."""
        name = visible(record.name)
        style = level_style(record)
        if record.kind == Kind.LOG:
            return Words(record.severity or "LOG", visible(str(record.fields.get("message", ""))), style)
        if record.kind == Kind.METRIC:
            return Words(name, f"= {value_text(record.fields.get('value', 0.0))}")
        if record.kind == Kind.TRIGGER:
            laterals = " ".join(lateral.hex()[:12] for lateral in record.laterals)
            also = f", and of {laterals}" if laterals else ""
            value = value_text(record.fields.get("value", 0.0))
            return Words(f"trigger {name}", f"value {value}: gather this trace{also}", "bold magenta")
        if record.kind in _SPANS:
            return Words(name or "(no name)")
        if is_pool(record):
            return Words(name, self._pool(record), style or "cyan")
        rest = fields_text(record.fields)
        return Words(name or record.kind_name, rest + (" (cut)" if record.cut else ""), style)

    def _pool(self, record: Record) -> str:
        fields = dict(record.fields)
        said = [self._object(fields)]
        if "generation" in fields:
            said.append(f"generation {value_text(fields['generation'])}")
        if isinstance(length := fields.get("bytes"), int):
            said.append(size(length))
        if record.name == "pool.verify":
            said.append(_VERIFIED.get(_number(fields, "result"), "failed"))
        if "service_ns" in fields:
            said.append(duration(_number(fields, "service_ns")))
        return ", ".join(text for text in said if text)

    def _object(self, fields: Fields) -> str:
        if isinstance(name := fields.get("id"), str):
            return visible(name)
        number = fields.get("object", 0)
        if isinstance(number, int):
            known = self._objects.get(number)
            return visible(known) if known else f"object {number:016x}"
        return value_text(number)

    def explain(self, record: Record) -> str | None:
        """Why an access to the pool was wrong or slow; None if it was neither, or its fields do not tell."""
        if not is_pool(record):
            return None
        stale, slow = self._stale(record.fields), self._slow(record.fields)
        return "; ".join(text for text in (stale, slow) if text) or None

    def source_host(self, record: Record) -> str:
        """The host that wrote the old bytes which a stale access read; empty if it read none."""
        if not is_pool(record) or not self._stale(record.fields):
            return ""
        return self._hosts.get(_number(record.fields, "writer"), "")

    def _stale(self, fields: Fields) -> str:
        if "result" in fields:
            if _number(fields, "result") == 0:
                return ""
            said = f"stale: {_VERIFIED.get(_number(fields, 'result'), 'not what was sealed')}"
        else:
            stale = _number(fields, "stale")
            if not stale:
                return ""
            lines = _number(fields, "filled") + _number(fields, "hit")
            of_all = f" of {lines}" if lines >= stale else ""
            said = f"stale: {stale}{of_all} lines are older than the pool's"
            if _number(fields, "pool_version"):
                seen, newest = _number(fields, "seen_version"), _number(fields, "pool_version")
                said += f" (the oldest has version {seen}, not {newest})"
        return said + self._provenance(fields)

    def _provenance(self, fields: Fields) -> str:
        seen = _number(fields, "seen_generation")
        if not seen:
            return ""
        other = self._objects.get(_number(fields, "seen_object")) if "seen_object" in fields else None
        of = f"{visible(other)}, " if other and fields["seen_object"] != fields.get("object") else ""
        said = f"; bytes of {of}generation {seen}, written by {self.host(fields.get('writer'))}"
        seal = self._seals.get((fields.get("writer"), seen))
        if seal is not None:
            said += f" at +{duration(seal.time_unix_ns - self._start_ns)}"
        half = _number(fields, "writer_trace")
        if not 0 < half < 1 << 64:
            return said
        # The event has the first half of the trace id, which is enough to find it by. It was read from the
        # envelope; of an access, the lines counted may be older than that.
        trace = half.to_bytes(8, "little").hex()
        if "result" in fields:
            return f"{said} in trace {trace}" if seal is None else said
        return f"{said}; the envelope read is of trace {trace}"

    @staticmethod
    def _slow(fields: Fields) -> str:
        service, base = _number(fields, "service_ns"), _number(fields, "base_ns")
        if base <= 0 or service < _SLOW * base:
            return ""
        queued = _number(fields, "queue_ns")
        waiting = f", {duration(queued)} of it in a queue" if queued else ""
        times = f"{service / base:.1f} × its base of {duration(base)}"
        return f"slow: {duration(service)}, {times}{waiting}"


def is_pool(record: Record) -> bool:
    return record.kind == Kind.EVENT and record.name.startswith("pool.")


def level_style(record: Record) -> str:
    if not record.severity or record.level < Level.WARN:
        return ""
    return "bold red" if record.level >= Level.ERROR else "yellow"


def _number(fields: Mapping[str, Value], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def _object_names(records: Iterable[Record]) -> dict[int, str]:
    names = {}
    for record in records:
        number, name = record.fields.get("object"), record.fields.get("id")
        if is_pool(record) and isinstance(number, int) and isinstance(name, str):
            names[number] = name
    return names
