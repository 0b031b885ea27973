"""The host's segments, attached: found in its folder, calibrated, searched."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from wbpf.errors import WbpfError
from wbpf.recorder import Fired, Piece, Segment, Watch, segments
from wbpf.records import Calibration, clock_error_ns
from wbpf.wire import status_pb2 as st

LOG = logging.getLogger("wbpf.agent")
#: Processes are asked for at most this often: each question costs a lock's test for each that ever wrote.
PROCESSES_S = 0.02
#: So long at most is a segment's last calibration ago, while the agent keeps up.
CALIBRATED_NS = 1_500_000_000


class Attached:
    """One segment.

    Args:
        path: of its file.
        recovered: read from a pool, of another host.

    Raises:
        WbpfError: it can't be used; the text says why.
    """

    def __init__(self, path: Path, recovered: Segment | None = None) -> None:
        self.path = path
        self.file = _file(path)
        self.segment = recovered or Segment.open(path, writable=True)
        self.is_recovered = recovered is not None
        self.segment_id = self.segment.segment_id
        self.watch = Watch(self.segment)
        self.polled_ticks = 0
        self.descriptors: dict[int, str] = {}
        self._schemas_at = 0
        self.calibrations: list[Calibration] = self.segment.calibrations()
        self._cleared_at = 0
        self._processes: dict[int, tuple[int, int, str, bool]] = {}
        self._processes_s = float("-inf")

    # ---- triggers and verbs ----

    def take_triggers(self, again: bool) -> list[Fired]:
        return self.segment.take_triggers(again)

    def ack_trigger(self, slot: int, token: int) -> None:
        self.segment.ack_trigger(slot, token)

    def cleared(self) -> list[bytes]:
        self._cleared_at, ids = self.segment.cleared(self._cleared_at)
        return ids

    # ---- what it takes to understand its records ----

    def name_of(self, schema_id: int) -> str:
        """The name that a schema id stands for."""
        if schema_id not in self.descriptors:
            self.read_schemas()
        descriptor = self.descriptors.get(schema_id, "")
        return descriptor.partition(" ")[0] or f"schema-{schema_id:08x}"

    def read_schemas(self) -> None:
        self._schemas_at, fresh = self.segment.schemas(self._schemas_at)
        self.descriptors.update(fresh)

    def calibrate(self) -> None:
        self.segment.calibrate()
        self.calibrations = self.segment.calibrations()

    def now_ticks(self) -> int:
        return self.segment.now_ticks()

    def unix_ns(self, ticks: int) -> int:
        return self.segment.ticks_to_unix_ns(ticks)

    def calibrations_around(self, ticks: int) -> list[Calibration]:
        """Those between which the ticks lie; for later ones the last two."""
        at = bisect_right(self.calibrations, ticks, key=lambda item: item.ticks)
        first = max(min(at - 1, len(self.calibrations) - 2), 0)
        return self.calibrations[first : first + 2]

    @property
    def clock_error_ns(self) -> int:
        """How wrong the difference of two times of this clock can be."""
        return 2 * clock_error_ns(self.calibrations, CALIBRATED_NS)

    def process(self, index: int, now_s: float) -> tuple[int, int, str, bool]:
        """Generation, pid, name and life of what is in a process slot, as of a moment ago."""
        found = self._processes.get(index)
        if found is None or now_s - self._processes_s > PROCESSES_S:
            self._processes_s = now_s
            self._processes = {
                process.index: (process.generation, process.pid, process.name, process.alive)
                for process in self.segment.processes()
            }
            found = self._processes.get(index)
        return found or (0, 0, "", False)

    # ---- search ----

    def poll(self) -> tuple[list[Piece], int, int]:
        """What was written for the watched traces since the last poll.

        Returns:
            The pieces; until when something was lost, in ticks; until when the poll before had read.
        """
        began = self.segment.now_ticks()
        pieces, lost_ticks = self.watch.poll()
        before, self.polled_ticks = self.polled_ticks, began
        return pieces, lost_ticks, before

    def status(self) -> st.SegmentStatus:
        return segment_status(self.segment)


def segment_status(segment: Segment) -> st.SegmentStatus:
    """A segment's counters, and how far back it reaches."""
    counters = segment.counters()
    horizon_s = -1.0
    if counters.oldest_ticks:
        now_ns = segment.ticks_to_unix_ns(segment.now_ticks())
        horizon_s = max(now_ns - segment.ticks_to_unix_ns(counters.oldest_ticks), 0) / 1e9
    return st.SegmentStatus(
        service=segment.service,
        segment_id=segment.segment_id,
        size_bytes=segment.size_bytes,
        horizon_s=horizon_s,
        written_records=counters.resident_records + counters.recycled_records,
        resident_records=counters.resident_records,
        recycled_records=counters.recycled_records,
        resident_bytes=counters.resident_bytes,
        recycled_bytes=counters.recycled_bytes,
        refused=counters.refused,
        truncated=counters.truncated,
        triggers_dropped=counters.triggers_dropped,
        processes=counters.processes_alive,
        threads=counters.threads,
        chunks_used=counters.chunks_used,
        chunks=segment.chunk_count,
    )


class Segments:
    """All segments of a host.

    Args:
        folder: of the host.
        incarnation: of the host; segments of an earlier one are another host's.
        attached: called with each new one.
        removed: called with the time when one is missed.
    """

    def __init__(
        self, folder: Path, attached: Callable[[Attached], None], removed: Callable[[Attached], None]
    ) -> None:
        self._folder = folder
        self._attached = attached
        self._removed = removed
        self._by_path: dict[Path, Attached] = {}
        self._scanned_ns = 0
        self.faults: dict[Path, str] = {}

    def __iter__(self) -> Iterator[Attached]:
        return iter(self._by_path.values())

    def __len__(self) -> int:
        return len(self._by_path)

    def scan_if_changed(self) -> None:
        """As `scan`, if something came to the folder or went."""
        with suppress(OSError):
            if self._folder.stat().st_mtime_ns != self._scanned_ns:
                self.scan()

    def scan(self) -> None:
        """Attach what is new, let go of what is gone."""
        with suppress(OSError):
            self._scanned_ns = self._folder.stat().st_mtime_ns
        paths = segments(self._folder)
        for path in [path for path in self._by_path if path not in paths]:
            self._let_go(path)
        for path in paths:
            known = self._by_path.get(path)
            if known is not None and known.file != _file(path):
                self._let_go(path)
                known = None
            if known is None:
                self._attach(path)
        for path in [path for path in self.faults if path not in paths]:
            del self.faults[path]

    def _attach(self, path: Path) -> None:
        try:
            attached = Attached(path)
        except WbpfError as error:
            if path not in self.faults:
                LOG.warning("a segment can't be used", extra={"fields": {"path": path, "why": str(error)}})
            self.faults[path] = f"{error.what}: {error.why}"
            return
        self.faults.pop(path, None)
        self._by_path[path] = attached
        self._attached(attached)

    def _let_go(self, path: Path) -> None:
        attached = self._by_path.pop(path)
        self._removed(attached)
        attached.segment.close()

    def each(self, work: Callable[[Attached], None]) -> None:
        """Do something with each; one that fails is let go of, and its fault shown."""
        for path, attached in list(self._by_path.items()):
            try:
                work(attached)
            except WbpfError as error:
                LOG.warning("a segment failed", extra={"fields": {"path": path, "why": str(error)}})
                self.faults[path] = f"{error.what}: {error.why}"
                self._let_go(path)

    def close(self) -> None:
        for attached in self._by_path.values():
            attached.segment.close()
        self._by_path.clear()


def _file(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def ids_of(pieces: Iterable[Piece]) -> set[bytes]:
    """The traces that pieces belong to."""
    return {piece.trace_id for piece in pieces}
