"""`wbpf status`: what is recorded, and how the daemons are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from google.protobuf.message import Message

from wbpf.agent import segment_status
from wbpf.cli.connecting import (
    COORDINATOR_ADDRESS,
    CaOption,
    CertOption,
    CoordinatorOption,
    DirectoryOption,
    KeyOption,
    ServerNameOption,
    connect,
)
from wbpf.cli.output import Column, Output, OutputOption, print_data, print_next, print_rows, stderr
from wbpf.cli.wording import size
from wbpf.envvars import DIR
from wbpf.errors import AccessError, WbpfError, WireError
from wbpf.recorder import Segment, segments
from wbpf.wire import gathering_bytes
from wbpf.wire import status_pb2 as st

ANSWER_S = 3.0


def _seconds(value: float) -> str:
    return "" if value < 0 else f"{value:.1f} s"


def _micros(value: int) -> str:
    return f"{value / 1e3:.0f} µs"


_HOSTS = (
    Column("host"),
    Column("agent"),
    Column("heartbeat_age_s", right=True, text=_seconds),
    Column("offset_ns", right=True, text=_micros),
    Column("uncertainty_ns", right=True, text=_micros),
    Column("watching", right=True),
    Column("undelivered_bytes", right=True, text=size),
    Column("faults", text="; ".join),
)
_SEGMENTS = (
    Column("host"),
    Column("service"),
    Column("size_bytes", right=True, text=size),
    Column("horizon_s", right=True, text=_seconds),
    Column("written_records", right=True),
    Column("resident_records", right=True),
    Column("recycled_records", right=True),
    Column("refused", right=True),
    Column("truncated", right=True),
    Column("triggers_dropped", right=True),
    Column("processes", right=True),
)
_QUEUES = (
    Column("host"),
    Column("trigger"),
    Column("weight", right=True, text=lambda value: f"{value:g}"),
    Column("rate_per_s", right=True, text=lambda value: f"{value:g}" if value else "-"),
    Column("queued", right=True),
    Column("open", right=True),
    Column("fired", right=True),
    Column("admitted", right=True),
    Column("limited", right=True),
    Column("overflowed", right=True),
    Column("refused", right=True),
)
_FACTS = (Column("daemon"), Column("what"), Column("value"))


def status(
    context: typer.Context,
    coordinator: CoordinatorOption = COORDINATOR_ADDRESS,
    directory: DirectoryOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    name: ServerNameOption = None,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Show segments, horizons, counters and daemons.

    Without daemons it shows the segments of this machine, unless the coordinator was named.
    """
    source = context.get_parameter_source("coordinator")
    named = source is not None and source.name == "COMMANDLINE"
    try:
        with connect(coordinator, cert, key, ca, name) as client:
            cluster = client.status(ANSWER_S)
    except WireError as error:
        if named:
            raise
        data = _local(directory or DIR.read(), error)
    else:
        data = _cluster(cluster)
    if output is not Output.COLUMNS:
        print_data(data, output)
        return
    _print(data)


def _cluster(cluster: st.ClusterStatus) -> dict[str, Any]:
    hosts = []
    for state in cluster.hosts:
        host = plain(state)
        agent = host.pop("agent")
        host["agent"] = agent and {
            k: agent[k] for k in ("pid", "started_unix_ns", "collector_connected", "searches")
        }
        for key in ("segments", "queues", "watching", "undelivered_bytes", "faults", "bytes"):
            host[key] = agent[key] if agent else ([] if key not in ("watching", "undelivered_bytes") else 0)
        hosts.append(host)
    return {
        "running": True,
        "why": "",
        "hosts": hosts,
        "coordinator": plain(cluster.coordinator),
        "collector": plain(cluster.collector) if cluster.HasField("collector") else None,
        "gathering_bytes": gathering_bytes(cluster),
    }


def _local(directory: Path, error: WireError) -> dict[str, Any]:
    """What this machine's segments say when no daemon does."""
    hosts = []
    try:
        folders = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        folders = []
    except OSError as fault:
        raise AccessError(
            f"the folder {directory} can't be read",
            (fault.strerror or str(fault)).lower(),
            "run as its owner, or name another --dir",
        ) from fault
    for folder in folders:
        found, faults = [], []
        if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
            faults.append(f"{folder}: this user may not read it")
        for path in segments(folder):
            try:
                with Segment.open(path) as segment:
                    found.append(plain(segment_status(segment)))
            except WbpfError as fault:
                faults.append(f"{path}: {fault.why or fault.what}")
        if found or faults:
            hosts.append(
                {
                    "host": folder.name,
                    "connected": False,
                    "agent": None,
                    "segments": found,
                    "queues": [],
                    "faults": faults,
                }
            )
    why = f"{error.what}: {error.why}" if error.why else error.what
    return {"running": False, "why": why, "hosts": hosts, "coordinator": None, "collector": None}


def plain(message: Message) -> dict[str, Any]:
    """A message's fields as plain data; one that is absent is None, and ids are in hex."""
    data: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            data[field.name] = [plain(item) if isinstance(item, Message) else item for item in value]
        elif isinstance(value, Message):
            data[field.name] = plain(value) if message.HasField(field.name) else None
        elif field.name.endswith("_id") and isinstance(value, int):
            data[field.name] = f"{value:016x}"
        else:
            data[field.name] = value
    return data


def _print(data: dict[str, Any]) -> None:
    hosts = data["hosts"]
    if not data["running"]:
        stderr().print(
            f"daemons are not running ({data['why']}); these are this machine's segments", soft_wrap=True
        )
    else:
        rows = [{**host, "agent": "attached" if host["connected"] else "away"} for host in hosts]
        _section(rows, _HOSTS)
    _section([{"host": host["host"], **one} for host in hosts for one in host["segments"]], _SEGMENTS)
    _section([{"host": host["host"], **one} for host in hosts for one in host["queues"]], _QUEUES)
    for host in hosts:
        for fault in host["faults"]:
            stderr().print(f"{host['host']}: {fault}", soft_wrap=True)
    if data["running"]:
        _section(list(_facts(data)), _FACTS)
        print_next("wbpf traces list")
    else:
        print_next("wbpf up")


def _section(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> None:
    if rows:
        print_rows(rows, columns)
        print()


def _facts(data: dict[str, Any]) -> Iterable[dict[str, Any]]:
    one, two = data["coordinator"], data["collector"]
    kinds = ("complete", "partial", "unknown", "refused")
    values = [
        ("coordinator", "address", one["address"]),
        ("coordinator", "gathers in flight", one["in_flight"]),
        ("coordinator", "gathers concluded", ", ".join(f"{one[kind]} {kind}" for kind in kinds)),
        ("coordinator", "not yet stored", one["unstored"]),
        ("coordinator", "bytes of gathering", size(data["gathering_bytes"])),
    ]
    values += [
        (
            "coordinator",
            f"refused of {item['trigger']}",
            f"{item['refused']} of {item['refused'] + item['admitted']}",
        )
        for item in one["admission"]
        if item["refused"]
    ]
    if two is None:
        values.append(("collector", "address", f"{one['collector']}, away"))
    else:
        values += [
            ("collector", "address", two["address"]),
            ("collector", "store", f"{two['store']}, {two['traces']} traces, {size(two['store_bytes'])}"),
            ("collector", "fault", two["fault"] or "none"),
        ]
    return [{"daemon": daemon, "what": what, "value": str(value)} for daemon, what, value in values]
