"""Random programs: the interpreter, translated code with and without checks, and the kernel agree."""

from __future__ import annotations

import random

import pytest

from tests.unit.bpf.user import kernel_run
from tests.unit.bpf.user.interpreter import Machine
from tests.unit.bpf.user.programs import MEMORY_BYTES, Maker, insn
from wbpf.bpf.user.program import UserProgram
from wbpf.bpf.user.verifier import Context

PROLOGUE = insn(0xBF, 6, 1)


def check(seed: int) -> None:
    """Compare one program with the interpreter."""
    code = Maker(seed).program(PROLOGUE)
    memory = random.Random(seed).randbytes(MEMORY_BYTES)
    expected_memory = bytearray(memory)
    expected = Machine(code, expected_memory).run()
    for checks in (False, True):
        program = UserProgram(code, Context(MEMORY_BYTES, memory=True), checks=checks)
        context = bytearray(memory)
        assert program.run(context).value == expected, f"seed {seed}"
        assert context == expected_memory, f"seed {seed}"


def test_random_programs() -> None:
    for seed in range(60):
        check(seed)


def test_the_kernel_agrees() -> None:
    try:
        kernel_run.run(kernel_run.PROLOGUE + insn(0xB7) + insn(0x95), bytes(MEMORY_BYTES))
    except PermissionError:
        pytest.skip("needs the right to load eBPF programs: run as root")
    for seed in range(300):
        memory = random.Random(seed).randbytes(MEMORY_BYTES)
        expected_memory = bytearray(memory)
        expected = Machine(Maker(seed).program(PROLOGUE), expected_memory).run() & 0xFFFFFFFF
        result = kernel_run.run(Maker(seed).program(kernel_run.PROLOGUE), memory)
        assert result == (expected, bytes(expected_memory)), f"seed {seed}"
