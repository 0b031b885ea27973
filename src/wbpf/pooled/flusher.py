"""Writing a segment to the pool while it is recorded to."""

from __future__ import annotations

from dataclasses import dataclass, field

from wbpf import _native
from wbpf.envvars import FLUSH_KB, FLUSH_US, POOL_MB
from wbpf.errors import ObjectExists
from wbpf.pool import PoolHost
from wbpf.pooled.regions import free_region
from wbpf.recorder import Segment


@dataclass(frozen=True)
class FlushSpec:
    """How much of a segment is in the pool, and how much may be lost with the host.

    Args:
        region_bytes: of a region; a smaller segment has a smaller one. The newest chunks are kept.
        every_us: between two flushes at most, ten times that (up to 100 ms) while nothing has been recorded
            for a second. What was recorded since the last one is lost with the host.
        every_kib: flush sooner when about so much will have been recorded, at the rate of late; 0: never.
    """

    region_bytes: int = field(default_factory=lambda: POOL_MB.read() << 20)
    every_us: int = field(default_factory=FLUSH_US.read)
    every_kib: int = field(default_factory=FLUSH_KB.read)


@dataclass(frozen=True, slots=True)
class FlushCounts:
    """What was flushed.

    Args:
        groups: chunks, or what was new of them, each written as one.
        bytes: of records and directories.
        flushed_unix_ns: what was recorded before that is in the pool.
        slots: chunks that the region has room for.
    """

    rounds: int
    groups: int
    bytes: int
    flushed_unix_ns: int
    slots: int


class Flusher:
    """A region in the pool, and what writes a segment to it.

    Args:
        segment: of the member's host.
        member: the host, on which the segment is.

    Raises:
        PoolFull: the pool has no room for the region.
        ConfigError: the region would be too small for one chunk.
        PoolError: the segment's records are in the kernel, or the pool can't be used.
    """

    def __init__(self, segment: Segment, member: PoolHost, spec: FlushSpec | None = None) -> None:
        self.spec = spec or FlushSpec()
        while True:
            self.region = free_region(member)
            try:
                self._native = _native.Flusher(segment.native, member, self.region, self.spec.region_bytes)
            except ObjectExists:  # another agent of this host was faster
                continue
            return

    def round(self) -> None:
        """Flush what is new.

        Raises:
            StaleViewError, PoolError: the region is gone.
        """
        self._native.round()

    def run(self) -> None:
        """Flush again and again, until `stop` is called by another thread; once more then."""
        self._native.run(self.spec.every_us, self.spec.every_kib)

    def stop(self) -> None:
        """Let `run` return."""
        self._native.stop()

    @property
    def counts(self) -> FlushCounts:
        """What was flushed so far."""
        return FlushCounts(**self._native.counts())
