"""Letting go of traces: by hand, by age and by size, and giving the space back to the disk."""

from __future__ import annotations

import time
from collections.abc import Iterable

from wbpf.store.database import Database
from wbpf.store.tables import signed

_BATCH = 200
_VACUUM_PAGES = 1000


def delete(database: Database, trace_ids: Iterable[bytes]) -> int:
    ids = [(trace_id,) for trace_id in trace_ids]
    with database.transaction():
        before = _count(database)
        for table in ("pieces", "parts", "traces"):
            database.write(f"DELETE FROM {table} WHERE trace_id = ?", ids)
        return before - _count(database)


def retain(database: Database, max_bytes: int, max_age_s: float, keep_segments: Iterable[int]) -> int:
    """Delete the oldest traces, each with its group, until neither limit is passed, and shrink the file.

    Args:
        database: where.
        max_bytes: of all traces and what belongs to them.
        max_age_s: since the trigger.
        keep_segments: segments of which pieces may still come, although none is here.
    """
    deleted = 0
    oldest_allowed = time.time_ns() - int(max_age_s * 1e9)
    while batch := database.rows(
        "SELECT trace_id, group_id FROM traces WHERE time_unix_ns < ? ORDER BY time_unix_ns LIMIT ?",
        (oldest_allowed, _BATCH),
    ):
        deleted += delete(database, _with_groups(database, batch))
    while (excess := used_bytes(database) - max_bytes) > 0:
        oldest = database.rows(
            """
            SELECT trace_id, group_id, (SELECT sum(length(data)) FROM pieces p WHERE p.trace_id = t.trace_id)
            FROM traces t ORDER BY time_unix_ns LIMIT ?
            """,
            (_BATCH,),
        )
        batch = []
        while oldest and excess > 0:
            trace_id, group_id, size = oldest.pop(0)
            batch.append((trace_id, group_id))
            excess -= size or 0
        if not batch:
            break
        deleted += delete(database, _with_groups(database, batch))
    if deleted:
        _drop_facts(database, keep_segments)
        shrink(database)
    return deleted


def used_bytes(database: Database) -> int:
    """What the file would take if it held nothing but what is in use."""
    pages = database.pragma("page_count") - database.pragma("freelist_count")
    return pages * database.pragma("page_size")


def shrink(database: Database) -> None:
    """Give pages that are not in use back to the disk. What a reader still looks at stays until later."""
    free = database.pragma("freelist_count")
    while free > 0:
        database.pragma(f"incremental_vacuum({_VACUUM_PAGES})")
        before, free = free, database.pragma("freelist_count")
        if free >= before:
            break
    database.pragma("wal_checkpoint(TRUNCATE)")


def _count(database: Database) -> int:
    return int(database.rows("SELECT count(*) FROM traces")[0][0])


def _with_groups(database: Database, batch: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    ids = {trace_id for trace_id, _ in batch}
    for group_id in {group_id for _, group_id in batch if group_id}:
        ids.update(
            row[0] for row in database.rows("SELECT trace_id FROM traces WHERE group_id = ?", (group_id,))
        )
    return sorted(ids)


def _drop_facts(database: Database, keep_segments: Iterable[int]) -> None:
    keep = {signed(segment_id) for segment_id in keep_segments}
    unused = [
        row
        for row in database.rows(
            """
            SELECT segment_id FROM segments s
            WHERE NOT EXISTS (SELECT 1 FROM pieces p WHERE p.segment_id = s.segment_id)
            """
        )
        if row[0] not in keep
    ]
    with database.transaction():
        for table in ("schemas", "calibrations", "processes", "segments"):
            database.write(f"DELETE FROM {table} WHERE segment_id = ?", unused)
