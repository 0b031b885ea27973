from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.store.rights import shut_out
from wbpf.cli.up import _wait
from wbpf.errors import AccessError, ConfigError, StoreError, WireError
from wbpf.up import Child, Tree, TreeSpec


@pytest.mark.parametrize("name", ["b/c", ".b", "x" * 64, "é" * 32, "a\tb"])
def test_names_that_no_host_can_have(run: Run, name: str, tmp_path: Path) -> None:
    for command in (["up", "--hosts", f"a,{name}"], ["agent", "--host", name]):
        ran = run(*command, "--dir", tmp_path)
        assert ran.status == ConfigError.exit_code == 2
        assert "1 to 63 characters, no '/', and no '.' in front" in ran.err
    assert not list(tmp_path.iterdir())


def test_a_host_is_named_once(run: Run, tmp_path: Path) -> None:
    ran = run("up", "--hosts", "a,b,a", "--dir", tmp_path)
    assert ran.status == 2 and "host 'a' is named twice" in ran.err


def test_only_the_default_stores_folder_is_made(run: Run, tmp_path: Path) -> None:
    ran = run("up", "--store", tmp_path / "none" / "t.db")
    assert ran.status == StoreError.exit_code and f"there is no folder {tmp_path}/none" in ran.err
    assert not list(tmp_path.iterdir())
    with shut_out(tmp_path):
        assert run("up", "--store", tmp_path / "none" / "t.db").status == AccessError.exit_code


def tree(tmp_path: Path, logs: Path | None = None) -> Tree:
    spec = TreeSpec(
        ["a"], tmp_path, tmp_path / "t.db", coordinator="127.0.0.1:0", collector="127.0.0.1:0", logs=logs
    )
    return Tree(spec)


def test_a_daemon_that_was_killed_is_said_to_be(tmp_path: Path) -> None:
    with tree(tmp_path) as running:
        running.children["agent a"].kill()
        with pytest.raises(WireError, match=r"agent a \(killed by SIGKILL\)") as raised:
            _wait(running, threading.Event(), 5)
    assert "dmesg" in raised.value.hint and "log" not in raised.value.hint


def test_a_daemon_that_ends_says_where_to_look(tmp_path: Path) -> None:
    for logs in (None, tmp_path):
        child = Child("agent a", "wbpf.none", logs)
        with pytest.raises(WireError, match=r"agent a did not start: it ended: status 1") as raised:
            child.wait_until_ready()
        child.stop()
        assert raised.value.hint == (f"see {tmp_path}/agent-a.log" if logs else "see what it wrote above")


def test_signals_without_a_name_have_a_number(tmp_path: Path) -> None:
    child = Child("agent a", "wbpf.agent", None)
    child.signal(signal.SIGRTMIN + 3)
    child._process.wait()
    assert child.ending() == f"killed by signal {signal.SIGRTMIN + 3}"
    child.stop()


@pytest.mark.parametrize("line", ["{}", "no json", '{"spec": {}, "log_level": "info"}{}', '{"spec": 1}'])
def test_a_child_that_is_told_nonsense_says_so(line: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "wbpf.agent"], input=f"{line}\n", capture_output=True, text=True, check=False
    )
    assert ran.returncode == ConfigError.exit_code
    assert "is no spec" in ran.stdout and "Traceback" not in ran.stderr
