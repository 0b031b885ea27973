"""Running `wbpf demo` as a user does, and looking at what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbpf.demo.score import incompleteness

Json = dict[str, Any]
COMMAND = (sys.executable, "-m", "wbpf.cli")


@dataclass(frozen=True)
class Run:
    """A finished run with `-o json`."""

    status: int
    printed: Json
    directory: Path

    def traces(self) -> list[Json]:
        return [json.loads(line) for line in (self.directory / "traces.json").read_text().splitlines()]

    def faults(self) -> list[Json]:
        return [json.loads(line) for line in (self.directory / "faults.jsonl").read_text().splitlines()]

    def triggered_by(self, trigger: str) -> list[Json]:
        return [trace for trace in self.traces() if trace["trigger"]["name"] == trigger]


def run_demo(directory: Path, *options: object, timeout_s: float = 110) -> Run:
    """Run it; its standard output must be one JSON object and nothing else."""
    command = [*COMMAND, "demo", "-o", "json", "--keep", str(directory), *map(str, options)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=timeout_s)
    return Run(ended.returncode, json.loads(ended.stdout), directory)


def reasons(trace: Json) -> dict[str, str]:
    """Why hosts are not complete, by their names."""
    return {
        host["name"]: "; ".join(host["reasons"]) for host in trace["hosts"] if host["status"] != "complete"
    }


def assert_honest(run: Run) -> None:
    """No trace says that it is complete and is not."""
    for trace in run.traces():
        if trace["status"] == "complete":
            assert list(incompleteness(trace)) == []


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """The processes below one, with their command lines."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it has ended
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    below = parents.get(pid, [])
    while below:
        child = below.pop()
        yield child, command_line(child)
        below += parents.get(child, [])


def command_line(pid: int) -> str:
    """Empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def plain_environment() -> dict[str, str]:
    """Of a terminal 120 columns wide."""
    return {**os.environ, "COLUMNS": "120"}
