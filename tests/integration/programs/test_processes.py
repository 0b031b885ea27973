"""bootstrap, execve and opensnoop tell exactly what a generated workload did."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.integration.programs.conftest import Built, traced, wait_for
from wbpf.wasm.filters import Filter

COUNT = 200


def copy_of_true(folder: Path, name: str) -> Path:
    """A program with a name of its own, so that nobody else's is taken for it."""
    return Path(shutil.copy("/bin/true", folder / name))


def test_opensnoop_has_each_open(built: Built, tmp_path: Path) -> None:
    files = [tmp_path / f"file{number}" for number in range(COUNT)]
    for file in files[::2]:
        file.write_text("")

    def attempt(file: Path) -> None:
        with suppress(FileNotFoundError):
            os.close(os.open(file, os.O_RDONLY | os.O_NOFOLLOW))

    with traced(built("opensnoop"), lambda: attempt(tmp_path / "canary"), Filter(pid=os.getpid())) as events:
        for file in files:
            attempt(file)
        attempt(tmp_path / "last")
        wait_for(lambda: any(event["filename"] == str(tmp_path / "last") for event in events))
    names = [str(file) for file in files]
    found = [event for event in events if event["filename"] in names]
    assert [event["filename"] for event in found] == names, "each once, and in order"
    assert {event["pid"] for event in events} == {os.getpid()}
    assert all(event["flags"] & os.O_NOFOLLOW for event in found)
    assert all(event["result"] >= 0 for event in found[::2])
    assert {event["result"] for event in found[1::2]} == {-errno.ENOENT}


def test_opensnoop_only_what_failed(built: Built, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")

    def attempt(name: str) -> None:
        with suppress(FileNotFoundError):
            os.close(os.open(tmp_path / name, os.O_RDONLY))

    with traced(built("opensnoop"), lambda: attempt("no"), Filter(pid=os.getpid()), failed=True) as events:
        for name in ("there", "not there", "there", "last"):
            attempt(name)
        wait_for(lambda: any(event["filename"].endswith("/last") for event in events))
    mine = [event for event in events if event["filename"].startswith(str(tmp_path))]
    names = Counter(event["filename"].removeprefix(f"{tmp_path}/") for event in mine)
    assert names.pop("no") >= 1
    assert names == {"not there": 1, "last": 1}


def test_bootstrap_has_each_start_and_end(built: Built, tmp_path: Path) -> None:
    """Processes, their parent, statuses, signals and times, as this process, which waits for them, knows."""
    program = shutil.copy("/bin/sh", tmp_path / "bootsh")
    scripts = ["exit 0", "exit 7", "kill -9 $$", "exec /bin/sleep 0.2"]

    def start(script: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([program, "-c", script])

    with traced(built("bootstrap"), lambda: start("exit 1").wait()) as events:
        children = [start(script) for script in scripts]
        statuses = {child.pid: child.wait() for child in children}
        last = start("exit 3")
        last.wait()
        wait_for(lambda: any(event["pid"] == last.pid and event["what"] == "EXIT" for event in events))
    mine = [event for event in events if event["pid"] in statuses]
    starts = Counter(event["pid"] for event in mine if event["what"] == "EXEC")
    execs = [1 + script.startswith("exec") for script in scripts]
    assert starts == {child.pid: count for child, count in zip(children, execs, strict=True)}
    ends = {event["pid"]: event for event in mine if event["what"] == "EXIT"}
    assert len(ends) == len(scripts)
    for pid, status in statuses.items():
        assert ends[pid]["ppid"] == os.getpid()
        assert (ends[pid]["exit_code"], ends[pid]["signal"]) == ((status, 0) if status >= 0 else (0, -status))
    slept = ends[children[3].pid]["duration"]
    assert 200_000_000 <= slept < 2_000_000_000
    filenames = {event["filename"] for event in mine if event["what"] == "EXEC"}
    assert filenames == {str(program), "/bin/sleep"}


def test_execve_has_each_call_with_its_arguments(built: Built, tmp_path: Path) -> None:
    program = copy_of_true(tmp_path, "mytrue")
    calls = [["first"], ["a b", "", "ü"], [str(number) for number in range(20)], ["x" * 200], []]

    def call(arguments: list[str]) -> None:
        subprocess.run([program, *arguments], check=True)

    with traced(built("execve"), lambda: call(["canary"])) as events:
        for arguments in calls:
            call(arguments)
        with suppress(FileNotFoundError):
            subprocess.run([tmp_path / "missing"], check=False)
        call(["last"])
        wait_for(lambda: any(event["arguments"].endswith(" last") for event in events))
    mine = [event for event in events if event["filename"] == str(program)]
    shown = [event["arguments"] for event in mine if not event["arguments"].endswith((" canary", " last"))]
    whole = [[str(program), *arguments] for arguments in calls]
    assert shown == [" ".join(word[:63] for word in words[:10]) for words in whole]
    assert {event["result"] for event in mine} == {0}
    missing = [event for event in events if event["filename"] == str(tmp_path / "missing")]
    assert [event["result"] for event in missing] == [-errno.ENOENT]


def test_what_the_command_opens_itself_is_left_out(built: Built, tmp_path: Path) -> None:
    """At its second start the command prints by another process, whose start is traced as any other's."""
    wanted = tmp_path / "wanted"
    wanted.write_text("")
    words = [Path(sys.executable).parent / "wbpf", "run", built("opensnoop"), "--allow", "all", "-o", "json"]
    subprocess.run([*words, "--duration", "10ms"], check=True, stdout=subprocess.DEVNULL)
    printed = tmp_path / "events.json"
    with printed.open("w") as file, subprocess.Popen(words, stdout=file) as command:

        def has_wanted() -> bool:
            wanted.read_text()
            return str(wanted) in printed.read_text()

        wait_for(has_wanted)
        own = {command.pid, *children_of(command.pid)}
        command.terminate()
    events = [json.loads(line) for line in printed.read_text().splitlines()]
    assert len(own) == 2, "it prints by another process"
    assert not [event for event in events if event["pid"] in own]


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
