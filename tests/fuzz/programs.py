"""Hostile eBPF programs in user space: what is proved, or checked, stays in its memory and ends.

`python -m tests.fuzz.programs SECONDS [FIRST]`. Programs that the kernel would take are damaged, and others
are made of instructions at random, with addresses moved by numbers of all kinds. One that the verifier
proves is run by an interpreter that knows the bounds of its memory, and as machine code; both have to agree.
One that is run with checks may be stopped. Others use packets, maps and helpers: surroundings.py; or values
of maps without proofs: unproved.py.
`python -m tests.fuzz.programs renew SECONDS` chooses the corpus anew, which a test runs.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from tests.fuzz import surroundings, unproved
from tests.fuzz.running import main
from tests.unit.bpf.user.interpreter import Machine
from tests.unit.bpf.user.programs import MEMORY_BYTES, Maker, insn, wide
from tests.unit.bpf.user.unproved import load_unproved
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.program import UserProgram
from wbpf.bpf.user.verifier import Context, verify
from wbpf.errors import BpfError, WbpfError

CONTEXT = Context(MEMORY_BYTES, memory=True)
PROLOGUE = insn(0xBF, 6, 1)
_CANARY = b"\xa5" * 512
_STEPS = 200_000


def damaged(rng: random.Random) -> bytes:
    """A program that was right, with a few bytes or instructions changed."""
    code = bytearray(Maker(rng.getrandbits(32)).program(PROLOGUE))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(code) // 8) * 8
        match rng.randrange(5):
            case 0:
                code[at + rng.randrange(8)] ^= 1 << rng.randrange(8)
            case 1:
                code[at + 1] = rng.randrange(11) | rng.randrange(11) << 4
            case 2:
                code[at + 2 : at + 4] = rng.randrange(-20, 80).to_bytes(2, "little", signed=True)
            case 3:
                code[at + 4 : at + 8] = rng.choice((0, 1, 7, 63, 64, 255, -1)).to_bytes(
                    4, "little", signed=True
                )
            case 4:
                other = rng.randrange(len(code) // 8) * 8
                code[at : at + 8] = code[other : other + 8]
    return bytes(code)


def wild(rng: random.Random) -> bytes:
    """Addresses of the memory and of the stack, moved by what is masked, compared and loaded."""
    parts = [PROLOGUE, *(wide(n, rng.choice((0, 5, 63, -1, rng.getrandbits(64)))) for n in (0, 2, 3, 4, 5))]
    parts += [insn(0xBF, 7, 10), insn(0xBF, 8, 6), insn(0xB7, 9, 0, 0, rng.randrange(4))]
    parts += [insn(0x7A, 10, 0, slot, rng.randrange(99)) for slot in (-8, -16, -24) if rng.random() < 0.8]
    count = rng.randrange(4, 40)
    for n in range(count):
        dst, src = rng.randrange(10), rng.randrange(11)
        match rng.randrange(9):
            case 0:
                parts.append(insn(0x57, dst, 0, 0, rng.choice((1, 7, 31, 56, 63, 255))))
            case 1:
                parts.append(insn(rng.choice((0x0F, 0x1F)), dst, src))
            case 2:
                parts.append(insn(0x07, dst, 0, 0, rng.choice((-64, -8, -1, 1, 8, 32, 63, 64))))
            case 3:
                parts.append(
                    insn(
                        rng.choice((0x71, 0x69, 0x61, 0x79, 0x91)),
                        dst,
                        src,
                        rng.choice((-24, -16, -8, 0, 8, 56)),
                    )
                )
            case 4:
                parts.append(
                    insn(
                        rng.choice((0x73, 0x6B, 0x63, 0x7B)),
                        src % 10,
                        dst,
                        rng.choice((-24, -16, -8, 0, 8, 56)),
                    )
                )
            case 5:
                jump = rng.choice((0x2, 0x3, 0x5, 0x1, 0x6, 0xA, 0xB, 0xC, 0xD, 0x4)) << 4 | rng.choice(
                    (5, 6)
                )
                ahead = (
                    rng.randrange(-4, min(6, count - n))
                    if rng.random() < 0.3
                    else rng.randrange(min(6, count - n))
                )
                parts.append(insn(jump, dst, 0, ahead, rng.choice((0, 1, 8, 32, 63, 64, -1))))
            case 6:
                parts.append(insn(0xBF, dst, src))
            case 7:
                code = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 9, 0xA, 0xC)) << 4 | rng.choice((4, 7))
                parts.append(insn(code, dst, 0, 0, rng.choice((1, 2, 3, 8, 31))))
            case 8:
                parts.append(
                    insn(
                        rng.choice((0xDB, 0xC3)),
                        src % 10,
                        dst,
                        rng.choice((-8, 0)),
                        rng.choice((0, 1, 0xE1, 0xF1)),
                    )
                )
    return b"".join([*parts, insn(0xB7, 0) if rng.random() < 0.3 else b"", insn(0x95)])


def run(program: UserProgram, memory: bytes) -> tuple[int, bytes]:
    """Run machine code over memory that has something known around it."""
    whole = bytearray(_CANARY + memory + _CANARY)
    value = program.run(memoryview(whole)[len(_CANARY) : -len(_CANARY)], fuel=10_000).value
    assert whole.startswith(_CANARY) and whole.endswith(_CANARY), "it wrote beside its memory"
    return value, bytes(whole[len(_CANARY) : -len(_CANARY)])


def one_case(rng: random.Random, told: Counter[str]) -> None:
    """Make a program; prove it and run it, or run it with checks."""
    if rng.random() < 0.3:
        surroundings.one_case(rng, told)
        return
    if rng.random() < 0.2:
        unproved.one_case(rng, told)
        return
    make = damaged if rng.random() < 0.6 else wild
    memory = rng.randbytes(MEMORY_BYTES)
    for _ in range(8):
        code = make(rng)
        try:
            flow = analyse(decode(code))
            break
        except WbpfError:
            told["no program"] += 1
    else:
        return
    verdict = verify(flow, CONTEXT)
    if verdict.fatal:
        told["refused"] += 1
        return
    if not verdict.proof.complete:
        told["not proved"] += 1
        if rng.random() < 0.2:
            for load in (
                lambda: UserProgram.load(code, CONTEXT, checks=True),
                lambda: load_unproved(code, CONTEXT),
            ):
                try:
                    run(load(), memory)
                    told["checked"] += 1
                except BpfError:
                    told["stopped"] += 1
        return
    expected_memory = bytearray(memory)
    try:
        expected = Machine(code, expected_memory).run(_STEPS)
    except TimeoutError:
        told["long"] += 1
        return
    told["proved"] += 1
    if rng.random() < 0.3:
        value, after = run(UserProgram.load(code, CONTEXT), memory)
        same = (value, after) == (expected, bytes(expected_memory))
        # What computes with addresses differs, for memory lies elsewhere at every run.
        assert same or _copies_addresses(code, memory, rng)
        told["the same" if same else "by addresses"] += 1


def _copies_addresses(code: bytes, memory: bytes, rng: random.Random) -> bool:
    """Whether what it computes depends on addresses: it is run with its memory in many places."""
    results = set()
    for by in (0, *(rng.getrandbits(rng.choice((16, 32, 47))) for _ in range(64))):
        machine = Machine(code, bytearray(memory))
        machine.shift(by)
        results.add((machine.run(_STEPS), bytes(machine.memory)))
    return len(results) > 1


if __name__ == "__main__":
    if sys.argv[1] == "renew":
        surroundings.renew(float(sys.argv[2]), lambda rng: (damaged if rng.random() < 0.6 else wild)(rng))
    else:
        main(one_case)
