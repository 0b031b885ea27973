"""`make bench-cli`: how long commands take that people wait for, into bench/results/cli.json."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.command import parser_of
from bench.command import run as run_benchmark
from bench.result import Bar, Row, median_row
from wbpf.records import Conclusion, HostPart, Status, host_id
from wbpf.store import Store

TRACES = 10_000
WBPF = [sys.executable, "-m", "wbpf.cli"]
PYTHON = [sys.executable, "-c", "pass"]


def main() -> int:
    """Run; 1 if it can't be measured here."""
    options = parser_of("cli").parse_args()
    return run_benchmark("cli", options, lambda: measure(3 if options.quick else 15, options.seed))


def measure(times: int, seed: int) -> Iterator[Row]:
    """The commands in turn, in an order shuffled anew each round."""
    rng = random.Random(seed)
    with TemporaryDirectory() as folder:
        store = Path(folder) / "traces.db"
        fill(store)
        listing = [*WBPF, "traces", "list", "--store", str(store)]
        commands = {"python": PYTHON, "help": [*WBPF, "--help"], f"traces_list/{TRACES}": listing}
        samples: dict[str, list[float]] = {name: [] for name in commands}
        for name, command in commands.items():
            took_ms(command)  # its files are in memory by now
            samples[name] = []
        for _ in range(times):
            for name in rng.sample(list(commands), len(commands)):
                samples[name].append(took_ms(commands[name]))
    bars = {"help": Bar(300, "at most 300 ms"), f"traces_list/{TRACES}": Bar(1000, "at most a second")}
    python = median_row("python", "ms", samples["python"], note="a Python that does nothing")
    yield python
    for name, bar in bars.items():
        yield median_row(name, "ms", samples[name], baseline=python.value, baseline_is="python", bar=bar)


def took_ms(command: list[str]) -> float:
    """From its start to its end."""
    begun = time.perf_counter_ns()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return (time.perf_counter_ns() - begun) / 1e6


def fill(path: Path) -> None:
    """Traces of three hosts each."""
    parts = tuple(HostPart(name, host_id(name), 7, Status.COMPLETE) for name in ("host1", "host2", "host3"))
    with Store.open(path) as store, store.batch():
        for number in range(TRACES):
            trace_id = hashlib.blake2b(number.to_bytes(4, "big"), digest_size=16).digest()
            store.conclude(
                Conclusion(
                    trace_id=trace_id,
                    trigger_name="slow",
                    trigger_value=12.5,
                    trigger_host="host1",
                    fired_unix_ns=time.time_ns(),
                    group_id=trace_id,
                    laterals=(),
                    hosts=parts,
                    concluded_unix_ns=time.time_ns(),
                )
            )


if __name__ == "__main__":
    sys.exit(main())
