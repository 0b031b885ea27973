"""Records for programs, and stack traces, in user space."""

from __future__ import annotations

import ctypes
import platform
import random
import struct
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import Compiled, Subject
from wbpf.bpf import Object
from wbpf.bpf.kinds import MapType
from wbpf.bpf.stacks import addresses, stack
from wbpf.bpf.symbols import symbolise
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.maps import UserMap
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import BpfError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
_FRAME, _ADDRESS = (4, 16) if platform.machine() == "x86_64" else (29, 32)  # in struct pt_regs


def test_commands_as_in_the_kernel(compiled: Compiled) -> None:
    path = compiled("commands")
    rng = random.Random(2)
    with Object.open(path) as kernel, UserObject.open(path) as user:
        for one in (kernel, user):
            one.load()
        with kernel.maps["commands"].user_ring() as first, user.maps["commands"].user_ring() as second:
            for number in range(400):
                record = rng.randbytes(rng.choice((1, 4, 5, 7, 8, 60, 300)))
                assert first.submit(record) == second.submit(record)
                if number % 5 == 4:
                    most = rng.choice((0, 1, 3))
                    for one in (kernel, user):
                        one.variables["most"] = most
                    results = [one.programs["obey"].test_run().result for one in (kernel, user)]
                    assert results[0] == results[1] != 0
            for one in (kernel, user):
                one.variables["most"] = 0
                one.programs["obey"].test_run()
            assert [kernel.variables[name] for name in ("sum", "failed")] == [
                user.variables[name] for name in ("sum", "failed")
            ]
            assert dict(kernel.maps["seen"]) == dict(user.maps["seen"])
            with pytest.raises(BpfError, match="5000 bytes never fit"):
                second.submit(bytes(5000))
            second.submit(b"once")
        with pytest.raises(BpfError, match="the map is of another kind"):
            user.maps["seen"].user_ring()


def test_damaged_rings(compiled: Compiled) -> None:
    """The writer is not trusted: what can't be a record ends the reading."""
    with UserObject.open(compiled("commands")) as one:
        one.load()
        with one.maps["commands"].user_ring() as ring:
            ring.submit(bytes(8))
        file = one.maps["commands"].fileno()
        for header in (0x7FFFFFFF, 0x10, 0x3FFFFFFF | 1 << 31):
            memory = memoryview(bytearray(struct.pack("<I", header)))
            with Path(f"/proc/self/fd/{file}").open("r+b", buffering=0) as raw:
                raw.seek(4096 + 2 * 4096)
                raw.write(memory)
            assert one.programs["obey"].test_run().result > 2**31


@pytest.fixture
def stacks(compiled: Compiled) -> UserObject:
    one = UserObject.open(compiled("stacks"))
    one.load()
    return one


def test_stacks_by_frame_pointers(stacks: UserObject) -> None:
    """Frames that are made by hand; the last leads to memory that is not there."""
    frames = (ctypes.c_uint64 * 32)()
    base = ctypes.addressof(frames)
    for n in range(5):
        frames[6 * n] = base + 8 * 6 * (n + 1) if n < 4 else 0x10
        frames[6 * n + 1] = 1000 + n
    registers = [0] * 40
    registers[_FRAME], registers[_ADDRESS] = base, 999
    context = struct.pack("<40Q", *registers)
    with stacks as one:
        entry = one.programs["on_entry"]
        entry.test_run(context=context)
        number = one.variables["user_id"]
        assert isinstance(number, int)
        assert stack(one.maps["stacks"], number) == [999, 1000, 1001, 1002, 1003, 1004]
        entry.test_run(context=context)
        assert one.variables["user_id"] == number, "the same stack has the same number"
        assert [addresses(value)[0] for value in one.maps["stacks"].values()] == [999]
        del one.maps["stacks"][number.to_bytes(4, "little")]
        assert not dict(one.maps["stacks"])
        entry.test_run(context=bytes(512))
        assert one.variables["user_id"] == -14, "no registers, no stack"
        one.programs["on_call"].test_run(context=bytes(96))
        assert one.variables["kernel_id"] == -14, "there is no kernel's stack"


def test_stacks_with_one_number(stacks: UserObject) -> None:
    """In a map of one, another stack takes the place only if the program wants that."""
    with stacks as one, pytest.raises(BpfError, match="another stack has the same hash"):
        registers = [0] * 40
        for address in range(1, 2000):
            registers[_ADDRESS] = address
            one.programs["on_entry"].test_run(context=struct.pack("<40Q", *registers))
            number = one.variables["user_id"]
            assert isinstance(number, int)
            assert stack(one.maps["stacks"], number) == [address]


def test_shapes_of_stack_maps() -> None:
    UserMap.create("stacks", MapType.STACK_TRACE, 4, 80, 10).close()
    for key, value in ((8, 80), (4, 81), (4, 8 * 128)):
        with pytest.raises(BpfError, match="do not fit kind STACK_TRACE"):
            UserMap.create("stacks", MapType.STACK_TRACE, key, value, 10)


def test_stacks_of_a_process_have_names(compiled: Compiled, subject: Subject) -> None:
    with UserObject.open(compiled("stacks"), traced=Traced.of(subject.pid)) as one:
        one.load()
        one.programs["on_entry"].attach(f"{subject.program}:work")
        subject.work(1)
        number = one.variables["user_id"]
        assert isinstance(number, int)
        names = symbolise(stack(one.maps["stacks"], number), subject.pid)
        # At its first instruction a function has no frame of its own yet: the caller is where it returns to.
        assert names[0] == "work+0x0" and names[1].startswith("main+")
