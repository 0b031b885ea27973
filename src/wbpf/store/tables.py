"""The store's tables. A change here takes a new VERSION and the statements that lead to it."""

from __future__ import annotations

APPLICATION_ID = 0x77425046  # "wBPF"
VERSION = 1

# Numbers of 64 bits are kept as SQLite has them, signed.
TABLES = (
    """
    CREATE TABLE hosts (
        host_id INTEGER NOT NULL, incarnation INTEGER NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (host_id, incarnation)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE segments (
        segment_id INTEGER PRIMARY KEY, host_id INTEGER NOT NULL, incarnation INTEGER NOT NULL,
        service TEXT NOT NULL, ticks_hz INTEGER NOT NULL, clock_kind INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE schemas (
        segment_id INTEGER NOT NULL, schema_id INTEGER NOT NULL, descriptor TEXT NOT NULL,
        PRIMARY KEY (segment_id, schema_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE calibrations (
        segment_id INTEGER NOT NULL, ticks INTEGER NOT NULL, mono_ns INTEGER NOT NULL,
        unix_ns INTEGER NOT NULL, error_ns INTEGER NOT NULL,
        PRIMARY KEY (segment_id, ticks)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE processes (
        segment_id INTEGER NOT NULL, process INTEGER NOT NULL, pid INTEGER NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (segment_id, process, pid)
    ) WITHOUT ROWID
    """,
    # A row comes with the first piece or with the conclusion; concluded_unix_ns is 0 until that is there.
    # time_unix_ns: when the trigger fired; before the conclusion, when the row came.
    """
    CREATE TABLE traces (
        trace_id BLOB PRIMARY KEY, time_unix_ns INTEGER NOT NULL,
        concluded_unix_ns INTEGER NOT NULL DEFAULT 0,
        trigger_name TEXT NOT NULL DEFAULT '', trigger_value REAL, trigger_host TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL DEFAULT 'unknown', group_id BLOB NOT NULL DEFAULT x'',
        laterals BLOB NOT NULL DEFAULT x''
    )
    """,
    "CREATE INDEX traces_by_time ON traces (time_unix_ns)",
    "CREATE INDEX traces_by_group ON traces (group_id)",
    """
    CREATE TABLE parts (
        trace_id BLOB NOT NULL, ordinal INTEGER NOT NULL, name TEXT NOT NULL, host_id INTEGER NOT NULL,
        incarnation INTEGER NOT NULL, status TEXT NOT NULL, reasons TEXT NOT NULL, offset_ns INTEGER NOT NULL,
        uncertainty_ns INTEGER NOT NULL, records INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (trace_id, ordinal)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE pieces (
        trace_id BLOB NOT NULL, segment_id INTEGER NOT NULL, chunk INTEGER NOT NULL, uses INTEGER NOT NULL,
        start_unit INTEGER NOT NULL, tid INTEGER NOT NULL, pid INTEGER NOT NULL, starts_run INTEGER NOT NULL,
        data BLOB NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX pieces_by_trace ON pieces (trace_id, segment_id, chunk, uses, start_unit)",
    "CREATE INDEX pieces_by_segment ON pieces (segment_id)",
)


def signed(number: int) -> int:
    """An unsigned number of 64 bits as SQLite keeps it."""
    return number - (1 << 64) if number >> 63 else number


def unsigned(number: int) -> int:
    return number & 0xFFFFFFFFFFFFFFFF
