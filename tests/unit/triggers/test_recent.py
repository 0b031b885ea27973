from __future__ import annotations

import threading

import pytest

import wbpf
from tests.unit.triggers.conftest import Recording
from wbpf.errors import ConfigError
from wbpf.triggers import LatencyThreshold, RecentIds


def test_the_last_traces_are_laterals(recording: Recording) -> None:
    recent = RecentIds(3)
    traces = []
    for i in range(5):
        with wbpf.trace(f"t{i}", triggers=[recent]) as trace:
            traces.append(trace.trace_id)
    trigger = LatencyThreshold(1, laterals=recent)
    with wbpf.trace("slow") as slow:
        trigger.observe(2)
    ((_, fired),) = recording.fired()
    assert fired.trace_id.hex() == slow.trace_id
    assert [lateral.hex() for lateral in fired.laterals] == traces[2:]


def test_a_trace_is_remembered_once_and_moves_to_the_end() -> None:
    recent = RecentIds(2)
    a, b, c = (bytes(15) + bytes([i]) for i in (1, 2, 3))
    for one in (a, b, a):
        assert not recent.observe(trace_id=one)
    assert list(recent) == [b, a]
    recent.observe(trace_id=c.hex())
    assert list(recent) == [a, c]
    assert len(recent) == 2


def test_without_a_trace_nothing_is_remembered() -> None:
    recent = RecentIds(2)
    recent.observe()
    with recent.watch():
        pass
    assert list(recent) == []


def test_threads_share_it() -> None:
    recent = RecentIds(50)

    def work(start: int) -> None:
        for i in range(start, start + 5000):
            recent.observe(trace_id=i.to_bytes(16, "big"))
            assert len(list(recent)) <= 50

    threads = [threading.Thread(target=work, args=(i * 10_000 + 1,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(recent)) == 50


def test_counts_are_checked() -> None:
    with pytest.raises(ConfigError, match="remembers nothing"):
        RecentIds(0)
