"""Maps of eBPF programs, as mappings from bytes to bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, MutableMapping

from wbpf import _native
from wbpf.errors import BpfError

_PER_CPU = {5, 6, 10, 21}  # hash, array, LRU hash, cgroup storage


class Map(MutableMapping[bytes, bytes]):
    """A map that a loaded object has.

    Args:
        kind: of `enum bpf_map_type`.
        fd: its descriptor, which the object owns.
    """

    def __init__(self, name: str, kind: int, key_bytes: int, value_bytes: int, entries: int, fd: int) -> None:
        self.name, self.kind, self.entries, self.fd = name, kind, entries, fd
        self.key_bytes = key_bytes
        #: of a value as it is read and written: for per-CPU maps those of all processors, one after another
        self.value_bytes = value_bytes
        if kind in _PER_CPU:
            self.value_bytes = (value_bytes + 7) // 8 * 8 * _native.bpf_possible_cpus()

    def __getitem__(self, key: bytes) -> bytes:
        value = _native.bpf_map_lookup(self.fd, self._key(key), self.value_bytes)
        if isinstance(value, int):
            raise self._error("read", value, key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        if len(value) != self.value_bytes:
            raise self._wrong("value", len(value), self.value_bytes)
        if error := _native.bpf_map_update(self.fd, self._key(key), value):
            raise self._error("written", error, key)

    def __delitem__(self, key: bytes) -> None:
        if error := _native.bpf_map_delete(self.fd, self._key(key)):
            raise self._error("written", error, key)

    def __iter__(self) -> Iterator[bytes]:
        key = _native.bpf_map_next_key(self.fd, None, self.key_bytes)
        while isinstance(key, bytes):
            yield key
            key = _native.bpf_map_next_key(self.fd, key, self.key_bytes)
        if key != -errno.ENOENT:
            raise self._error("read", key, b"")

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_bytes:
            raise self._wrong("key", len(key), self.key_bytes)
        return key

    def _wrong(self, what: str, given: int, wanted: int) -> BpfError:
        return BpfError(
            f"the {what} does not fit map {self.name!r}", f"it has {given} bytes, {wanted} are wanted"
        )

    def _error(self, done: str, error: int, key: bytes) -> Exception:
        if error == -errno.ENOENT:
            return KeyError(key)
        return BpfError(f"map {self.name!r} can't be {done}", os.strerror(-error))
