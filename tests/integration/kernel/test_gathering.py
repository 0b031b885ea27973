"""The agent, the command line and the documentation take kernel segments as they take others."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.integration.kernel.conftest import HERE, Compile
from tests.integration.kernel.subject import Subject
from wbpf.agent.segments import Attached, Segments
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings
from wbpf.build import compile_bpf

Start = Callable[..., Subject]
DOCUMENT = HERE.parents[2] / "docs/kernel-chunks.md"


def test_the_agent_finds_and_reads_them(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    with Object.open(compiled("syscalls", variant)) as probe, KernelRings(probe, "syscalls") as rings:
        probe.programs["on_enter"].attach()
        traced = subject()
        rings.follow()
        (one,) = traced.ask("traces", 1, 5)
        attached: list[Attached] = []
        segments = Segments(directory / "h1", attached.append, attached.remove)
        segments.scan()
        (kernel,) = [item for item in attached if item.path == rings.path]
        kernel.calibrate()
        kernel.watch.add([bytes.fromhex(one)])
        pieces, lost_until, _ = kernel.poll()
        kernel.read_schemas()
        names = set(kernel.descriptors.values())
        pids = {kernel.process(piece.process, 0.0)[1] for piece in pieces}
        assert kernel.status().refused == 0
        assert not segments.faults
        segments.close()

    assert len(pieces) >= 5
    assert lost_until == 0
    assert names == {"syscall.enter number:u64"}
    assert pids == {traced.pid}


def test_a_dump_of_the_segment(compiled: Compile, directory: Path, subject: Start) -> None:
    with Object.open(compiled("syscalls")) as probe, KernelRings(probe, "syscalls") as rings:
        probe.programs["on_enter"].attach()
        traced = subject()
        rings.follow()
        (one,) = traced.ask("traces", 1, 5)
        command = [sys.executable, "-m", "wbpf.cli", "segment", "dump", str(rings.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "syscall.enter" in done.stdout
    assert one[:12] in done.stdout


def test_the_program_of_the_documentation(compiled: Compile, directory: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```c\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    source = tmp_path / "syscalls.bpf.c"
    source.write_text(blocks[0])
    assert blocks[0] in (HERE / "syscalls.bpf.c").read_text(), "what is shown is what the other tests run"
    with (
        Object.open(compile_bpf(source, tmp_path / "syscalls.o")) as probe,
        KernelRings(probe, "shown", ring_kib=1024),
    ):
        probe.programs["on_enter"].attach()
    assert compiled("syscalls").exists()
