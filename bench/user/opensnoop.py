"""What tracing costs a program that does little but open files: opensnoop on both backends, and strace."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from shutil import which
from unittest.mock import patch

from bench.build import BUILD, ROOT, BenchError, build_programs
from bench.result import Row, median_row
from wbpf.bpf import Object, features
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf

_CALLS, _STRACE_CALLS = 2000, 500  # what the ring has room for
_PROGRAMS = ("on_openat", "after_openat")
_NOTE = "per open() and close(), less what they cost without; one thread; all events read"


def opensnoop_rows(rounds: int) -> list[Row]:
    """The rows `opensnoop/…`.

    Raises:
        BenchError: a backend did not tell of each call once.
    """
    target = build_programs() / "opens"
    compiled = compile_bpf(ROOT / "programs/opensnoop/opensnoop.bpf.c", BUILD / "opensnoop.bpf.o")
    samples: dict[str, list[float]] = {"user": []}
    if features.have_libbpf() and features.have_privileges():
        samples["kernel"] = []
    if which("strace"):
        samples["strace"] = []
    baseline: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"WBPF_DIR": folder, "WBPF_HOST": "bench"}),
        Traced.launch([target], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject.open(compiled, traced=traced) as user,
    ):
        user.load()
        traced.go()
        assert traced.process is not None
        _line(traced.process)
        for _ in range(rounds):
            without = _slice(traced.process, _CALLS)
            baseline.append(without)
            samples["user"].append(_told(user, traced.process) - without)
            if "kernel" in samples:
                with Object.open(compiled) as kernel:
                    kernel.load()
                    samples["kernel"].append(_told(kernel, traced.process) - without)
        traced.process.kill()
        traced.process.communicate()
        if "strace" in samples:
            samples["strace"] = _strace(target, Path(folder), rounds)
    return [median_row("opensnoop/untraced", "ns", baseline, note="per open() and close(); one thread")] + [
        median_row(f"opensnoop/{name}", "ns", values, note=_NOTE) for name, values in samples.items()
    ]


def _told(object: Object | UserObject, process: subprocess.Popen[bytes]) -> float:
    """A slice with opensnoop attached; others' calls are not counted."""
    with object.maps["events"].ring() as ring:
        with object.programs[_PROGRAMS[0]].attach(), object.programs[_PROGRAMS[1]].attach():
            taken = _slice(process, _CALLS)
        told = 0
        while records := list(ring.read()):
            told += sum(int.from_bytes(bytes(one)[8:12], "little") == process.pid for one in records)
    if told != _CALLS:
        raise BenchError("opensnoop tells not of each call", f"{told} of {_CALLS}")
    return taken


def _strace(target: Path, folder: Path, rounds: int) -> list[float]:
    """The same under strace, which writes to a file."""
    command: list[str | Path] = ["strace", "-f", "-e", "trace=openat", "-o", folder / "strace.txt", target]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        _line(process)
        found = [_slice(process, _STRACE_CALLS) for _ in range(rounds)]
        assert process.stdin is not None
        process.stdin.close()
    with subprocess.Popen([target], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        _line(process)
        without = [_slice(process, _STRACE_CALLS) for _ in range(rounds)]
        assert process.stdin is not None
        process.stdin.close()
    return [one - other for one, other in zip(found, without, strict=True)]


def _slice(process: subprocess.Popen[bytes], count: int) -> float:
    assert process.stdin is not None
    process.stdin.write(f"{count}\n".encode())
    process.stdin.flush()
    return float(_line(process))


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()
