"""Maps of every kind, with their elements checked against what was written."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf import _native
from wbpf.bpf import Map, Object, PinnedMap
from wbpf.bpf.kinds import MapType
from wbpf.errors import BpfError

NOEXIST, EXIST = 1, 2
PACKET = bytes(64)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


@pytest.fixture
def probe(compiled: Compiled) -> Iterator[Object]:
    with Object.open(compiled("maps")) as one:
        one.load()
        yield one


class Descriptor:
    """An open folder."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)

    def fileno(self) -> int:
        return self._fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "bpffs"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "bpf", "bpf", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a bpffs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["hash", "lru"])
def test_elements(probe: Object, name: str) -> None:
    one = probe.maps[name]
    assert not one
    one[u32(1)] = u64(10)
    one.update_elem(u32(2), u64(20), NOEXIST)
    one.update_elem(u32(1), u64(11), EXIST)
    assert dict(one) == {u32(1): u64(11), u32(2): u64(20)}
    assert len(one) == 2 and u32(3) not in one
    with pytest.raises(BpfError, match="it has 02 00 00 00 already"):
        one.update_elem(u32(2), u64(21), NOEXIST)
    for missing in (
        lambda: one[u32(3)],
        lambda: one.update_elem(u32(3), u64(0), EXIST),
        lambda: one.pop(u32(3)),
    ):
        with pytest.raises(KeyError):
            missing()
    assert one.lookup_and_delete(u32(1)) == u64(11)
    del one[u32(2)]
    assert not one
    with pytest.raises(BpfError, match=r"the key does not fit map .*: it has 1 bytes, 4 are wanted"):
        one[b"x"]
    with pytest.raises(BpfError, match=r"the value does not fit map .*: it has 4 bytes, 8 are wanted"):
        one[u32(1)] = u32(1)


def test_a_full_map(probe: Object) -> None:
    one = probe.maps["per_cpu_hash"]
    for i in range(8):
        one[u32(i)] = bytes(one.value_bytes)
    with pytest.raises(BpfError, match="it is full: 8 entries\n  try: maps"):
        one[u32(8)] = bytes(one.value_bytes)


def test_batches(probe: Object) -> None:
    one = probe.maps["hash"]
    elements = {u32(i): u64(i * i) for i in range(64)}
    one.update_batch(elements)
    assert dict(one.lookup_batch()) == dict(one) == elements
    one.delete_batch(u32(i) for i in range(0, 64, 2))
    assert set(one) == {u32(i) for i in range(1, 64, 2)}
    with pytest.raises(KeyError):
        one.delete_batch([u32(1), u32(2)])
    assert u32(1) not in one, "what came before the missing one is gone"
    taken = dict(one.lookup_and_delete_batch())
    assert len(taken) == 31 and not one
    with pytest.raises(BpfError, match="it is full"):
        one.update_batch({u32(i): u64(0) for i in range(65)})
    assert len(one) == 64
    one.clear()
    assert not one


def test_iterating_while_others_change_the_map(probe: Object) -> None:
    """What is there all the time comes exactly once, however others come and go meanwhile."""
    one = probe.maps["hash"]
    staying = {u32(i) for i in range(24)}
    for key in staying:
        one[key] = u64(0)
    stop = threading.Event()

    def disturb() -> None:
        i = 0
        while not stop.is_set():
            key = u32(1000 + i % 32)
            one[key] = u64(1)
            one.pop(key, None)
            i += 1

    other = threading.Thread(target=disturb)
    other.start()
    try:
        for walk in [lambda: iter(one)] * 100 + [one._walk] * 100:
            seen = [key for key in walk() if key in staying]
            assert len(seen) == len(staying) and set(seen) == staying
    finally:
        stop.set()
        other.join()
    for key in one:  # and the loop itself may delete
        del one[key]
    assert not one


def test_arrays(probe: Object) -> None:
    one = probe.maps["array"]
    one[u32(7)] = u64(5)
    assert list(one.values()) == [u64(0)] * 7 + [u64(5)]
    with pytest.raises(BpfError, match="it has no such index: 8 entries"):
        one[u32(8)] = u64(0)
    with pytest.raises(BpfError, match="can't be written"):
        del one[u32(0)]


@pytest.mark.parametrize("name", ["per_cpu_hash", "per_cpu_array", "per_cpu_lru"])
def test_values_of_all_processors(probe: Object, name: str) -> None:
    one = probe.maps[name]
    view, cpus = one.per_cpu, _native.bpf_cpu_count()
    assert view.cpus == cpus == os.sysconf("SC_NPROCESSORS_CONF")
    size = one.element_bytes
    values = [(cpu + 1).to_bytes(size, "little") for cpu in range(cpus)]
    view[u32(1)] = values
    assert view[u32(1)] == values
    assert len(one[u32(1)]) == 8 * cpus == one.value_bytes, "each is padded to 8 bytes"
    assert view.total(u32(1)) == cpus * (cpus + 1) // 2
    with pytest.raises(BpfError, match=f"{cpus} values of {size} bytes are wanted"):
        view[u32(1)] = values[1:]
    with pytest.raises(BpfError, match="it is not a per-CPU map"):
        probe.maps["hash"].per_cpu  # noqa: B018


def test_longest_prefixes(probe: Object) -> None:
    routes = probe.maps["routes"]

    def route(bits: int, *address: int) -> bytes:
        return u32(bits) + bytes(address)

    routes[route(8, 10, 0, 0, 0)] = u32(8)
    routes[route(24, 10, 1, 2, 0)] = u32(24)
    assert routes[route(32, 10, 1, 2, 3)] == u32(24)
    assert routes[route(32, 10, 9, 9, 9)] == u32(8)
    with pytest.raises(KeyError):
        routes[route(32, 11, 0, 0, 1)]
    assert set(routes) == {route(8, 10, 0, 0, 0), route(24, 10, 1, 2, 0)}


@pytest.mark.parametrize(("name", "order"), [("queue", [1, 2, 3]), ("stack", [3, 2, 1])])
def test_queues_and_stacks(probe: Object, name: str, order: list[int]) -> None:
    one = probe.maps[name]
    for i in (1, 2, 3):
        one.push(u32(i))
    with pytest.raises(BpfError, match="it is full: 3 entries"):
        one.push(u32(4))
    assert one.peek() == u32(order[0])
    assert [one.pop_value() for _ in order] == [u32(i) for i in order]
    for empty in (one.pop_value, one.peek):
        with pytest.raises(KeyError):
            empty()
    one.push(u32(9))
    with pytest.raises(BpfError, match="it is of kind HASH\n  try: use it as a mapping"):
        probe.maps["hash"].push(u64(1))


def test_a_bloom_filter(probe: Object) -> None:
    one = probe.maps["bloom"]
    for i in range(50):
        one.push(u32(i))
    assert all(one.may_contain(u32(i)) for i in range(50))
    assert sum(one.may_contain(u32(i)) for i in range(1000, 2000)) < 300, "most of the others are refused"


def test_devices_processors_cgroups_and_sockets(probe: Object, cgroup: Path) -> None:
    lo = socket.if_nametoindex("lo")
    for name in ("devices", "device_hash"):
        probe.maps[name][u32(1)] = u32(lo)
        assert probe.maps[name][u32(1)] == u32(lo)
    probe.maps["cpus"][u32(0)] = u32(192)
    assert probe.maps["cpus"][u32(0)] == u32(192)
    with Descriptor(cgroup) as folder:
        probe.maps["cgroups"].set_fd(u32(0), folder)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
    ):
        for name in ("sockets", "socket_hash"):
            probe.maps[name].set_fd(u32(2), one)
        assert list(probe.maps["socket_hash"]) == [u32(2)]
        del probe.maps["socket_hash"][u32(2)]
        assert not probe.maps["socket_hash"]


def test_program_arrays(probe: Object) -> None:
    call = probe.programs["call"]
    assert call.test_run(PACKET).result == 7, "there is nothing to call yet"
    probe.maps["tails"].set_fd(u32(1), probe.programs["answer"])
    assert call.test_run(PACKET).result == 42
    del probe.maps["tails"][u32(1)]
    assert call.test_run(PACKET).result == 7


def test_maps_in_maps(probe: Object) -> None:
    look = probe.programs["look_inside"]
    probe.maps["array"][u32(0)] = u64(77)
    assert look.test_run(PACKET).result == 0xFFFFFFFF
    probe.maps["array_of_maps"].set_fd(u32(1), probe.maps["array"])
    assert look.test_run(PACKET).result == 77
    probe.maps["hash_of_maps"].set_fd(u32(5), probe.maps["template"])
    assert list(probe.maps["hash_of_maps"]) == [u32(5)]


def test_storages_of_tasks_sockets_files_and_cgroups(probe: Object, cgroup: Path, tmp_path: Path) -> None:
    inode = os.open(tmp_path, os.O_RDONLY)
    group = os.open(cgroup, os.O_RDONLY)
    task = os.pidfd_open(os.getpid())
    with socket.socket() as one:
        owners = {"task_storage": task, "socket_storage": one.fileno(), "cgroup_storage": group}
        for name, fd in owners.items():
            storage = probe.maps[name]
            with pytest.raises(KeyError):
                storage[u32(fd)]
            storage[u32(fd)] = u64(fd)
            assert storage[u32(fd)] == u64(fd)
            del storage[u32(fd)]
            assert u32(fd) not in storage
    for fd in (inode, group, task):
        os.close(fd)


def test_pinning_and_reusing(compiled: Compiled, bpffs: Path) -> None:
    with Object.open(compiled("maps")) as first:
        first.load()
        first.maps["hash"][u32(1)] = u64(2)
        first.maps["hash"].pin(bpffs / "hash")
        with pytest.raises(BpfError, match="File exists"):
            first.maps["hash"].pin(bpffs / "hash")
    with PinnedMap.open_pinned(bpffs / "hash") as pinned:
        assert (pinned.name, MapType(pinned.kind)) == ("hash", MapType.HASH)
        assert dict(pinned) == {u32(1): u64(2)}
    with Object.open(compiled("maps")) as second:
        with pytest.raises(BpfError, match="can't be reused: its kind, sizes or flags are others"):
            second.maps["array"].reuse(bpffs / "hash")
        with pytest.raises(BpfError, match="no map can be opened at"):
            second.maps["hash"].reuse(bpffs / "none")
        second.maps["hash"].reuse(bpffs / "hash")
        second.load()
        assert dict(second.maps["hash"]) == {u32(1): u64(2)}
    (bpffs / "hash").unlink()


def test_resizing(compiled: Compiled) -> None:
    with Object.open(compiled("maps")) as probe:
        one: Map = probe.maps["hash"]
        with pytest.raises(BpfError, match="its object is not loaded"):
            one[u32(1)]
        one.resize(entries=3)
        probe.load()
        one.update_batch({u32(i): u64(0) for i in range(3)})
        with pytest.raises(BpfError, match="it is full: 3 entries"):
            one[u32(3)] = u64(0)
        with pytest.raises(BpfError, match="it is in the kernel already\n  try: do it before load"):
            one.resize(entries=4)
        with pytest.raises(BpfError, match=r"object 'maps' has no map 'hasch'.*\n  try: did you mean 'hash'"):
            probe.maps["hasch"]


def test_running_programs(probe: Object) -> None:
    run = probe.programs["answer"].test_run(PACKET, repeat=1000)
    assert (run.result, run.data) == (42, PACKET)
    assert 0 < run.duration_ns < 1_000_000
    with pytest.raises(BpfError, match="program 'answer' can't be run: Invalid argument"):
        probe.programs["answer"].test_run(b"short")
