"""Running a small program that records, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent


def environment(directory: Path, service: str = "shop", size_mib: int = 16) -> dict[str, str]:
    return {
        **os.environ,
        "WBPF_DIR": str(directory),
        "WBPF_HOST": "host1",
        "WBPF_SERVICE": service,
        "WBPF_SEGMENT_MB": str(size_mib),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }


def start(code: str, directory: Path, *arguments: str, size_mib: int = 16) -> subprocess.Popen[str]:
    """Start a program that has `wbpf` open; it talks by standard input and output."""
    prologue = "import asyncio, json, os, sys, threading, time\nimport wbpf\nwbpf.open()\n"
    return subprocess.Popen(
        [sys.executable, "-c", prologue + dedent(code), *arguments],
        env=environment(directory, size_mib=size_mib),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(code: str, directory: Path, *arguments: str, size_mib: int = 16) -> str:
    """Run it to its end, which has to be a good one; returns what it wrote."""
    with start(code, directory, *arguments, size_mib=size_mib) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out
