"""The `wbpf` command: which commands there are, and what becomes of their errors.

A command's module is imported when the command is used, so that `wbpf --help` stays fast. To add a command,
add a line to `COMMANDS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from wbpf import __version__
from wbpf.cli.output import ended_by, print_error
from wbpf.errors import WbpfError


class Entry(NamedTuple):
    """A command.

    Args:
        target: `module:name` of its function, or of its `typer.Typer` if it has commands of its own.
        help: one line.
        panel: the heading it stands under in `wbpf --help`.
    """

    target: str
    help: str
    panel: str


_START, _DAEMONS, _TRACES, _RECORDING = "Start here", "Daemons", "Traces", "Recording"
_EBPF = "eBPF applications"

COMMANDS = {
    "demo": Entry(
        "wbpf.cli.demo:demo", "Catch rare faults in a shared-memory cluster of four hosts.", _START
    ),
    "up": Entry("wbpf.cli.up:up", "Run coordinator, collector and agent on this machine.", _START),
    "traces": Entry("wbpf.cli.traces:app", "List, show, export and delete gathered traces.", _TRACES),
    "dump": Entry("wbpf.cli.dump:dump", "Gather a trace from all hosts, and keep it.", _TRACES),
    "reduce": Entry("wbpf.cli.reduce:reduce", "Record less of a trace, or of a host.", _TRACES),
    "clear": Entry("wbpf.cli.clear:clear", "Say that a trace is good: its space is reused first.", _TRACES),
    "segment": Entry("wbpf.cli.segment:app", "Look into a segment: live, in a pool, or a file.", _RECORDING),
    "cflags": Entry("wbpf.cli.cflags:cflags", "Print what a C compiler needs for wbpf/trace.h.", _RECORDING),
    "new": Entry("wbpf.cli.new:new", "Make an eBPF application to start from.", _EBPF),
    "build": Entry("wbpf.cli.build:build", "Build a project: one .wasm for any kernel.", _EBPF),
    "run": Entry("wbpf.cli.run:main", "Run an eBPF application: a .wasm file.", _EBPF),
    "inspect": Entry("wbpf.cli.inspect:inspect", "Show what a module or object has and needs.", _EBPF),
    "check": Entry("wbpf.cli.check:app", "Tell which programs load here, and why not.", _EBPF),
    "btf": Entry("wbpf.cli.btf:app", "Read, reduce, fetch and make kernels' BTF.", _EBPF),
    "gen": Entry("wbpf.cli.gen:app", "Generate sources from eBPF objects.", _EBPF),
    "status": Entry("wbpf.cli.status:status", "Show segments, horizons, counters and daemons.", _DAEMONS),
    "agent": Entry("wbpf.cli.agent:agent", "Run the agent of one host.", _DAEMONS),
    "coordinator": Entry("wbpf.cli.coordinator:coordinator", "Run the coordinator.", _DAEMONS),
    "collector": Entry("wbpf.cli.collector:collector", "Run the collector, which keeps the store.", _DAEMONS),
}


def load(name: str) -> Any:
    """Import a command and return it as the object that parses its arguments."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False)
        target.command(name)(function)
    return typer.main.get_command(target)


class LazyGroup(TyperGroup):
    """The table's commands: their outlines for `--help`, the real ones when they are called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name: TyperCommand(name, help=entry.help, rich_help_panel=entry.panel)
            for name, entry in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    epilog="Exit status: 0 success; 1 a check failed; 2 wrong usage; others by cause, see docs/traces.md.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wbpf {__version__}")
        raise typer.Exit


@app.callback()
def wbpf(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A flight recorder for clusters that share memory."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        typer.main.get_command(app).main(args, prog_name="wbpf")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except WbpfError as error:
        print_error(error)
        status = error.exit_code
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        status = ended_by(error)
    else:
        status = 0
    try:
        sys.stdout.flush()
    except OSError as error:
        status = ended_by(error) or status
    return status
