from __future__ import annotations

from pathlib import Path

import pytest

from wbpf.agent import AgentSpec, TriggerLimit, read_limits
from wbpf.errors import ConfigError


def test_a_flag_sets_what_it_names() -> None:
    assert TriggerLimit.parse_flag("slow:rate=50,weight=3") == ("slow", TriggerLimit(50.0, 100, 3.0))
    assert TriggerLimit.parse_flag("db:slow:burst=7") == ("db:slow", TriggerLimit(burst=7))


@pytest.mark.parametrize(
    "text",
    [
        "slow",
        "slow:",
        ":rate=1",
        "slow:rate",
        "slow:rate=x",
        "slow:rate=-1",
        "slow:size=1",
        "slow:burst=0",
        "slow:weight=0",
        "slow:rate=nan",
        "slow:rate=inf",
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        TriggerLimit.parse_flag(text)


def test_limits_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "wbpf.yaml"
    path.write_text('triggers:\n  slow: {rate: 50, weight: 3}\n  "*": {burst: 10}\n')
    limits = read_limits(path)
    spec = AgentSpec(limits=limits)
    assert spec.limit("slow") == TriggerLimit(rate=50, weight=3)
    assert spec.limit("any other") == TriggerLimit(burst=10)
    assert AgentSpec().limit("slow") == TriggerLimit()
    path.write_text("")
    assert read_limits(path) == {}


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "triggers: 7",
        "trigger: {}",
        "triggers: {a: 1}",
        "triggers: {1: {}}",
        "{",
        "triggers: {a: {x: 1}}",
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wbpf.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_limits(path)
    with pytest.raises(ConfigError):
        read_limits(tmp_path / "missing.yaml")
