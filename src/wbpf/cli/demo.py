"""`wbpf demo`: the real job."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wbpf.cli.output import Output, OutputOption, print_data, stderr, stdout
from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from wbpf.demo.result import DemoResult, Kill

#: The swimlane leaves out what matters least beyond so many rows.
_ROWS = 48


def demo(
    seed: Annotated[int, typer.Option(min=0, help="Decides which requests meet which faults.")] = 1,
    requests: Annotated[
        int, typer.Option(min=1, help="How many requests the flights are cut into.")
    ] = 20_000,
    fault_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of requests with a fault.")] = 0.001,
    hosts: Annotated[int, typer.Option(min=2, max=16, help="How many hosts share the pool.")] = 4,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep store, traces, faults and logs in this directory."),
    ] = None,
    kill: Annotated[str | None, typer.Option(hidden=True)] = None,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Catch rare faults in a shared-memory cluster of four hosts.

    The hosts join 336,776 flights with weather and planes and add up their delays, over a pool of shared
    memory, as a stream of requests. About one in a thousand meets a stale read or a congested link. Exit
    status 1 if a fault that took effect was missed, its trace is not complete, or the answer is wrong.
    """
    from wbpf.demo.job import run
    from wbpf.demo.result import DemoSpec

    with _interruptible(), _directory(keep, temporary=output is not Output.COLUMNS) as directory:
        spec = DemoSpec(directory, seed, requests, fault_rate, hosts, _kill(kill))
        with _progress(requests) as progress:
            result = run(spec, progress)
        if output is Output.COLUMNS:
            _show(result)
        else:
            print_data(result.to_dict(), output)
    raise typer.Exit(0 if result.passed else 1)


def _show(result: DemoResult) -> None:
    from wbpf.cli.swimlane import render
    from wbpf.demo import report
    from wbpf.store import Store

    console = stdout()
    console.print(report.table(result))
    for trouble in report.troubles(result):
        console.print(f"  {trouble}", style="bold red")
    if result.score.example:
        with Store.open(result.spec.store, readonly=True) as store:
            console.print(render(store.trace(result.score.example), console.width, max_rows=_ROWS))
    console.print("\nnext:")
    for command in report.next_commands(result):
        console.print(f"  {command}", style="bold", soft_wrap=True)


def _kill(what: str | None) -> Kill | None:
    from wbpf.demo.result import Kill

    if what is None:
        return None
    try:
        return Kill(what)
    except ValueError as error:
        choices = ", ".join(Kill)
        raise ConfigError(
            f"{what!r} can't be killed", "the demo has no such part", f"use one of {choices}"
        ) from error


@contextmanager
def _directory(keep: Path | None, temporary: bool) -> Iterator[Path]:
    """Where results go: where the user wants them, else a new directory, which only a person gets to see."""
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise ConfigError(f"{keep} can't be used", "it is not empty", "name a new directory with --keep")
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    directory = Path(tempfile.mkdtemp(prefix="wbpf-demo-"))
    kept = False
    try:
        yield directory
        kept = not temporary
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _progress(requests: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr(), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done: bar.update(task, description="requests", total=requests, completed=done)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM clean up as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
