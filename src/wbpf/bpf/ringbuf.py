"""Reading ring buffers and perf buffers, in batches; writing user ring buffers."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from wbpf import _native
from wbpf.errors import BpfError

if TYPE_CHECKING:
    from wbpf.bpf.maps import Map

Batch = list[bytes]
_BATCH = 4096
_T = TypeVar("_T")


class Ring:
    """A ring buffer, or the perf buffers of all processors.

    Iterating gives batches, each a list of records (bytes) in the order of the ring (of perf buffers: of each
    processor), and waits for more; it ends after stop(). `async for` does so without blocking the event loop.
    Records of perf buffers have the kernel's padding behind them.

    Args:
        map: of kind RINGBUF or PERF_EVENT_ARRAY; it stays open as long as this.
        perf_pages: of each processor's perf buffer, a power of two.

    Raises:
        BpfError: the map is of another kind, or the kernel refuses.
    """

    def __init__(self, map: Map, *, perf_pages: int = 64) -> None:
        self.name = map.name
        self._map = map
        self._native = _made(
            f"ring {map.name!r} can't be read", _native.BpfRing.open(map.fileno(), perf_pages)
        )
        self._alone: Rings | None = None

    @property
    def native(self) -> _native.BpfRing:
        """The reader of the native core."""
        return self._native

    def read(self, max_records: int = _BATCH) -> Batch:
        """The records that are there now, at most so many; [] if there are none."""
        return self._native.read(max_records)

    def read_frames(self, room_bytes: int = 1 << 16) -> bytes:
        """The records that are there now, in one piece.

        Each has its size and its processor before it, 4 bytes each, and is padded to 8 bytes.
        A record that does not fit into the room alone is read nevertheless.
        """
        frames = self._native.read_frames(room_bytes)
        if frames == -errno.EMSGSIZE:
            frames = self._native.read_frames(self._native.next_bytes())
        if isinstance(frames, int):
            raise BpfError(f"ring {self.name!r} can't be read", _native.bpf_strerror(frames))
        return frames

    @property
    def pending(self) -> bool:
        """Whether a record can be read."""
        return self._native.pending()

    @property
    def lost(self) -> int | None:
        """Records for which perf buffers had no room; None for ring buffers: only programs see that."""
        lost = self._native.lost()
        return None if lost < 0 else lost

    def stop(self) -> None:
        """End the iteration that is under way or comes next; from any thread or signal handler."""
        self._rings().stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until a record can be read. False: time is up, or stop() was called."""
        return bool(self._rings().wait(timeout_s))

    def __iter__(self) -> Iterator[Batch]:
        return (batch for _, batch in self._rings())

    async def __aiter__(self) -> AsyncIterator[Batch]:
        async for _, batch in self._rings():
            yield batch

    def close(self) -> None:
        """Let go of it."""
        if self._alone is not None:
            self._alone.close()
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rings(self) -> Rings:
        if self._alone is None:
            self._alone = Rings(self)
        return self._alone


class Rings:
    """Several rings, read in turn as they have records: a busy one does not keep others from being read.

    Iterating gives (ring, batch); `async for` does so without blocking the event loop.
    """

    def __init__(self, *rings: Ring) -> None:
        self._native = _made("rings can't be waited for", _native.WaitSet.create())
        self._rings = list(rings)
        self._stopped = False
        for tag, ring in enumerate(rings):
            if error := self._native.add(ring.native, tag):
                self._native.close()
                raise BpfError(f"ring {ring.name!r} can't be waited for", _native.bpf_strerror(error))

    def wait(self, timeout_s: float | None = None) -> list[Ring]:
        """Wait until records can be read; the rings that have some, in turn. [] if time is up."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._stopped:
            left = None if end is None else max(0.0, end - time.monotonic())
            ready = self._ready(-1 if left is None else min(int(left * 1000 + 0.999), 1 << 30))
            if ready or left == 0:
                return ready
        return []

    def stop(self) -> None:
        """End the iteration that is under way or comes next; from any thread or signal handler."""
        self._stopped = True
        self._native.wake()

    def __iter__(self) -> Iterator[tuple[Ring, Batch]]:
        while not self._stopped:
            yield from self._batches(self.wait())
        self._stopped = False

    async def __aiter__(self) -> AsyncIterator[tuple[Ring, Batch]]:
        loop, awake = asyncio.get_running_loop(), asyncio.Event()
        while not self._stopped:
            ready = self._ready(0)
            for pair in self._batches(ready):
                yield pair
            await asyncio.sleep(0)  # a busy ring leaves the others of the event loop their turn
            if not ready and not self._stopped:
                awake.clear()
                loop.add_reader(self._native.fd(), awake.set)
                try:
                    await awake.wait()
                finally:
                    loop.remove_reader(self._native.fd())
        self._stopped = False

    def close(self) -> None:
        """Let go of the set; the rings stay open."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self, timeout_ms: int) -> list[Ring]:
        ready = self._native.wait(timeout_ms, len(self._rings) or 1)
        if isinstance(ready, int):
            raise BpfError("rings can't be waited for", _native.bpf_strerror(ready))
        return [self._rings[tag] for tag in ready]

    @staticmethod
    def _batches(ready: list[Ring]) -> Iterator[tuple[Ring, Batch]]:
        for ring in ready:
            if batch := ring.read():
                yield ring, batch


class UserRing:
    """A user ring buffer, whose records programs take by bpf_user_ringbuf_drain().

    Raises:
        BpfError: the map is of another kind, or the kernel refuses.
    """

    def __init__(self, map: Map) -> None:
        self.name = map.name
        self._map = map
        what = f"ring {map.name!r} can't be written"
        self._native = _made(what, self._open(map))

    def _open(self, map: Map) -> tuple[_native.UserRing | None, int]:
        return _native.UserRing.open(map.fileno())

    def submit(self, record: bytes) -> bool:
        """Write a record; False: the programs have not taken enough yet.

        Raises:
            BpfError: it is larger than the ring.
        """
        error = self._native.submit(record)
        if error not in (0, -errno.ENOSPC):
            why = f"{len(record)} bytes never fit"
            raise BpfError(f"ring {self.name!r} can't be written", why, error=error)
        return error == 0

    def close(self) -> None:
        """Let go of it."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _made(what: str, made: tuple[_T | None, int]) -> _T:
    native, error = made
    if native is None:
        wrong = "the map is of another kind, or the number of pages is no power of two"
        why = wrong if error == -errno.EINVAL else _native.bpf_strerror(error)
        raise BpfError(what, why, error=error)
    return native
