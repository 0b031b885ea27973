"""Programs of section `perf_event` run by the clock in user space."""

from __future__ import annotations

import struct
import time
from itertools import pairwise
from statistics import median

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf.user.attach.timer import TimerLink, period_of
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import ConfigError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")


def test_a_timer_runs_a_program(compiled: Compiled) -> None:
    with UserObject.open(compiled("ticks")) as one:
        one.load()
        link = one.programs["on_tick"].attach("timer:5ms")
        assert isinstance(link, TimerLink)
        end = time.monotonic() + 20
        while link.runs < 40:
            assert time.monotonic() < end
            time.sleep(0.01)
        link.detach()
        runs = link.runs
        assert one.variables["ticks"] == runs
        time.sleep(0.03)
        assert link.runs == one.variables["ticks"] == runs
        assert one.variables["period"] == 5_000_000
        raw = one.variables["times"]
        assert isinstance(raw, bytes)
        times = struct.unpack("<256Q", raw)[: min(runs, 256)]
        assert 4e6 < median(b - a for a, b in pairwise(times)) < 10e6


def test_periods() -> None:
    assert [period_of("p", text) for text in ("timer:10ms", "timer:2s", "timer:50us", "cpu-clock@100")] == [
        10_000_000,
        2_000_000_000,
        50_000,
        10_000_000,
    ]
    for text in ("", "timer:", "timer:10", "timer:0ms", "timer:5ns", "cpu-cycles@99", "cpu-clock@0"):
        with pytest.raises(ConfigError, match="it is run by the clock"):
            period_of("p", text)
