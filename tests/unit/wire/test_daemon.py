from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wbpf.agent import AgentSpec, TriggerLimit
from wbpf.coordinator import CoordinatorSpec, Patience
from wbpf.errors import AccessError, ConfigError, WireError
from wbpf.wire import Backoff, Daemon, TlsSpec
from wbpf.wire.child import dump_spec, load_spec
from wbpf.wire.daemon import LineFormatter, log_to_stderr, write_ready_file

ROOT = Path(__file__).resolve().parents[3]


class Small(Daemon):
    name = "small"

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__()
        self.fault = fault
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1
        if self.fault:
            raise self.fault
        self.work(asyncio.sleep(3600))

    async def close(self) -> None:
        await self.end_work()
        self.closed += 1

    def facts(self) -> dict[str, Any]:
        return {"opened": self.opened}


def test_embedded_it_starts_and_stops() -> None:
    with Small() as small:
        assert (small.opened, small.closed) == (1, 0)
    assert small.closed == 1


def test_what_fails_to_open_is_closed() -> None:
    small = Small(WireError("no"))
    with pytest.raises(WireError):
        small.start()
    assert small.closed == 1


RUN = """
import asyncio, sys
from tests.unit.wire.test_daemon import Small
class Failing(Small):
    async def open(self):
        await super().open()
        self.work(self.fail())
    async def fail(self):
        await asyncio.sleep(0.05)
        raise RuntimeError("broken")
kind = Failing if "fail" in sys.argv else Small
sys.exit(kind().run(lambda: print("ready", flush=True), with_stdin="stdin" in sys.argv))
"""


def start(*words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    process = start()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_the_end_of_its_input_ends_it() -> None:
    process = start("stdin")
    _, errors = process.communicate(timeout=10)  # closes its standard input
    assert (process.returncode, errors) == (0, "")


def test_it_does_not_go_on_without_a_part_of_itself() -> None:
    process = start("fail")
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "a task failed" in errors and "broken" in errors


def test_a_ready_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    write_ready_file(path, {"address": "x", "pid": os.getpid()})
    assert json.loads(path.read_text())["address"] == "x"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises((ConfigError, AccessError)):
        write_ready_file(tmp_path / "missing" / "ready.json", {})


@pytest.mark.parametrize(
    "spec",
    [
        CoordinatorSpec(patience=Patience(1.5, 2.5, 9.0), retain_most=7),
        AgentSpec(
            host="a",
            directory=Path("/x"),
            limits={"*": TriggerLimit(5.0, 2, 1.5)},
            tls=TlsSpec(Path("c"), Path("k"), Path("a"), None, False),
        ),
    ],
)
def test_a_spec_travels_as_one_line(spec: Any) -> None:
    line = dump_spec(spec, "info")
    assert "\n" not in line
    assert load_spec(type(spec), json.loads(line)["spec"]) == spec


def test_waits_double_and_start_anew() -> None:
    backoff = Backoff(0.1, 1.0)
    waits = [backoff.next_s() for _ in range(8)]
    assert all(0.05 * 2**n <= wait <= 0.1 * 2**n for n, wait in enumerate(waits[:4]))
    assert max(waits) <= 1.0 and backoff.tries == 8
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_a_log_line_has_fields() -> None:
    record = logging.LogRecord("wbpf.agent", logging.WARNING, "", 0, "collector is %s", ("away",), None)
    record.fields = {"address": "127.0.0.1:1", "why": 'it said "no"', "count": 3}
    line = LineFormatter().format(record)
    assert line.startswith("time=2")
    assert line.endswith(
        'level=warning logger=wbpf.agent message="collector is away" address=127.0.0.1:1 '
        'why="it said \\"no\\"" count=3'
    )
    with pytest.raises(ConfigError):
        log_to_stderr("loud")


def test_a_daemon_costs_nothing_while_it_waits() -> None:
    process = start()
    time.sleep(0.5)

    def cpu_ticks() -> int:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = cpu_ticks()
    time.sleep(1)
    assert cpu_ticks() - before <= 1
    process.terminate()
    process.communicate(timeout=10)
