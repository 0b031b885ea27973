"""The same object in user space and in the kernel: the same results, maps and variables."""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Iterator

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf import Object
from wbpf.bpf.btf import Btf, encode
from wbpf.bpf.btf.types import Int, Member, Struct
from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.user.contexts import prepare
from wbpf.bpf.user.maps import UserMap
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import BpfError, FormatError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
Both = tuple[Object, UserObject]


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


@pytest.fixture
def both(compiled: Compiled) -> Iterator[Both]:
    path = compiled("both")
    with Object.open(path) as kernel, UserObject.open(path) as user:
        for one in (kernel, user):
            one.variables["step"] = 3
            one.load()
        yield kernel, user


def run(both: Both, program: str, packet: bytes) -> int:
    """Run a program on both, and compare."""
    kernel, user = (one.programs[program].test_run(packet) for one in both)
    assert (user.result, user.data) == (kernel.result, kernel.data)
    for name in ("counts", "bytes_seen", "recent"):
        assert dict(both[1].maps[name]) == dict(both[0].maps[name]), name
    assert both[1].variables["total"] == both[0].variables["total"]
    return user.result


def test_packets(both: Both) -> None:
    numbers = random.Random(4)
    results = {run(both, "count", numbers.randbytes(64)) for _ in range(40)}
    assert results == set(range(2, 10))
    assert run(both, "count", bytes(range(14))) == 8
    assert sum(int.from_bytes(value, "little") for value in both[1].maps["counts"].values()) == 41 * 3


def test_helpers(both: Both) -> None:
    kernel, user = both
    for one in both:
        one.maps["template"][u32(0)] = (123).to_bytes(8, "little")
        one.maps["outer"].set_fd(u32(5), one.maps["template"])
    first = run(both, "helpers", bytes(64))
    assert user.maps["queue"].pop_value() == kernel.maps["queue"].pop_value() == u32(2)
    assert 44_000 < first < 50_000
    with pytest.raises(KeyError):
        _ = user.maps["outer"][u32(4)]
    assert user.maps["outer"][u32(5)] == u32(user.maps["template"].user_id)


def test_maps_of_maps_take_what_is_like_their_template(both: Both) -> None:
    for one in both:
        with pytest.raises(BpfError):
            one.maps["outer"].set_fd(u32(5), one.maps["queue"])
        with pytest.raises(KeyError):
            _ = one.maps["outer"][u32(5)]


def test_rings(both: Both) -> None:
    rings = [one.maps["ring"].ring() for one in both]
    seen = []
    for _ in range(300):  # several times around
        run(both, "record", bytes(64))
        kernel, user = (ring.read() for ring in rings)
        assert kernel == user
        seen += user
    assert len(seen) == 300 + 200
    for ring in rings:
        assert not ring.pending
        ring.close()


def test_full_ring(both: Both) -> None:
    results = [run(both, "record", bytes(64)) for _ in range(120)]
    assert results[0] == 0 and results[-1] != 0
    kernel, user = (len(one.maps["ring"].ring().read()) for one in both)
    assert kernel == user > 100


def test_tail_calls(both: Both) -> None:
    assert run(both, "call", bytes(64)) == 11
    for one in both:
        one.maps["tails"].set_fd(u32(0), one.programs["leaf"])
        one.maps["tails"].set_fd(u32(1), one.programs["again"])
    assert run(both, "call", bytes(64)) == 77
    before = both[1].variables["total"]
    assert run(both, "again", bytes(64)) == 55
    assert isinstance(before, int) and both[1].variables["total"] == before + 34
    for one in both:
        del one.maps["tails"][u32(0)]
    assert run(both, "call", bytes(64)) == 11


def test_maps_that_begin_with_maps_and_programs(compiled: Compiled) -> None:
    path = compiled("initial")
    with Object.open(path) as kernel, UserObject.open(path) as user:
        for one in (kernel, user):
            one.load()
            assert one.programs["root"].test_run(bytes(64)).result == 7
            values = [int.from_bytes(one.maps[name][u32(0)], "little") for name in ("first", "second")]
            assert values == [1, 2]


def test_variables(both: Both) -> None:
    _, user = both
    user.variables["text"] = "seven"
    assert user.variables["text"] == "seven" and user.variables["seed"] == 7
    with pytest.raises(BpfError, match="it is constant"):
        user.variables["step"] = 4


def test_shared_between_processes(both: Both) -> None:
    """What a program writes is seen through another mapping of the same memory."""
    _, user = both
    other = UserMap.open(user.maps["counts"].fileno())
    user.programs["count"].test_run(bytes(64))
    assert dict(other) == dict(user.maps["counts"]) != {}
    other.close()


def test_programs_keep_their_maps(compiled: Compiled) -> None:
    one = UserObject(compiled("both").read_bytes(), "both")
    one.load()
    accounts, book = UserMap.open(one.maps["accounts"].fileno()), one.programs["book"].program
    one.close()
    assert book.run(prepare(ProgramType.XDP, bytes(64), b"").memory).value == 0
    assert len(accounts) == 1
    accounts.close()


def test_perf_events(both: Both) -> None:
    assert run(both, "emit", bytes(64)) == 2**32 - 2  # nobody reads
    kernel, user = (one.maps["perf"].ring() for one in both)
    for _ in range(20):
        assert run(both, "emit", bytes(64)) == 0
    records = user.read()
    assert [int.from_bytes(record, "little") for record in records] == list(range(2, 22))
    assert sorted(record[:8] for record in kernel.read()) == sorted(records)
    assert user.lost == 0
    while not both[1].programs["emit"].test_run(bytes(64)).result:
        pass
    assert user.lost == 1


def test_memory_that_is_not_there(both: Both) -> None:
    for one in both:
        one.variables["text"] = "seven"
    assert run(both, "memory", bytes(64)) == 1 + 60 + 300 + 1000 + 2000


def test_unsafe_programs_are_refused(compiled: Compiled) -> None:
    """Without its comparison with the packet's end."""
    elf = bytearray(compiled("both").read_bytes())
    one = UserObject(bytes(elf), "both")
    code = bytearray(one.file.code["xdp"])
    count = one.programs["count"].definition
    for at in range(count.offset, count.offset + count.bytes, 8):
        if code[at] in (0x2D, 0xBD, 0x3D, 0xAD):  # r > r, r <= r, r >= r, r < r
            code[at : at + 8] = bytes([0x05, 0, 0, 0, 0, 0, 0, 0]) if code[at] == 0x2D else code[at : at + 8]
            break
    else:
        pytest.fail("it has no comparison")
    one.file.code["xdp"] = bytes(code)
    with pytest.raises(BpfError, match="of the packet may not be there"):
        one.load()
    one.close()


def test_locked_values(both: Both) -> None:
    for _ in range(5):
        assert run(both, "book", bytes(64)) == 0
    values = [one.maps["accounts"].lookup_elem(u32(1), flags) for one in both for flags in (0, 4)]
    assert values == [u32(5) + u32(0) + (40).to_bytes(8, "little") + (4).to_bytes(8, "little")] * 4


def test_locks_that_are_not_given_back(compiled: Compiled) -> None:
    one = UserObject(compiled("both").read_bytes(), "both", checks=True)
    book = one.programs["book"].definition
    code = bytearray(one.file.code["xdp"])
    calls = range(book.offset, book.offset + book.bytes, 8)
    at = next(at for at in calls if code[at] == 0x85 and code[at + 4] == 94)
    code[at : at + 8] = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0])  # r0 = 0
    one.file.code["xdp"] = bytes(code)
    with pytest.raises(BpfError, match="a lock is held: only bpf_spin_unlock"):
        one.load()
    one.close()


@pytest.mark.parametrize("members", [("number", "price"), ("price", "customer", "number")])
def test_fields_that_moved(compiled: Compiled, members: tuple[str, ...]) -> None:
    """One object reads two versions of an application's structure, each by that version's types."""
    word = Int(1, "unsigned long", 8, bits=64)
    fields = tuple(Member(name, 1, 64 * n) for n, name in enumerate(members))
    types = Btf.parse(encode([word, Struct(2, "order", 8 * len(members), fields)]))
    memory = ctypes.create_string_buffer(8 * len(members))
    struct.pack_into("<Q", memory, 8 * members.index("price"), 1999)
    with UserObject(compiled("moved").read_bytes(), "moved", types) as one:
        one.load()
        context = struct.pack("<Q", ctypes.addressof(memory))
        assert one.programs["read_order"].test_run(context=context).result == 0
        assert one.variables["price"] == 1999
        assert one.programs["read_order"].test_run(context=bytes(8)).result == 2**32 - 1


def test_what_is_no_object_is_named(compiled: Compiled) -> None:
    elf = compiled("both").read_bytes()
    for content, what in (
        (b"text", "'app' is not an eBPF object"),
        (elf[:-9], "eBPF object 'app' is damaged"),
    ):
        with pytest.raises(FormatError) as refused:
            UserObject(content, "app")
        assert refused.value.what == what
