"""The demo's result as a person reads it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich import box
from rich.table import Table

from wbpf.demo.result import DemoResult

MIB = 1 << 20


def table(result: DemoResult) -> Table:
    """The figures of a run, a line each."""
    lines = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    lines.add_column()
    lines.add_column(justify="right", style="bold")
    lines.add_column(style="dim")
    score, spec = result.score, result.spec
    lines.add_row(
        "requests",
        f"{spec.requests:,}",
        f"{spec.hosts} hosts, {result.seconds:.1f} s, {spec.requests / result.seconds:,.0f} a second",
    )
    for kind, count in score.faults.items():
        lines.add_row(
            kind.replace("_", " "),
            f"{count.caught} of {count.effective} caught",
            f"{count.complete} complete; {count.injected} injected, {count.effective} took effect",
        )
    lines.add_row(
        "false alarms", f"{score.false_alarms:,}", "traces gathered without a fault that took effect"
    )
    lines.add_row(
        "answer",
        "right" if result.answer_correct else "WRONG",
        "the same as one process computes" if result.answer_correct else _why_wrong(result),
    )
    lines.add_row(
        "recorded", f"{result.bytes_recorded / MIB:,.1f} MiB", f"{result.records:,} records, in memory only"
    )
    lines.add_row("shipped", f"{result.bytes_shipped / 1024:,.1f} KiB", _shipped(result))
    lines.add_row(
        "recording cost",
        f"{result.recording_share:.1%}",
        f"{result.recording_s:.2f} of the hosts' {result.cpu_s:.1f} s of CPU time; calls counted and timed",
    )
    latest = max(result.virtual_ns.values(), default=0)
    lines.add_row(
        "modelled time", f"{latest / 1e9:.2f} s", "virtual clock of the emulated pool's hosts, not measured"
    )
    return lines


def _shipped(result: DemoResult) -> str:
    own = result.score.bytes_faulted
    if not own:
        return "no fault took effect"
    return (
        f"{result.bytes_shipped / own:.2f} × the faulted traces' own {own / 1024:,.1f} KiB; "
        f"{result.bytes_shipped / result.bytes_recorded:.3%} of what was recorded"
    )


def _why_wrong(result: DemoResult) -> str:
    if not result.dead:
        return "not what one process computes"
    dead = ", ".join(result.dead)
    return f"{dead} died with what it had added up; {result.lost} requests were under way there"


def troubles(result: DemoResult) -> list[str]:
    """What went wrong, a sentence each."""
    said = list(result.score.problems)
    if result.unfinished:
        said.append(f"{result.unfinished} traces were asked for and not gathered in time")
    return said


def command() -> str:
    """How a shell finds `wbpf`: by its path if the environment that it is in is not active."""
    here = Path(sys.executable).with_name("wbpf")
    if shutil.which("wbpf") or not here.exists():
        return "wbpf"
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)


def next_commands(result: DemoResult) -> list[str]:
    """What to type next."""
    store = result.spec.store
    wbpf = command()
    commands = [f"{wbpf} traces list --store {store}"]
    shown = result.score.example
    if shown:
        short = shown[:12]
        commands += [
            f"{wbpf} traces show {short} --store {store}",
            f"{wbpf} traces export {short} --format perfetto --to {short}.pftrace --store {store}",
        ]
    return commands
