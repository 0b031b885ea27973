"""The commands in programs/*/README.md, and in the page of a new project, do what is shown there.

What they print differs from run to run: columns, fields and details are compared. An error is compared to the
letter; UPDATE_GOLDEN=1 puts into the page what is printed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.languages import NAMES, demand
from tests.integration.programs.conftest import PROGRAMS, Built
from tests.integration.programs.running import HERE, frame, ip, own_network, send_frames
from tests.integration.programs.test_connections import Connecting

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TCP, UDP = 6, 17
Act = Callable[[], object]


@dataclass(frozen=True)
class Shown:
    """A command of a page, and what is printed below it."""

    page: Path
    command: str
    output: str

    @property
    def is_error(self) -> bool:
        return "\n  try: " in self.output


def shown(page: Path) -> list[Shown]:
    parts = [
        re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:] for block in BLOCK.findall(page.read_text())
    ]
    return [
        Shown(page, command, output)
        for block in parts
        for command, output in zip(block[::2], block[1::2], strict=True)
    ]


COMMANDS = [one for page in sorted(PROGRAMS.glob("*/README.md")) for one in shown(page)]
RUNS = [one for one in COMMANDS if " run " in one.command]
#: The others take seconds each, most of them for building.
QUICK = ("opensnoop", "kprobe", "xdp")


# ---- what a program is to see: one round of it, called until there is some output ----


@contextmanager
def acting(program: str, folder: Path) -> Iterator[Act]:
    """Makes what there is to trace, with the names that the page has."""
    with ExitStack() as stack:
        match program:
            case "netmon" | "sockfilter" | "xdp":
                stack.enter_context(own_network())
                ip("link add veth0 type veth peer name veth1", "link set veth0 up", "link set veth1 up")
                ports = [frame(TCP, ports=(7001, 5)), frame(UDP, ports=(5, 9))]
                yield lambda: (send_frames("veth0", *ports), send_frames("veth1", *ports))
            case "sockops":
                process = Connecting()
                stack.callback(process.close)
                (folder / "demo/cgroup.procs").write_text(str(process.pid))
                yield lambda: process.ask("connect 1 10")
            case "uprobe":
                subprocess.run(["cc", "-O1", "-o", folder / "called", HERE / "called.c"], check=True)
                yield lambda: subprocess.run(
                    ["./called"], cwd=folder, input=b"add 4\n", capture_output=True, check=True
                )
            case "biolatency":
                yield lambda: _write_and_sync(folder / "file")
            case "tcpconnlat":
                yield _connect
            case "opensnoop":
                yield lambda: subprocess.run(["cat", "/etc/hostname"], capture_output=True, check=True)
            case "bootstrap" | "execve":
                yield lambda: subprocess.run(
                    [shutil.copy("/bin/sh", folder / "demo"), "-c", "/bin/echo hello world; exit 3"],
                    capture_output=True,
                    check=False,
                )
            case "kprobe" | "lsm":
                yield lambda: None
            case _:
                assert program == "runqlat"
                yield lambda: time.sleep(0.01)


def _write_and_sync(path: Path) -> None:
    with path.open("wb") as file:
        file.write(os.urandom(4096))
        os.fsync(file.fileno())


def _connect() -> None:
    """By a thread that is called demo."""
    name = Path("/proc/thread-self/comm")
    before = name.read_text()
    name.write_text("demo")
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            pass
    finally:
        name.write_text(before)


# ---- running ----


def words_of(command: str) -> list[str]:
    """The command for this interpreter, without `sudo`."""
    words = shlex.split(command)
    words = words[1:] if words[0] == "sudo" else words
    assert words[0] == "wbpf"
    return [sys.executable, "-m", "wbpf", *words[1:]]


def run_shown(words: list[str], folder: Path, act: Act) -> tuple[int, str, str]:
    """Run it until it has printed a row, or for what it prints at its end, then interrupt it."""
    out, err = folder / "out", folder / "err"
    with out.open("wb") as to, err.open("wb") as to_err:
        process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=to, stderr=to_err)
    end = time.monotonic() + (2.5 if process.args[-1] == "7s" else 15)  # type: ignore[index]
    try:
        while process.poll() is None and time.monotonic() < end and len(out.read_text().splitlines()) < 2:
            act()
            time.sleep(0.1)
    finally:
        process.send_signal(2)
        status = process.wait(20)
    return status, out.read_text(), err.read_text()


def shape(output: str) -> tuple[list[str], set[str]]:
    """The names of columns or fields, and of details below a row."""
    first, *lines = output.splitlines()
    if first.startswith("{"):
        return list(json.loads(first)), set()
    details = (re.match(r"  (\w+)(?::| \()", line) for line in lines)
    return first.split(), {found[1] for found in details if found}


def program_of(one: Shown) -> str:
    return one.page.parent.name


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Path]:
    """A cgroup for the processes of sockops' page; `demo` in the folder."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if root is None:
        pytest.skip("needs cgroup2: it is not mounted")
    made = root / f"wbpf-readme-{os.getpid()}"
    made.mkdir()
    (tmp_path / "demo").symlink_to(made)
    yield made
    made.rmdir()


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(
            one,
            id=f"{program_of(one)}-{'error' if one.is_error else 'events'}",
            marks=[] if program_of(one) in QUICK else [pytest.mark.slow],
        )
        for one in RUNS
    ],
)
def test_a_command_prints_what_the_page_shows(
    one: Shown, built: Built, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = program_of(one)
    module = tmp_path / f"programs/{program}/build/{program}.wasm"
    module.parent.mkdir(parents=True)
    shutil.copyfile(built(program), module)
    words = words_of(one.command)
    if program == "sockops":
        path = str(request.getfixturevalue("cgroup"))
        words = [path if word == "/sys/fs/cgroup/unified/demo" else word for word in words]
    with acting(program, tmp_path) as act:
        status, out, err = run_shown(words, tmp_path, act)
    if one.is_error:
        if status in (0, 130):
            pytest.skip("needs a kernel without kprobes: this one has them")
        said = f"```console\n$ {one.command}\n{out}{err}```"
        if os.environ.get("UPDATE_GOLDEN"):
            was = f"```console\n$ {one.command}\n{one.output}```"
            one.page.write_text(one.page.read_text().replace(was, said))
        assert out + err == one.output
        return
    if program in ("kprobe", "lsm") and status == 1:
        assert "can't be" in err
        pytest.skip(f"needs a kernel for {program}: {err.splitlines()[0]}")
    assert status in (0, 130), err
    assert out, err
    assert shape(out) == shape(one.output)


def test_each_page_builds_its_program_and_runs_what_it_has_built() -> None:
    for page in sorted(PROGRAMS.glob("*/README.md")):
        folder = page.parent.relative_to(PROGRAMS.parent)
        build, *runs = [one.command for one in shown(page)]
        assert build == f"wbpf build {folder}"
        module = f"sudo wbpf run {folder}/build/{page.parent.name}.wasm --allow all"
        assert runs and all(run.startswith(module) for run in runs)


def test_what_has_another_shape_is_found() -> None:
    shown_there = "TIME  PID\n10:00  7\n  us (us)\n  0 … 1  2\n"
    assert shape(shown_there) == (["TIME", "PID"], {"us"}) == shape(shown_there.replace("7", "8"))
    assert shape("TIME  TID\n10:00  7\n") != shape(shown_there) != shape("TIME  PID\n10:00  7\n")
    assert shape('{"a": 1}\n') == shape('{"a": 2}\n') != shape('{"b": 1}\n')


@pytest.mark.parametrize("name", ["c", *NAMES[2:]])
def test_the_page_of_a_new_project(
    capable: None, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = demand(name, monkeypatch)
    made = subprocess.run(
        [sys.executable, "-m", "wbpf", "new", "my-tool", "--lang", language], cwd=tmp_path, check=True
    )
    assert made.returncode == 0
    folder = tmp_path / "my-tool"
    build, run = shown(folder / "README.md")
    subprocess.run(words_of(build.command), cwd=folder, check=True, capture_output=True)
    started: list[int] = []

    def start() -> None:
        with subprocess.Popen(["/bin/true"]) as child:
            started.append(child.pid)

    status, out, err = run_shown(words_of(run.command), folder, start)
    assert status in (0, 130), err
    header, *rows = out.splitlines()
    assert header.split() == ["TIME", "PID", "UID", "COMM"]
    assert {int(row.split()[1]) for row in rows} & set(started)
    named = re.findall(r"`([\w./-]+\.\w+)`", (folder / "README.md").read_text())
    assert [name for name in named if not (folder / name).exists()] == []
