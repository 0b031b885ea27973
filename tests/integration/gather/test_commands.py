"""`wbpf up` and the commands that speak to its daemons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.gather.cluster import Application
from wbpf.errors import WireError
from wbpf.wire import Client

WBPF = [sys.executable, "-m", "wbpf.cli"]


@dataclass
class Up:
    """A running `wbpf up`."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]
    directory: Path

    def wbpf(self, *arguments: str, code: int = 0) -> str:
        """Run a command against it; returns its output."""
        command = [*WBPF, arguments[0], "--coordinator", self.facts["coordinator"], *arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


def start(directory: Path, *options: str) -> tuple[subprocess.Popen[str], Path]:
    ready = directory / "ready.json"
    arguments = ["--dir", directory / "hosts", "--store", directory / "traces.db", "--ready-file", ready]
    process = subprocess.Popen(
        [
            *WBPF,
            "up",
            "--coordinator",
            "127.0.0.1:0",
            "--collector",
            "127.0.0.1:0",
            *map(str, arguments),
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, ready


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    process, ready = start(tmp_path, "--hosts", "a,b", "--trigger", "slow:weight=2")
    end_s = time.monotonic() + 20
    while not ready.exists():
        assert process.poll() is None and time.monotonic() < end_s, process.communicate(timeout=5)
        time.sleep(0.02)
    try:
        yield Up(process, json.loads(ready.read_text()), tmp_path / "hosts")
    finally:
        process.terminate()
        process.communicate(timeout=10)


def children(up: Up) -> list[int]:
    return [pid for pid in up.facts["pids"].values() if Path(f"/proc/{pid}").exists()]


def test_from_a_trigger_to_the_trace(up: Up, tmp_path: Path) -> None:
    app = Application(up.directory, "a")
    try:
        trace_id, _ = app.visit(events=3)
        app.trigger(trace_id)
        end_s = time.monotonic() + 10
        while json.loads(up.wbpf("status", "-o", "json"))["coordinator"]["complete"] == 0:
            assert time.monotonic() < end_s
        status = json.loads(up.wbpf("status", "-o", "json"))
        assert status["running"] and [host["host"] for host in status["hosts"]] == ["a", "b"]
        host = status["hosts"][0]
        assert host["connected"] and host["segments"][0]["written_records"] > 0
        assert host["queues"] == [
            {
                "trigger": "slow",
                "weight": 2.0,
                "rate_per_s": 0.0,
                "queued": 0,
                "open": 0,
                "fired": 1,
                "admitted": 1,
                "limited": 0,
                "overflowed": 0,
                "refused": 0,
            }
        ]
        assert status["collector"]["traces"] == 1 and status["gathering_bytes"] > 100
        assert yaml.safe_load(up.wbpf("status", "-o", "yaml"))["collector"]["traces"] == 1
        columns = up.wbpf("status")
        for word in ("HORIZON", "attached", "1 complete", "svc", "slow", str(tmp_path / "traces.db")):
            assert word in columns
        listed = subprocess.run(
            [*WBPF, "traces", "list", "--store", tmp_path / "traces.db", "-o", "json"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert [trace["trace_id"] for trace in json.loads(listed.stdout)] == [trace_id]
    finally:
        app.close()


def test_the_verbs(up: Up) -> None:
    app = Application(up.directory, "b")
    try:
        trace_id, _ = app.visit(events=3)
        (row,) = json.loads(up.wbpf("dump", trace_id, "-o", "json"))
        assert (row["trace_id"], row["host"], row["status"], row["reasons"]) == (
            trace_id,
            "b",
            "complete",
            [],
        )
        running, _ = app.visit(end=False)
        (row,) = json.loads(up.wbpf("dump", "--current", "-o", "json", code=1))
        assert row["trace_id"] == running and row["status"] == "partial"
        assert json.loads(up.wbpf("reduce", running, "warn", "-o", "json")) == [{"host": "a"}, {"host": "b"}]
        assert app.do("result = wbpf.enabled('info')") is False
        assert up.wbpf("reduce", running, "trace").split() == ["HOST", "a", "b"]
        assert app.do("result = wbpf.enabled('info')") is True
        assert up.wbpf("reduce", "--host", "b", "error").split() == ["HOST", "b"]
        up.wbpf("reduce", "--host", "nobody", "error", code=7)
        up.wbpf("reduce", "error", code=2)
        up.wbpf("reduce", running, "loud", code=2)
        assert json.loads(up.wbpf("dump", "ab" * 16, "-o", "json", code=1)) == []
        up.wbpf("dump", code=2)
        up.wbpf("dump", "abc", code=5)
        assert json.loads(up.wbpf("clear", running, trace_id, "-o", "json")) == [{"host": "a"}, {"host": "b"}]
        up.wbpf("clear", "abc", code=5)
    finally:
        app.close()


def test_it_stops_in_order(up: Up) -> None:
    assert len(children(up)) == 4
    up.process.send_signal(signal.SIGINT)
    _, errors = up.process.communicate(timeout=10)
    assert up.process.returncode == 0, errors
    assert children(up) == [] and "Traceback" not in errors
    assert not (up.directory.parent / "ready.json").exists()


def test_its_children_do_not_outlive_it(up: Up) -> None:
    up.process.kill()
    up.process.wait()
    end_s = time.monotonic() + 10
    while children(up):
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_a_daemon_that_ends_is_named(up: Up) -> None:
    os.kill(up.facts["pids"]["agent b"], signal.SIGKILL)
    _, errors = up.process.communicate(timeout=10)
    assert up.process.returncode == 7
    assert "ended by itself: agent b (killed by SIGKILL)" in errors
    assert children(up) == []


def test_what_is_taken_is_named(up: Up, tmp_path: Path) -> None:
    def fails(*command: object) -> tuple[int, str]:
        done = subprocess.run(
            [*WBPF, *map(str, command)], capture_output=True, text=True, check=False, timeout=20
        )
        return done.returncode, done.stderr

    coordinator, collector = up.facts["coordinator"], up.facts["collector"]
    other = tmp_path / "other"
    code, errors = fails("coordinator", "--listen", coordinator)
    assert code == 7 and f"address {coordinator} can't be bound" in errors
    code, errors = fails("collector", "--listen", collector, "--store", other)
    assert code == 7 and "can't be bound" in errors and not other.exists()
    code, errors = fails("agent", "--host", "a", "--dir", up.directory)
    assert code == 2 and "an agent for host 'a' is running already" in errors
    code, errors = fails(
        "up", "--coordinator", coordinator, "--collector", "127.0.0.1:0", "--dir", other, "--store", other
    )
    assert code == 7 and "coordinator: address" in errors
    code, errors = fails("coordinator", "--listen", "0.0.0.0:0")
    assert code == 2 and "without TLS" in errors
    code, errors = fails("agent", "--host", "c", "--dir", "/proc/nowhere")
    assert code == 3 and "can't be made" in errors
    code, errors = fails("agent", "--trigger", "slow:rate=fast")
    assert code == 2
    code, errors = fails("up", "--tls-cert", "x.pem")
    assert code == 2 and "--tls-key, --tls-ca not given" in errors


def test_each_daemon_runs_alone_and_for_a_while(tmp_path: Path) -> None:
    process, _ = start(tmp_path, "--hosts", "a", "--for", "1")
    began = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert time.monotonic() - began >= 1

    def run(name: str, *options: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        ready = tmp_path / f"{name}.json"
        running = subprocess.Popen([*WBPF, name, "--ready-file", ready, *options])
        while not ready.exists():
            assert running.poll() is None
            time.sleep(0.02)
        return running, json.loads(ready.read_text())

    collector, facts = run(
        "collector", "--listen", "127.0.0.1:0", "--store", str(tmp_path / "x" / "traces.db")
    )
    collected = facts["address"]
    coordinator, facts = run("coordinator", "--listen", "127.0.0.1:0", "--collector", collected)
    coordinated = facts["address"]
    hosts = str(tmp_path / "hosts")
    agent, facts = run(
        "agent", "--host", "a", "--dir", hosts, "--coordinator", coordinated, "--collector", collected
    )
    assert facts["host"] == "a" and facts["daemon"] == "agent"
    app = Application(tmp_path / "hosts", "a")
    with Client(coordinated) as client:
        trace_id, _ = app.visit()
        (gathered,) = client.dump([bytes.fromhex(trace_id)]).gathered
        assert [part.name for part in gathered.hosts] == ["a"]
    app.close()
    for process_ in (agent, coordinator, collector):
        process_.terminate()
        assert process_.wait(10) == 0
    assert not list(tmp_path.glob("*.json"))


def test_without_daemons_commands_say_so() -> None:
    for command in (["status"], ["dump", "ab" * 16], ["clear", "ab" * 16], ["reduce", "ab" * 16, "warn"]):
        done = subprocess.run(
            [*WBPF, *command, "--coordinator", "127.0.0.1:9"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 7 and done.stdout == ""
        assert "no coordinator at 127.0.0.1:9: connection refused" in done.stderr
    with Client("127.0.0.1:9") as client, pytest.raises(WireError, match="no coordinator at"):
        client.status(2)
