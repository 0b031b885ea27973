"""A probe site of a Python program: called, and asked first, while off; and with a histogram program."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.build import BUILD, BenchError
from bench.result import Row, median_row
from bench.user.sites import SOURCE
from wbpf.bpf.user.attach import attach_site
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf

_CALLS = 200_000
_TARGET = """
import sys, time
import wbpf

SITE = wbpf.probe("bench", "site")
clock = time.perf_counter_ns

def called(count, site=SITE):
    start = clock()
    for number in range(count):
        site(number)
    return clock() - start

def asked(count, site=SITE):
    start = clock()
    for number in range(count):
        if site:
            site(number)
    return clock() - start

def builtin(count, function=id):
    start = clock()
    for number in range(count):
        function(number)
    return clock() - start

def empty(count):
    start = clock()
    for number in range(count):
        pass
    return clock() - start

print("ready", flush=True)
for line in sys.stdin:
    name, count = line.split()
    print((globals()[name](int(count)) - empty(int(count))) / int(count), flush=True)
"""
_NOTES = {
    "off": "per call, less the empty loop; one thread",
    "off_asked": "`if SITE: SITE(number)`, less the empty loop",
    "attached": "per call, less the empty loop; one thread",
}


def python_site_rows(rounds: int) -> list[Row]:
    """The rows `site/python/off`, `site/python/off_asked` and `site/python/attached`.

    Raises:
        BenchError: the program did not see each call once.
    """
    histogram = UserObject.open(compile_bpf(SOURCE, BUILD / "sites.bpf.o"))
    histogram.load()
    samples: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "WBPF_DIR": folder, "WBPF_HOST": "bench"}
        process = subprocess.Popen(
            [sys.executable, "-c", _TARGET],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        try:
            _answer(process)
            for _ in range(rounds):
                samples["builtin"].append(_slice(process, "builtin"))
                samples["off"].append(_slice(process, "called"))
                samples["off_asked"].append(_slice(process, "asked"))
                host_dir = Path(folder) / "bench"
                with attach_site(process.pid, "bench:site", histogram.programs["site"], host_dir=host_dir):
                    samples["attached"].append(_slice(process, "called"))
        finally:
            process.kill()
            process.communicate()
    counted = sum(memoryview(histogram.maps[".bss"][bytes(4)]).cast("Q"))
    if counted != rounds * _CALLS:
        raise BenchError("the site's program counts wrong", f"{counted} of {rounds * _CALLS} calls")
    baseline = sorted(samples["builtin"])[rounds // 2]
    return [
        median_row(
            f"site/python/{name}", "ns", samples[name], baseline=baseline, baseline_is="id(number)", note=note
        )
        for name, note in _NOTES.items()
    ]


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _slice(process: subprocess.Popen[str], what: str) -> float:
    assert process.stdin is not None
    process.stdin.write(f"{what} {_CALLS}\n")
    process.stdin.flush()
    return float(_answer(process))
