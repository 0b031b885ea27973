"""`wbpf clear`: a trace is known to be good."""

from __future__ import annotations

from typing import Annotated

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
from wbpf.cli.output import Column, Output, OutputOption, print_rows
from wbpf.records import parse_trace_id


def clear(
    trace_ids: Annotated[list[str], typer.Argument(metavar="TRACE_ID...", help="Whole ids, 32 hex digits.")],
    coordinator: CoordinatorOption = COORDINATOR_ADDRESS,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    name: ServerNameOption = None,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Say that traces are good: their space is reused first.

    Best effort: what a thread writes at the moment is passed over. Prints the hosts that were told.
    """
    ids = [parse_trace_id(text) for text in trace_ids]
    with connect(coordinator, cert, key, ca, name) as client:
        hosts = client.clear(ids)
    print_rows([{"host": told} for told in hosts], [Column("host")], output)
