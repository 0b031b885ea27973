"""`wbpf dump`: gather a trace because a person wants it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from wbpf.cli.connecting import (
    COORDINATOR_ADDRESS,
    CaOption,
    CertOption,
    CoordinatorOption,
    KeyOption,
    ServerNameOption,
    connect,
)
from wbpf.cli.output import Column, Output, OutputOption, note, print_next, print_rows
from wbpf.errors import ConfigError
from wbpf.records import parse_trace_id
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import split_ids

_STATUS = {
    pb.HOST_STATUS_COMPLETE: "complete",
    pb.HOST_STATUS_PARTIAL: "partial",
    pb.HOST_STATUS_UNKNOWN: "unknown",
}
_COLUMNS = (
    Column("trace_id"),
    Column("host"),
    Column("status"),
    Column("records", right=True),
    Column("reasons", text="; ".join),
)


def dump(
    trace_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[TRACE_ID]...", help="Whole ids, 32 hex digits.")
    ] = None,
    current: Annotated[bool, typer.Option("--current", help="The traces that run now.")] = False,
    coordinator: CoordinatorOption = COORDINATOR_ADDRESS,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    name: ServerNameOption = None,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Gather a trace from all hosts, and keep it.

    Prints what each host had. Exit status 1 if a trace is not complete, or no host knows it.
    """
    if bool(trace_ids) == current:
        raise ConfigError("which traces?", "", "give whole trace ids, or --current")
    ids = [parse_trace_id(text) for text in trace_ids or ()]
    with connect(coordinator, cert, key, ca, name) as client:
        reply = client.dump(ids, current)
    rows = list(_rows(reply.gathered))
    print_rows(rows, _COLUMNS, output)
    nowhere = split_ids(reply.nowhere, max(len(ids), 1))
    for trace_id in nowhere:
        note(f"no host knows trace {trace_id.hex()}")
    if not rows and not nowhere:
        note("no trace runs now" if current else "nothing was gathered in time")
    elif rows and output is Output.COLUMNS:
        print_next(f"wbpf traces show {rows[0]['trace_id']}")
    whole = all(row["status"] == "complete" for row in rows) and not nowhere and (current or bool(rows))
    raise typer.Exit(0 if whole else 1)


def _rows(gathered: Iterable[pb.WireConclusion]) -> list[dict[str, Any]]:
    return [
        {
            "trace_id": conclusion.trace_id.hex(),
            "host": part.name,
            "status": _STATUS.get(part.status, "unknown"),
            "records": part.records,
            "reasons": list(part.reasons),
        }
        for conclusion in gathered
        for part in conclusion.hosts
    ]
