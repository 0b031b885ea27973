"""Per-CPU maps: one value for each possible processor."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING

from wbpf import _native
from wbpf.errors import BpfError

if TYPE_CHECKING:
    from wbpf.bpf.maps import Map


class PerCpu(MutableMapping[bytes, Sequence[bytes]]):
    """A per-CPU map, whose values are lists: one of bytes for each possible processor, in their order.

    Raises:
        BpfError: the map is of another kind.
    """

    def __init__(self, map: Map) -> None:
        if not _native.bpf_map_is_per_cpu(map.kind):
            raise BpfError(f"map {map.name!r} has no values of processors", "it is not a per-CPU map")
        self._map = map
        #: of possible processors
        self.cpus = _native.bpf_cpu_count()
        self._stride = map.value_bytes // self.cpus

    def __getitem__(self, key: bytes) -> list[bytes]:
        return self._split(self._map[key])

    def __setitem__(self, key: bytes, value: Sequence[bytes]) -> None:
        if len(value) != self.cpus or any(len(one) != self._map.element_bytes for one in value):
            why = f"{self.cpus} values of {self._map.element_bytes} bytes are wanted"
            raise BpfError(f"the value does not fit map {self._map.name!r}", why)
        self._map[key] = b"".join(one.ljust(self._stride, b"\0") for one in value)

    def __delitem__(self, key: bytes) -> None:
        del self._map[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._map)

    def __len__(self) -> int:
        return len(self._map)

    def total(self, key: bytes) -> int:
        """The sum of values that are unsigned integers."""
        return sum(int.from_bytes(one, "little") for one in self[key])

    def _split(self, values: bytes) -> list[bytes]:
        size = self._map.element_bytes
        return [values[at : at + size] for at in range(0, len(values), self._stride)]
