"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import wbpf


def describe_machine() -> dict[str, Any]:
    """Processor, cores, caches, memory, clock source and kernel of this machine, and how busy it is now."""
    cpuinfo = _read("/proc/cpuinfo")
    model = re.search(r"^(?:model name|CPU part)\s*: (.*)", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "virtual": re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE) is not None,
        "caches": _caches(),
        "memory_gib": round(int(memory[1]) / 1024**2, 1) if memory else None,
        "kernel": platform.release(),
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource").strip(),
        "huge_pages_of_shared_memory": _chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        "load": round(os.getloadavg()[0], 2),
    }


def describe_versions() -> dict[str, str]:
    """Versions of what takes part in every benchmark."""
    versions = {
        "wbpf": wbpf.__version__,
        "commit": _first_line("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
        "python": platform.python_version(),
        "gcc": _first_line("gcc", "--version"),
        "libc": " ".join(platform.libc_ver()),
    }
    return {name: version for name, version in versions.items() if version}


def _caches() -> dict[str, str]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = _read(index / "type").strip()
        if kind != "Instruction":
            found[f"L{_read(index / 'level').strip()}"] = _read(index / "size").strip()
    return found


def _chosen(path: str) -> str:
    chosen = re.search(r"\[(\w+)\]", _read(path))
    return chosen[1] if chosen else ""


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0]
