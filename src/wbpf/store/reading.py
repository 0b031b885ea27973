"""Traces and their summaries from rows of the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from wbpf.errors import StoreError
from wbpf.records import (
    Calibration,
    Conclusion,
    HostInfo,
    HostPart,
    Piece,
    ProcessInfo,
    SegmentInfo,
    Source,
    Status,
    Trace,
    assemble,
    tick_range,
)
from wbpf.store.database import Database
from wbpf.store.tables import signed, unsigned

_SUGGEST_AMONG = 2000


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A trace as a list shows it.

    Args:
        time_unix_ns: when the trigger fired; before the conclusion, when the first piece came.
        concluded_unix_ns: 0 before the conclusion.
        hosts: of the conclusion.
        records: of all hosts.
        bytes: of all hosts.
    """

    trace_id: bytes
    time_unix_ns: int
    trigger_name: str
    trigger_value: float
    trigger_host: str
    status: Status
    group_id: bytes
    laterals: tuple[bytes, ...]
    concluded_unix_ns: int
    hosts: tuple[HostPart, ...]
    records: int
    bytes: int

    @property
    def id(self) -> str:
        return self.trace_id.hex()


_TRACE = """
    trace_id, time_unix_ns, trigger_name, trigger_value, trigger_host, status, group_id, laterals,
    concluded_unix_ns
"""
# Of one group, the trace that was triggered comes before those that were gathered with it.
_NEWEST = "time_unix_ns DESC, length(laterals) DESC, trace_id"
# Before the conclusion there are no parts, but there may be pieces.
_ON_HOST = """
    trace_id IN (
        SELECT trace_id FROM parts WHERE name = ?
        UNION ALL
        SELECT trace_id FROM traces WHERE concluded_unix_ns = 0 AND EXISTS (
            SELECT 1 FROM pieces JOIN segments USING (segment_id) JOIN hosts USING (host_id, incarnation)
            WHERE pieces.trace_id = traces.trace_id AND hosts.name = ?
        )
    )
"""
_PART = "name, host_id, incarnation, p.status, reasons, offset_ns, uncertainty_ns, records, bytes"


def summaries(
    database: Database,
    limit: int | None = None,
    trigger: str | None = None,
    host: str | None = None,
    status: str | None = None,
    since: int | None = None,
    group: bytes | None = None,
) -> Iterator[TraceSummary]:
    where, values = ["1"], []
    for condition, value in (
        ("trigger_name = ?", trigger),
        ("status = ?", status),
        (_ON_HOST, host),
        ("time_unix_ns >= ?", since),
        ("group_id = ?", group),
    ):
        if value is not None:
            where.append(condition)
            values += [value] * condition.count("?")
    rows = database.rows(
        f"""
        WITH t AS (
            SELECT {_TRACE} FROM traces WHERE {" AND ".join(where)}
            ORDER BY {_NEWEST} LIMIT ?
        )
        SELECT t.*, {_PART} FROM t LEFT JOIN parts p USING (trace_id)
        ORDER BY {_NEWEST}, ordinal
        """,
        [*values, -1 if limit is None else limit],
    )
    for _, group_rows in groupby(rows, key=lambda row: row[0]):
        yield _summary(list(group_rows))


def _summary(rows: Sequence[tuple[Any, ...]]) -> TraceSummary:
    trace_id, at, name, value, host, status, group_id, laterals, concluded, *_ = rows[0]
    parts = tuple(_part(row[9:]) for row in rows if row[9] is not None)
    return TraceSummary(
        trace_id=trace_id,
        time_unix_ns=at,
        trigger_name=name,
        trigger_value=_number(value),
        trigger_host=host,
        status=_status(status),
        group_id=group_id,
        laterals=_ids(laterals),
        concluded_unix_ns=concluded,
        hosts=parts,
        records=sum(part.records for part in parts),
        bytes=sum(part.bytes for part in parts),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value  # SQLite keeps NaN as NULL


_STATUSES = {str(status): status for status in Status}


def _status(text: str) -> Status:
    return _STATUSES.get(text, Status.UNKNOWN)


def _ids(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[i : i + 16] for i in range(0, len(joined), 16))


def _part(row: Sequence[Any]) -> HostPart:
    name, host_id, incarnation, status, reasons, offset, uncertainty, records, size = row
    return HostPart(
        name,
        unsigned(host_id),
        unsigned(incarnation),
        _status(status),
        tuple(json.loads(reasons)) if reasons != "[]" else (),
        offset,
        uncertainty,
        records,
        size,
    )


def find(database: Database, prefix: str) -> bytes:
    """The id that begins with these hex digits, or `latest`.

    Raises:
        StoreError: there is none, or more than one.
    """
    if prefix == "latest":
        rows = database.rows(f"SELECT trace_id FROM traces ORDER BY {_NEWEST} LIMIT 1")
        if not rows:
            raise StoreError("there is no latest trace", f"the store {database.path} is empty")
        return bytes(rows[0][0])
    text = prefix.lower()
    if not text or len(text) > 32 or set(text) - set("0123456789abcdef"):
        raise StoreError(
            f"no trace {prefix!r}", "an id is up to 32 hex digits, or `latest`", database.list_hint()
        )
    rows = database.rows(
        "SELECT trace_id FROM traces WHERE trace_id BETWEEN ? AND ? LIMIT 6",
        (bytes.fromhex(text.ljust(32, "0")), bytes.fromhex(text.ljust(32, "f"))),
    )
    if len(rows) == 1:
        return bytes(rows[0][0])
    found = [row[0].hex() for row in rows]
    if found:
        more = ", …" if len(found) > 5 else ""
        raise StoreError(
            f"{prefix!r} is not one trace", f"it begins {', '.join(found[:5])}{more}", "give more digits"
        )
    known = [
        row[0].hex()
        for row in database.rows(
            "SELECT trace_id FROM traces ORDER BY time_unix_ns DESC LIMIT ?", (_SUGGEST_AMONG,)
        )
    ]
    near = get_close_matches(text, [trace_id[: len(text)] for trace_id in known], n=1, cutoff=0.7)
    meant = next((f"; did you mean {t}?" for t in known if near and t.startswith(near[0])), "")
    raise StoreError(
        f"no trace {prefix!r}",
        f"the store {database.path} has none that begins so{meant}",
        database.list_hint(),
    )


def load(database: Database, trace_id: bytes) -> Trace:
    with database.snapshot():
        sources = [
            _source(database, segment_id, pieces)
            for segment_id, pieces in _pieces(database, trace_id).items()
        ]
        conclusion = _conclusion(database, trace_id)
        names = {unsigned(number): name for number, name in database.rows("SELECT host_id, name FROM hosts")}
    return assemble(trace_id, sources, conclusion, names)


def _conclusion(database: Database, trace_id: bytes) -> Conclusion | None:
    rows = database.rows(
        f"""
        SELECT t.*, {_PART} FROM (SELECT {_TRACE} FROM traces WHERE trace_id = ?) t
        LEFT JOIN parts p USING (trace_id) ORDER BY ordinal
        """,
        (trace_id,),
    )
    if not rows:
        raise StoreError(
            f"no trace {trace_id.hex()!r}", f"the store {database.path} has none", database.list_hint()
        )
    summary = _summary(rows)
    if not summary.concluded_unix_ns:
        return None
    return Conclusion(
        trace_id=trace_id,
        trigger_name=summary.trigger_name,
        trigger_value=summary.trigger_value,
        trigger_host=summary.trigger_host,
        fired_unix_ns=summary.time_unix_ns,
        group_id=summary.group_id,
        laterals=summary.laterals,
        hosts=summary.hosts,
        concluded_unix_ns=summary.concluded_unix_ns,
    )


def _pieces(database: Database, trace_id: bytes) -> dict[int, list[Piece]]:
    by_segment: dict[int, list[Piece]] = {}
    for segment_id, chunk, uses, start_unit, tid, pid, starts_run, data in database.rows(
        """
        SELECT segment_id, chunk, uses, start_unit, tid, pid, starts_run, data FROM pieces WHERE trace_id = ?
        """,
        (trace_id,),
    ):
        piece = Piece(
            trace_id,
            unsigned(segment_id),
            chunk,
            unsigned(uses),
            start_unit,
            tid,
            pid,
            bool(starts_run),
            data,
        )
        by_segment.setdefault(piece.segment_id, []).append(piece)
    return by_segment


def _source(database: Database, segment_id: int, pieces: list[Piece]) -> Source:
    key = (signed(segment_id),)
    rows = database.rows(
        """
        SELECT s.host_id, s.incarnation, service, ticks_hz, clock_kind, name
        FROM segments s LEFT JOIN hosts USING (host_id, incarnation) WHERE segment_id = ?
        """,
        key,
    )
    # The facts come before the pieces on one connection; without them the records can still be shown.
    row = rows[0] if rows else (0, 0, f"segment-{segment_id:016x}", 0, 0, None)
    host_id, incarnation = unsigned(row[0]), unsigned(row[1])
    segment = SegmentInfo(segment_id, host_id, incarnation, row[2], unsigned(row[3]), row[4])
    return Source(
        HostInfo(host_id, incarnation, row[5] or f"host-{host_id:016x}"),
        segment,
        dict(database.rows("SELECT schema_id, descriptor FROM schemas WHERE segment_id = ?", key)),
        _calibrations(database, segment, pieces),
        [
            ProcessInfo(*row)
            for row in database.rows("SELECT process, pid, name FROM processes WHERE segment_id = ?", key)
        ],
        pieces,
    )


def _calibrations(database: Database, segment: SegmentInfo, pieces: list[Piece]) -> list[Calibration]:
    """Those around the pieces' stamps, and about a second more: a segment may have thousands."""
    ranges = [stamps for piece in pieces if (stamps := tick_range(piece.data)) is not None]
    low = max(min((r[0] for r in ranges), default=0) - segment.ticks_hz, 0)
    high = max((r[1] for r in ranges), default=0) + segment.ticks_hz
    rows = database.rows(
        """
        WITH c AS (SELECT ticks, mono_ns, unix_ns, error_ns FROM calibrations WHERE segment_id = ?1)
        SELECT * FROM c
        WHERE ticks >= coalesce((SELECT max(ticks) FROM c WHERE ticks <= ?2), ?2)
        AND ticks <= coalesce((SELECT min(ticks) FROM c WHERE ticks >= ?3), ?3)
        ORDER BY ticks
        """,
        (signed(segment.segment_id), signed(low), signed(min(high, (1 << 63) - 1))),
    )
    if len(rows) < 2:
        rows = database.rows(
            "SELECT ticks, mono_ns, unix_ns, error_ns FROM calibrations WHERE segment_id = ?",
            (signed(segment.segment_id),),
        )
    return [Calibration(*map(unsigned, row)) for row in rows]
