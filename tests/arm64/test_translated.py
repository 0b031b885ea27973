"""Programs translated for arm64, run in emulation: they do what those of x86-64 and the interpreter do."""

from __future__ import annotations

import itertools
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.arm64.emulation import ARCHITECTURES, ROOT
from tests.arm64.running import Script
from tests.unit.bpf.user.programs import MEMORY_BYTES, Maker, insn

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")

from tests.unit.bpf.user.test_differential import CONTEXT, PROLOGUE, interpreted
from tests.unit.bpf.user.test_instructions import CASES, EDGES
from tests.unit.bpf.user.test_instructions import CONTEXT as CASE_CONTEXT
from wbpf.bpf.elf import sections
from wbpf.bpf.user.blobs import Part, Translation
from wbpf.bpf.user.compiling import compile_blob
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.objects import UserObject
from wbpf.bpf.user.program import ProgramSpec, translate_programs
from wbpf.bpf.user.proof import Proof
from wbpf.bpf.user.slots import Slots, Stop
from wbpf.bpf.user.translate import translate
from wbpf.bpf.user.verifier import Context
from wbpf.build import compile_bpf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RANDOM_PROGRAMS = 400
BENCH, BENCH_BYTES = ROOT / "bench/user", 8192
OBJECTS = ROOT / "tests/integration/bpf"


def words(*numbers: int) -> bytes:
    return b"".join(struct.pack("<Q", number & (1 << 64) - 1) for number in numbers)


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_each_instruction() -> None:
    """On x86-64, `tests/unit/bpf/user/test_instructions.py` compares them with the interpreter."""
    specs = {name: ProgramSpec(code, CASE_CONTEXT) for name, code in CASES.items()}
    contexts = [words(a, b, a ^ b, ~b) for a, b in itertools.product(EDGES, repeat=2)]
    found = {}
    for arch in ARCHITECTURES:
        script = Script(arch)
        script.load(translate_programs(specs, arch), dict.fromkeys(specs, 0))
        for name, context in itertools.product(specs, contexts):
            script.run(name, context)
        answers, size = script.answers(), len(contexts) * (16 + CASE_CONTEXT.bytes)
        found[arch] = {name: answers.read(size) for name in specs}
        assert all(len(one) == size for one in found[arch].values())
    arm64, x86 = (found[arch] for arch in ARCHITECTURES)
    assert [name for name in specs if arm64[name] != x86[name]] == []


def test_random_programs() -> None:
    script, codes = Script("aarch64"), dict[str, bytes]()
    for first in range(50_000, 50_000 + RANDOM_PROGRAMS, 50):
        specs = {
            str(seed): ProgramSpec(Maker(seed).program(PROLOGUE), CONTEXT)
            for seed in range(first, first + 50)
        }
        script.load(translate_programs(specs, "aarch64"), dict.fromkeys(specs, 0))
        codes |= {name: spec.code for name, spec in specs.items()}
    check_by_interpreter(script, codes)


def test_code_with_checks() -> None:
    script, codes = Script("aarch64"), dict[str, bytes]()
    for seed in range(60_000, 60_040):
        codes[str(seed)] = Maker(seed).program(PROLOGUE)
        script.load(unproved(str(seed), codes[str(seed)]), {str(seed): 0})
    check_by_interpreter(script, codes)


def check_by_interpreter(script: Script, codes: dict[str, bytes]) -> None:
    """Run programs that are loaded, on memory by their names, and compare."""
    for name in codes:
        script.run(name, random.Random(int(name)).randbytes(MEMORY_BYTES))
    answers = script.answers()
    for name, code in codes.items():
        value, memory = interpreted(code, int(name))
        assert answers.read(16 + MEMORY_BYTES) == words(0, value) + memory, f"seed {name}"


def test_programs_are_stopped() -> None:
    """By checks, in the middle of a call, and with their registers lost."""
    outside, for_ever = insn(0x79, 0, 1, 32), insn(0x05, 0, 0, -1)
    called = insn(0x85, 0, 1, 0, 1) + insn(0x95) + outside + insn(0x95)
    script = Script("aarch64")
    for name, code in {"outside": outside + insn(0x95), "for_ever": for_ever, "called": called}.items():
        script.load(unproved(name, code), {name: 0})
        script.run(name, bytes(32), fuel=1000)
    answers = script.answers()
    for stop, at in ((Stop.MEMORY, 0), (Stop.FUEL, 0), (Stop.MEMORY, 2)):
        assert answers.read(48) == words(stop, at) + bytes(32)


def test_programs_of_the_benchmark(tmp_path: Path) -> None:
    elf = sections(compile_bpf(BENCH / "programs.c", tmp_path / "programs.o").read_bytes())
    context = Context(BENCH_BYTES, memory=True)
    codes = {name.removeprefix("program/"): code for name, code in elf.items() if name.startswith("program/")}
    specs = {name: ProgramSpec(code, context, checks=True) for name, code in codes.items()}
    assert len(specs) > 10

    def work(script: Script) -> None:
        script.load(translate_programs(specs, script.arch), dict.fromkeys(specs, 0))
        for name, seed in itertools.product(specs, range(5)):
            script.run(name, random.Random(seed).randbytes(BENCH_BYTES))

    answers = check_alike(work)
    assert answers.startswith(words(0, 0)) and len(answers) == 5 * len(specs) * (16 + BENCH_BYTES)


def test_maps_and_helpers(tmp_path: Path) -> None:
    """What the kernel does is compared by `tests/integration/bpf/test_user_objects.py`.

    QEMU has no process_vm_readv, by which programs read memory that may not be there.
    """
    numbers = random.Random(6)
    frames = [numbers.randbytes(64) for _ in range(60)]
    with UserObject.open(compile_bpf(OBJECTS / "both.bpf.c", tmp_path / "both.o")) as one:
        one.variables["step"] = 3
        one.load()

        def work(script: Script) -> None:
            script.load_object(one)
            script.update("template", u32(0), words(123))
            script.refer("outer", 5, to_map="template")
            script.refer("tails", 0, program="leaf")
            script.refer("tails", 1, program="again")
            for frame in frames:
                script.run_on_frame("count", frame)
            for name in ("helpers", "call", "again", *["book"] * 3, *["record"] * 120, "emit"):
                script.run_on_frame(name, bytes(64))
            for key in range(8):
                for name in ("counts", "recent", "bytes_seen"):
                    script.look_up(name, u32(key))
            script.look_up("accounts", u32(1))

        answers = check_alike(work)
    assert answers.endswith(u32(5) + u32(0) + words(20, 2))  # as two of three runs of `book` left it


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Programs that are run in turn find the same per-CPU values."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_processor")
def test_maps_of_the_benchmark(tmp_path: Path) -> None:
    """Each program works three times on the elements by i * 7 of 1024, for i below 100."""
    each = {"hash": 8, "lru_hash": 8, "percpu_hash": 16, "array": 8, "percpu_array": 16}
    with UserObject.open(compile_bpf(BENCH / "maps.bpf.c", tmp_path / "maps.o")) as one:
        one.load()
        script = Script("aarch64")
        script.load_object(one)
        for name, key in itertools.product(("hash", "lru_hash", "percpu_hash"), range(1024)):
            script.update(name, u32(key), bytes(each[name]))
        script.update("lpm_trie", u32(1) + u32(0x80), words(0))  # addresses that begin with a bit of 1
        order = sorted(one.programs, key=lambda name: name.endswith("lookup"))
        for name in order * 3:
            script.run_on_frame(name, bytes(64))
        for name, key in itertools.product(each, range(1024)):
            script.look_up(name, u32(key))
        script.look_up("lpm_trie", u32(1) + u32(0x80))
        answers = script.answers()
    assert answers.read(16 * 3 * len(order)) == words(0, 0) * 3 * len(order)
    places = {i * 7 & 1023: i for i in range(100)}
    for name, key in itertools.product(each, range(1024)):
        found, *values = struct.unpack(f"<q{each[name] // 8}Q", answers.read(8 + each[name]))
        # An update stores i, and a lookup adds it; percpu_array has lookups alone.
        times = 3 if name == "percpu_array" else 2
        assert (found, sum(values)) == (0, times * places.get(key, 0)), f"{name}: {key}"
    found, value = struct.unpack("<qQ", answers.read())
    assert (found, value) == (0, 3 * sum(i for i in range(100) if i * 2654435761 & 0x80))


def test_probe_sites(tmp_path: Path) -> None:
    """A program gets a site's arguments while it is attached, and only then."""
    with UserObject.open(compile_bpf(Path(__file__).with_name("hit.bpf.c"), tmp_path / "hit.o")) as one:
        one.load()
        script = Script("aarch64")
        script.load_object(one)
        script.hit(1)
        script.attach("on_hit")
        for number in (5, 1 << 40 | 7):
            script.hit(number)
        script.detach(0)
        script.hit(2)
        script.look_up(".bss", u32(0))
        answers = script.answers().read()
    assert answers[:24] == words(1, 0, 0)  # sites, stopped, found
    *arguments, count, hits = struct.unpack("<8Q2Q", answers[24:])
    number = 1 << 40 | 7
    address = arguments.pop(3)
    assert arguments == [number, 7, (1 << 64) - 1, number + 1, number * 2, number ^ 5, 7]
    assert address and (count, hits) == (8, 2)


def check_alike(work: Callable[[Script], None]) -> bytes:
    """Have it done on both architectures, with the same answers; returns them."""
    scripts = [Script(arch) for arch in ARCHITECTURES]
    for script in scripts:
        work(script)
    arm64, x86 = (script.answers().read() for script in scripts)
    assert arm64 == x86
    return arm64


def unproved(name: str, code: bytes) -> Translation:
    """A program translated for arm64 as if nothing could be proved of it."""
    insns, slots = decode(code), Slots()
    text = translate(name, analyse(insns), slots, Proof())
    blob = compile_blob({name: text}, len(insns), "aarch64")
    return Translation(blob.code, {name: Part(blob.entries[name], tuple(slots.helpers), complete=False)})
