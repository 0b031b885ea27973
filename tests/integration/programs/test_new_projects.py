"""What `wbpf new` makes runs at once, in each language."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.languages import NAMES, demand
from tests.integration.programs.conftest import traced, wait_for
from wbpf.build import build, new_project


@pytest.mark.parametrize("name", NAMES)
def test_a_new_project_runs(
    capable: None, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = demand(name, monkeypatch)
    new_project(tmp_path / "my-tool", language)
    program = shutil.copy("/bin/true", tmp_path / f"new{language}")

    def start() -> int:
        with subprocess.Popen([program]) as child:
            return child.pid

    with traced(build(tmp_path / "my-tool").path, start) as events:
        pids = [start() for _ in range(20)]
        wait_for(lambda: any(event["pid"] == pids[-1] for event in events))
    mine = [event for event in events if event["pid"] in pids]
    assert [event["pid"] for event in mine] == pids
    assert {(event["comm"], event["uid"]) for event in mine} == {(f"new{language}", os.getuid())}


def test_its_parameter_is_set_in_the_kernel(capable: None, tmp_path: Path) -> None:
    """Nobody has so high a user id: only the canary, of that user, is told of."""
    new_project(tmp_path / "my-tool", "c")

    def start(user: int) -> None:
        subprocess.run(["/bin/true"], user=user, check=True)

    with traced(build(tmp_path / "my-tool").path, lambda: start(54_321), **{"min-uid": 54_321}) as events:
        for _ in range(20):
            start(0)
        start(54_322)
        wait_for(lambda: events[-1]["uid"] == 54_322)
    assert {event["uid"] for event in events} == {54_321, 54_322}
