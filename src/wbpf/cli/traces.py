"""`wbpf traces`: gathered traces, from the store."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Annotated, Any

import typer

from wbpf.cli.output import (
    Column,
    FieldsOption,
    Output,
    OutputOption,
    SortOption,
    note,
    print_data,
    print_next,
    print_rows,
    stdout,
)
from wbpf.cli.selection import (
    AllOption,
    Filters,
    HostOption,
    IdArgument,
    IdsArgument,
    LimitOption,
    SinceOption,
    StatusOption,
    StoreOption,
    TriggerOption,
    chosen_ids,
    opened,
    same_store,
)
from wbpf.cli.wording import STATUS_STYLES, moment, size
from wbpf.errors import ConfigError, ExportError, StoreError
from wbpf.records import HostPart, Trace
from wbpf.store import Store, TraceSummary

app = typer.Typer(no_args_is_help=True, help="List, show, export and delete gathered traces.")

#: Digits of an id that columns show; enough to name a trace.
SHORT = 12
_MARKS = {"complete": "", "partial": "!", "unknown": "?"}


def _host_list(hosts: Iterable[dict[str, Any]]) -> str:
    return ",".join(f"{host['name']}{_MARKS[host['status']]}" for host in hosts)


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return "-" if value == "NaN" else value
    return f"{value:.6g}"


_COLUMNS = (
    Column("trace_id", text=lambda value: value[:SHORT]),
    Column("time_unix_ns", shown=False, right=True),
    Column("time"),
    Column("trigger"),
    Column("value", right=True, text=_value),
    Column("trigger_host", shown=False),
    Column("status", style=lambda value: STATUS_STYLES[value]),
    Column("hosts", text=_host_list),
    Column("records", right=True),
    Column("bytes", right=True, text=size),
    Column("group_id", shown=False, text=lambda value: value[:SHORT]),
    Column("laterals", shown=False, text=lambda ids: ",".join(i[:SHORT] for i in ids)),
    Column("concluded_unix_ns", shown=False, right=True),
)


@app.command("list")
def list_traces(
    store: StoreOption = None,
    trigger: TriggerOption = None,
    host: HostOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    limit: LimitOption = None,
    output: OutputOption = Output.COLUMNS,
    fields: FieldsOption = None,
    sort: SortOption = None,
) -> None:
    """List traces, newest first. Among the hosts, `!` marks partial ones and `?` unknown ones."""
    with opened(store) as traces:
        filters = Filters(trigger, host, status, since, limit)
        rows = [
            _row(summary if summary.concluded_unix_ns else _gathered(traces, summary))
            for summary in filters.select(traces)
        ]
        nothing = "" if rows else filters.left_nothing(traces)
    print_rows(rows, _COLUMNS, output, fields, sort)
    if rows:
        print_next(same_store(f"wbpf traces show {rows[0]['trace_id'][:SHORT]}", store))
    else:
        note(nothing)


def _gathered(store: Store, summary: TraceSummary) -> TraceSummary:
    """A trace whose gathering has not concluded: what its pieces say."""
    trace = store.trace(summary.trace_id)
    trigger = trace.trigger
    return replace(
        summary,
        trigger_name=trigger.name if trigger else "",
        trigger_value=trigger.value if trigger else math.nan,
        trigger_host=trigger.host if trigger else "",
        laterals=trace.laterals,
        hosts=tuple(trace.hosts),
        records=sum(part.records for part in trace.hosts),
        bytes=sum(part.bytes for part in trace.hosts),
    )


def _row(summary: TraceSummary) -> dict[str, Any]:
    from wbpf.export import plain_value

    return {
        "trace_id": summary.id,
        "time_unix_ns": summary.time_unix_ns,
        "time": moment(summary.time_unix_ns),
        "trigger": summary.trigger_name,
        "value": plain_value(summary.trigger_value),
        "trigger_host": summary.trigger_host,
        "status": str(summary.status),
        "hosts": [_host(part) for part in summary.hosts],
        "records": summary.records,
        "bytes": summary.bytes,
        "group_id": summary.group_id.hex(),
        "laterals": [lateral.hex() for lateral in summary.laterals],
        "concluded_unix_ns": summary.concluded_unix_ns or None,
    }


def _host(part: HostPart) -> dict[str, Any]:
    return {
        "name": part.name,
        "status": str(part.status),
        "reasons": list(part.reasons),
        "records": part.records,
        "bytes": part.bytes,
    }


@app.command()
def show(
    trace_id: IdArgument = "latest",
    store: StoreOption = None,
    width: Annotated[
        int | None, typer.Option(min=40, help="Columns to draw in. [default: the terminal's]")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Draw about so many records, the most important ones; 0: all.")
    ] = 200,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Draw a trace: hosts side by side, time going down, arrows where it went from host to host.

    With -o json or yaml: everything there is, as `wbpf traces export` writes it.
    """
    with opened(store) as traces:
        trace = traces.trace(trace_id)
    if output is not Output.COLUMNS:
        from wbpf.export import plain_trace

        print_data(plain_trace(trace), output)
        return
    from wbpf.cli.swimlane import render

    console = stdout(width)
    console.print(render(trace, console.width, max_rows=limit or None))
    short = trace.id[:SHORT]
    print_next(
        same_store(f"wbpf traces export {short} --to {short}.pftrace", store),
        *(same_store(f"wbpf traces show {lateral.hex()[:SHORT]}", store) for lateral in trace.laterals[:2]),
    )


@app.command()
def export(
    ids: IdsArgument = None,
    store: StoreOption = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--format",
            metavar="FORMAT",
            help="json, perfetto, otlp, csv or parquet. [default: what the name of FILE says, else json]",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to. [default: standard output]")
    ] = None,
    trigger: TriggerOption = None,
    host: HostOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    limit: LimitOption = None,
    everything: AllOption = False,
) -> None:
    """Write traces for other tools: those named, or those that the filters leave."""
    from wbpf.export import DEFAULT, FORMATS, format_of
    from wbpf.export import export as write

    name = format_name or (format_of(to.name) if to else DEFAULT)
    if name in FORMATS and FORMATS[name].binary and to is None and sys.stdout.isatty():
        raise ConfigError(f"{name} is not for terminals", "", f"add --to FILE{FORMATS[name].suffixes[0]}")
    with opened(store) as traces, _written(to) as out:
        chosen = chosen_ids(traces, ids or [], Filters(trigger, host, status, since, limit), everything)
        loaded: Iterable[Trace] = (traces.trace(trace_id) for trace_id in chosen)
        roots = {}
        if name in FORMATS and FORMATS[name].links:
            loaded = list(loaded)
            roots = _lateral_roots(traces, loaded)
        write(loaded, name, out, roots)
    if to is not None:
        note(f"{_count(len(chosen))} in {to}")
        print_next(f"open {to} with {FORMATS[name].opened_with}")


def _lateral_roots(store: Store, traces: Iterable[Trace]) -> dict[bytes, int]:
    """Root spans of the traces that these are linked to."""
    roots = {}
    for lateral in {lateral for trace in traces for lateral in trace.laterals}:
        try:
            trace = store.trace(lateral)
        except StoreError:
            continue  # its gather was refused, or it was deleted: there is nothing to link to
        if trace.roots:
            roots[lateral] = trace.roots[0].span_id
    return roots


@contextmanager
def _written(to: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that appears when it is whole."""
    if to is None:
        yield sys.stdout.buffer
        return
    try:
        with NamedTemporaryFile(dir=to.parent, prefix=f".{to.name}.", delete=False) as out:
            try:
                yield out
                out.flush()
                umask = os.umask(0)
                os.umask(umask)
                os.fchmod(out.fileno(), 0o666 & ~umask)
                Path(out.name).replace(to)
            except BaseException:
                Path(out.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ExportError(
            f"{to} can't be written", error.strerror or str(error), "name another --to"
        ) from error


@app.command()
def delete(
    ids: IdsArgument = None,
    store: StoreOption = None,
    trigger: TriggerOption = None,
    host: HostOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    everything: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete traces: those named, or, after a question, those that the filters leave."""
    with opened(store, readonly=False) as traces:
        chosen = chosen_ids(traces, ids or [], Filters(trigger, host, status, since), everything)
        if chosen and not ids and not yes:
            if not sys.stdin.isatty():
                raise ConfigError(
                    f"{_count(len(chosen))} would be deleted", "nobody is there to be asked", "add --yes"
                )
            typer.confirm(f"Delete {_count(len(chosen))}?", abort=True, err=True)
        deleted = traces.delete(chosen)
        traces.shrink()
    note(f"{_count(deleted)} deleted")
    print_next(same_store("wbpf traces list", store))


def _count(traces: int) -> str:
    return "1 trace" if traces == 1 else f"{traces} traces"
