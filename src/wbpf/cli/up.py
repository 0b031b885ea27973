"""`wbpf up`: all daemons of one machine."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Annotated

import typer

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
    VerifyHostsOption,
)
from wbpf.cli.limiting import ConfigOption, LimitsOption, limits_of
from wbpf.cli.output import print_next, stderr
from wbpf.cli.selection import StoreOption, in_folder
from wbpf.errors import WireError
from wbpf.up import Tree, TreeSpec
from wbpf.wire import COLLECTOR_ADDRESS, COORDINATOR_ADDRESS, TlsSpec
from wbpf.wire.daemon import write_ready_file

LOOK_S = 0.2


def up(
    hosts: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Hosts to run an agent for. [default: $WBPF_HOST, this host]"),
    ] = None,
    directory: DirectoryOption = None,
    store: StoreOption = None,
    coordinator: CoordinatorOption = COORDINATOR_ADDRESS,
    collector: CollectorOption = COLLECTOR_ADDRESS,
    config: ConfigOption = None,
    trigger: LimitsOption = None,
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", min=0, help="Stop by itself after that.")
    ] = None,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    name: ServerNameOption = None,
    verify_hosts: VerifyHostsOption = True,
    ready_file: ReadyOption = None,
    log_level: LogOption = "warning",
) -> None:
    """Run coordinator, collector and agent on this machine.

    Each is a process of its own. If one of them ends, all are stopped and the exit status is 7. Ctrl-C stops
    them in order.
    """
    tls = TlsSpec.from_options(cert, key, ca, name, verify_hosts)
    spec = TreeSpec(
        hosts=[host.strip() for host in hosts.split(",") if host.strip()] if hosts else (),
        directory=directory,
        store=store and in_folder(store),
        coordinator=coordinator,
        collector=collector,
        tls=tls,
        limits=limits_of(config, trigger),
        log_level=log_level,
    )
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with Tree(spec) as tree:
        if ready_file is not None:
            write_ready_file(ready_file, tree.facts())
        try:
            _tell(tree)
            _wait(tree, stopped, for_s)
        finally:
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)


def _tell(tree: Tree) -> None:
    console = stderr()
    console.print(
        f"coordinator {tree.coordinator_address}, collector {tree.collector_address}", soft_wrap=True
    )
    console.print(f"store       {tree.store}", soft_wrap=True)
    for host in tree.hosts:
        console.print(f"agent       {host}: segments in {tree.directory / host}", soft_wrap=True)
    at = (
        ""
        if tree.coordinator_address == COORDINATOR_ADDRESS
        else f" --coordinator {tree.coordinator_address}"
    )
    kept = "" if tree.spec.store is None else f" --store {tree.store}"
    print_next(f"wbpf status{at}", f"wbpf traces list{kept}")


def _wait(tree: Tree, stopped: threading.Event, for_s: float | None) -> None:
    """Wait for the end; a daemon that ends by itself is one."""
    end_s = None if for_s is None else time.monotonic() + for_s
    while not stopped.wait(LOOK_S if end_s is None else min(LOOK_S, max(end_s - time.monotonic(), 0.0))):
        if ended := tree.ended():
            names = ", ".join(f"{child.name} ({child.ending()})" for child in ended)
            raise WireError(f"ended by itself: {names}", "the others were stopped", ended[0].hint())
        if end_s is not None and time.monotonic() >= end_s:
            return
