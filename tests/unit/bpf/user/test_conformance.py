"""The plugin of the public conformance suite, driven as its runner does it; calls of a numbered register."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest

from tests.unit.bpf.user.programs import insn, wide
from wbpf.bpf.user.conformance import main
from wbpf.bpf.user.flow import resolve_calls
from wbpf.bpf.user.isa import decode

EXIT = insn(0x95)
LENGTH = insn(0xBF, 0, 2) + EXIT
FIRST_BYTES = insn(0x61, 0, 1, 0) + EXIT
#: What the runner puts before programs for packets: r1 the packet, r2 its length.
PROLOGUE = (
    insn(0xB7, 0, 0, 0, -1)
    + insn(0xBF, 6, 1)
    + insn(0x61, 1, 6, 0)
    + insn(0x61, 2, 6, 4)
    + insn(0xBF, 3, 1)
    + insn(0x07, 3, 0, 0, 4)
    + insn(0xBD, 3, 2, 1)
    + EXIT
    + insn(0xB7, 2, 0, 0, 4)
)


def spaced(data: bytes) -> str:
    """As the runner writes bytes: two blanks behind each."""
    return "".join(f"{byte:02x}  " for byte in data)


def elf_file(name: str, code: bytes) -> bytes:
    """An object file with one section of a program."""
    names = b"\0.strtab\0" + name.encode() + b"\0"
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 247, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 1
    )
    start = 64 + 3 * 64
    table = bytes(64)
    table += struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, start, len(names), 0, 0, 1, 0)
    table += struct.pack("<IIQQQQIIQQ", 9, 1, 6, 0, start + len(names), len(code), 0, 0, 8, 0)
    return header + table + names + code


def run(args: list[str], code: bytes, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status and r0, or the error."""
    status = main(args, io.StringIO(spaced(code) + "\n"))
    out, error = capsys.readouterr()
    assert bool(out) == (status == 0), (out, error)
    return status, (out or error).strip()


@pytest.mark.parametrize(
    ("args", "code", "r0"),
    [
        ([spaced(b"\1\2\3\4")], FIRST_BYTES, "4030201"),
        ([spaced(bytes(8))], LENGTH, "8"),
        ([], LENGTH, "0"),
        (["", ""], LENGTH, "0"),
        (["--debug"], LENGTH, "0"),
        ([spaced(b"\1\2\3\4"), "--jit"], FIRST_BYTES, "4030201"),
        ([spaced(b"\1\2\3\4"), "--elf"], elf_file(".text", FIRST_BYTES), "4030201"),
        ([spaced(b"\1\2\3\4"), "--elf"], elf_file("xdp", PROLOGUE + FIRST_BYTES), "4030201"),
        ([spaced(b"\1\2\3\4"), "--xdp"], PROLOGUE + FIRST_BYTES, "4030201"),
        ([], wide(0, 0xFFFFFFFFFFFFFF80) + EXIT, "ffffffffffffff80"),
    ],
)
def test_what_the_runner_passes_is_understood(
    args: list[str], code: bytes, r0: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args, code, capsys) == (0, r0)


def test_the_program_may_be_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--program", spaced(LENGTH), spaced(bytes(3))], b"", capsys) == (0, "3")
    assert run([spaced(bytes(3)), "--program", spaced(LENGTH)], b"", capsys) == (0, "3")


@pytest.mark.parametrize(
    ("args", "code", "part"),
    [
        (["--elf"], elf_file("socket", LENGTH), "neither a section xdp nor .text"),
        (["--elf"], LENGTH, "not an eBPF object"),
        (["zz"], LENGTH, "not hexadecimal"),
        ([], insn(0x85, 0, 2, 0, 42) + EXIT, "no kernel functions"),
        ([], FIRST_BYTES, "memory that is not its own"),
    ],
)
def test_what_can_not_be_run_is_an_error(
    args: list[str], code: bytes, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = run(args, code, capsys)
    assert status == 1
    assert part in error


def test_a_register_may_hold_the_number_of_a_helper(capsys: pytest.CaptureFixture[str]) -> None:
    kept = insn(0xB7, 6, 0, 0, 1)
    number = insn(0xB7, 2, 0, 0, 5)  # bpf_ktime_get_ns
    call = insn(0x8D, 2)
    rest = insn(0x95)
    status, first = run([], kept + number + call + rest, capsys)
    assert status == 0
    assert int(run([], kept + number + call + rest, capsys)[1], 16) > int(first, 16) > 0
    # Of these no one number is known where the call is.
    other = insn(0xB7, 2, 0, 0, 7)
    for code in (
        kept + number + insn(0x15, 6, 0, 1, 1) + other + call + rest,
        kept + number + insn(0x07, 2, 0, 0, 1) + call + rest,
        kept + number + insn(0x85, 0, 0, 0, 7) + call + rest,
        kept + insn(0xB7, 2, 0, 0, 999) + call + rest,
    ):
        assert run([], code, capsys)[0] == 1


def test_only_calls_of_a_number_just_set_are_resolved() -> None:
    jump = insn(0x05, 0, 0, 1)
    code = insn(0xB7, 2, 0, 0, 5) + jump + insn(0xB7, 2, 0, 0, 6) + insn(0x8D, 2) + EXIT
    plain = decode(code)
    assert resolve_calls(plain) == plain
    straight = decode(insn(0xB7, 2, 0, 0, 5) + insn(0x7B, 10, 2, -8) + insn(0x8D, 2) + EXIT)
    called = replace(straight[2], opcode=0x85, dst=0, imm=5)
    assert resolve_calls(straight) == [*straight[:2], called, straight[3]]
