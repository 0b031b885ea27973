"""Programs for packets in user space and in the kernel: the same steps, on the same packets, do the same."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf import Object
from wbpf.bpf.program import TestRun as Run
from wbpf.bpf.user.objects import UserObject
from wbpf.bpf.user.packets import PacketRun, Target
from wbpf.errors import BpfError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
Both = tuple[Object, UserObject]
Step = tuple[int, int, int, int, int]
_STEP = struct.Struct("<IIIIQ")
_STEPS = 8
_LENGTHS = (0, 1, 13, 14, 15, 16, 40, 64, 100, 1000, 1500, 0x7FFFFFFF, 0xFFFFFFFF)
_MOVES = (0, 1, 2, 4, 8, 14, 32, 63, 64, 100, 201, 216, 217, 256, 1000, 3000, 4000, 16000, 20000)
_SUM_FLAGS = (0, 2, 4, 1, 0x10, 0x12, 0x14, 0x20, 0x24, 0x34, 0x60, 0x64, 0x100)


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


@pytest.fixture(scope="module")
def both(compiled: Compiled) -> Iterator[Both]:
    path = compiled("packets")
    with Object.open(path) as kernel, UserObject.open(path) as user:
        for one in (kernel, user):
            one.load()
        yield kernel, user


def packet(rng: random.Random) -> bytes:
    kind = rng.choice((b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x00\x40", rng.randbytes(2)))
    to = rng.choice((bytes(6), b"\xff" * 6, b"\1" + rng.randbytes(5), rng.randbytes(6)))
    least = (
        40 if kind in (b"\x08\x00", b"\x86\xdd") else 1
    )  # the kernel's test run wants a whole header of IP
    return to + rng.randbytes(6) + kind + rng.randbytes(rng.choice((least, 40, 46, 50, 200, 1000)))


def place(rng: random.Random) -> int:
    return rng.choice(_LENGTHS) if rng.random() < 0.3 else rng.randrange(80)


def buffer_step(rng: random.Random) -> Step:
    what = rng.randrange(1, 17)
    offset, a, b = place(rng), rng.getrandbits(32), rng.getrandbits(32)
    flags = 0
    match what:
        case 2:
            a = rng.randrange(3)
        case 5:
            flags = rng.choice((0, 1, 2))
        case 6:
            flags = rng.choice((0, 1, 2, 3, 8))
        case 7 | 8:
            flags = rng.choice(_SUM_FLAGS)
            a = a if flags & 15 else rng.choice((0, 0, 0, 1))
            a, b = (a & 0xFFFF, b & 0xFFFF) if flags & 15 == 2 else (a, b)
        case 9:
            flags = rng.choice((0, rng.getrandbits(64)))
            a, b = rng.choice((a, 0)), rng.choice((0, 4, 8, 12, 1, 5, 6, 15))
        case 10 | 11:
            flags = 1 if rng.random() < 0.1 else 0
            b = rng.choice(_MOVES)
        case 12 | 13:
            b = rng.choice((0, 1, 2, 3, 4, 60, 2000))
    return what, offset, a, b, flags


def frame_step(rng: random.Random) -> Step:
    what = rng.choice((3, 4, 9, 32, 33, 34, 34, 35, 36, 37, 38))
    b = rng.getrandbits(32)
    if what in (32, 33):
        b = rng.choice(_MOVES) * rng.choice((1, -1)) & 0xFFFFFFFF
    elif what == 34:
        b = rng.choice((0, 4, 8, 12, 32, 128, 3, 252, 256)) * rng.choice((-1, -1, 1)) & 0xFFFFFFFF
    return what, place(rng), rng.getrandbits(32), b, rng.getrandbits(64)


def filter_step(rng: random.Random) -> Step:
    return rng.choice((1, 1, 2)), place(rng), rng.randrange(3), rng.getrandbits(4), 0


def results(one: Object | UserObject) -> list[int]:
    values = [int.from_bytes(value, "little") for value in one.maps["results"].values()]
    return [*values, one.variables["bytes"], one.variables["sums"]]  # type: ignore[list-item]


def compare(both: Both, name: str, data: bytes, context: bytes = b"", **variables: int) -> Run:
    """Run a program on both; an errno has to be the same too."""
    answers: list[tuple[Run | None, list[int]]] = []
    for one in both:
        for variable, value in variables.items():
            one.variables[variable] = value
        for key in range(_STEPS):
            one.maps["results"][u32(key)] = bytes(8)
        for variable in ("bytes", "sums"):
            one.variables[variable] = bytes(16)
        more = {"room_bytes": 1 << 16} if isinstance(one, Object) else {}
        run = one.programs[name].test_run(data, context, **more)
        answers.append((Run(run.result, run.data, run.context, 0), results(one)))
    assert answers[1] == answers[0]
    assert answers[1][0] is not None
    return answers[1][0]


@pytest.mark.parametrize(
    ("name", "step", "count"),
    [("on_buffer", buffer_step, 1500), ("on_frame", frame_step, 1500), ("on_filter", filter_step, 400)],
)
def test_random_steps(both: Both, name: str, step: Callable[[random.Random], Step], count: int) -> None:
    rng = random.Random(name)
    sizes = set()
    for number in range(count):
        data = packet(rng)
        steps = [step(rng) for _ in range(rng.randrange(1, _STEPS + 1))]
        if name == "on_buffer" and any(one[0] == 10 for one in steps):
            # A kernel that moves the buffer makes up a transport header, below which nothing is cut.
            steps = [(11, one[1], one[2], one[3] % 8, one[4]) if one[0] == 11 else one for one in steps]
        for key in range(_STEPS):
            row = steps[key] if key < len(steps) else (0,) * 5
            for one in both:
                one.maps["steps"][u32(key)] = _STEP.pack(*row)
        context = b""
        if name != "on_frame" and rng.random() < 0.3:
            given = bytearray(192)
            struct.pack_into("<I", given, 8, rng.getrandbits(32))
            given[48:68] = rng.randbytes(20)
            context = bytes(given)
        try:
            run = compare(both, name, data, context, verdict=rng.randrange(4))
        except AssertionError as error:
            error.add_note(f"number {number}: packet {data.hex()}, steps {steps}")
            raise
        sizes.add(len(run.data) - len(data))
    assert len(sizes) > 20 or name == "on_filter"


def test_legacy_loads(both: Both) -> None:
    rng = random.Random(5)
    seen = {compare(both, "on_legacy", packet(rng), place=place(rng)).result for _ in range(300)}
    assert 0 in seen and len(seen) > 30


def test_packets_that_are_too_short(both: Both) -> None:
    for name in ("on_buffer", "on_frame", "on_filter"):
        with pytest.raises(BpfError):
            both[0].programs[name].test_run(bytes(13))
        with pytest.raises(BpfError, match="an Ethernet header has 14"):
            both[1].programs[name].test_run(bytes(13))


def test_redirections(both: Both) -> None:
    user = both[1]
    for one in both:
        one.maps["processors"][u32(0)] = u32(64)
        one.maps["devices"][u32(1)] = u32(1)  # the loopback device
        one.maps["hashed"][u32(6)] = u32(1)
    kinds = {name: user.maps[name] for name in ("processors", "devices", "hashed")}
    for name, at, target in [
        ("to_device", 7, Target(None, 0, 7, 7)),
        ("to_processor", 0, Target(16, kinds["processors"].user_id, 0, 64)),
        ("to_processor", 1, None),
        ("to_processor", 9, None),
        ("to_mapped", 1, Target(14, kinds["devices"].user_id, 1, 1)),
        ("to_mapped", 2, None),
        ("to_mapped", 6, Target(25, kinds["hashed"].user_id, 6, 1)),
        ("to_mapped", 5, None),
    ]:
        result = compare(both, name, bytes(60), place=at).result
        run = PacketRun(user.programs[name].kind, bytes(60))
        assert user.programs[name].program.run(run.memory).value == result
        assert run.target == target, (name, at)
        assert (result == 4) == (target is not None)
    for one in both:
        assert one.maps["devices"][u32(1)] == u32(1)
        del one.maps["devices"][u32(1)]
        assert u32(1) not in one.maps["devices"]


def test_events_carry_packets(both: Both) -> None:
    data = random.Random(8).randbytes(100)
    kernel, user = (one.maps["perf"].ring() for one in both)
    for at in (0, 10, 100):
        assert compare(both, "tell", data, place=at).result == 0
    assert compare(both, "tell", data, place=101).result == 2**32 - 14
    records = user.read()
    assert records == [u32(at) + data[:at] for at in (0, 10, 100)]
    padded = kernel.read()  # to a multiple of 8, with the 4 bytes of its length
    assert [record[: len(mine)] for record, mine in zip(padded, records, strict=True)] == records
    for ring in (kernel, user):
        ring.close()


def test_helpers_are_for_their_kinds(compiled: Compiled) -> None:
    one = UserObject(compiled("packets").read_bytes(), "packets")
    code = bytearray(one.file.code["xdp"])
    start = one.programs["to_device"].definition
    at = next(at for at in range(start.offset, start.offset + start.bytes, 8) if code[at] == 0x85)
    code[at + 4 : at + 8] = u32(43)
    one.file.code["xdp"] = bytes(code)
    with pytest.raises(BpfError, match="bpf_skb_change_head is for TC programs alone"):
        one.load()
    one.close()
