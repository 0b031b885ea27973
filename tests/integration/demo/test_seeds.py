"""The claims of the demo, at its full length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.demo.running import assert_honest, run_demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_effective_fault_is_caught_and_complete(tmp_path: Path, seed: int) -> None:
    run = run_demo(tmp_path / "kept", "--seed", seed, timeout_s=300)
    printed = run.printed
    assert run.status == 0
    assert printed["requests"] == 20_000
    for count in printed["faults"].values():
        assert 0 < count["effective"] == count["caught"] == count["complete"]
    assert printed["answer_correct"] is True
    assert printed["false_alarms"] == 0
    assert printed["bytes_shipped"] <= 1.5 * printed["bytes_faulted"]
    assert_honest(run)


@pytest.mark.parametrize("seed", [11, 12, 13, 14, 15])
def test_no_false_alarm_without_faults(tmp_path: Path, seed: int) -> None:
    run = run_demo(tmp_path / "kept", "--seed", seed, "--fault-rate", 0, timeout_s=300)
    assert run.status == 0
    assert run.printed["requests"] == 20_000
    assert run.printed["false_alarms"] == run.printed["bytes_shipped"] == 0
    assert run.traces() == []
