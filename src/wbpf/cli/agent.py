"""`wbpf agent`: one host's agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbpf.agent import Agent, AgentSpec
from wbpf.cli.connecting import (
    CaOption,
    CertOption,
    CollectorOption,
    CoordinatorOption,
    DirectoryOption,
    KeyOption,
    LogOption,
    ReadyOption,
    ServerNameOption,
    checked_address,
    run_daemon,
)
from wbpf.cli.limiting import ConfigOption, LimitsOption, limits_of
from wbpf.envvars import HOST, POOL
from wbpf.wire import COLLECTOR_ADDRESS, COORDINATOR_ADDRESS, TlsSpec
from wbpf.wire.names import checked_hosts


def agent(
    host: Annotated[
        str | None, typer.Option(metavar="NAME", help="The host's name. [default: $WBPF_HOST]")
    ] = None,
    directory: DirectoryOption = None,
    coordinator: CoordinatorOption = COORDINATOR_ADDRESS,
    collector: CollectorOption = COLLECTOR_ADDRESS,
    config: ConfigOption = None,
    trigger: LimitsOption = None,
    pool: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Pool to flush this host's segments to, and to read those of dead hosts in. "
            "[default: $WBPF_POOL]",
        ),
    ] = None,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    name: ServerNameOption = None,
    ready_file: ReadyOption = None,
    log_level: LogOption = "warning",
) -> None:
    """Run the agent of one host.

    It sleeps until a trigger fires in one of the host's segments or the coordinator asks for a trace, finds
    the trace's records and ships them to the collector. Stop it with Ctrl-C or SIGTERM; triggers that fire
    meanwhile wait in the segments.
    """
    (checked,) = checked_hosts((host if host is not None else HOST.read(),))
    spec = AgentSpec(
        host=checked,
        directory=directory,
        coordinator=checked_address(coordinator),
        collector=checked_address(collector),
        tls=TlsSpec.from_options(cert, key, ca, name),
        limits=limits_of(config, trigger),
        pool=pool or POOL.read(),
    )
    raise typer.Exit(run_daemon(Agent(spec), log_level, ready_file))
