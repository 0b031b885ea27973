"""Builds the C programs of the benchmarks, with the library compiled as it is shipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from wbpf.errors import WbpfError

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build/bench"


class BenchError(WbpfError):
    """A benchmark can't run, or what it measured is not what it should have done."""


def build_programs(directory: Path = BUILD) -> Path:
    """Build them if anything changed; returns the folder that they are in.

    Raises:
        BenchError: the compiler refused.
    """
    tools = Path(sys.executable).parent
    ninja = tools / "ninja"
    configure: list[str | Path] = [
        tools / "cmake",
        "-S",
        ROOT / "bench",
        "-B",
        directory,
        "-G",
        "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={ninja}",
    ]
    build: list[str | Path] = [ninja, "-C", directory]
    for command in (configure, build):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(
                "the C programs of the benchmark can't be built",
                (done.stderr.strip() or done.stdout.strip()).splitlines()[-1],
                f"run it by hand to see all: {' '.join(map(str, command))}",
            )
    return directory
