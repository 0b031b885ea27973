"""The C tests of native/tests, built plain and with sanitisers under build/native-tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = 77

SANITIZERS = {"plain": "", "address": "address,undefined", "thread": "thread"}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=99",
}


def run(
    *command: str | Path, timeout_s: float, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # cmake and ninja come with the virtual environment, wherever it was started from.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        command,
        env={**os.environ, **OPTIONS, **(variables or {}), "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def build_tests(sanitizer: str) -> Path:
    """The folder of the built C tests; kept between runs, so that only what changed is built."""
    folder = ROOT / f"build/native-tests/{sanitizer}"
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-DWBPF_TESTS=ON", f"-DWBPF_SANITIZE={SANITIZERS[sanitizer]}"]
    commands: list[list[str | Path]] = [
        ["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, *options],
        ["cmake", "--build", folder, "--parallel", "2"],
    ]
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in commands:
            done = run(*command, timeout_s=600)
            assert done.returncode == 0, done.stdout
    return folder


def run_test(
    folder: Path, name: str, *, timeout_s: float = 240, variables: dict[str, str] | None = None
) -> str:
    """Run one C test of a build; returns what it printed. It fails, or skips with what it needs."""
    command: list[str | Path] = [folder / "native" / name]
    if folder.name == "thread" and run("setarch", "-R", "true", timeout_s=10).returncode == 0:
        command[:0] = ["setarch", "-R"]  # GCC 12's TSan can't map its shadow under 32 bits of randomisation
    done = run(*command, timeout_s=timeout_s, variables=variables)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}"
    return done.stdout
