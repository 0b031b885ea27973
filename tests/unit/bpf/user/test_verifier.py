"""What the verifier refuses, in words; and what stops a program that runs with checks."""

from __future__ import annotations

from resource import RUSAGE_SELF, getrusage

import pytest

from tests.unit.bpf.user.programs import insn, wide
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.program import UserProgram
from wbpf.bpf.user.verifier import Context, Field, MapModel, Verdict, verify
from wbpf.errors import BpfError

EXIT, ZERO = insn(0x95), insn(0xB7)
MEMORY = Context(64, memory=True)
XDP = Context(24, {0: (4, Field.PACKET), 4: (4, Field.PACKET_END)})
ARRAY = MapModel("numbers", 2, 4, 8, 16, inline=8)
RING = MapModel("events", 27, 0, 0, 4096)
KEY = insn(0x62, 10, 0, -4, 3) + insn(0xBF, 2, 10) + insn(0x07, 2, 0, 0, -4)
LOOKUP = KEY + wide(1, 0, src=5) + insn(0x85, 0, 0, 0, 1)
RESERVE = wide(1, 1, src=5) + insn(0xB7, 2, 0, 0, 16) + insn(0xB7, 3) + insn(0x85, 0, 0, 0, 131)
SUBMIT = insn(0xBF, 1, 0) + insn(0xB7, 2) + insn(0x85, 0, 0, 0, 132)
PACKET = insn(0x61, 2, 1, 0) + insn(0x61, 3, 1, 4)


def judge(code: bytes, context: Context = MEMORY) -> Verdict:
    return verify(analyse(decode(code)), context, [ARRAY, RING])


@pytest.mark.parametrize(
    "code",
    [
        insn(0x79, 0, 1, 56) + EXIT,
        insn(0x7B, 10, 1, -512) + insn(0x79, 0, 10, -512) + EXIT,
        LOOKUP + insn(0x15, 0, 0, 1, 0) + insn(0x79, 0, 0, 0) + EXIT,
        RESERVE + insn(0x15, 0, 0, 4, 0) + insn(0x7A, 0, 0, 8, 1) + SUBMIT + ZERO + EXIT,
        # r0 = memory[byte & 63]
        insn(0x71, 2, 1) + insn(0x57, 2, 0, 0, 63) + insn(0x0F, 1, 2) + insn(0x71, 0, 1) + EXIT,
        # if (byte < 64)
        insn(0x71, 2, 1) + ZERO + insn(0x35, 2, 0, 2, 64) + insn(0x0F, 1, 2) + insn(0x71, 0, 1) + EXIT,
        # for (i = 0; i < memory[0] (8 bits); i++)
        insn(0x71, 2, 1) + ZERO + insn(0x07, 0, 0, 0, 1) + insn(0xAD, 0, 2, -2) + EXIT,
        # goto 3; 1: r0 = 0; exit; 3: if (memory[0]) goto 1; goto 1
        insn(0x05, 0, 0, 2) + ZERO + EXIT + insn(0x79, 2, 1) + insn(0x55, 2, 0, -4) + insn(0x05, 0, 0, -5),
        # for (i = 100000; i != 0; i--)
        insn(0xB7, 0, 0, 0, 100_000) + insn(0x07, 0, 0, 0, -1) + insn(0x55, 0, 0, -2) + EXIT,
        # bpf_trace_printk(format, 8): what it does not print need not be set
        insn(0x7A, 10, 0, -8)
        + insn(0xBF, 1, 10)
        + insn(0x07, 1, 0, 0, -8)
        + insn(0xB7, 2, 0, 0, 8)
        + insn(0x85, 0, 0, 0, 6)
        + EXIT,
        # bytes = bpf_probe_read_user_str(stack, 8, 0); if (bytes > 0) stack[bytes - 1] = 0
        insn(0xBF, 6, 10)
        + insn(0x07, 6, 0, 0, -8)
        + insn(0xBF, 1, 6)
        + insn(0xB7, 2, 0, 0, 8)
        + insn(0xB7, 3)
        + insn(0x85, 0, 0, 0, 114)
        + insn(0xD5, 0, 0, 2)
        + insn(0x0F, 6, 0)
        + insn(0x72, 6, 0, -1)
        + ZERO
        + EXIT,
        # a function that returns nothing
        insn(0x85, 0, 1, 0, 2) + ZERO + EXIT + EXIT,
        # n = memory[0] - 10; if (n < 20) memory[memory[0]]: a copy of what is compared
        insn(0x79, 2, 1)
        + insn(0xBF, 3, 2)
        + insn(0x07, 3, 0, 0, -10)
        + ZERO
        + insn(0x35, 3, 0, 2, 20)
        + insn(0x0F, 1, 2)
        + insn(0x71, 0, 1)
        + EXIT,
        # spilled before it is compared, and filled again
        insn(0x79, 2, 1)
        + insn(0x7B, 10, 2, -8)
        + ZERO
        + insn(0x35, 2, 0, 3, 64)
        + insn(0x79, 3, 10, -8)
        + insn(0x0F, 1, 3)
        + insn(0x71, 0, 1)
        + EXIT,
        # if ((u32)n <= 40) memory[n & 63]: what is known of the low half
        insn(0x79, 2, 1)
        + ZERO
        + insn(0x26, 2, 0, 4, 40)
        + insn(0x57, 2, 0, 0, 63)
        + insn(0x0F, 1, 2)
        + insn(0x71, 0, 1, 23)
        + EXIT
        + EXIT,
        # the same of 32 bits: u32 n = memory[0]; u32 m = n; if (m < 64) memory[n]
        insn(0x61, 2, 1)
        + insn(0xBC, 3, 2)
        + ZERO
        + insn(0x36, 3, 0, 2, 64)
        + insn(0x0F, 1, 2)
        + insn(0x71, 0, 1)
        + EXIT,
    ],
)
def test_what_is_proved(code: bytes) -> None:
    verdict = judge(code)
    assert verdict.proof.complete, [str(problem) for problem in verdict.problems + verdict.fatal]


def test_a_packet_is_proved_by_its_end() -> None:
    good = (
        PACKET
        + insn(0xBF, 4, 2)
        + insn(0x07, 4, 0, 0, 14)
        + ZERO
        + insn(0x2D, 4, 3, 1)
        + insn(0x69, 0, 2, 12)
        + EXIT
    )
    assert judge(good, XDP).proof.complete
    short = good.replace(insn(0x69, 0, 2, 12), insn(0x69, 0, 2, 13))
    assert "13..15 of the packet may not be there" in str(judge(short, XDP).problems[0])


def test_what_was_not_written_is_0() -> None:
    """A function leaves its number where the next one has its frame."""
    code = insn(0x85, 0, 1, 0, 2) + insn(0x85, 0, 1, 0, 5) + EXIT
    code += insn(0xB7, 2, 0, 0, -1) + insn(0x7B, 10, 2, -16) + ZERO + EXIT
    code += insn(0x62, 10, 0, -12, 7) + insn(0x79, 0, 10, -16) + EXIT
    assert UserProgram.load(code, MEMORY).run(bytearray(64)).value == 7 << 32


def test_parts_of_what_was_stored_are_known() -> None:
    """Of two halves, a byte of memory & 63 and 7: the low one, the byte above it, two halves together."""
    stored = insn(0x71, 2, 1) + insn(0x57, 2, 0, 0, 63) + insn(0x63, 10, 2, -16)
    stored += insn(0x62, 10, 0, -12, 7)
    for part in (insn(0x61, 3, 10, -16), insn(0x71, 3, 10, -15), insn(0x69, 3, 10, -12)):
        assert judge(stored + part + insn(0x0F, 1, 3) + insn(0x71, 0, 1) + EXIT).proof.complete
    both = stored + insn(0x79, 3, 10, -16) + wide(4, 7 << 32) + insn(0x1F, 3, 4) + insn(0x0F, 1, 3)
    assert judge(both + insn(0x71, 0, 1) + EXIT).proof.complete
    assert not judge(both + insn(0x71, 0, 1, 1) + EXIT).proof.complete


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (insn(0x79, 0, 1, 57) + EXIT, "8 bytes at 57 are outside of memory, whose bytes are 0..64"),
        (insn(0x79, 0, 1, -1) + EXIT, "8 bytes at -1 are outside"),
        (insn(0x7B, 10, 1, 0) + ZERO + EXIT, "outside of the stack"),
        (insn(0x7B, 10, 1, -520) + ZERO + EXIT, "outside of the stack"),
        (insn(0xBF, 0, 5) + EXIT, "r5 was never set"),
        (EXIT, "r0 was never set"),
        (insn(0xB7, 2, 0, 0, 5) + insn(0x79, 0, 2) + EXIT, "uses 5 as an address"),
        (LOOKUP + insn(0x79, 0, 0) + EXIT, "or 0: compare it with 0 before"),
        (LOOKUP + insn(0x15, 0, 0, 1, 0) + insn(0x79, 0, 0, 1) + EXIT, "8 bytes at 1 are outside of a value"),
        (insn(0x71, 2, 1) + insn(0x0F, 1, 2) + insn(0x71, 0, 1) + EXIT, "1 bytes at 0..255 are outside"),
        (ZERO + insn(0x05, 0, 0, -1) + EXIT, "the loop is not proved to end"),
        (insn(0x79, 0, 1) + insn(0x55, 0, 0, -1) + EXIT, "the loop is not proved to end"),
        (insn(0xDB, 1, 2, 1, 0) + ZERO + EXIT, "not known to be a multiple of 8"),
    ],
)
def test_what_a_check_has_to_take_care_of(code: bytes, why: str) -> None:
    verdict = judge(code)
    assert not verdict.fatal
    assert why in str(verdict.problems[0])


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (insn(0xB7, 1) + insn(0x85, 0, 0, 0, 1) + EXIT, "bpf_map_lookup_elem: r1 is 0; it wants a map"),
        (wide(1, 0, src=5) + insn(0xB7, 2) + insn(0x85, 0, 0, 0, 1) + EXIT, "it wants 4 bytes of memory"),
        (wide(1, 0, src=5) + KEY + insn(0x85, 0, 0, 0, 2) + EXIT, "r3 was never set"),
        (
            LOOKUP.replace(wide(1, 0, src=5), wide(1, 1, src=5)) + EXIT,
            "'events' is of a type that it is not for",
        ),
        (RESERVE + ZERO + EXIT, "is neither submitted nor discarded"),
        (RESERVE + SUBMIT + ZERO + EXIT, "or 0; it wants a reserved record"),
    ],
)
def test_what_is_refused(code: bytes, why: str) -> None:
    assert why in "\n".join(map(str, [*judge(code).fatal]))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (insn(0x79, 0, 1, 64) + EXIT, "instruction 0: it used memory that is not its own"),
        (insn(0x7B, 10, 1, 0) + ZERO + EXIT, "instruction 0: it used memory that is not its own"),
        (insn(0xB7, 2, 0, 0, 64) + insn(0x79, 0, 2) + EXIT, "it used memory that is not its own, at 0x40"),
        (ZERO + insn(0x05, 0, 0, -1) + EXIT, "instruction 1: it did not end after 1000 jumps back"),
        (insn(0xC3, 1, 2, 2, 0) + ZERO + EXIT, "instruction 0: it used memory"),
    ],
)
def test_what_stops_a_program(code: bytes, why: str) -> None:
    program = UserProgram.load(code, MEMORY, checks=True)
    with pytest.raises(BpfError, match=why):
        program.run(bytearray(64), fuel=1000)


@pytest.mark.parametrize(
    "count", [20_000, pytest.param(999_998, marks=[pytest.mark.slow, pytest.mark.timeout(400)])]
)
def test_long_programs_are_verified(count: int) -> None:
    """A million instructions: the memory that it takes is bounded too."""
    code = ZERO + insn(0x07, 0, 0, 0, 1) * count + EXIT
    before_kb = getrusage(RUSAGE_SELF).ru_maxrss
    verdict = judge(code)
    assert verdict.proof.complete
    assert verdict.insns == count + 2
    assert getrusage(RUSAGE_SELF).ru_maxrss - before_kb < 1_500_000


LOCKED = MapModel("locked", 2, 4, 16, 16, lock=0)
PROGRAMS = MapModel("programs", 3, 4, 4, 4)
XDP_HELPERS = Context(24, {0: (4, Field.PACKET), 4: (4, Field.PACKET_END)}, family="xdp")
SOCKET = Context(192, family="socket")
LOCK, UNLOCK, GO_ON = (insn(0x85, 0, 0, 0, number) for number in (93, 94, 12))
TWO_VALUES = (
    LOOKUP
    + insn(0x15, 0, 0, 13)
    + insn(0xBF, 6, 0)
    + LOOKUP
    + insn(0x15, 0, 0, 5)
    + insn(0xBF, 7, 0)
    + insn(0xBF, 1, 6)
    + LOCK
)


def test_a_lock_is_given_back_by_its_own_value() -> None:
    same = TWO_VALUES + insn(0xBF, 1, 6) + UNLOCK + ZERO + EXIT
    assert verify(analyse(decode(same)), MEMORY, [LOCKED]).proof.complete
    other = TWO_VALUES + insn(0xBF, 1, 7) + UNLOCK + ZERO + EXIT
    assert "it is not held" in str(verify(analyse(decode(other)), MEMORY, [LOCKED]).fatal[0])


def test_addresses_of_two_rounds_are_not_0_together() -> None:
    code = (
        insn(0x71, 8, 1)
        + insn(0xB7, 9)
        + LOOKUP  # in both rounds
        + insn(0x55, 9, 0, 5)
        + insn(0xBF, 6, 0)
        + insn(0x15, 8, 0, 3)
        + insn(0x15, 6, 0, 6)
        + insn(0xB7, 9, 0, 0, 1)
        + insn(0x05, 0, 0, -12)
        + insn(0xBF, 7, 0)  # of this round, or of the second one
        + insn(0x15, 6, 0, 2)
        + insn(0x79, 0, 7)
        + EXIT
        + ZERO
        + EXIT
    )
    assert "or 0: compare it with 0 before" in str(judge(code).problems[0])


def test_a_callback_that_moves_the_packet_leaves_no_address_in_it() -> None:
    code = (
        PACKET
        + insn(0xBF, 7, 2)
        + insn(0xBF, 4, 2)
        + insn(0x07, 4, 0, 0, 14)
        + insn(0x2D, 4, 3, 8)
        + insn(0xBF, 3, 1)
        + insn(0xB7, 1, 0, 0, 1)
        + wide(2, 7, src=4)
        + insn(0xB7, 4)
        + insn(0x85, 0, 0, 0, 181)
        + insn(0x71, 0, 7)
        + EXIT
        + ZERO
        + EXIT
        + insn(0xBF, 1, 2)
        + insn(0xB7, 2, 0, 0, 4)
        + insn(0x85, 0, 0, 0, 44)
        + ZERO
        + EXIT
    )
    assert "uses any number as an address" in str(judge(code, XDP_HELPERS).problems[0])
    still = code.replace(insn(0x85, 0, 0, 0, 44), insn(0x85, 0, 0, 0, 5))
    assert judge(still, XDP_HELPERS).proof.complete


def test_a_tail_call_keeps_no_record() -> None:
    code = (
        insn(0xBF, 6, 1)
        + RESERVE
        + insn(0x15, 0, 0, 9)
        + insn(0xBF, 7, 0)
        + insn(0xBF, 1, 6)
        + wide(2, 2, src=5)
        + insn(0xB7, 3)
        + GO_ON
        + insn(0xBF, 1, 7)
        + insn(0xB7, 2)
        + insn(0x85, 0, 0, 0, 132)
        + ZERO
        + EXIT
    )
    verdict = verify(analyse(decode(code)), MEMORY, [ARRAY, RING, PROGRAMS])
    assert "is neither submitted nor discarded" in str(verdict.fatal[0])


@pytest.mark.parametrize(
    ("ends", "context"),
    [(insn(0xBF, 6, 1) + insn(0x30), SOCKET), (wide(2, 0, src=5) + insn(0xB7, 3) + GO_ON, MEMORY)],
    ids=["by a packet that is too short", "by a tail call"],
)
def test_a_function_that_ends_early_returns_something_else(ends: bytes, context: Context) -> None:
    """Else the caller would take r0 to be what it is at the function's end: *(r10 + r0) = 1."""
    caller = insn(0x85, 0, 1, 0, 4) + insn(0x0F, 0, 10) + insn(0x7A, 0, 0, 0, 1) + ZERO + EXIT
    verdict = verify(analyse(decode(caller + ends + insn(0xB7, 0, 0, 0, -8) + EXIT)), context, [PROGRAMS])
    assert not verdict.fatal
    assert [problem.at for problem in verdict.problems] == [2]


def test_a_context_that_is_too_small_is_not_run() -> None:
    program = UserProgram.load(insn(0x79, 0, 1, 56) + EXIT, MEMORY)
    with pytest.raises(BpfError, match="its context has 8 bytes, not 64"):
        program.run(bytearray(8))


@pytest.mark.parametrize(
    "between",
    [
        insn(0x79, 2, 1, 8),  # loaded anew
        insn(0xBC, 3, 2) + insn(0x67, 3, 0, 0, 1),  # shifted
        insn(0x07, 3, 0, 0, -100),  # further away than what follows takes into account
        insn(0x85, 0, 0, 0, 5) + insn(0xBF, 2, 0) + insn(0xBF, 1, 6),  # clobbered
        insn(0x15, 2, 0, 1, 3) + insn(0x07, 2, 0, 0, 64),  # moved on one of two ways
    ],
)
def test_what_is_no_copy(between: bytes) -> None:
    compared = insn(0xBF, 3, 2) + between + ZERO + insn(0x35, 3, 0, 2, 64)
    code = insn(0xBF, 6, 1) + insn(0x79, 2, 1) + compared + insn(0x0F, 1, 2) + insn(0x71, 0, 1) + EXIT
    assert not judge(code).proof.complete


@pytest.mark.parametrize(
    "between",
    [
        insn(0x72, 10, 0, -5, 1),  # a byte of it
        insn(0x62, 10, 0, -8, 1),  # its half
        insn(0xBF, 4, 10) + insn(0x07, 4, 0, 0, -8) + insn(0x7B, 4, 1),  # by another address
        insn(0xB7, 4) + insn(0xDB, 10, 4, -8),  # atomically
        insn(0xBF, 7, 2)
        + insn(0xBF, 1, 10)
        + insn(0x07, 1, 0, 0, -8)
        + insn(0xB7, 2, 0, 0, 8)
        + insn(0xBF, 3, 6)
        + insn(0x85, 0, 0, 0, 112)
        + insn(0xBF, 2, 7)
        + insn(0xBF, 1, 6),  # by a helper
    ],
)
def test_what_is_no_copy_in_the_stack(between: bytes) -> None:
    spilled = insn(0xBF, 6, 1) + insn(0x79, 2, 1) + insn(0x7B, 10, 2, -8)
    compared = ZERO + insn(0x35, 2, 0, 3, 64) + insn(0x79, 3, 10, -8)
    assert judge(spilled + compared + insn(0x0F, 1, 3) + insn(0x71, 0, 1) + EXIT).proof.complete
    assert not judge(spilled + between + compared + insn(0x0F, 1, 3) + insn(0x71, 0, 1) + EXIT).proof.complete


def code_of(function: int, at: int) -> bytes:
    """r2 = the address of a function."""
    return wide(2, function - at - 1, src=4)


# r6 = a value of the map, or the program ends
VALUE = LOOKUP + insn(0x55, 0, 0, 2) + ZERO + EXIT + insn(0xBF, 6, 0)
# bpf_loop(4, FUNCTION, r10 - 16, 0)
LOOP = insn(0xB7, 1, 0, 0, 4) + insn(0xBF, 3, 10) + insn(0x07, 3, 0, 0, -16) + insn(0xB7, 4)


def looping(before: bytes, after: bytes, function: bytes) -> bytes:
    """A program that gives `function` the address of 16 bytes of its stack, over and over."""
    at = (len(before) + len(LOOP)) // 8
    return before + LOOP + code_of(at + 3 + len(after) // 8, at) + insn(0x85, 0, 0, 0, 181) + after + function


# stack[-16] = r6: what the callback uses, and what is used behind it
GIVE = VALUE + insn(0x7B, 10, 6, -16) + insn(0x7A, 10, 0, -8)
USE = insn(0x79, 1, 10, -16) + insn(0x79, 0, 1, 0) + ZERO + EXIT
COUNT = insn(0x79, 3, 2, 8) + insn(0x07, 3, 0, 0, 1) + insn(0x7B, 2, 3, 8)


def test_what_callbacks_leave_as_it_is() -> None:
    through = insn(0x79, 4, 2, 0) + insn(0x7A, 4, 0, 0, 7) + COUNT + ZERO + EXIT
    verdict = judge(looping(GIVE, USE, through))
    assert verdict.proof.complete, [str(problem) for problem in verdict.problems + verdict.fatal]
    # the second time round it is no address any more, nor behind the loop
    for after in (USE, ZERO + EXIT):
        verdict = judge(looping(GIVE, after, through[:-16] + insn(0x7A, 2, 0, 0, 1) + ZERO + EXIT))
        assert any("as an address" in str(one) for one in verdict.problems)
    verdict = judge(looping(GIVE, USE, insn(0x7B, 2, 1, 0) + ZERO + EXIT))
    assert any("as an address" in str(one) for one in verdict.problems)


def test_records_and_callbacks() -> None:
    before = RESERVE + insn(0x55, 0, 0, 2) + ZERO + EXIT + insn(0x7B, 10, 0, -16) + insn(0x7A, 10, 0, -8)
    submit = insn(0x79, 1, 10, -16) + insn(0xB7, 2) + insn(0x85, 0, 0, 0, 132) + ZERO + EXIT
    fill = insn(0x79, 4, 2, 0) + insn(0x7A, 4, 0, 8, 7) + ZERO + EXIT
    verdict = judge(looping(before, submit, fill))
    assert verdict.proof.complete, [str(problem) for problem in verdict.problems + verdict.fatal]
    early = insn(0x79, 1, 2, 0) + insn(0xB7, 2) + insn(0x85, 0, 0, 0, 132) + ZERO + EXIT
    verdict = judge(looping(before, submit, early))
    assert any("more or less reserved" in str(one) for one in verdict.fatal)
