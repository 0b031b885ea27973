"""Maps of eBPF programs, as mappings from bytes to bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from wbpf import _native
from wbpf.bpf.kinds import MapType, name_of
from wbpf.errors import BpfError

if TYPE_CHECKING:
    from wbpf.bpf.per_cpu import PerCpu
    from wbpf.bpf.ringbuf import Ring, UserRing

_ARRAYS = {MapType.ARRAY, MapType.PERCPU_ARRAY}
_HASHES = {MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH}
_KEYLESS = {MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER}
_CHUNK = 512
_Change = Callable[[_native.BpfObject], int]


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Map(MutableMapping[bytes, bytes]):
    """A map: of an object, or pinned.

    As a mapping it reads and writes elements, `del` deletes them, and iterating is safe while programs and
    others change it: each element that is there all the time comes exactly once. Values of per-CPU maps are
    those of all possible processors, each padded to 8 bytes, one after another; `per_cpu` has them as lists.

    Args:
        kind: of `enum bpf_map_type`.
        entries: at most.
        fd: its descriptor; < 0: its object is not loaded.
    """

    def __init__(
        self,
        name: str,
        kind: int,
        key_bytes: int,
        value_bytes: int,
        entries: int,
        flags: int,
        key_type: int,
        value_type: int,
        fd: int,
        *,
        owner: _native.BpfObject | None = None,
    ) -> None:
        self.name = name
        #: types of keys and values in the object's BTF; 0 where it says none
        self.key_type, self.value_type = key_type, value_type
        self._owner = owner
        self.made(name, kind, key_bytes, value_bytes, entries, flags, key_type, value_type, fd)

    def made(self, name: str, kind: int, key: int, value: int, entries: int, flags: int, *rest: int) -> None:
        """What it is now: another size, or a descriptor, once its object is loaded."""
        self.kind, self.key_bytes, self.entries, self.flags = kind, key, entries, flags
        #: of one processor's value in a per-CPU map
        self.element_bytes = value
        #: of a value as it is read and written
        self.value_bytes = _native.bpf_map_value_span(kind, value)
        self.fd = rest[-1]

    @classmethod
    def open_pinned(cls, path: str | os.PathLike[str]) -> PinnedMap:
        """A map that somebody pinned in a bpffs.

        Raises:
            BpfError: there is none.
        """
        fd = _native.bpf_pinned(os.fspath(path))
        if fd < 0:
            raise BpfError(f"no map can be opened at {os.fspath(path)!r}", _native.bpf_strerror(fd), error=fd)
        facts = _native.bpf_map_ask(fd)
        if isinstance(facts, int):
            os.close(fd)
            raise BpfError(f"{os.fspath(path)!r} is no map", _native.bpf_strerror(facts))
        name, kind, key, value, entries, flags, _ = facts
        return PinnedMap(name, kind, key, value, entries, flags, 0, 0, fd)

    def fileno(self) -> int:
        """Its descriptor. Raises BpfError: it has none yet."""
        if self.fd < 0:
            raise BpfError(
                f"map {self.name!r} can't be used", "its object is not loaded", "call load() before"
            )
        return self.fd

    # ---- before loading ----

    def resize(self, *, value_bytes: int = 0, entries: int = 0) -> None:
        """Change its size, before its object is loaded; 0 leaves it as it is."""
        self._before("resized", lambda owner: owner.resize_map(self.name, value_bytes, entries))

    def reuse(self, other: Map | str | os.PathLike[str]) -> None:
        """Take a map that is there, given or by its pin, for the object's own, before the object is loaded.

        Raises:
            BpfError: there is none, or its kind, sizes or flags are others.
        """
        if isinstance(other, Map):
            self._before("reused", lambda owner: owner.reuse_map(self.name, other.fileno()))
            return
        with PinnedMap.open_pinned(other) as found:
            self.reuse(found)

    # ---- elements ----

    def __getitem__(self, key: bytes) -> bytes:
        return self.lookup_elem(key)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.update_elem(key, value)

    def lookup_elem(self, key: bytes, flags: int = 0) -> bytes:
        """The value; flags: BPF_F_LOCK (4). Raises KeyError: there is none."""
        value = self._read(self._key(key), flags)
        if isinstance(value, int):
            raise self._error("read", value, key)
        return value

    def update_elem(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Write an element; flags: BPF_NOEXIST (1), BPF_EXIST (2), BPF_F_LOCK (4).

        Raises:
            KeyError: it has to be there and is not.
            BpfError: it has to be absent and is not, the map is full, or the value has the wrong size.
        """
        if len(value) != self.value_bytes:
            raise self._wrong("value", len(value), self.value_bytes)
        if error := self._write(self._key(key), value, flags):
            raise self._error("written", error, key)

    def __delitem__(self, key: bytes) -> None:
        if error := self._erase(self._key(key)):
            raise self._error("written", error, key)

    def lookup_and_delete(self, key: bytes) -> bytes:
        """Take an element out, so that no change between reading and deleting is lost (kernel 5.14)."""
        value = self._take(self._key(key))
        if isinstance(value, int):
            raise self._error("read", value, key)
        return value

    def set_fd(self, key: bytes, file: _HasDescriptor) -> None:
        """Put a program, map, cgroup, socket or perf event into a map of such."""
        number = file.fileno().to_bytes(4, "little").ljust(self.value_bytes, b"\0")
        if error := self._write(self._key(key), number, 0):
            raise self._error("written", error, key)

    def __iter__(self) -> Iterator[bytes]:
        if self.kind in _ARRAYS:
            return (index.to_bytes(4, "little") for index in range(self.entries))
        if self.kind in _HASHES:
            return (key for key, _ in self.lookup_batch())
        return self._walk()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def clear(self) -> None:
        """Delete all elements that are there now."""
        for key in list(self):
            self.pop(key, None)

    def _walk(self) -> Iterator[bytes]:
        """Keys one after another; where one vanished meanwhile, the kernel begins again."""
        seen: set[bytes] = set()
        key = self._next(None)
        beginnings = 0
        while isinstance(key, bytes):
            following = self._next(key)
            if key not in seen:
                seen.add(key)
                yield key
            elif following not in seen:
                beginnings += 1
                if beginnings > self.entries:
                    return
            key = following
        if key != -errno.ENOENT:
            raise self._error("read", key, b"")

    # ---- many elements at once, kernel 5.6 ----

    def lookup_batch(self) -> Iterator[tuple[bytes, bytes]]:
        """All elements, with few calls of the kernel."""
        return self._read_batches(take=False)

    def lookup_and_delete_batch(self) -> Iterator[tuple[bytes, bytes]]:
        """All elements, each taken out of the map as it is read. End the loop early and some are lost."""
        return self._read_batches(take=True)

    def update_batch(self, elements: Mapping[bytes, bytes], flags: int = 0) -> None:
        """Write many elements. Raises: as update_elem(); those before the one that failed are written."""
        for key, value in elements.items():
            self._key(key)
            if len(value) != self.value_bytes:
                raise self._wrong("value", len(value), self.value_bytes)
        keys, values = b"".join(elements), b"".join(elements.values())
        if elements:
            error, done = self._write_many(keys, values, len(elements), flags)
            if error:
                raise self._error("written", error, list(elements)[min(done, len(elements) - 1)])

    def delete_batch(self, keys: Iterable[bytes]) -> None:
        """Delete many elements. Raises KeyError: one is not there; those before it are deleted."""
        wanted = [self._key(key) for key in keys]
        if wanted:
            error, done = self._erase_many(b"".join(wanted), len(wanted))
            if error:
                raise self._error("written", error, wanted[min(done, len(wanted) - 1)])

    def _read_batches(self, take: bool) -> Iterator[tuple[bytes, bytes]]:
        cursor: bytes | None = None
        count, error = min(_CHUNK, max(self.entries, 1)), 0
        while error != -errno.ENOENT:
            error, keys, values, following = self._read_many(cursor, count, take)
            if error == -errno.ENOSPC and count < 2 * self.entries:  # more in one bucket than there was room
                count *= 2
                continue
            if error not in (0, -errno.ENOENT):
                raise self._error("read", error, b"")
            for i in range(len(keys) // self.key_bytes):
                key = keys[i * self.key_bytes : (i + 1) * self.key_bytes]
                yield key, values[i * self.value_bytes : (i + 1) * self.value_bytes]
            cursor = following

    # ---- queues, stacks and Bloom filters ----

    def push(self, value: bytes, flags: int = 0) -> None:
        """Add to a queue, stack or Bloom filter; flags: BPF_EXIST (2) makes room by dropping the oldest."""
        self._demand_keyless("pushed to")
        if len(value) != self.value_bytes:
            raise self._wrong("value", len(value), self.value_bytes)
        if error := self._write(None, value, flags):
            raise self._error("written", error, b"")

    def pop_value(self) -> bytes:
        """Take the next of a queue or stack. Raises KeyError: it is empty."""
        self._demand_keyless("popped from")
        value = self._take(None)
        if isinstance(value, int):
            raise self._error("read", value, b"")
        return value

    def peek(self) -> bytes:
        """The next of a queue or stack, which stays there. Raises KeyError: it is empty."""
        self._demand_keyless("read")
        value = self._read(None, 0)
        if isinstance(value, int):
            raise self._error("read", value, b"")
        return value

    def may_contain(self, value: bytes) -> bool:
        """Whether a Bloom filter might have a value; False is certain."""
        self._demand_keyless("asked for values")
        if len(value) != self.value_bytes:
            raise self._wrong("value", len(value), self.value_bytes)
        return self._has(value) == 0

    # ---- views and rings ----

    @property
    def per_cpu(self) -> PerCpu:
        """A per-CPU map as a mapping to lists, with one value for each possible processor."""
        from wbpf.bpf.per_cpu import PerCpu

        return PerCpu(self)

    def ring(self, *, perf_pages: int = 64) -> Ring:
        """Read the records of a ring buffer, or of perf buffers.

        Args:
            perf_pages: of each processor's perf buffer, a power of two.
        """
        from wbpf.bpf.ringbuf import Ring

        return Ring(self, perf_pages=perf_pages)

    def user_ring(self) -> UserRing:
        """Write records for programs into a user ring buffer (kernel 6.1)."""
        from wbpf.bpf.ringbuf import UserRing

        return UserRing(self)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep it beyond this process, in a bpffs, until the file is removed."""
        if error := _native.bpf_pin(self.fileno(), os.fspath(path)):
            what = f"map {self.name!r} can't be pinned at {os.fspath(path)!r}"
            hint = "" if error == -errno.EEXIST else "mount -t bpf bpf FOLDER makes a bpffs"
            raise BpfError(what, _native.bpf_strerror(error), hint, error=error)

    # ---- bpf(2): what maps in user space do themselves ----

    def _read(self, key: bytes | None, flags: int) -> bytes | int:
        return _native.bpf_map_lookup(self.fileno(), key, self.value_bytes, flags)

    def _write(self, key: bytes | None, value: bytes, flags: int) -> int:
        return _native.bpf_map_update(self.fileno(), key, value, flags)

    def _erase(self, key: bytes) -> int:
        return _native.bpf_map_delete(self.fileno(), key)

    def _take(self, key: bytes | None) -> bytes | int:
        return _native.bpf_map_lookup_and_delete(self.fileno(), key, self.value_bytes)

    def _next(self, key: bytes | None) -> bytes | int:
        return _native.bpf_map_next_key(self.fileno(), key, self.key_bytes)

    def _has(self, value: bytes) -> int:
        return _native.bpf_map_contains(self.fileno(), value)

    def _read_many(self, cursor: bytes | None, count: int, take: bool) -> tuple[int, bytes, bytes, bytes]:
        fd = self.fileno()
        return _native.bpf_map_read_batch(fd, cursor, self.key_bytes, self.value_bytes, count, take)

    def _write_many(self, keys: bytes, values: bytes, count: int, flags: int) -> tuple[int, int]:
        return _native.bpf_map_update_batch(self.fileno(), keys, values, count, flags)

    def _erase_many(self, keys: bytes, count: int) -> tuple[int, int]:
        return _native.bpf_map_delete_batch(self.fileno(), keys, count)

    # ---- errors ----

    def _before(self, done: str, change: _Change) -> None:
        what = f"map {self.name!r} can't be {done}"
        if self.fd >= 0 or self._owner is None:
            raise BpfError(what, "it is in the kernel already", "do it before load()", error=errno.EBUSY)
        if error := change(self._owner):
            why = (
                "its kind, sizes or flags are others"
                if error == -errno.EINVAL
                else _native.bpf_strerror(error)
            )
            raise BpfError(what, why, error=error)
        row = next(row for row in self._owner.maps() if row[0] == self.name)
        self.made(*row[:-1], -1)

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_bytes:
            raise self._wrong("key", len(key), self.key_bytes)
        return key

    def _demand_keyless(self, done: str) -> None:
        if self.kind not in _KEYLESS:
            what = f"map {self.name!r} can't be {done}"
            raise BpfError(what, f"it is of kind {name_of(self.kind, MapType)}", "use it as a mapping")

    def _wrong(self, what: str, given: int, wanted: int) -> BpfError:
        return BpfError(
            f"the {what} does not fit map {self.name!r}", f"it has {given} bytes, {wanted} are wanted"
        )

    def _error(self, done: str, error: int, key: bytes) -> Exception:
        if error == -errno.ENOENT:
            return KeyError(key)
        what = f"map {self.name!r} can't be {done}"
        if error == -errno.E2BIG:
            full = "it is full" if self.kind not in _ARRAYS else "it has no such index"
            return BpfError(
                what,
                f"{full}: {self.entries} entries",
                "maps[…].resize(entries=…) before load()",
                error=error,
            )
        if error == -errno.EEXIST:
            return BpfError(what, f"it has {key.hex(' ')} already", error=error)
        if error in (-errno.EOPNOTSUPP, -524):
            why = f"this kernel can't do that to maps of kind {name_of(self.kind, MapType)}"
            return BpfError(what, why, error=errno.EOPNOTSUPP)
        return BpfError(what, _native.bpf_strerror(error), error=error)


class PinnedMap(Map):
    """A map that was pinned; with a descriptor of its own, to be closed."""

    def close(self) -> None:
        """Let go of it; it stays where it is pinned."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
