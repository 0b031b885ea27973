"""LTTng-UST beside wBPF: the same events in the same slices, its buffers overwritten as ours are."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.build import BUILD, BenchError, build_programs
from bench.recorder.append import PAYLOADS
from bench.recorder.run import SEGMENT_MIB, Run, slices_of
from bench.result import Bar, Row, median_row

NAMES = [f"lttng/event/{size}B" for size in PAYLOADS]
PACKAGES = ("lttng-tools", "liblttng-ust-dev", "babeltrace2")
CHEAPER = 5.0
SUBBUFFERS, SUBBUFFER_MIB = 256, 1  # 256 MiB a core, and a thread keeps to its core
SESSION = "wbpf-bench"


def rows(run: Run) -> Iterator[Row]:
    """All rows named above; without a value where LTTng can't run, with the reason."""
    try:
        install()
        with run.folder() as folder, session(folder):
            slices, versions = measure(run, folder)
    except BenchError as error:
        for name in NAMES:
            yield Row(name, None, "ns", note=f"{error.what}: {error.why}")
        return
    for size in PAYLOADS:
        ours = statistics.median(slices[f"wbpf/{size}", 1].samples)
        yield median_row(
            f"lttng/event/{size}B",
            "ns",
            slices[f"lttng/{size}", 1].samples,
            baseline=ours,
            baseline_is="wBPF's stamped event in the same run",
            bar=Bar(CHEAPER * ours, f"wBPF at least {CHEAPER:g} × cheaper", at_least=True),
            facts=slices[f"lttng/{size}", 1].facts | versions,
        )


def install() -> None:
    """Make sure that LTTng is there, by Debian's package manager where we may.

    Raises:
        BenchError: it is not there.
    """
    if not (shutil.which("lttng-sessiond") and Path("/usr/include/lttng/tracepoint.h").exists()):
        if os.geteuid() or not shutil.which("apt-get"):
            raise BenchError("LTTng is not installed", f"needs the packages {' '.join(PACKAGES)}")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                ["apt-get", "-qq", *arguments], capture_output=True, text=True, env=environment
            )
            if done.returncode:
                raise BenchError("LTTng can't be installed", done.stderr.strip().splitlines()[-1])
    if not (BUILD / "lttng").exists():
        build_programs()


@contextmanager
def session(folder: Path) -> Iterator[None]:
    """A snapshot session that records the events of wbpf_bench in overwriting buffers."""
    daemon = subprocess.Popen(
        ["lttng-sessiond", "--no-kernel"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_daemon(daemon)
        control("create", SESSION, "--snapshot", f"--output={folder / 'snapshots'}")
        try:
            buffers = [f"--num-subbuf={SUBBUFFERS}", f"--subbuf-size={SUBBUFFER_MIB}M"]
            control("enable-channel", "--userspace", "--overwrite", "--buffers-uid", *buffers, "events")
            control("enable-event", "--userspace", "--channel=events", "wbpf_bench:*")
            control("start")
            yield
        finally:
            control("destroy", SESSION)
    finally:
        daemon.terminate()
        daemon.wait(20)


def wait_for_daemon(daemon: subprocess.Popen[bytes]) -> None:
    """Until it answers; one that runs already serves as well."""
    for _ in range(50):
        if subprocess.run(["lttng", "list"], capture_output=True).returncode == 0:
            return
        if daemon.poll() is not None:
            break
        time.sleep(0.1)
    raise BenchError("LTTng does not run here", f"lttng-sessiond ended with status {daemon.poll()}")


def control(*arguments: str) -> str:
    """Run `lttng`; returns what it printed."""
    done = subprocess.run(["lttng", "--no-sessiond", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"'lttng {arguments[0]}' failed", (done.stderr or done.stdout).strip())
    return done.stdout


def measure(run: Run, folder: Path) -> tuple[dict[tuple[str, int], Any], dict[str, str]]:
    """Run the slices; the program waits while a snapshot is taken and its last events are read back."""
    command = [run.programs / "lttng", folder, SEGMENT_MIB, run.rounds, run.slice_us, run.seed]
    with subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        lines = [json.loads(process.stdout.readline()) for _ in range(2 * len(PAYLOADS) + 1)]
        control("snapshot", "record", "--max-size=4M")
        process.stdin.write("\n")
        process.stdin.close()
    check(folder / "snapshots", lines[-1]["theirs"])
    version = control("--version").strip().partition("- ")[0].strip()
    return slices_of(lines), {"version": version}


def check(snapshots: Path, written: int) -> None:
    """The snapshot ends with the last event that was written, and numbers are without a gap before it."""
    done = subprocess.run(["babeltrace2", str(snapshots)], capture_output=True, text=True)
    numbers = [
        int.from_bytes(bytes(int(byte) for byte in re.findall(r"\[[0-7]\] = (\d+)", line)[:8]), "little")
        for line in done.stdout.splitlines()
        if "wbpf_bench:event" in line
    ]
    if not numbers or numbers[-1] != written - 1 or numbers != list(range(numbers[0], written)):
        raise BenchError(
            "LTTng's snapshot does not hold what was written", f"{len(numbers)} events, {written} next"
        )
