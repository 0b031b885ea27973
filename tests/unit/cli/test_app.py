from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from tests.unit.cli.conftest import Run
from wbpf import __version__
from wbpf.cli import app as table
from wbpf.cli.app import COMMANDS
from wbpf.errors import StoreError

HEAVY = ("grpc", "numpy", "pandas", "sqlite3", "perfetto", "yaml")


def test_help_names_every_command(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0 and ran.err == ""
    for name, entry in COMMANDS.items():
        assert f" {name} " in ran.out
        assert entry.help[:40] in ran.out


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from wbpf.cli import main; main(['--help']); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], "
        "[m for m in sys.modules if m.startswith('wbpf.cli.') and m[9:] not in ('app', 'output')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[] []"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_has_help(name: str, run: Run) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    assert getattr(import_module(module), attribute)
    ran = run(name, "--help")
    assert ran.status == 0 and "Usage: wbpf " + name in ran.out


def test_a_mistyped_command_is_guessed(run: Run) -> None:
    ran = run("trace")
    assert ran.status == 2 and "Did you mean 'traces'?" in ran.err and ran.out == ""


def test_a_mistyped_option_is_guessed(run: Run) -> None:
    ran = run("traces", "list", "--stor", "x")
    assert ran.status == 2 and "--store" in ran.err


def test_the_version(run: Run) -> None:
    assert run("--version").out == f"wbpf {__version__}\n"


def test_the_package_is_the_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "wbpf", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"wbpf {__version__}\n"


def test_errors_say_what_why_and_what_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise StoreError("the store can't be read", "a \x1b[31mcause", "turn it round")

    monkeypatch.setattr(table, "load", lambda name: typer.main.get_command(_app(fail)))
    ran = run("traces")
    assert ran.status == StoreError.exit_code
    assert ran.err == "error: the store can't be read: a \\x1b[31mcause\n  try: turn it round\n"
    assert ran.out == ""


def test_interrupts_end_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "load", lambda name: typer.main.get_command(_app(interrupt)))
    assert run("traces").status == 130


def _app(function: object) -> typer.Typer:
    made = typer.Typer()
    made.command()(function)  # type: ignore[type-var]
    return made


def test_a_closed_pipe_is_no_error() -> None:
    code = "import sys; from wbpf.cli import main; sys.exit(main(['--help']))"
    ran = subprocess.run(
        f'{sys.executable} -c "{code}" | true', shell=True, capture_output=True, text=True, check=False
    )
    assert "Exception" not in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.parametrize("words", ["['traces', 'list', '--help']", "['run', '--help']"])
def test_a_full_disk_is_told(words: str) -> None:
    code = f"import sys; from wbpf.cli import main; sys.exit(main({words}))"
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 9
    assert ran.stderr.startswith("error: standard output can't be written: No space left on device")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["check", "run", "new"])
def test_a_folder_without_rights_is_told(command: str, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    words = [sys.executable, "-m", "wbpf.cli", command, str(locked / "it")]
    if os.geteuid() == 0:
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.stderr.startswith(f"error: '{locked}/it' can't be used: Permission denied"), ran.stderr
    assert ran.returncode == 3
