"""Maps in user space beside the kernel's: random operations, one by one, with the same answers."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from wbpf import _native
from wbpf.bpf import features
from wbpf.bpf.kinds import MapType
from wbpf.bpf.maps import PinnedMap
from wbpf.bpf.user.maps import UserMap

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_NO_PREALLOC = 1


@dataclass(frozen=True)
class Shape:
    """Args: keys: how many different ones are tried."""

    kind: MapType
    key: int
    value: int
    entries: int
    flags: int = 0
    keys: int = 24


SHAPES = {
    "hash": Shape(MapType.HASH, 4, 8, 16),
    "hash of odd sizes": Shape(MapType.HASH, 13, 11, 9),
    "hash of one": Shape(MapType.HASH, 8, 1, 1, keys=3),
    "hash of large values": Shape(MapType.HASH, 16, 400, 30, _NO_PREALLOC, keys=40),
    "array": Shape(MapType.ARRAY, 4, 12, 20),
    "per-CPU hash": Shape(MapType.PERCPU_HASH, 4, 12, 16),
    "per-CPU array": Shape(MapType.PERCPU_ARRAY, 4, 5, 20),
    "LRU hash that is not full": Shape(MapType.LRU_HASH, 4, 8, 4000),
    "per-CPU LRU hash that is not full": Shape(MapType.LRU_PERCPU_HASH, 4, 8, 4000),
    "trie": Shape(MapType.LPM_TRIE, 8, 6, 12, _NO_PREALLOC),
    "trie of odd sizes": Shape(MapType.LPM_TRIE, 7, 4, 12, _NO_PREALLOC),
    "queue": Shape(MapType.QUEUE, 0, 4, 5),
    "stack": Shape(MapType.STACK, 0, 9, 5),
    "Bloom filter": Shape(MapType.BLOOM_FILTER, 0, 8, 4096),
}


def kernel_map(shape: Shape) -> PinnedMap:
    attributes = struct.pack("<IIIII", shape.kind, shape.key, shape.value, shape.entries, shape.flags)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes + bytes(60))
    fd = libc.syscall(_SYSCALL[platform.machine()], 0, buffer, 72)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return PinnedMap("kernel", shape.kind, shape.key, shape.value, shape.entries, shape.flags, 0, 0, fd)


class Pair:
    """The same map twice; each operation is done on both, and its answers are compared."""

    def __init__(self, shape: Shape, kernel: PinnedMap, numbers: random.Random) -> None:
        self.shape, self.kernel, self.numbers = shape, kernel, numbers
        self.user = UserMap.create(
            "user", shape.kind, shape.key, shape.value, shape.entries, flags=shape.flags
        )
        assert self.user.value_bytes == kernel.value_bytes
        # All operations are bpf(2)'s, with its errnos.
        self._fd, self._native = kernel.fileno(), self.user.native
        self.answers: set[tuple[str, int]] = set()

    def key(self) -> bytes:
        if not self.shape.key:
            return b""
        if self.shape.kind != MapType.LPM_TRIE:
            return self.numbers.randrange(self.shape.keys).to_bytes(self.shape.key, "little")
        bits = 8 * (self.shape.key - 4)
        length = self.numbers.choice([0, 1, 7, 8, 9, 15, 16, bits - 1, bits, bits + 1])
        rest = bytes(self.numbers.choice([0, 1, 0x80, 0xFF]) for _ in range(self.shape.key - 4))
        return length.to_bytes(4, "little") + rest

    def value(self) -> bytes:
        value = bytearray(self.numbers.randbytes(self.user.value_bytes))
        if _native.bpf_map_is_per_cpu(self.shape.kind):  # padding is nobody's
            stride = (self.shape.value + 7) // 8 * 8
            for at in range(0, len(value), stride):
                value[at + self.shape.value : at + stride] = bytes(stride - self.shape.value)
        return bytes(value)

    def same(self, what: str, user: bytes | int, kernel: bytes | int) -> None:
        assert user == kernel, what
        self.answers.add((what, kernel if isinstance(kernel, int) else 1))

    def update(self) -> None:
        key, value = self.key() or None, self.value()
        flags = self.numbers.choice([0, 0, 0, 1, 2, 3, 4, 8])
        user = self._native.update(key, value, flags)
        self.same(f"update {flags}", user, _native.bpf_map_update(self._fd, key, value, flags))

    def lookup(self) -> None:
        key, flags = self.key() or None, self.numbers.choice([0, 0, 0, 0, 1, 4])
        if self.shape.kind == MapType.BLOOM_FILTER:
            return
        kernel = _native.bpf_map_lookup(self._fd, key, self.user.value_bytes, flags)
        self.same(f"lookup {flags}", self._native.lookup(key, flags), kernel)

    def delete(self) -> None:
        if self.shape.key:
            key = self.key()
            self.same("delete", self._native.delete(key), _native.bpf_map_delete(self._fd, key))

    def take(self) -> None:
        key = self.key() or None
        kernel = _native.bpf_map_lookup_and_delete(self._fd, key, self.user.value_bytes)
        self.same("take", self._native.take(key), kernel)

    def walk(self) -> None:
        """All keys, in whatever order."""
        if not self.shape.key:
            kernel = _native.bpf_map_next_key(self._fd, None, 4)
            self.same("next key", self._native.next_key(None), kernel)
            return
        assert dict(self.user) == dict(self.kernel)
        assert sorted(self.user) == sorted(self.kernel)


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if not (answer := features.have_privileges()):
        pytest.skip(f"needs {answer.what}: {answer.why}")
    shape: Shape = request.param
    with kernel_map(shape) as kernel:
        yield Pair(shape, kernel, random.Random(shape.entries))


@pytest.mark.parametrize("pair", SHAPES.values(), indirect=True, ids=list(SHAPES))
def test_operations(pair: Pair) -> None:
    operations: list[Callable[[], None]] = [pair.update] * 5 + [pair.lookup] * 3 + [pair.delete, pair.take]
    for number in range(3000):
        pair.numbers.choice(operations)()
        if number % 100 == 0:
            pair.walk()
    assert {answer for what, answer in pair.answers if what == "update 0"} >= {0}
    assert len(pair.answers) >= 4
    pair.user.close()


@pytest.mark.parametrize("pair", [SHAPES["Bloom filter"]], indirect=True)
def test_bloom(pair: Pair) -> None:
    values = [number.to_bytes(8, "little") for number in range(4096)]
    for value in values:
        pair.user.push(value)
        pair.kernel.push(value)
    for one in (pair.user, pair.kernel):
        assert all(one.may_contain(value) for value in values)
        strangers = sum(
            one.may_contain(number.to_bytes(8, "little")) for number in range(1 << 20, (1 << 20) + 4000)
        )
        assert strangers < 400


def test_lru_keeps_what_is_used() -> None:
    one = UserMap.create("recent", MapType.LRU_HASH, 4, 8, 64)
    for number in range(64):
        one[number.to_bytes(4, "little")] = bytes(8)
    kept = [number.to_bytes(4, "little") for number in range(8)]
    for number in range(64, 1000):
        for key in kept:
            one.update_elem(key, bytes(8), 2)  # they are there, and used again
        one[number.to_bytes(4, "little")] = bytes(8)
        assert len(one) == 64


def test_batches() -> None:
    one = UserMap.create("hash", MapType.HASH, 4, 8, 2000)
    wanted = {number.to_bytes(4, "little"): (number * 7).to_bytes(8, "little") for number in range(2000)}
    one.update_batch(wanted)
    assert dict(one.lookup_batch()) == wanted
    one.delete_batch(list(wanted)[:5])
    assert len(one) == 1995
    taken = dict(one.lookup_and_delete_batch())
    assert len(taken) == 1995 and not one
