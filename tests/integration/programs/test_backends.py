"""Programs of programs/ on both backends: on the same input the same output."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.programs.conftest import PROGRAMS, Built, Event, traced, wait_for
from tests.integration.programs.running import frame, ip, own_network, send_frames
from wbpf.build import Project
from wbpf.cli.app import main
from wbpf.wasm.filters import Filter

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
RUN = (sys.executable, "-m", "wbpf.cli", "run", "--allow", "all", "-o", "json")
ROW = re.compile(r"^\| \[(\w+)\]\(\1/README\.md\) \| (.*) \| (yes|no)\b.*\|$", re.MULTILINE)
#: What is executed until a run in the kernel has seen it.
CANARY = "/nonexistent/canary"
FIELDS = ("comm", "filename", "result", "flags", "uid")


def test_opensnoop(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = built("opensnoop")
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    command = ["cat", *(str(tmp_path / name) for name in ("one", "missing", "two"))]

    def told(events: list[dict[str, object]]) -> list[dict[str, object]]:
        mine = [one for one in events if str(one["filename"]).startswith(f"{tmp_path}/")]
        return [{name: one[name] for name in FIELDS} for one in mine]

    user = subprocess.run(
        [*RUN, "--backend", "user", module, "--", *command], capture_output=True, text=True, check=False
    )
    assert user.returncode == 1, user.stderr  # cat's own: a file is missing
    in_user_space = told([json.loads(line) for line in user.stdout.splitlines()])
    assert [one["result"] for one in in_user_space] == [3, -2, 3]

    def canary() -> object:
        return subprocess.run(["cat", tmp_path / "canary"], capture_output=True, check=False)

    with traced(module, canary, Filter(comm="cat")) as events:
        events.clear()
        subprocess.run(command, capture_output=True, check=False)
        wait_for(lambda: any(str(one["filename"]).endswith("/two") for one in events))
        in_kernel = [one for one in told(events) if not str(one["filename"]).endswith("/canary")]
    assert in_user_space == in_kernel


class Run:
    """`wbpf run`, whose events go to a file."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self.process, self._out = process, out

    def told(self) -> list[Event]:
        """Its events so far, without their times and the ids of processes."""
        events = [json.loads(line) for line in self._out.read_text().splitlines() if line.endswith("}")]
        told = [{name: one[name] for name in one if name not in ("time", "pid")} for one in events]
        return [one for one in told if one.get("filename") != CANARY]

    def has_seen(self, text: str) -> bool:
        """Whether an event, or what it logged, has a text."""
        return text in self._out.read_text() or text in self._out.with_suffix(".log").read_text()


@contextmanager
def running(out: Path, *arguments: object) -> Iterator[Run]:
    """A run; ended as by Ctrl-C, if it does not end by itself."""
    log = out.with_suffix(".log")
    with out.open("wb") as events, log.open("wb") as errors:
        process = subprocess.Popen([*RUN, "-v", *map(str, arguments)], stdout=events, stderr=errors)
    try:
        yield Run(process, out)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130), log.read_text()
    finally:
        process.kill()
        process.wait()


def test_execve(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    module, shell = built("execve"), tmp_path / "a_shell"
    shutil.copy("/bin/sh", shell)
    script = "/bin/true some words; /nonexistent/one 2>/dev/null; /bin/echo 1 >/dev/null; exec /bin/echo last"
    command = [shell, "-c", script]
    by_name = (module, "--comm", shell.name)
    with running(tmp_path / "kernel", "--backend", "kernel", *by_name) as kernel:
        canary = [shell, "-c", f"{CANARY} 2>/dev/null"]
        wait_for(lambda: (subprocess.run(canary, check=False), kernel.has_seen(CANARY))[1])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wait_for(lambda: "echo last" in str(kernel.told()))
    with running(tmp_path / "user", "--backend", "user", *by_name, "--", *command) as user:
        assert user.process.wait(30) == 0
    assert user.told() == kernel.told()
    assert [(one["result"], one["filename"]) for one in user.told()] == [
        (0, "/bin/true"),
        (-2, "/nonexistent/one"),
        (0, "/bin/echo"),
        (0, "/bin/echo"),
    ]


def test_sockfilter(built: Built, tmp_path: Path) -> None:
    """Both at the same time, on the same packets."""
    module, numbers = built("sockfilter"), random.Random(7)
    ports = [(numbers.randrange(1, 9), numbers.randrange(1, 9)) for _ in range(100)]
    frames = [frame(numbers.choice((1, 6, 17)), ports=one, content=numbers.randrange(40)) for one in ports]
    with own_network():
        ip("link add near type veth peer name far", "link set near up", "link set far up")
        user_run = running(tmp_path / "user", "--backend", "user", module, "--interface", "packet:near")
        kernel_run = running(tmp_path / "kernel", "--backend", "kernel", module, "--interface", "near")
        with user_run as user, kernel_run as kernel:
            wait_for(lambda: user.has_seen("attached") and kernel.has_seen("attached"))
            send_frames("far", *frames)
            send_frames("near", *frames[:7])
            wait_for(lambda: len(user.told()) >= 107 and len(kernel.told()) >= 107)
    assert user.told() == kernel.told()
    assert [one["direction"] for one in user.told()] == ["in"] * 100 + ["out"] * 7


def counted(rows: dict[str, str]) -> dict[str, list[int]]:
    """Packets, bytes and dropped ones by protocol, of all processors."""
    found = {}
    for key, value in rows.items():
        words = struct.unpack(f"<{len(value) // 16}Q", bytes.fromhex(value))
        found[key] = [sum(words[at::3]) for at in range(3)]
    return found


def test_xdp(built: Built) -> None:
    module, numbers = built("xdp"), random.Random(7)
    for size in (14, 60, 200):
        packet = (numbers.randbytes(12) + b"\x08\x00\x45" + numbers.randbytes(size))[:size]
        found = [
            subprocess.run(
                [*RUN, "--once", module, "--backend", backend, "--data", packet.hex()],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for backend in ("kernel", "user")
        ]
        kernel, user = map(json.loads, found)
        assert kernel["programs"] == user["programs"]
        assert counted(kernel["maps"]["counters"]) == counted(user["maps"]["counters"]) != {}


def test_the_table_of_programs(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    """What programs/README.md says of each is in its manifest, and what `wbpf check` says of it."""
    rows = ROW.findall((PROGRAMS / "README.md").read_text())
    assert [name for name, _, _ in rows] == sorted(one.parent.name for one in PROGRAMS.glob("*/wbpf.toml"))
    for name, description, in_user_space in rows:
        module = built(name)
        assert Project.load(PROGRAMS / name).spec.description == description
        main(["check", "--backend", "user", "-o", "json", str(module)])
        found = json.loads(capsys.readouterr().out)
        answers = {answer for row in found for answer in (row["loads"], row["attaches"])}
        assert ("no" in answers) == (in_user_space == "no"), (name, found)
