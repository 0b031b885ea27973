"""tcpconnlat and sockops tell each connection, with what the process that made it knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.programs.conftest import Built
from tests.integration.programs.running import HERE, Running, ip, own_network
from wbpf.wasm.filters import Filter


class Connecting:
    """The process `connecting.py`."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "connecting.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def ask(self, line: str) -> list[dict[str, Any]]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def connecting() -> Iterator[Connecting]:
    """It has a network of its own, whose loopback knows IPv4 and IPv6."""
    with own_network(ip6=True):
        ip("link set lo up")
        process = Connecting()
        yield process
        process.close()


@pytest.fixture
def cgroup(connecting: Connecting) -> Iterator[Path]:
    """A cgroup of its own for that process."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if root is None:
        pytest.skip("needs cgroup2: it is not mounted")
    one = root / f"wbpf-programs-{os.getpid()}"
    one.mkdir()
    (one / "cgroup.procs").write_text(str(connecting.pid))
    yield one
    connecting.close()
    one.rmdir()


def test_tcpconnlat(built: Built, connecting: Connecting) -> None:
    other = Connecting()
    with Running(built("tcpconnlat"), Filter(pid=connecting.pid)) as tcpconnlat:
        other.ask("connect 5 1")
        done = connecting.ask("connect 200 1")
        failed = connecting.ask("refused")
    other.close()
    assert len(tcpconnlat.events) == 201
    by_port = {(event["local"], event["local_port"]): event for event in tcpconnlat.events}
    for one in done:
        event = by_port[tuple(one["local"][:2])]
        assert (event["remote"], event["remote_port"]) == tuple(one["remote"][:2])
        assert event["connected"] and event["pid"] == connecting.pid
        assert 0 < event["latency"] <= one["took_ns"]
    assert not by_port[tuple(failed[0]["local"])]["connected"]


def test_tcpconnlat_of_slow_connections_only(built: Built, connecting: Connecting) -> None:
    with Running(built("tcpconnlat"), min_latency=10**12) as tcpconnlat:
        assert len(connecting.ask("connect 4 1")) == 4
    assert tcpconnlat.events == []


def test_sockops(built: Built, connecting: Connecting, cgroup: Path) -> None:
    other = Connecting()
    with Running(built("sockops"), group=str(cgroup)) as sockops:
        other.ask("connect 5 1")
        done = connecting.ask("connect 100 1000")
    other.close()
    names = ("side", "local", "local_port", "remote_port")
    events = {tuple(event[name] for name in names): event for event in sockops.events}
    assert len(sockops.events) == len(events) == 200
    for one in done:
        (local, port), (remote, remote_port) = one["local"][:2], one["remote"][:2]
        active, passive = (
            events["active", local, port, remote_port],
            events["passive", remote, remote_port, port],
        )
        # SYN and FIN have a number in TCP's count of bytes, as a byte has
        assert active["bytes_sent"] == one["bytes"] + 2
        assert passive["bytes_received"] == one["bytes"] + 1
        assert active["bytes_received"] == passive["bytes_sent"] == len("thanks") + 1
        assert active["retransmits"] == passive["retransmits"] == 0
        assert active["duration"] > 0 and passive["duration"] > 0
