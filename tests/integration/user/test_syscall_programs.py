"""opensnoop and execve tell the same of the same commands on both backends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wbpf.bpf import features
from wbpf.build import Project, build

PROGRAMS = Path(__file__).parents[3] / "programs"
pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="needs x86-64: the kernel dispatches system calls there alone"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("both")


def module(folder: Path, name: str) -> Path:
    out = folder / f"{name}.wasm"
    return out if out.exists() else build(Project.load(PROGRAMS / name), out).path


def in_user_space(app: Path, command: list[str], folder: Path) -> list[Mapping[str, Any]]:
    environ = {**os.environ, "WBPF_DIR": str(folder / "wbpf"), "WBPF_HOST": "both"}
    told = folder / "events"
    with told.open("w") as output:
        wbpf = [sys.executable, "-m", "wbpf.cli", "run", "--backend", "user", "--allow", "all", "-o", "json"]
        # The command prints to the same place; it prints nothing.
        subprocess.run([*wbpf, app, "--", *command], stdout=output, env=environ, check=True, timeout=60)
    return [json.loads(line) for line in told.read_text().splitlines()]


def in_the_kernel(app: Path, command: list[str], last: str) -> list[Mapping[str, Any]]:
    """What is told of a command of this name, until `last` is among it."""
    from tests.integration.programs.conftest import traced, wait_for

    def mark() -> None:
        subprocess.run(["/bin/true", "canary"], check=True)

    with traced(app, mark) as events:
        process = subprocess.Popen(command)
        process.wait()
        wait_for(lambda: any(last in str(event) for event in events))
    return [event for event in events if event["pid"] == process.pid]


@pytest.fixture
def kernel() -> None:
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")


def test_opensnoop(folder: Path, tmp_path: Path, kernel: None) -> None:
    app = module(folder, "opensnoop")
    for number in range(0, 40, 2):
        (tmp_path / f"file{number}").write_text("")
    code = (
        "import os\nfor n in range(40):\n"
        f"    try: os.close(os.open('{tmp_path}/file%d' % n, os.O_NOFOLLOW))\n"
        "    except FileNotFoundError: pass\n"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    fields = ("uid", "comm", "result", "flags", "filename")

    def of(events: list[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        mine = [event for event in events if str(event["filename"]).startswith(f"{tmp_path}/file")]
        return [tuple(event[field] for field in fields) for event in mine]

    user, real = of(in_user_space(app, command, tmp_path)), of(in_the_kernel(app, command, "file39"))
    assert user == real
    assert len(user) == 40


def test_execve(folder: Path, tmp_path: Path, kernel: None) -> None:
    app = module(folder, "execve")
    script = "/nonexistent/one 2>/dev/null; exec /bin/true some words"
    command = ["/bin/sh", "-c", f"exec /bin/sh -c '{script}'"]
    fields = ("uid", "comm", "result", "filename", "arguments")

    def of(events: list[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        mine = [event for event in events if event["filename"] in ("/bin/true", "/bin/sh")]
        return [tuple(event[field] for field in fields) for event in mine][-2:]

    user = of(in_user_space(app, command, tmp_path))
    assert user == of(in_the_kernel(app, command, "some words"))
    assert [event[-2:] for event in user][-1] == ("/bin/true", "/bin/true some words")
