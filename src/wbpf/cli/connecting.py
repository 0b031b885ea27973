"""How commands find the daemons, and how daemons are told where to be: options that commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from wbpf.cli.output import note
from wbpf.errors import ConfigError
from wbpf.records.layout import Level
from wbpf.wire import COORDINATOR_ADDRESS, Client, Daemon, TlsSpec
from wbpf.wire.daemon import log_to_stderr, write_ready_file

CoordinatorOption = Annotated[
    str, typer.Option("--coordinator", metavar="HOST:PORT", help="Address of the coordinator.")
]
CollectorOption = Annotated[
    str, typer.Option("--collector", metavar="HOST:PORT", help="Address of the collector.")
]
ListenOption = Annotated[
    str, typer.Option("--listen", metavar="HOST:PORT", help="Address to listen at; port 0 takes a free one.")
]
CertOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="This side's certificate, PEM.")
]
KeyOption = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")]
CaOption = Annotated[
    Path | None, typer.Option("--tls-ca", metavar="FILE", help="Who may have signed the others', PEM.")
]
ServerNameOption = Annotated[
    str | None,
    typer.Option("--tls-name", metavar="NAME", help="Name in servers' certificates, if not their address."),
]
VerifyHostsOption = Annotated[
    bool,
    typer.Option(
        "--tls-verify-hosts/--no-tls-verify-hosts",
        help="An agent's certificate must have its host's name.",
    ),
]
LogOption = Annotated[
    str, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
]
ReadyOption = Annotated[
    Path | None,
    typer.Option("--ready-file", metavar="FILE", help="Write addresses there, as JSON, once it works."),
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="Folder of this machine's hosts. [default: $WBPF_DIR]"),
]


def connect(
    coordinator: str, cert: Path | None, key: Path | None, ca: Path | None, name: str | None
) -> Client:
    """A connection to the coordinator, as the options say."""
    return Client(checked_address(coordinator), TlsSpec.from_options(cert, key, ca, name))


def checked_address(address: str) -> str:
    """The address of a daemon.

    Raises:
        ConfigError: it is not HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not port.isascii() or not 0 < int(port) < 1 << 16:
        raise ConfigError(
            f"address {address!r} can't be used", "it is not HOST:PORT", f"use one as {COORDINATOR_ADDRESS}"
        )
    return address


def run_daemon(daemon: Daemon, log_level: str, ready_file: Path | None) -> int:
    """Run a daemon in this process until it is told to stop; returns the exit status."""
    log_to_stderr(log_level)

    def ready() -> None:
        facts = {"daemon": daemon.name, "pid": os.getpid(), **daemon.facts()}
        if ready_file is not None:
            write_ready_file(ready_file, facts)
        note(f"{daemon.name} runs: " + ", ".join(f"{key} {value}" for key, value in daemon.facts().items()))

    try:
        return daemon.run(ready)
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def parse_level(text: str) -> int:
    """The number of a severity; 0 for `inherit`.

    Raises:
        ConfigError: there is no such one.
    """
    if text.lower() == "inherit":
        return 0
    if text.upper() in Level.__members__:
        return Level[text.upper()].value
    if text.isascii() and text.isdigit() and 1 <= int(text) <= Level.OFF:
        return int(text)
    raise ConfigError(
        f"no level {text!r}", "", "use trace, debug, info, warn, error, fatal, off, a number, or inherit"
    )


__all__ = [
    "COORDINATOR_ADDRESS",
    "CaOption",
    "CertOption",
    "CollectorOption",
    "CoordinatorOption",
    "DirectoryOption",
    "KeyOption",
    "ListenOption",
    "LogOption",
    "ReadyOption",
    "ServerNameOption",
    "VerifyHostsOption",
    "checked_address",
    "connect",
    "parse_level",
    "run_daemon",
]
