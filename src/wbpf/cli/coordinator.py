"""`wbpf coordinator`: the one that decides what is gathered."""

from __future__ import annotations

from typing import Annotated

import typer

from wbpf.cli.connecting import (
    CaOption,
    CertOption,
    CollectorOption,
    KeyOption,
    ListenOption,
    LogOption,
    ReadyOption,
    ServerNameOption,
    VerifyHostsOption,
    checked_address,
    run_daemon,
)
from wbpf.coordinator import AdmissionSpec, Coordinator, CoordinatorSpec, Patience
from wbpf.wire import COLLECTOR_ADDRESS, COORDINATOR_ADDRESS, TlsSpec


def coordinator(
    listen: ListenOption = COORDINATOR_ADDRESS,
    collector: CollectorOption = COLLECTOR_ADDRESS,
    limit_s: Annotated[
        float,
        typer.Option(
            "--limit", min=0.1, help="Seconds a gather waits for its trace before it says what is missing."
        ),
    ] = 2.0,
    watch_s: Annotated[
        float, typer.Option("--watch", min=0.1, help="Seconds a trace is watched that still runs then.")
    ] = 30.0,
    rate: Annotated[
        float, typer.Option(min=0, help="Gathers a second at most. [default: as many as are managed]")
    ] = 0.0,
    in_flight: Annotated[int, typer.Option(min=1, help="Gathers open at one time.")] = 4096,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    name: ServerNameOption = None,
    verify_hosts: VerifyHostsOption = True,
    ready_file: ReadyOption = None,
    log_level: LogOption = "warning",
) -> None:
    """Run the coordinator.

    It hears of triggers from the agents, follows the breadcrumbs of each trace from host to host, and
    tells the collector how complete the trace is. It keeps nothing on disk: started again, it learns
    from the agents what was going on.
    """
    spec = CoordinatorSpec(
        address=listen,
        collector=checked_address(collector),
        tls=TlsSpec.from_options(cert, key, ca, name, verify_hosts),
        patience=Patience(limit_s=limit_s, watch_s=max(watch_s, limit_s)),
        admission=AdmissionSpec(in_flight_most=in_flight, rate_most=rate),
    )
    raise typer.Exit(run_daemon(Coordinator(spec), log_level, ready_file))
