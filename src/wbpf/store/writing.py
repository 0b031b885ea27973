"""Rows of the store from what the collector receives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping

from wbpf.records import Calibration, Conclusion, HostInfo, Piece, ProcessInfo, SegmentInfo
from wbpf.store.database import Database
from wbpf.store.tables import signed


def put_host(database: Database, host: HostInfo) -> None:
    database.write(
        "INSERT OR REPLACE INTO hosts VALUES (?, ?, ?)",
        [(signed(host.host_id), signed(host.incarnation), host.name)],
    )


def put_segment(database: Database, segment: SegmentInfo) -> None:
    database.write(
        "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                signed(segment.segment_id),
                signed(segment.host_id),
                signed(segment.incarnation),
                segment.service,
                signed(segment.ticks_hz),
                segment.clock_kind,
            )
        ],
    )


def put_schemas(database: Database, segment_id: int, descriptors: Mapping[int, str]) -> None:
    database.write(
        "INSERT OR REPLACE INTO schemas VALUES (?, ?, ?)",
        [(signed(segment_id), number, text) for number, text in descriptors.items()],
    )


def put_calibrations(database: Database, segment_id: int, calibrations: Iterable[Calibration]) -> None:
    database.write(
        "INSERT OR REPLACE INTO calibrations VALUES (?, ?, ?, ?, ?)",
        [(signed(segment_id), *map(signed, calibration)) for calibration in calibrations],
    )


def put_process(database: Database, segment_id: int, process: ProcessInfo) -> None:
    database.write(
        "INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?)",
        [(signed(segment_id), process.process, process.pid, process.name)],
    )


def put_pieces(database: Database, pieces: Iterable[Piece]) -> None:
    pieces = list(pieces)
    now = time.time_ns()
    with database.transaction():
        database.write(
            "INSERT OR IGNORE INTO traces (trace_id, time_unix_ns) VALUES (?, ?)",
            [(trace_id, now) for trace_id in {piece.trace_id for piece in pieces}],
        )
        database.write(
            """
            INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE
            SET data = excluded.data, starts_run = max(starts_run, excluded.starts_run)
            WHERE length(excluded.data) > length(data)
            """,
            [
                (
                    piece.trace_id,
                    signed(piece.segment_id),
                    piece.chunk,
                    signed(piece.uses),
                    piece.start_unit,
                    piece.tid,
                    piece.pid,
                    piece.starts_run,
                    piece.data,
                )
                for piece in pieces
            ],
        )


def conclude(database: Database, conclusion: Conclusion) -> None:
    with database.transaction():
        database.write(
            "INSERT OR REPLACE INTO traces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    conclusion.trace_id,
                    signed(conclusion.fired_unix_ns),
                    signed(conclusion.concluded_unix_ns),
                    conclusion.trigger_name,
                    conclusion.trigger_value,
                    conclusion.trigger_host,
                    conclusion.status,
                    conclusion.group_id,
                    b"".join(conclusion.laterals),
                )
            ],
        )
        database.write("DELETE FROM parts WHERE trace_id = ?", [(conclusion.trace_id,)])
        database.write(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    conclusion.trace_id,
                    i,
                    part.name,
                    signed(part.host_id),
                    signed(part.incarnation),
                    part.status,
                    json.dumps(list(part.reasons)),
                    part.offset_ns,
                    part.uncertainty_ns,
                    part.records,
                    part.bytes,
                )
                for i, part in enumerate(conclusion.hosts)
            ],
        )
