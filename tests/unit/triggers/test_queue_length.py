from __future__ import annotations

import random
import threading
from contextlib import ExitStack
from typing import Any

import pytest

import wbpf
from tests.unit.triggers.conftest import Recording
from wbpf.errors import ConfigError
from wbpf.triggers import QueueLength, RecentIds


def test_a_limit() -> None:
    trigger = QueueLength(3)
    assert [trigger.observe(length) for length in (0, 3, 4, 2, 9)] == [False, False, True, False, True]


def test_a_percentile_of_lengths() -> None:
    rng = random.Random(8)
    trigger = QueueLength(percentile=0.99)
    for _ in range(60_000):
        trigger.observe(int(rng.expovariate(0.05)))
    assert 0.7 * 0.01 < trigger.fired / 60_000 < 1.3 * 0.01


def test_a_block_counts_those_inside_it(recording: Recording) -> None:
    recent = RecentIds(5)
    trigger = QueueLength(2, laterals=recent)
    with ExitStack() as stack:
        traces = [stack.enter_context(wbpf.trace(f"t{i}", triggers=[trigger, recent])) for i in range(3)]
        assert trigger.fired == 1
    with wbpf.trace("later", triggers=[trigger]):
        pass
    ((name, fired),) = recording.fired()
    assert (name, fired.value, fired.trace_id.hex()) == ("queue.length", 3.0, traces[2].trace_id)


def test_threads_in_a_block_are_counted() -> None:
    trigger = QueueLength(7)
    gate = threading.Barrier(8)

    def work() -> None:
        with trigger.watch():
            gate.wait(10)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trigger.fired == 1
    with trigger.watch():
        assert trigger.fired == 1


@pytest.mark.parametrize("arguments", [{}, {"limit": 1, "percentile": 0.5}, {"percentile": 1.5}])
def test_arguments_are_checked(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        QueueLength(**arguments)
