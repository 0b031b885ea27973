"""Records of a program in the kernel carry the trace that the thread worked on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wbpf._native
from tests.integration.kernel.conftest import Compile
from tests.integration.kernel.subject import PYTHON, Gathered, Subject
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings

C_ROOT = Path(wbpf._native.__file__).parent / "_c"
Start = Callable[..., Subject]


@pytest.fixture
def rings(compiled: Compile, variant: str, directory: Path) -> Iterator[KernelRings]:
    """System calls of traces, recorded."""
    with (
        Object.open(compiled("syscalls", variant)) as probe,
        KernelRings(probe, "syscalls", ring_kib=256) as rings,
    ):
        probe.programs["on_enter"].attach()
        yield rings


def test_each_call_is_in_the_trace_that_was_current(rings: KernelRings, subject: Start) -> None:
    traced = subject()
    rings.follow()

    ids = traced.ask("traces", 20, 7)

    gathered = Gathered(rings.path, ids)
    assert len(set(ids)) == 20
    for one in ids:
        assert gathered.calls(one) == [(traced.pid, traced.pid)] * 7
    assert gathered.lost_until == 0


def test_a_span_and_an_inner_trace_are_told_apart(rings: KernelRings, subject: Start) -> None:
    traced = subject()
    rings.follow()

    outer, inner = traced.ask("nested")

    gathered = Gathered(rings.path, [outer, inner])
    assert len(gathered.calls(outer)) == 3
    assert len(gathered.calls(inner)) == 1


def test_threads_have_a_trace_each(rings: KernelRings, subject: Start) -> None:
    traced = subject()
    rings.follow()

    made = traced.ask("threads", 8, 25)
    made += traced.ask("threads", 8, 25)  # in the slots that the first ones have given back

    gathered = Gathered(rings.path, [trace_id for _, trace_id in made])
    for tid, trace_id in made:
        assert gathered.calls(trace_id) == [(traced.pid, tid)] * 25


def test_a_child_in_mid_trace_is_in_none(rings: KernelRings, subject: Start) -> None:
    traced = subject()
    rings.follow()

    trace_id, parent, child = traced.ask("forked")

    assert parent == traced.pid
    assert child != parent
    assert Gathered(rings.path, [trace_id]).calls(trace_id) == [(parent, parent)]


def test_another_program_in_the_process_is_in_no_trace(rings: KernelRings, subject: Start) -> None:
    traced = subject()
    rings.follow()

    (trace_id,) = traced.ask("exec")
    assert traced.answer() is True, "the new program made its calls"

    assert len(Gathered(rings.path, [trace_id]).calls(trace_id)) == 1
    rings.follow()
    assert not rings.probe.maps["wbpf_processes"], "a process that became another program is not followed"


def test_processes_come_and_go(rings: KernelRings, subject: Start) -> None:
    followed = rings.probe.maps["wbpf_processes"]
    rings.follow()
    assert len(followed) == 0
    first, second = subject(), subject()
    rings.follow()
    assert {int.from_bytes(key, "little") for key in followed} == {first.pid, second.pid}
    first.end()
    rings.follow()
    assert {int.from_bytes(key, "little") for key in followed} == {second.pid}


def test_a_process_in_another_pid_namespace(rings: KernelRings, subject: Start) -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", *PYTHON]
    if subprocess.run([*command[:4], "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs pid namespaces: unshare --pid is refused")
    contained = subject(*command)
    rings.follow()

    ids = contained.ask("traces", 3, 4)

    children = Path(f"/proc/{contained.pid}/task/{contained.pid}/children").read_text().split()
    pid = int(children[0])
    gathered = Gathered(rings.path, ids)
    for one in ids:
        assert gathered.calls(one) == [(pid, pid)] * 4


def test_a_program_in_c(rings: KernelRings, subject: Start, tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("needs gcc: no such command")
    program = tmp_path / "traced"
    library = [f"{C_ROOT}/lib/libwbpf.a", "-pthread"]
    source = Path(__file__).with_name("traced.c")
    subprocess.run([compiler, "-O2", f"-I{C_ROOT}/include", source, "-o", program, *library], check=True)
    traced = subject(program)
    rings.follow()

    ids = traced.ask("go")

    gathered = Gathered(rings.path, ids)
    assert len(ids) == 10
    for one in ids:
        assert gathered.calls(one) == [(traced.pid, traced.pid)] * 5


def test_a_process_that_does_not_trace_leaves_nothing(rings: KernelRings) -> None:
    rings.follow()
    for _ in range(100):
        os.getppid()
    assert sum(row.records for row in rings.counters()) == 0


def test_without_storage_of_threads(
    compiled: Compile, directory: Path, subject: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on kernel 5.12: each record looks for its thread's slot anew."""
    monkeypatch.setattr(wbpf._native, "bpf_probe_helper", lambda program_type, helper: 0)
    with Object.open(compiled("syscalls")) as probe, KernelRings(probe, "anew") as rings:
        assert probe.maps["wbpf_threads"].fd < 0
        probe.programs["on_enter"].attach()
        traced = subject()
        rings.follow()
        made = traced.ask("threads", 4, 7)
        gathered = Gathered(rings.path, [one for _, one in made])
        for tid, one in made:
            assert gathered.calls(one) == [(traced.pid, tid)] * 7


def test_on_processors_that_reorder_stores(
    compiled: Compile, directory: Path, subject: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit word is then stored by an atomic exchange; this processor can do that too."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with Object.open(compiled("syscalls")) as probe, KernelRings(probe, "weak") as rings:
        probe.programs["on_enter"].attach()
        traced = subject()
        rings.follow()
        (one,) = traced.ask("traces", 1, 7)
        assert Gathered(rings.path, [one]).calls(one) == [(traced.pid, traced.pid)] * 7
