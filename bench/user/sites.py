"""A probe site in another process: with nothing attached, and with a histogram program."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from bench.build import BUILD, BenchError, build_programs
from bench.result import Bar, Row, median_row
from wbpf.bpf.user.attach import attach_site
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf

SOURCE = Path(__file__).with_name("sites.bpf.c")
_CALLS = 200_000
_NOTE = "per call, less the empty loop; one thread"


def site_rows(rounds: int) -> list[Row]:
    """The rows `site/off` and `site/attached`.

    Raises:
        BenchError: the program did not see each call once.
    """
    target = build_programs() / "sites"
    histogram = UserObject.open(compile_bpf(SOURCE, BUILD / "sites.bpf.o"))
    histogram.load()
    program = histogram.programs["site"]
    off, attached = [], []
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "WBPF_DIR": folder, "WBPF_HOST": "bench"}
        process = subprocess.Popen(
            [target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )
        try:
            for _ in range(rounds):
                off.append(_slice(process, 10 * _CALLS))
                with attach_site(process.pid, "bench:site", program, host_dir=Path(folder) / "bench"):
                    attached.append(_slice(process, _CALLS))
        finally:
            process.kill()
            process.communicate()
    counted = sum(memoryview(histogram.maps[".bss"][bytes(4)]).cast("Q"))
    if counted != rounds * _CALLS:
        raise BenchError("the site's program counts wrong", f"{counted} of {rounds * _CALLS} calls")
    return [
        median_row("site/off", "ns", off, bar=Bar(2, "2 ns"), note=_NOTE),
        median_row("site/attached", "ns", attached, bar=Bar(30, "30 ns"), note=_NOTE),
    ]


def _slice(process: subprocess.Popen[str], count: int) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    with_site, empty = map(float, process.stdout.readline().split())
    return with_site - empty
