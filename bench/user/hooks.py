"""A function of another process that is hooked there, and by the kernel: the same program at each."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

from bench.build import BUILD, BenchError, build_programs
from bench.result import Bar, Row, median_row
from wbpf.bpf import Object, features
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf

_CALLS, _KERNEL_CALLS = 200_000, 5_000
_NOTE = "per call, less what the call costs without; a histogram program; one thread"


def hook_rows(rounds: int) -> list[Row]:
    """The rows `hook/…`.

    Raises:
        BenchError: a program did not see each call once.
    """
    target = build_programs() / "hooks"
    compiled = compile_bpf(Path(__file__).with_name("hooks.bpf.c"), BUILD / "hooks.bpf.o")
    place = f"{target}:bench_function"
    samples: dict[str, list[float]] = {"thunk": [], "interceptor": []}
    kernel = features.have_libbpf() and features.have_privileges()
    samples |= {"kernel_uprobe": [], "kernel_uretprobe": []} if kernel else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"WBPF_DIR": folder, "WBPF_HOST": "bench"}),
        Traced.launch([target], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject.open(compiled, traced=traced) as user,
    ):
        user.load()
        traced.go()
        _line(traced)
        for _ in range(rounds):
            without = _slice(traced, 10 * _CALLS)
            with user.programs["on_entry"].attach(place):
                samples["thunk"].append(_slice(traced, _CALLS) - without)
                with user.programs["on_return"].attach(place):
                    samples["interceptor"].append(_slice(traced, _CALLS) - without)
            if kernel:
                with Object.open(compiled) as object:
                    object.load()
                    for name, program in (("kernel_uprobe", "on_entry"), ("kernel_uretprobe", "on_return")):
                        with object.programs[program].attach(f"{place}@{traced.pid}"):
                            samples[name].append(_slice(traced, _KERNEL_CALLS) - without)
                    _demand(object, 2 * _KERNEL_CALLS)
        _demand(user, rounds * 3 * _CALLS)
        assert traced.process is not None
        traced.process.kill()
        traced.process.communicate()
    notes = {
        "interceptor": f"at its entry and its return; {_NOTE}",
        "kernel_uretprobe": f"the kernel's, at its return; {_NOTE}",
        "kernel_uprobe": f"the kernel's, at its entry; {_NOTE}",
        "thunk": f"at its entry; {_NOTE}",
    }
    bars = {"thunk": Bar(60, "60 ns"), "interceptor": Bar(500, "500 ns")}
    return [
        median_row(f"hook/{name}", "ns", values, bar=bars.get(name), note=notes[name])
        for name, values in samples.items()
    ]


def _demand(object: Object | UserObject, calls: int) -> None:
    slots = object.variables["slots"]
    assert isinstance(slots, bytes)
    counted = sum(memoryview(slots).cast("Q"))
    if counted != calls:
        raise BenchError("the hooked function's program counts wrong", f"{counted} of {calls} calls")


def _slice(traced: Traced, count: int) -> float:
    assert traced.process is not None and traced.process.stdin is not None
    traced.process.stdin.write(f"{count}\n".encode())
    traced.process.stdin.flush()
    return float(_line(traced))


def _line(traced: Traced) -> bytes:
    assert traced.process is not None and traced.process.stdout is not None
    return traced.process.stdout.readline()
