"""Random programs: the interpreter, translated code with and without checks, and the kernel agree."""

from __future__ import annotations

import random

import pytest

from tests.unit.bpf.user import kernel_run
from tests.unit.bpf.user.interpreter import Machine
from tests.unit.bpf.user.programs import MEMORY_BYTES, Maker, insn
from tests.unit.bpf.user.unproved import load_unproved
from wbpf.bpf.user.program import ProgramSpec, load_programs
from wbpf.bpf.user.verifier import Context

PROLOGUE = insn(0xBF, 6, 1)
CONTEXT = Context(MEMORY_BYTES, memory=True)


TOGETHER = 50  # in one compilation


def interpreted(code: bytes, seed: int) -> tuple[int, bytes]:
    """What the interpreter makes of a program: r0 and the memory."""
    memory = bytearray(random.Random(seed).randbytes(MEMORY_BYTES))
    return Machine(code, memory).run(), bytes(memory)


def check(seeds: range, *, kernel: bool) -> None:
    """Compare programs."""
    specs = {str(seed): ProgramSpec(Maker(seed).program(PROLOGUE), CONTEXT) for seed in seeds}
    for name, program in load_programs(specs).items():
        seed = int(name)
        value, memory = interpreted(specs[name].code, seed)
        context = bytearray(random.Random(seed).randbytes(MEMORY_BYTES))
        assert program.is_proved
        assert (program.run(context).value, context) == (value, memory), f"seed {seed}"
        if kernel:
            packet = random.Random(seed).randbytes(MEMORY_BYTES)
            result = kernel_run.run(Maker(seed).program(kernel_run.PROLOGUE), packet)
            assert result == (value & 0xFFFFFFFF, memory), f"seed {seed} in the kernel"


@pytest.fixture(scope="module")
def kernel() -> bool:
    try:
        kernel_run.run(kernel_run.PROLOGUE + insn(0xB7) + insn(0x95), bytes(MEMORY_BYTES))
    except PermissionError:
        return False
    return True


def test_the_kernel_can_be_asked(kernel: bool) -> None:
    if not kernel:
        pytest.skip("needs the right to load eBPF programs: random programs are not compared with the kernel")


@pytest.mark.parametrize("part", range(20))
def test_random_programs_of_all_parts(part: int, kernel: bool) -> None:
    for first in range(part * 500, (part + 1) * 500, TOGETHER):
        check(range(first, first + TOGETHER), kernel=kernel)


def test_code_with_checks() -> None:
    """The same without proofs: every access and every jump back is checked."""
    for seed in range(20_000, 20_060):
        code = Maker(seed).program(PROLOGUE)
        program = load_unproved(code, CONTEXT)
        assert not program.is_proved
        context = bytearray(random.Random(seed).randbytes(MEMORY_BYTES))
        value, memory = interpreted(code, seed)
        assert (program.run(context).value, context) == (value, memory), f"seed {seed}"
