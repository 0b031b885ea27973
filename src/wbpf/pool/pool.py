"""Pools: the shared segment and what is known about it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from wbpf import _native
from wbpf.errors import ConfigError, PoolError
from wbpf.pool.errors import PoolCorruptError
from wbpf.pool.host import HostInfo, PoolHost
from wbpf.pool.latency import ACCESS_CLASSES, LatencyTable

DEFAULT_ACCESS_CLASS = "direct_cxl"


@dataclass(frozen=True)
class PoolStats:
    """How full a pool is.

    `used_bytes` counts whole lines and the envelope of each object; `deleted_in_use` objects are deleted, but
    views hold them; `recoveries` counts how often a process died in an operation on the metadata, which were
    then rebuilt.
    """

    segment_bytes: int
    capacity_bytes: int
    used_bytes: int
    free_bytes: int
    largest_free_bytes: int
    max_objects: int
    objects: int
    unsealed: int
    deleted_in_use: int
    references: int
    recoveries: int
    coherent: bool


@dataclass(frozen=True)
class ReclaimResult:
    """What was taken back from dead processes."""

    processes: int
    references: int
    objects: int


def _access_class(name: str) -> int:
    if name in ACCESS_CLASSES:
        return ACCESS_CLASSES.index(name)
    close = difflib.get_close_matches(name, ACCESS_CLASSES, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(ACCESS_CLASSES)}"
    raise ConfigError(f"there is no access class {name!r}", "", hint)


class Pool:
    """A segment of shared memory that emulated hosts use together, with an object store in it.

    Make one with `Pool.create()` or `Pool.open()`; then `join()` a host. As a context manager it closes.
    """

    def __init__(self, path: str | os.PathLike[str], segment: _native.PoolSegment) -> None:
        self._path = Path(path)
        self._segment = segment

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        size_bytes: int,
        *,
        hosts: Sequence[str] | Mapping[str, str] = ("host0", "host1"),
        latency: LatencyTable | None = None,
        coherent: bool = False,
        seed: int = 0,
        max_objects: int | None = None,
    ) -> Pool:
        """Make a pool, with all its space allocated.

        Args:
            path: a file in /dev/shm or on any file system, or a DAX device.
            size_bytes: of the whole segment, metadata included.
            hosts: names (of class `direct_cxl`), or names with their access class, a field of LatencyTable.
            latency: the modelled costs.
            coherent: hardware-coherent: hosts map the segment itself and have no line caches.
            seed: of the modelled jitter.
            max_objects: how many there can be at a time; one for 8 KiB of `size_bytes` if not given.

        Raises:
            PoolError: the path exists; PoolFull: the space can't be had; ConfigError: a bad option.
        """
        classes = hosts if isinstance(hosts, Mapping) else dict.fromkeys(hosts, DEFAULT_ACCESS_CLASS)
        if len(classes) != len(hosts):
            raise ConfigError("hosts of a pool need different names", f"given: {', '.join(hosts)}")
        table = latency or LatencyTable()
        costs = [getattr(table, name) for name in ACCESS_CLASSES]
        path = Path(path).absolute()
        _native.pool_create(
            path=str(path),
            size_bytes=size_bytes,
            hosts=list(classes),
            access_classes=[_access_class(name) for name in classes.values()],
            latencies_ns=[cost.latency_ns for cost in costs],
            bandwidths_bytes_per_s=[cost.bandwidth_bytes_per_s for cost in costs],
            shared_link_bytes_per_s=table.shared_link_bytes_per_s,
            knee=table.knee,
            jitter=table.jitter,
            coherent=coherent,
            seed=seed,
            max_objects=max_objects or 0,
        )
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Pool:
        """Map a pool that exists.

        Raises:
            PoolError: there is none; AccessError: no right to it, or everybody may write it;
            FormatError: not a pool.
        """
        path = Path(path).absolute()
        return cls(path, _native.PoolSegment(str(path)))

    @property
    def path(self) -> Path:
        """The segment's file or device."""
        return self._path

    @property
    def pool_id(self) -> int:
        """Random, drawn when it was made."""
        return self._segment.id()

    def join(self, name: str) -> PoolHost:
        """Make this process a member of a host.

        Raises:
            UnknownHostError: the pool has no host of that name.
        """
        return PoolHost(self._segment, name)

    @property
    def hosts(self) -> tuple[HostInfo, ...]:
        """The hosts, in the order of creation."""
        return tuple(HostInfo.of(info) for info in self._segment.hosts())

    def stats(self) -> PoolStats:
        """Return how full it is."""
        return PoolStats(**self._segment.stats())

    def reclaim(self) -> ReclaimResult:
        """Take back what dead processes held: references, and objects they had not sealed."""
        return ReclaimResult(*self._segment.reclaim())

    def check(self) -> None:
        """Check that the metadata add up.

        Raises:
            PoolCorruptError: they don't.
        """
        wrong = self._segment.check()
        if wrong:
            raise PoolCorruptError(f"pool {self._path} is damaged", wrong, "make it again")

    def close(self) -> None:
        """Unmap it, once every host joined through it is left too."""
        self._segment.close()

    def unlink(self) -> None:
        """Remove its files; memory that processes have mapped lives on."""
        _native.pool_unlink(str(self._path))

    @classmethod
    def unlink_path(cls, path: str | os.PathLike[str]) -> bool:
        """Remove the files of a pool if there is one, whole or half-made; returns whether there was."""
        path = Path(path).absolute()
        existed = path.exists()
        try:
            _native.pool_unlink(str(path))
        except PoolError:
            if path.exists():
                raise
        return existed

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Pool({str(self._path)!r})"


__all__ = ["Pool", "PoolStats", "ReclaimResult"]
