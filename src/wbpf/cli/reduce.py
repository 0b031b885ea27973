"""`wbpf reduce`: record less."""

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
    parse_level,
)
from wbpf.cli.output import Column, Output, OutputOption, print_rows
from wbpf.errors import ConfigError
from wbpf.records import parse_trace_id


def reduce(
    trace_or_level: Annotated[
        str, typer.Argument(metavar="TRACE_ID|LEVEL", help="Whole id, 32 hex digits; with --host the level.")
    ],
    level: Annotated[
        str | None,
        typer.Argument(
            metavar="LEVEL",
            help="From which severity on records are written: trace, debug, info, warn, error, fatal, off, "
            "a number; `inherit`: a trace has no level of its own any more.",
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="NAME", help="All traces of this host.")] = None,
    coordinator: CoordinatorOption = COORDINATOR_ADDRESS,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    name: ServerNameOption = None,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Record less of a trace, on every host, or of all traces of a host.

    A trace's level holds until it is set again or 32 other traces have got one; a host's until the agent
    ends. Prints the hosts that were told.
    """
    if (level is None) == (host is None):
        raise ConfigError(
            "what shall be reduced?",
            "",
            "use `wbpf reduce TRACE_ID LEVEL` or `wbpf reduce --host HOST LEVEL`",
        )
    trace_id = b"" if level is None else parse_trace_id(trace_or_level)
    number = parse_level(trace_or_level if level is None else level)
    if not trace_id and not number:
        raise ConfigError("a host has nothing to inherit from", "", "name the level, such as trace")
    with connect(coordinator, cert, key, ca, name) as client:
        hosts = client.reduce(number, trace_id, host or "")
    print_rows([{"host": told} for told in hosts], [Column("host")], output)
