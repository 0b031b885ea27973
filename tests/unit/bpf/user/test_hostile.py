"""Programs that try to get at what is not theirs: by callbacks, contexts, constants, tail calls, time."""

from __future__ import annotations

import errno
import time

import pytest

from tests.unit.bpf.user.programs import insn, wide
from wbpf.bpf.kinds import MapType, ProgramType
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.maps import UserMap
from wbpf.bpf.user.program import LoadedMap, ProgramSpec, UserProgram, load_programs
from wbpf.bpf.user.verifier import Context, MapModel, verify
from wbpf.errors import BpfError

EXIT, ZERO = insn(0x95), insn(0xB7)
KPROBE = Context(512, kind=ProgramType.KPROBE)
KEY = insn(0x62, 10, 0, -4, 0) + insn(0xBF, 2, 10) + insn(0x07, 2, 0, 0, -4)


def call(number: int) -> bytes:
    return insn(0x85, 0, 0, 0, number)


def function(register: int, ahead: int) -> bytes:
    """The address of the function so many instructions behind this one, which are two."""
    return wide(register, ahead + 1, src=4)


def loaded(one: UserMap, constant: bytes | None = None) -> LoadedMap:
    address, values, _ = one.native.place()
    return LoadedMap(one.model(constant), address, values, one, one.native.entries())


@pytest.fixture
def array() -> LoadedMap:
    return loaded(UserMap.create("array", MapType.ARRAY, 4, 16, 3000))


def load(code: bytes, *maps: LoadedMap, context: Context = KPROBE, checks: bool = True) -> UserProgram:
    return load_programs({"one": ProgramSpec(code, context, checks, maps)})["one"]


def test_callbacks_that_store_anywhere_leave_nothing_known_of_stacks(array: LoadedMap) -> None:
    """An address of a value is on the stack while a callback writes another there."""
    behind = insn(0x79, 1, 10, -8) + insn(0x79, 0, 1) + EXIT
    looped = insn(0xB7, 1, 0, 0, 1) + function(2, 3 + len(behind) // 8) + insn(0xB7, 3) + insn(0xB7, 4)
    spilled = insn(0x55, 0, 0, 1) + EXIT + insn(0x7B, 10, 0, -8)
    begin = KEY + wide(1, 0, src=5) + call(1) + spilled + looped + call(181) + behind
    program = load(begin + insn(0x7A, 10, 0, 512 - 8, 0x1234) + ZERO + EXIT, array)
    with pytest.raises(BpfError, match="memory that is not its own, at 0x1234"):
        program.run(bytearray(512))
    honest = load(begin + insn(0x7A, 10, 0, -8, 0x1234) + ZERO + EXIT, array, checks=False)
    assert honest.is_proved and honest.run(bytearray(512)).value == 0


@pytest.mark.parametrize("store", [insn(0x7A, 1, 0, 152, 7), insn(0xDB, 1, 0, 152)])
def test_registers_of_threads_are_not_written(store: bytes) -> None:
    """A thread whose function is traced goes on with what is in them."""
    program = load(insn(0xB7, 0, 0, 0, 7) + store + EXIT)
    registers = bytearray(512)
    with pytest.raises(BpfError, match="memory that is not its own"):
        program.run(registers)
    assert not any(registers)
    own = Context(512, writable=None, kind=ProgramType.SYSCALL)
    load(insn(0x57, 1, 0, 0, -1) + insn(0xB7, 0, 0, 0, 7) + store + EXIT, context=own).run(registers)
    assert registers[152] == 7


def test_constants_are_not_written_by_callbacks() -> None:
    """What branches go by that are never taken."""
    one = UserMap.create(".rodata", MapType.ARRAY, 4, 8, 1, flags=1 << 7)
    code = wide(1, 0, src=5) + function(2, 5) + insn(0xB7, 3) + insn(0xB7, 4) + call(164) + ZERO + EXIT
    code += insn(0x7A, 3, 0, 0, 1) + ZERO + EXIT
    with pytest.raises(BpfError, match="a value of a map can't be written"):
        load(code, loaded(one, bytes(8)), checks=False)
    with pytest.raises(BpfError, match="memory that is not its own"):
        load(code, loaded(one, bytes(8))).run(bytearray(512))
    assert one[bytes(4)] == bytes(8)


def test_texts_that_may_not_be_there(array: LoadedMap) -> None:
    constants = MapModel(".rodata", 2, 4, 8, 1, constant=b"text\0\0\0\0")
    code = KEY + wide(1, 0, src=5) + call(1) + insn(0xBF, 3, 0) + insn(0x7A, 10, 0, -16)
    code += insn(0xBF, 1, 10) + insn(0x07, 1, 0, 0, -16) + insn(0xB7, 2, 0, 0, 4)
    verdict = verify(analyse(decode(code + call(182) + EXIT)), KPROBE, [constants])
    assert "it wants a constant text" in verdict.fatal[0].why


def test_what_stands_for_the_context_is_the_context() -> None:
    """A map in a map, of which nothing is known, is not; nor what may be 0."""
    outer = MapModel("outer", 12, 4, 4, 1)
    code = KEY + wide(1, 0, src=5) + call(1) + insn(0xBF, 1, 0) + call(174) + EXIT
    verdict = verify(analyse(decode(code)), KPROBE, [outer])
    assert "it wants the context" in verdict.fatal[0].why


def test_addresses_that_are_moved_far_down_may_be_0() -> None:
    """Where memory lies low: what is behind the comparison is looked at too."""
    moved = insn(0x79, 2, 1) + insn(0x57, 2, 0, 0, 0x3FFFFFFF) + insn(0x1F, 1, 2)
    code = moved + insn(0x15, 1, 0, 2) + ZERO + EXIT + insn(0xB7, 1, 0, 0, 5) + call(16) + EXIT
    assert "get_current_comm" in verify(analyse(decode(code)), KPROBE).fatal[0].why


def tail(array: int) -> bytes:
    return wide(2, array, src=5) + insn(0xB7, 3) + call(12)


def test_programs_that_go_on_in_others_are_run_again_and_again() -> None:
    """They are measured so: the other one has other helpers, and may be stopped."""
    programs = loaded(UserMap.create("programs", MapType.PROG_ARRAY, 4, 4, 1))
    assert isinstance(programs.owner, UserMap)
    first = insn(0xBF, 6, 1) + call(5) + call(8) + insn(0xBF, 1, 6) + tail(0) + ZERO + EXIT
    other = call(7) + insn(0xB7, 0, 0, 0, 9) + EXIT
    wild = call(7) + insn(0xB7, 1) + insn(0x79, 0, 1) + EXIT
    one, two, three = (load(code, programs) for code in (first, other, wild))
    assert (one.is_proved, two.is_proved, three.is_proved) == (True, True, False)
    for target, expected in ((two, (9, 0)), (three, (0, 2))):
        programs.owner.native.update(bytes(4), target.native.id().to_bytes(4, "little"))
        assert one.native.repeat(bytearray(512), 1 << 20, 1000)[:2] == expected


@pytest.mark.parametrize(("deep", "expected"), [(1, {34}), (7, set(range(10, 30)))])
def test_tail_calls_inside_each_other_have_so_much_of_the_stack(deep: int, expected: set[int]) -> None:
    """A function goes on in the program itself, below others that fill their stacks."""
    programs = loaded(UserMap.create("programs", MapType.PROG_ARRAY, 4, 4, 1))
    count = loaded(UserMap.create("count", MapType.ARRAY, 4, 8, 1))
    assert isinstance(programs.owner, UserMap) and isinstance(count.owner, UserMap)
    counted = wide(2, 1, src=6) + insn(0xB7, 3, 0, 0, 1) + insn(0xDB, 2, 3)
    fills = insn(0xBF, 6, 1) + insn(0xBF, 1, 10) + insn(0x07, 1, 0, 0, -512) + insn(0xB7, 2, 0, 0, 512)
    fills += call(16) + insn(0xBF, 1, 6) + insn(0x85, 0, 1, 0, 1) + EXIT
    program = load(counted + fills * deep + tail(0) + EXIT, programs, count)
    assert program.is_proved
    programs.owner.native.update(bytes(4), program.native.id().to_bytes(4, "little"))
    program.run(bytearray(512))
    assert int.from_bytes(count.owner[bytes(4)], "little") in expected


def test_rings_are_given_back_though_what_is_called_goes_on_elsewhere() -> None:
    """A program that may be stopped is not called while a ring is drained."""
    programs = loaded(UserMap.create("programs", MapType.PROG_ARRAY, 4, 4, 1))
    ring = loaded(UserMap.create("ring", MapType.USER_RINGBUF, 0, 0, 4096))
    assert isinstance(programs.owner, UserMap) and isinstance(ring.owner, UserMap)
    code = insn(0xBF, 3, 1) + wide(1, 1, src=5) + function(2, 3) + insn(0xB7, 4) + call(209) + EXIT
    draining = load(code + insn(0xBF, 1, 2) + tail(0) + ZERO + EXIT, programs, ring)
    wild = load(insn(0xB7, 1) + insn(0x79, 0, 1) + EXIT, programs)
    kept = load(insn(0xB7, 0, 0, 0, 1) + EXIT, programs)  # not 0: it takes no more records
    assert (draining.is_proved, wild.is_proved, kept.is_proved) == (True, False, True)
    with ring.owner.user_ring() as writer:
        for target, drained in ((wild, 3), (kept, 1), (wild, 5)):
            assert all(writer.submit(b"record") for _ in range(3))
            programs.owner.native.update(bytes(4), target.native.id().to_bytes(4, "little"))
            assert draining.run(bytearray(512)).value == drained


def test_time_of_what_helpers_call_is_limited(array: LoadedMap) -> None:
    """A loop of 1000 rounds in a function that is called a million times; one over elements in another."""
    rounds = insn(0xB7, 0, 0, 0, 1000) + insn(0x07, 0, 0, 0, -1) + insn(0x55, 0, 0, -2) + EXIT
    looped = insn(0xB7, 1, 0, 0, 1 << 20) + function(2, 4) + insn(0xB7, 3) + insn(0xB7, 4) + call(181) + EXIT
    program = load(looped + rounds, checks=False)
    begin_s = time.monotonic()
    assert program.run(bytearray(512), fuel=1 << 20).value == (1 << 64) - 7  # E2BIG
    assert time.monotonic() - begin_s < 10  # else it would take hours
    each = wide(1, 0, src=5) + function(2, 4) + insn(0xB7, 3) + insn(0xB7, 4) + call(164) + EXIT
    inside = each + wide(1, 0, src=5) + function(2, 5) + insn(0xB7, 3) + insn(0xB7, 4) + call(164)
    nested = load(inside + ZERO + EXIT + ZERO + EXIT, array, checks=False)
    begin_s = time.monotonic()
    assert nested.run(bytearray(512), fuel=1 << 16).value < 3000
    assert time.monotonic() - begin_s < 10  # else it would take hours


def test_widths_of_printed_numbers_are_limited(capfd: pytest.CaptureFixture[str]) -> None:
    text = b"%2000000000d".ljust(16, b"\0")
    stored = wide(1, int.from_bytes(text[:8], "little")) + insn(0x7B, 10, 1, -16)
    stored += wide(1, int.from_bytes(text[8:], "little")) + insn(0x7B, 10, 1, -8)
    code = stored + insn(0xBF, 1, 10) + insn(0x07, 1, 0, 0, -16) + insn(0xB7, 2, 0, 0, 16)
    refused = load(code + insn(0xB7, 3, 0, 0, 5) + call(6) + EXIT).run(bytearray(512))
    assert refused.value == (1 << 64) - errno.EINVAL
    assert capfd.readouterr().err == ""
