"""One run of this benchmark: its settings, its place in shared memory, its C programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.build import BenchError

SHARED = Path("/dev/shm")
NEEDED_BYTES = 1200 << 20
SEGMENT_MIB = 320


@dataclass(frozen=True)
class Run:
    """Settings: where the programs are, the seed, how many slices, and of how many microseconds."""

    programs: Path
    seed: int
    rounds: int
    slice_us: int
    quick: bool

    def program(self, name: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a program; returns the lines of JSON that it printed.

        Raises:
            BenchError: it failed.
        """
        return self._lines([str(self.programs / name), *map(str, arguments)])

    def python(self, module: str, *arguments: object) -> list[dict[str, Any]]:
        """The same for a module.

        Raises:
            BenchError: it failed.
        """
        return self._lines([sys.executable, "-m", module, *map(str, arguments)])

    def _lines(self, command: list[str]) -> list[dict[str, Any]]:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchError("a program of the benchmark failed", done.stderr.strip(), " ".join(command))
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder in shared memory, removed afterwards.

        Raises:
            BenchError: there is not enough room.
        """
        free = shutil.disk_usage(SHARED).free
        if free < NEEDED_BYTES:
            raise BenchError(
                f"{SHARED} has too little room",
                f"{free >> 20} MiB are free, {NEEDED_BYTES >> 20} are needed",
                "remove old segments from it, or give the container more with --shm-size",
            )
        path = Path(tempfile.mkdtemp(prefix=f"wbpf-bench-{os.getpid()}-", dir=SHARED))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Slices:
    """What a C program measured for one operation."""

    samples: list[float]
    disturbed: int
    per_slice: int

    @property
    def facts(self) -> dict[str, int]:
        """For the row: repetitions a slice, and samples in which the kernel took the core away."""
        return {"repetitions": self.per_slice, "disturbed": self.disturbed}


def slices_of(lines: list[dict[str, Any]]) -> dict[tuple[str, int], Slices]:
    """By name and number of threads."""
    return {
        (line["name"], line["threads"]): Slices(line["samples"], line["disturbed"], line["count"])
        for line in lines
        if "samples" in line
    }
