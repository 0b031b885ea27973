"""Gathered traces in one SQLite file: one writer, the collector, and many readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from wbpf.records import Calibration, Conclusion, HostInfo, Piece, ProcessInfo, SegmentInfo, Status, Trace
from wbpf.store import reading, retention, writing
from wbpf.store.database import Database
from wbpf.store.reading import TraceSummary


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What a store holds.

    Args:
        traces: by status, `complete` first.
        open_gathers: traces of which pieces came, but no conclusion.
        oldest_unix_ns: 0 if there is no trace; as `newest_unix_ns`.
        used_bytes: of the file, without free pages.
        file_bytes: of the file and its write-ahead log.
    """

    traces: dict[Status, int]
    open_gathers: int
    hosts: int
    segments: int
    pieces: int
    oldest_unix_ns: int
    newest_unix_ns: int
    used_bytes: int
    file_bytes: int


class Store:
    """A store of gathered traces. Threads may share it.

    Every method raises StoreError if the file is locked, damaged, full or gone.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._segments: set[int] = set()

    @classmethod
    def open(cls, path: str | Path, readonly: bool = False) -> Store:
        """Open a store, or make it.

        Raises:
            StoreError: it can't be opened, is no store, or was made by a later version.
            AccessError: this user may not read it.
        """
        return cls(Database(Path(path), readonly))

    @property
    def path(self) -> Path:
        return self._database.path

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- the writer's side ----

    def batch(self) -> AbstractContextManager[None]:
        """Everything written inside is committed together, or, if the block raises, not at all."""
        return self._database.transaction()

    def put_host(self, host: HostInfo) -> None:
        writing.put_host(self._database, host)

    def put_segment(self, segment: SegmentInfo) -> None:
        self._segments.add(segment.segment_id)
        writing.put_segment(self._database, segment)

    def put_schemas(self, segment_id: int, descriptors: Mapping[int, str]) -> None:
        writing.put_schemas(self._database, segment_id, descriptors)

    def put_calibrations(self, segment_id: int, calibrations: Iterable[Calibration]) -> None:
        writing.put_calibrations(self._database, segment_id, calibrations)

    def put_process(self, segment_id: int, process: int, pid: int, name: str) -> None:
        writing.put_process(self._database, segment_id, ProcessInfo(process, pid, name))

    def put_pieces(self, pieces: Iterable[Piece]) -> None:
        """Keep pieces. One that is here already changes nothing; a longer one takes its place."""
        writing.put_pieces(self._database, pieces)

    def conclude(self, conclusion: Conclusion) -> None:
        """Keep how a trace's gather ended, in place of an earlier conclusion."""
        writing.conclude(self._database, conclusion)

    def delete(self, trace_ids: Iterable[bytes]) -> int:
        """Delete traces; those that are not here are passed over. Returns how many were deleted."""
        return retention.delete(self._database, trace_ids)

    def retain(self, max_bytes: int, max_age_s: float) -> int:
        """Delete the oldest traces, each with its group, until neither limit is passed, and shrink the file.

        Returns:
            How many were deleted.
        """
        return retention.retain(self._database, max_bytes, max_age_s, self._segments)

    def shrink(self) -> None:
        """Give the space of what was deleted back to the disk; `retain` does so itself."""
        retention.shrink(self._database)

    # ---- the readers' side ----

    def traces(
        self,
        limit: int | None = None,
        *,
        trigger: str | None = None,
        host: str | None = None,
        status: str | None = None,
        since: int | None = None,
        group: bytes | None = None,
    ) -> Iterator[TraceSummary]:
        """Summaries of the traces, newest first.

        Args:
            limit: at most so many.
            trigger: only those that this trigger caught.
            host: only those that the host of this name took part in.
            status: only those.
            since: only those whose trigger fired then or later, nanoseconds since 1970.
            group: only those gathered by one trigger.
        """
        return reading.summaries(self._database, limit, trigger, host, status, since, group)

    def find(self, prefix: str) -> bytes:
        """The id that begins with these hex digits, or `latest`.

        Raises:
            StoreError: there is none, or more than one.
        """
        return reading.find(self._database, prefix)

    def trace(self, trace_id: bytes | str) -> Trace:
        """A whole trace.

        Args:
            trace_id: the id, or what `find` takes.

        Raises:
            StoreError: there is none, or more than one.
        """
        found = self.find(trace_id) if isinstance(trace_id, str) else trace_id
        return reading.load(self._database, found)

    def stats(self) -> StoreStats:
        database = self._database
        with database.snapshot():
            by_status: dict[str, int] = dict(
                database.rows("SELECT status, count(*) FROM traces GROUP BY status")
            )
            ((open_gathers, oldest, newest),) = database.rows(
                "SELECT sum(concluded_unix_ns = 0), min(time_unix_ns), max(time_unix_ns) FROM traces"
            )
            hosts, segments, pieces = (
                database.rows(f"SELECT count(*) FROM {table}")[0][0]
                for table in ("hosts", "segments", "pieces")
            )
            used = retention.used_bytes(database)
        wal = Path(f"{self.path}-wal")
        return StoreStats(
            traces={status: by_status.get(status, 0) for status in Status},
            open_gathers=open_gathers or 0,
            hosts=hosts,
            segments=segments,
            pieces=pieces,
            oldest_unix_ns=oldest or 0,
            newest_unix_ns=newest or 0,
            used_bytes=used,
            file_bytes=self.path.stat().st_size + (wal.stat().st_size if wal.exists() else 0),
        )
