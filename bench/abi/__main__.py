"""Measure, print, and write bench/results/abi.json: `make bench-abi`."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from bench.build import BUILD, ROOT, BenchError
from bench.machine import describe_machine, describe_versions
from bench.recorder.__main__ import line
from bench.result import RESULTS, Result, Row, median_row
from bench.wasm.run import Programs, Samples, run
from bench.wasm.run import build as build_others
from wbpf.bpf import features
from wbpf.errors import WbpfError
from wbpf.wasm.sections import with_sections

HERE = Path(__file__).parent
CALLS = {
    "native": "a handle that is checked, and 24 bytes of memory that are checked and written",
    "wasi": "clock_gettime by WASI, of Wasmtime's own",
    "cold": "a text; a function that is not among the hot ones, as opening, loading and attaching are not",
}
EVENTS = {
    "in_place": "the ring in the module's memory: no call, no copy",
    "batch": "a call and a copy for 64 KiB of them",
    "wasm_bpf": "by wasm_bpf: a call of the module's and a copy for each",
    "by_fields": "the batch, and `call/native` for each of 4 fields: the least that handing them out costs",
}


def main() -> int:
    """Run; 1 if it can't be measured here."""
    parser = argparse.ArgumentParser(prog="python -m bench.abi", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs: to see that it works")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write; a whole run goes to abi.json")
    options = parser.parse_args()
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            print(f"bench: needs {answer.what}: {answer.why}\n  try: {answer.hint}", file=sys.stderr)
            return 1
    started = time.monotonic()
    try:
        rows = measure(build(), rounds=2 if options.quick else 5, drains=4 if options.quick else 12)
    except WbpfError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for row in rows:
        print(line(row) + (f"  {row.ratio:.2f} × {row.baseline:.4g}" if row.ratio and row.baseline else ""))
    print(f"{len(rows)} rows in {time.monotonic() - started:.0f} s")
    path = options.output or (None if options.quick else RESULTS / "abi.json")
    if path:
        Result(describe_machine(), describe_versions(), options.seed, rows).write(path)
        print(f"written to {path}; for docs/benchmarks.md: python -m bench.document")
    return 0


def build(folder: Path = BUILD / "abi") -> Programs:
    """The guest, with the object and the native program of `bench.wasm`.

    Raises:
        BenchError: a compiler refused.
    """
    others = build_others(folder)
    guest = folder / "guest.wasm"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-s"]
    command = [*zig, f"-I{ROOT}/sdk/c/include", str(HERE / "guest.c"), "-Wl,--export-table", "-o", str(guest)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError("the guest can't be built", done.stderr.strip().splitlines()[-1])
    module = folder / "abi.wasm"
    module.write_bytes(with_sections(guest.read_bytes(), {"wbpf.object.events": others.object.read_bytes()}))
    return Programs(module, others.native, others.object, others.cache)


def measure(programs: Programs, rounds: int, drains: int) -> list[Row]:
    """All rows; what is compared runs in turn."""
    calls: Samples = defaultdict(list)
    events: Samples = defaultdict(list)
    for _ in range(rounds):
        for name, samples in run(programs, programs.guest("calls", drains)).figures.items():
            calls[name] += samples[1:]
        for name in EVENTS:
            events[name] += run(programs, programs.guest(name, drains)).figures["event"][1:]
        events["native"] += run(programs, programs.baseline("ring", drains)).figures["drain"][1:]
    native = statistics.median(events["native"])
    rows = [median_row(f"call/{name}", "ns", calls[name], note=note) for name, note in CALLS.items()]
    rows += [
        median_row(
            f"event/{name}", "ns", events[name], baseline=native, baseline_is="C with libbpf", note=note
        )
        for name, note in EVENTS.items()
    ]
    return rows


if __name__ == "__main__":
    sys.exit(main())
