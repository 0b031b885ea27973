"""Measure, print, and write bench/results/abi.json: `make bench-abi`."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from bench.build import BUILD, ROOT, BenchError
from bench.command import KERNEL, parser_of
from bench.command import run as run_benchmark
from bench.result import Row, median_row
from bench.wasm.run import Programs, Samples, run
from bench.wasm.run import build as build_others
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
    options = parser_of("abi").parse_args()
    rounds, drains = (2, 4) if options.quick else (5, 12)
    return run_benchmark("abi", options, lambda: measure(build(), rounds, drains), KERNEL)


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
