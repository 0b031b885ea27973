"""Runs the guest and the native program in turn, and collects what they print."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.build import BUILD, ROOT, BenchError
from wbpf.build import compile_bpf
from wbpf.wasm.sections import with_sections

HERE = Path(__file__).parent
WBPF = Path(sys.executable).parent / "wbpf"
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Programs:
    """What is measured: a module, the native program, and the object that both load."""

    module: Path
    native: Path
    object: Path
    cache: Path

    def guest(self, *words: str | int) -> list[str]:
        """The command for the guest."""
        return [str(WBPF), "run", str(self.module), *map(str, words)]

    def baseline(self, what: str, *words: str | int) -> list[str]:
        """The command for the native program."""
        return [str(self.native), what, str(self.object), *map(str, words)]


def build(folder: Path = BUILD / "wasm") -> Programs:
    """Build them.

    Raises:
        BenchError: a compiler refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    elf = compile_bpf(HERE / "events.bpf.c", folder / "events.o")
    guest, native = folder / "guest.wasm", folder / "native"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-s"]
    _compile([*zig, f"-I{ROOT}/sdk/c/include", str(HERE / "guest.c"), "-o", str(guest)])
    _compile(["cc", "-O2", "-Wall", "-o", str(native), str(HERE / "native.c"), "-lbpf"])
    module = folder / "bench.wasm"
    module.write_bytes(with_sections(guest.read_bytes(), {"wbpf.object.events": elf.read_bytes()}))
    return Programs(module, native, elf, folder / "cache")


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError("a program of the benchmark can't be built", done.stderr.strip().splitlines()[-1])


@dataclass
class Outcome:
    """What one run has printed: figures by name, and the time from its start to `attached`."""

    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    attached_ms: float = 0.0
    peak_kib: float = 0.0


def run(programs: Programs, command: list[str]) -> Outcome:
    """Run a command to its end.

    Raises:
        BenchError: it failed, or what it read is not what was written.
    """
    outcome = Outcome()
    started = time.perf_counter()
    with _start(programs, command) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.split()
            if words == ["attached"]:
                outcome.attached_ms = (time.perf_counter() - started) * 1000
                outcome.peak_kib = _peak_kib(process.pid)
                continue
            for name, value in zip(words[::2], words[1::2], strict=True):
                outcome.figures[name].append(float(value))
    if process.returncode:
        raise BenchError(f"{' '.join(command)} failed", f"status {process.returncode}")
    if any(outcome.figures.get("wrong", [])):
        raise BenchError(f"{' '.join(command)} read other records than were written")
    return outcome


def _peak_kib(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def measure_startup(programs: Programs, rounds: int) -> tuple[Samples, Samples]:
    """Start-up to attached, cold and warm; and load, attach, detach and memory. Guest, native."""
    guest: Samples = defaultdict(list)
    native: Samples = defaultdict(list)
    for at in range(rounds + 1):
        for command, samples in (
            (programs.guest("startup", 20), guest),
            (programs.baseline("startup", 20), native),
        ):
            outcome = run(programs, command)
            if at == 0:  # files come into the page cache; the guest's code into the module cache
                continue
            samples["warm"].append(outcome.attached_ms)
            samples["memory"].append(outcome.peak_kib)
            for name in ("load", "attach", "detach"):
                samples[name].append(outcome.figures[name][0] / 1000)
    for _ in range(max(rounds // 3, 2)):
        for path in (programs.cache / "wasm").iterdir():
            path.unlink()
        guest["cold"].append(run(programs, programs.guest("startup", 20)).attached_ms)
    return guest, native


def measure_maps(programs: Programs, slices: int, passes: int) -> tuple[Samples, Samples]:
    """Nanoseconds an operation, of both at once in turn. Guest, native."""
    guest: Samples = defaultdict(list)
    native: Samples = defaultdict(list)
    with (
        _start(programs, programs.guest("maps", passes), stdin=subprocess.PIPE) as one,
        _start(programs, programs.baseline("maps", passes), stdin=subprocess.PIPE) as other,
    ):
        for at in range(slices + 1):
            for process, samples in ((one, guest), (other, native)):
                figures = _slice_of_maps(process)
                wanted = sum(key + passes - 1 for key in range(512)) * passes
                if figures["sum"] != wanted or figures["seen"] != 512 * passes:
                    raise BenchError("the maps did not hold what was written", str(figures))
                for name in ("update", "lookup", "next_key", "delete") if at else ():
                    samples[name].append(figures[name])
    return guest, native


def _start(programs: Programs, command: list[str], stdin: int | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "WBPF_CACHE_DIR": str(programs.cache)}
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environment)


def _slice_of_maps(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    figures: dict[str, float] = {}
    while "seen" not in figures:
        words = process.stdout.readline().split()
        if not words:
            raise BenchError("a program of the benchmark ended early", f"status {process.wait()}")
        figures |= zip(words[::2], map(float, words[1::2]), strict=True)
    return figures


def measure_rings(programs: Programs, rounds: int, drains: int) -> Samples:
    """Nanoseconds an event: `in_place`, `batch`, `native`."""
    samples: Samples = defaultdict(list)
    for _ in range(rounds):
        for name in ("batch", "in_place"):
            samples[name] += run(programs, programs.guest(name, drains)).figures["drain"][1:]
        samples["native"] += run(programs, programs.baseline("ring", drains)).figures["drain"][1:]
    return samples


@dataclass(frozen=True)
class Live:
    """What became of a producer's events: how many were lost, and how many a second they really were."""

    lost: int
    rate: float


def live(programs: Programs, is_guest: bool, rate: float, seconds: float) -> Live:
    """Consume the events of a producer that makes so many a second, if it can.

    Raises:
        BenchError: some are neither seen nor known to be lost.
    """
    count = int(rate * seconds)
    seen = lost = 0
    with _start(
        programs, [str(programs.native), "produce", str(count), str(rate)], subprocess.PIPE
    ) as producer:
        assert producer.stdin is not None and producer.stdout is not None
        pid = producer.stdout.readline().strip()
        command = programs.guest("live", count, pid) if is_guest else programs.baseline("live", count, pid)
        with _start(programs, command) as consumer:
            assert consumer.stdout is not None
            for line in consumer.stdout:
                words = line.split()
                if words == ["attached"]:
                    producer.stdin.write("\n")
                    producer.stdin.flush()
                elif words[0] == "wrong":
                    wrong, seen, lost = int(words[1]), int(words[3]), int(words[5])
        if consumer.returncode or wrong or seen + lost != count:
            raise BenchError(f"{count} calls were made, {seen} events seen, {wrong} wrong and {lost} refused")
        return Live(lost, float(producer.stdout.readline()))


def highest_lossless_rate(programs: Programs, seconds: float) -> tuple[float, bool]:
    """Events a second of which the native consumer loses none, three times over.

    And whether that is all that the producer can make.
    """
    good, bad = 50_000.0, 0.0
    while not bad or bad / good > 1.15:
        rate = (good + bad) / 2 if bad else good * 2
        runs = [live(programs, False, rate, seconds) for _ in range(3)]
        slowest = min(run.rate for run in runs)
        if any(run.lost for run in runs):
            bad = rate
        elif slowest < 0.95 * rate:
            return max(good, slowest), True
        else:
            good = rate
    return good, False
