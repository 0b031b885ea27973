"""`wbpf collector`: the one that keeps the store."""

from __future__ import annotations

from typing import Annotated

import typer

from wbpf.cli.connecting import (
    CaOption,
    CertOption,
    KeyOption,
    ListenOption,
    LogOption,
    ReadyOption,
    VerifyHostsOption,
    run_daemon,
)
from wbpf.cli.selection import StoreOption
from wbpf.collector import Collector, CollectorSpec
from wbpf.store import default_path
from wbpf.wire import COLLECTOR_ADDRESS, TlsSpec

GIB = 1 << 30
DAY_S = 86_400.0


def collector(
    listen: ListenOption = COLLECTOR_ADDRESS,
    store: StoreOption = None,
    retain_gib: Annotated[
        float, typer.Option(min=0.01, help="Size of the store, GiB: beyond it the oldest traces go.")
    ] = 10.0,
    retain_days: Annotated[
        float, typer.Option(min=0.0001, help="Age from which on traces are deleted, days.")
    ] = 7.0,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    verify_hosts: VerifyHostsOption = True,
    ready_file: ReadyOption = None,
    log_level: LogOption = "warning",
) -> None:
    """Run the collector, which keeps the store.

    What agents deliver is acknowledged once it is on disk. With the disk full nothing is acknowledged, and
    agents keep what they have.
    """
    spec = CollectorSpec(
        address=listen,
        store=store or default_path(),
        tls=TlsSpec.from_options(cert, key, ca, verify_hosts=verify_hosts),
        retain_bytes=int(retain_gib * GIB),
        retain_s=retain_days * DAY_S,
    )
    raise typer.Exit(run_daemon(Collector(spec), log_level, ready_file))
