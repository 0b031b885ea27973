from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wbpf
from wbpf.errors import PoolError
from wbpf.pool import Pool, PoolHost, faults


@pytest.fixture(autouse=True)
def something(a: PoolHost) -> None:
    with a.create("x", 1000):
        pass


def test_congestion_lengthens_as_many_operations_as_told(a: PoolHost) -> None:
    armed = faults.arm_congestion(a, 5.0, 3)
    timings = []
    for _ in range(3):
        view = a.get("x")
        timings.append(view.timing)
        view.release()
        timings.append(a.last_timing)
    for timing in timings[:3]:
        assert timing.queue_ns == pytest.approx(4 * timing.base_ns, abs=4)
        assert timing.service_ns >= 4.9 * timing.base_ns
    assert all(timing.queue_ns == 0 for timing in timings[3:])
    result = armed.result()
    assert result.fired and result.finished and result.took_effect and result.operations == 3
    assert result.lengthened_ns == pytest.approx(sum(timing.queue_ns for timing in timings[:3]), abs=3)


def test_a_fault_can_be_taken_back(a: PoolHost) -> None:
    armed = faults.arm_congestion(a, 5.0, 1000)
    a.get("x")
    result = armed.disarm()
    assert result.fired and not result.finished and result.took_effect
    assert a.get("x").timing.queue_ns == 0
    never = faults.arm_skip_invalidate(a, "x").disarm()
    assert not never.fired and not never.took_effect and not never.finished


def test_faults_hit_their_own_host_and_object_alone(a: PoolHost, b: PoolHost) -> None:
    other_object = faults.arm_skip_invalidate(a, "y")
    congestion = faults.arm_congestion(a, 5.0, 1)
    assert b.get("x").timing.queue_ns == 0
    assert a.get("x").timing.queue_ns > 0
    assert not other_object.result().fired
    assert congestion.result().finished


def test_any_object(a: PoolHost) -> None:
    armed = faults.arm_skip_invalidate(a, None)
    a.get("x")
    assert armed.result().fired


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[None]:
    wbpf.open("faults", host="host1", directory=tmp_path, size_mib=1)
    yield
    wbpf.close()


@pytest.mark.usefixtures("recording")
def test_a_fault_can_wait_for_a_trace(a: PoolHost) -> None:
    with wbpf.trace("request") as trace:
        trace_id = bytes.fromhex(trace.context.trace_id)
    armed = faults.arm_congestion(a, 5.0, 9, trace_id=trace_id)
    a.get("x").release()
    with wbpf.trace("other"):
        a.get("x")
    assert not armed.result().fired
    with wbpf.trace("request", trace.context):
        a.get("x").release()
    result = armed.disarm()
    assert result.operations == 2 and result.traces == (trace_id,)


@pytest.mark.usefixtures("recording")
def test_results_name_the_traces_hit(a: PoolHost) -> None:
    armed = faults.arm_congestion(a, 2.0, 20)
    ids = []
    for _ in range(10):
        with wbpf.trace("request") as trace:
            ids.append(bytes.fromhex(trace.context.trace_id))
            a.get("x").release()
    result = armed.result()
    assert result.operations == 20
    assert result.traces == tuple(ids[:8])


def test_many_faults(a: PoolHost) -> None:
    armed = [faults.arm_skip_invalidate(a, "y") for _ in range(64)]
    with pytest.raises(PoolError, match="too many are armed"):
        faults.arm_skip_invalidate(a, "x")
    armed[0].disarm()
    newest = faults.arm_skip_invalidate(a, "x")
    a.get("x")
    assert newest.result().fired
    with pytest.raises(PoolError):
        armed[0].result()  # its place was taken


@pytest.mark.parametrize(("factor", "operations"), [(1.0, 1), (float("nan"), 1), (2.0, 0), (0.5, 1)])
def test_what_can_t_be_a_fault(a: PoolHost, factor: float, operations: int) -> None:
    with pytest.raises(PoolError, match="can't arm a fault"):
        faults.arm_congestion(a, factor, operations)


def test_a_new_incarnation_has_no_faults(pool: Pool) -> None:
    with pool.join("b") as b:
        faults.arm_congestion(b, 5.0, 1000)
    with pool.join("b") as b:
        assert b.get("x").timing.queue_ns == 0
