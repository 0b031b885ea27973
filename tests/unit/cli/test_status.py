from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.store.rights import shut_out
from wbpf.cli.status import plain
from wbpf.errors import AccessError, ConfigError, WireError
from wbpf.wire import COORDINATOR_ADDRESS
from wbpf.wire import status_pb2 as st

NOBODY_THERE = "127.0.0.1:1"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No coordinator at the usual address."""

    def away(self: object, timeout_s: float) -> st.ClusterStatus:
        raise WireError(f"no answer from {COORDINATOR_ADDRESS}", "connection refused")

    monkeypatch.setattr("wbpf.wire.Client.status", away)


def record(folder: Path) -> None:
    program = "import sys, wbpf; wbpf.open('shop', host='host1', directory=sys.argv[1], size_mib=2)"
    subprocess.run([sys.executable, "-c", program, folder], check=True)


def test_ids_are_in_hex(run: Run, tmp_path: Path, alone: None) -> None:
    record(tmp_path)
    (host,) = json.loads(run("status", "--dir", tmp_path, "-o", "json").out)["hosts"]
    info = json.loads(run("segment", "info", tmp_path / "host1/shop.seg", "-o", "json").out)
    assert host["segments"][0]["segment_id"] == info["segment_id"]
    assert re.fullmatch("[0-9a-f]{16}", info["segment_id"])
    assert plain(st.HostState(host="a", host_id=255))["host_id"] == "00000000000000ff"


def test_a_folder_of_somebody_else(run: Run, tmp_path: Path, alone: None) -> None:
    with shut_out(tmp_path):
        ran = run("status", "--dir", tmp_path)
    assert ran.status == AccessError.exit_code == 3
    assert f"the folder {tmp_path} can't be read: permission denied" in ran.err and "try: " in ran.err


def test_a_folder_that_is_not_there_has_no_segments(run: Run, tmp_path: Path, alone: None) -> None:
    ran = run("status", "--dir", tmp_path / "none")
    assert ran.status == 0 and "daemons are not running" in ran.err


def test_a_coordinator_that_was_named_must_be_there(run: Run, tmp_path: Path) -> None:
    ran = run("status", "--dir", tmp_path, "--coordinator", NOBODY_THERE)
    assert ran.status == WireError.exit_code == 7 and NOBODY_THERE in ran.err


@pytest.mark.parametrize("address", ["foo", ":1", "foo:", "foo:bar", "foo:99999"])
@pytest.mark.parametrize("command", [["status"], ["clear", "11" * 16], ["dump", "--current"], ["agent"]])
def test_addresses_that_are_none(run: Run, command: list[str], address: str) -> None:
    ran = run(*command, "--coordinator", address)
    assert ran.status == ConfigError.exit_code and "it is not HOST:PORT" in ran.err
