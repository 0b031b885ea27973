"""Maps in shared memory, with the same face as the kernel's."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol, Self

from wbpf import _native
from wbpf.bpf.kinds import MapType, name_of
from wbpf.bpf.maps import Map
from wbpf.bpf.ringbuf import Batch, Ring, UserRing
from wbpf.bpf.user.verifier import MapModel
from wbpf.errors import BpfError

NO_LOCK = 0xFFFFFFFF
READ_ONLY = 1 << 7  # BPF_F_RDONLY_PROG
_RINGS = {MapType.RINGBUF, MapType.PERF_EVENT_ARRAY}
_RING_AT = 4096  # WBPF_SHARED_RING_OFFSET
_RING_SIZE = 1  # BPF_RB_RING_SIZE


class HasId(Protocol):
    """A map or a program of user space."""

    @property
    def user_id(self) -> int:
        """What maps of maps and program arrays know it by."""
        ...


#: How sections are called whose values programs are proved by.
CONSTANTS = (".rodata", ".kconfig")


class UserMap(Map):
    """A map in memory that several processes share. It is there once `create` or `open` made it.

    Args:
        extra: hash functions of a Bloom filter, bytes of a perf event array; 0: as usual.
        lock_offset: where values have a bpf_spin_lock.
        inner: kind and sizes of key and value of the maps in it, for maps of maps.
    """

    def __init__(
        self,
        name: str,
        kind: int,
        key_bytes: int,
        value_bytes: int,
        entries: int,
        flags: int = 0,
        *,
        extra: int = 0,
        lock_offset: int = NO_LOCK,
        inner: tuple[int, int, int] = (0, 0, 0),
        key_type: int = 0,
        value_type: int = 0,
    ) -> None:
        super().__init__(name, kind, key_bytes, value_bytes, entries, flags, key_type, value_type, -1)
        self._extra, self.lock_offset, self.inner = extra, lock_offset, inner
        self._native: _native.UserMap | None = None

    @classmethod
    def create(
        cls, name: str, kind: int, key_bytes: int, value_bytes: int, entries: int, *, flags: int = 0
    ) -> Self:
        """Make a map of its own. Raises: as `make`."""
        one = cls(name, kind, key_bytes, value_bytes, entries, flags)
        one.make()
        return one

    @classmethod
    def open(cls, path: str | os.PathLike[str] | int, name: str = "") -> Self:
        """One that is there already.

        Args:
            path: its file, or its descriptor, which stays the caller's.
            name: for messages.

        Raises:
            BpfError: there is none.
        """
        what = f"no map can be opened at {path!r}"
        try:
            fd = os.dup(path) if isinstance(path, int) else os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise BpfError(what, error.strerror or str(error)) from error
        native = _native.UserMap.open(fd)
        if isinstance(native, int):
            os.close(fd)
            raise BpfError(what, os.strerror(-native))
        kind, key, value, entries, flags, lock, inner = native.facts()
        name = name or f"map {native.id()}"
        one = cls(name, kind, key, value, entries, flags, lock_offset=lock, inner=inner)
        one._have(native)
        return one

    def make(self, path: str | os.PathLike[str] | None = None) -> None:
        """Make its memory, in a new file or (None) in one without a name.

        Raises:
            BpfError: its sizes are not right, or there is no room.
        """
        what = f"map {self.name!r} can't be made"
        fd = -1
        if path is not None:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
            except OSError as error:
                raise BpfError(what, error.strerror or str(error)) from error
        made = _native.UserMap.create(
            self.kind,
            self.key_bytes,
            self.element_bytes,
            self.entries,
            self.flags,
            self._extra,
            self.lock_offset,
            _native.bpf_cpu_count(),
            self.inner,
            fd,
        )
        if isinstance(made, int):
            if path is not None:
                os.close(fd)
                Path(path).unlink()
            kind = name_of(self.kind, MapType)
            why = f"its sizes do not fit kind {kind}" if made == -errno.EINVAL else os.strerror(-made)
            raise BpfError(what, why)
        self._have(made)

    def _have(self, native: _native.UserMap) -> None:
        self._native = native
        self.fd = native.fd()
        self.entries = native.facts()[3]

    @property
    def native(self) -> _native.UserMap:
        """The map of the native core. Raises BpfError: it is not made yet."""
        self.fileno()
        assert self._native is not None
        return self._native

    @property
    def user_id(self) -> int:
        """What maps of maps know it by."""
        return self.native.id()

    def model(self, constant: bytes | None = None, inner: int = -1) -> MapModel:
        """What the verifier has to know of it."""
        inline = self.native.place()[2] if self.kind in (MapType.ARRAY, MapType.PERCPU_ARRAY) else 0
        size = self.element_bytes
        lock = -1 if self.lock_offset == NO_LOCK else self.lock_offset
        kind, key, entries = self.kind, self.key_bytes, self.entries
        read_only = bool(self.flags & READ_ONLY)
        return MapModel(self.name, kind, key, size, entries, constant, inline, inner, lock, read_only)

    def resize(self, *, value_bytes: int = 0, entries: int = 0) -> None:
        """Change its size before it is made; 0 leaves it as it is."""
        if self.fd >= 0:
            raise BpfError(f"map {self.name!r} can't be resized", "it is made already", "do it before load()")
        self.made(
            self.name,
            self.kind,
            self.key_bytes,
            value_bytes or self.element_bytes,
            entries or self.entries,
            self.flags,
            -1,
        )

    def reuse(self, other: Map | str | os.PathLike[str]) -> None:
        """Take a map that is there for this one, before it is made.

        Args:
            other: another map of user space, or the file of one.

        Raises:
            BpfError: its kind, sizes or flags are others.
        """
        what = f"map {self.name!r} can't be reused"
        if self.fd >= 0:
            raise BpfError(what, "it is made already", "do it before load()")
        if self.name.startswith(CONSTANTS):
            raise BpfError(what, "what its programs are proved by is an object's own")
        found = (
            other
            if isinstance(other, UserMap)
            else self.open(other.fileno() if isinstance(other, Map) else other)
        )
        mine, its = (
            (one.kind, one.key_bytes, one.element_bytes, one.entries, one.flags, one.lock_offset, one.inner)
            for one in (self, found)
        )
        if its != mine:
            raise BpfError(what, "its kind, sizes or flags are others")
        self._have(found.native)

    def set_fd(self, key: bytes, file: object) -> None:
        """Put a map or program of user space into a map of such."""
        if isinstance(file, UserMap) and file.lock_offset != NO_LOCK:
            what = f"map {file.name!r} can't be put into {self.name!r}"
            raise BpfError(what, "values with a bpf_spin_lock are for maps of their own")
        number: int = file.user_id  # type: ignore[attr-defined]
        if error := self.native.update(self._key(key), number.to_bytes(4, "little")):
            raise self._error("written", error, key)

    def ring(self, *, perf_pages: int = 64) -> SharedRing:
        """Read its records."""
        return SharedRing(self)

    def user_ring(self) -> UserRing:
        """Write records for programs."""
        return SharedUserRing(self)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Maps in user space are files: `make` one where it shall be."""
        raise BpfError(f"map {self.name!r} can't be pinned", "it is not the kernel's", "make(path) keeps it")

    def close(self) -> None:
        """Let go of its memory."""
        self._native, self.fd = None, -1

    # ---- elements ----

    def _read(self, key: bytes | None, flags: int) -> bytes | int:
        return self.native.lookup(key, flags)

    def _write(self, key: bytes | None, value: bytes, flags: int) -> int:
        return self.native.update(key, value, flags)

    def _erase(self, key: bytes) -> int:
        return self.native.delete(key)

    def _take(self, key: bytes | None) -> bytes | int:
        return self.native.take(key)

    def _next(self, key: bytes | None) -> bytes | int:
        return self.native.next_key(key)

    def _has(self, value: bytes) -> int:
        return self.native.contains(value)

    def _read_many(self, cursor: bytes | None, count: int, take: bool) -> tuple[int, bytes, bytes, bytes]:
        return self.native.read_batch(cursor, count, take)

    def _write_many(self, keys: bytes, values: bytes, count: int, flags: int) -> tuple[int, int]:
        key, value = self.key_bytes, self.value_bytes
        for i in range(count):
            error = self._write(keys[i * key : (i + 1) * key], values[i * value : (i + 1) * value], flags)
            if error:
                return error, i
        return 0, count

    def _erase_many(self, keys: bytes, count: int) -> tuple[int, int]:
        for i in range(count):
            if error := self._erase(keys[i * self.key_bytes : (i + 1) * self.key_bytes]):
                return error, i
        return 0, count


class SharedUserRing(UserRing):
    """A user ring buffer in shared memory. Raises BpfError: the map is of another kind."""

    def _open(self, map: Map) -> tuple[_native.UserRing | None, int]:
        if map.kind != MapType.USER_RINGBUF:
            return None, -errno.EINVAL
        return _native.UserRing.open_file(map.fileno(), _RING_AT, map.entries)


class SharedRing(Ring):
    """A ring buffer or perf event array in shared memory; it is read as the kernel's are.

    Raises:
        BpfError: the map is of another kind.
    """

    def __init__(self, map: UserMap) -> None:
        what = f"ring {map.name!r} can't be read"
        if map.kind not in _RINGS:
            raise BpfError(what, "the map is of another kind")
        self.name, self._map = map.name, map
        self._memory = map.native
        size = self._memory.query(_RING_SIZE)
        ring, error = _native.BpfRing.open_file(map.fileno(), _RING_AT, size)
        if ring is None:
            raise BpfError(what, os.strerror(-error))
        self._native = ring
        self._memory.lost()  # now somebody reads it
        self._seen = 0
        self._stopped = False
        self._alone = None

    @property
    def lost(self) -> int | None:
        """Records for which a perf event array had no room; None for ring buffers."""
        return self._memory.lost() if self._map.kind == MapType.PERF_EVENT_ARRAY else None

    def stop(self) -> None:
        """End the iteration that is under way or comes next; from any thread or signal handler."""
        self._stopped = True
        self._memory.wake()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until a record can be read. False: time is up, or stop() was called."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._stopped and not self.pending:
            left = 1.0 if end is None else min(end - time.monotonic(), 1.0)
            if left <= 0:
                return False
            _, self._seen = self._memory.wait(self._seen, int(left * 1e9))
        return not self._stopped

    def __iter__(self) -> Iterator[Batch]:
        while self.wait():
            if batch := self.read():
                yield batch
        self._stopped = False

    async def __aiter__(self) -> AsyncIterator[Batch]:
        while await asyncio.to_thread(self.wait):
            if batch := self.read():
                yield batch
        self._stopped = False
