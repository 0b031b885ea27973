"""What the verifier knows of several values together, as real programs need it."""

from __future__ import annotations

import struct

import pytest

from tests.unit.bpf.user.programs import insn, wide
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.verifier import Context, Field, MapModel, Verdict, verify

EXIT, ZERO = insn(0x95), insn(0xB7)
XDP = Context(24, {0: (4, Field.PACKET), 4: (4, Field.PACKET_END)}, family="xdp")
MEMORY = Context(64, memory=True)
ARRAY = MapModel("numbers", 2, 4, 64, 16, inline=64)
VALUE = wide(1, 0, src=6)
Part = bytes | str | tuple[bytes, str]


def program(*parts: Part) -> bytes:
    """Instructions; `(jump, "place")` goes to what follows the text "place"."""
    places: dict[str, int] = {}
    at = 0
    for part in parts:
        if isinstance(part, str):
            places[part] = at
        else:
            at += len(part if isinstance(part, bytes) else part[0]) // 8
    code = b""
    for part in parts:
        if isinstance(part, bytes):
            code += part
        elif isinstance(part, tuple):
            jump, place = part
            distance = places[place] - len(code) // 8 - 1
            far = jump[0] in (0x85, 0x18)
            code += (
                jump[:4] + struct.pack("<i", distance) + jump[8:]
                if far
                else jump[:2] + struct.pack("<h", distance) + jump[4:]
            )
    return code


def judge(code: bytes, context: Context = XDP) -> Verdict:
    return verify(analyse(decode(code)), context, [ARRAY])


def assert_proved(code: bytes, context: Context = XDP) -> None:
    verdict = judge(code, context)
    assert verdict.proof.complete, [str(problem) for problem in verdict.problems + verdict.fatal]


#: r6 and r7: where the packet begins and ends; r8: a number of it
PACKET: tuple[Part, ...] = (
    insn(0x61, 6, 1, 0) + insn(0x61, 7, 1, 4) + insn(0xBF, 2, 6) + insn(0x07, 2, 0, 0, 14),
    (insn(0x2D, 2, 7), "out"),
    insn(0x71, 8, 6, 0),
)
OUT: tuple[Part, ...] = ("out", ZERO + EXIT)
CALL = insn(0x85, 0, 1)
#: r1 + r2, if 4 bytes are there before r3, else 0
ADVANCE: tuple[Part, ...] = (
    "advance",
    insn(0x0F, 1, 2) + insn(0xBF, 4, 1) + insn(0x07, 4, 0, 0, 4) + ZERO,
    (insn(0x2D, 4, 3), "short"),
    insn(0xBF, 0, 1),
    "short",
    EXIT,
)


@pytest.mark.parametrize(("at", "proved"), [(0, True), (3, True), (4, False)])
def test_one_instruction_may_lead_to_several_places_in_a_packet(at: int, proved: bool) -> None:
    """A function that is called for the outer header and for the inner one."""
    code = program(
        *PACKET,
        insn(0xBF, 1, 6) + insn(0xBF, 2, 8) + insn(0xBF, 3, 7),
        (CALL, "advance"),
        (insn(0x15), "out"),
        insn(0xBF, 9, 0) + insn(0xBF, 1, 0) + insn(0xBF, 2, 8) + insn(0xBF, 3, 7),
        (CALL, "advance"),
        (insn(0x15), "out"),
        insn(0x71, 1, 0, at) + insn(0x71, 0, 9, at) + EXIT,
        *OUT,
        *ADVANCE,
    )
    verdict = judge(code)
    assert verdict.proof.complete is proved
    if not proved:
        assert "bytes 4..5 of the packet may not be there" in str(verdict.problems[0])


def test_what_a_function_returns_goes_with_what_it_left_behind() -> None:
    """`if (f(&x) < 0) return 0; return value[x];`, in C."""
    address = insn(0xBF, 1, 10) + insn(0x07, 1, 0, 0, -8)
    code = program(
        insn(0x71, 2, 1) + insn(0x7A, 10, 0, -8, -1) + address,
        (CALL, "set"),
        (insn(0xC5), "out"),
        insn(0x79, 2, 10, -8) + VALUE + insn(0x0F, 1, 2) + insn(0x71, 0, 1) + EXIT,
        *OUT,
        "set",
        (insn(0x25, 2, 0, 0, 63), "large"),
        insn(0x7B, 1, 2) + ZERO + EXIT,
        "large",
        insn(0xB7, 0, 0, 0, -1) + EXIT,
    )
    assert_proved(code, MEMORY)


@pytest.mark.parametrize(
    ("back", "proved"),
    [
        (0, True),
        (1, False),  # behind what was compared
        (-1, False),  # before: how far it went is not known
    ],
)
def test_a_cursor_that_goes_on_is_known_by_what_is_behind_it(back: int, proved: bool) -> None:
    """`for (i = 0; i < 5000; i++) { if (p + 1 > end) break; sum += *p; p += 1; }`, more than are followed."""
    code = program(
        *PACKET,
        insn(0xB7, 5),
        "again",
        insn(0xBF, 4, 6) + insn(0x07, 4, 0, 0, 1),
        (insn(0x2D, 4, 7), "out"),
        insn(0x71, 3, 6, back),
        insn(0xBF, 6, 4) + insn(0x07, 5, 0, 0, 1),
        (insn(0xA5, 5, 0, 0, 5000), "again"),
        *OUT,
    )
    assert judge(code).proof.complete is proved


def test_addresses_that_are_0_together_are_so_in_each_state() -> None:
    """`a = f(0), b = f(1); if (!a || !b) return 0; return *a + *b`, looked up by one instruction."""
    use = insn(0x71, 1, 9) + insn(0x71, 1, 8) + ZERO + EXIT
    parts: tuple[Part, ...] = (
        (CALL, "look"),
        insn(0xBF, 9, 0),
        (CALL, "look"),
        insn(0xBF, 8, 0),
        (insn(0x15, 9), "out"),
    )
    look: tuple[Part, ...] = (
        *OUT,
        "look",
        insn(0x62, 10, 0, -4, 3) + insn(0xBF, 2, 10) + insn(0x07, 2, 0, 0, -4),
        wide(1, 0, src=5) + insn(0x85, 0, 0, 0, 1) + EXIT,
    )
    assert_proved(program(*parts, (insn(0x15, 8), "out"), use, *look))
    verdict = judge(program(*parts, use, *look))
    assert "or 0: compare it with 0 before" in str(verdict.problems[0])
