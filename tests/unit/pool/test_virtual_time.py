from __future__ import annotations

import dataclasses

import pytest

from tests.unit.pool.conftest import PoolMaker
from wbpf.pool import LatencyTable, Pool, PoolHost, Timing, faults
from wbpf.pool.latency import ACCESS_CLASSES


def put(host: PoolHost, id: str, size: int) -> Timing:
    with host.create(id, size):
        pass
    return host.last_timing


@pytest.mark.parametrize("name", ACCESS_CLASSES)
@pytest.mark.parametrize("size", [0, 100, 4096, 1_000_000])
def test_base_times_follow_the_table(make_pool: PoolMaker, name: str, size: int) -> None:
    host = make_pool(hosts={"a": name}).join("a")
    cost = getattr(LatencyTable(), name)
    per_byte = 1e9 / cost.bandwidth_bytes_per_s if cost.bandwidth_bytes_per_s else 0
    moved = (-(-size // 64) + 1) * 64 * per_byte
    writer = host.create("x", size)
    assert writer.timing.base_ns == pytest.approx(3 * cost.latency_ns, abs=1)
    writer.seal()
    assert writer.timing.base_ns == pytest.approx(2 * cost.latency_ns + moved, abs=1)
    view = host.get("x")
    assert view.timing.base_ns == pytest.approx(3 * cost.latency_ns + moved, abs=1)
    assert view.refresh().base_ns == pytest.approx(cost.latency_ns + moved, abs=1)
    view.release()
    assert host.last_timing.base_ns == pytest.approx(cost.latency_ns, abs=1)
    host.delete("x")
    assert host.last_timing.base_ns == pytest.approx(2 * cost.latency_ns, abs=1)


def test_every_class_names_its_source() -> None:
    table = LatencyTable()
    assert all(getattr(table, name).source for name in ACCESS_CLASSES)
    assert {field.name for field in dataclasses.fields(table)} >= set(ACCESS_CLASSES)


def test_lines_in_the_cache_cost_local_memory(a: PoolHost) -> None:
    put(a, "x", 4096)
    faults.arm_skip_invalidate(a, "x")
    assert a.get("x").timing.base_ns == 2 * 250 + 100


def test_the_clock_adds_up_what_operations_cost(a: PoolHost) -> None:
    before = a.virtual_ns
    total = 0
    for i in range(50):
        writer = a.create(str(i), 1000)
        total += writer.timing.service_ns
        writer.seal()
        total += writer.timing.service_ns
        assert writer.timing.virtual_ns == a.virtual_ns
    assert a.virtual_ns - before == total


def test_advancing(a: PoolHost) -> None:
    assert a.advance_to(1000) == 1000 == a.virtual_ns
    assert a.advance_to(10) == 1000
    assert a.advance_by(5) == 1005


def test_a_reader_is_never_before_the_seal(a: PoolHost, b: PoolHost) -> None:
    a.advance_to(1_000_000)
    put(a, "x", 100)
    assert b.virtual_ns < 1_000_000
    view = b.get("x")
    assert b.virtual_ns >= 1_000_000 + view.timing.service_ns
    assert view.timing.service_ns < 2000  # catching up is no service


def ratios(host: PoolHost, count: int) -> list[float]:
    put(host, "x", 1000)
    found = []
    for _ in range(count):
        with host.get("x") as view:
            assert view.timing.queue_ns == 0
            found.append(view.timing.service_ns / view.timing.base_ns)
    return found


def test_jitter_is_small_and_seeded(make_pool: PoolMaker) -> None:
    first, again, other = (ratios(make_pool(seed=seed).join("a"), 1000) for seed in (1, 1, 2))
    assert first == again != other
    mean = sum(first) / len(first)
    deviation = (sum((ratio - mean) ** 2 for ratio in first) / len(first)) ** 0.5
    assert abs(mean - 1) < 0.005
    assert 0.015 < deviation < 0.025
    assert max(abs(ratio - 1) for ratio in first) < 0.07


def test_no_jitter_if_none_is_wanted(make_pool: PoolMaker) -> None:
    assert set(ratios(make_pool(latency=LatencyTable(jitter=0)).join("a"), 20)) == {1.0}


def test_hosts_queue_beyond_the_knee(make_pool: PoolMaker) -> None:
    """Together they use little of the shared link, then more than there is."""
    pool = make_pool(hosts=("a", "b", "c", "d"), latency=LatencyTable(jitter=0))
    hosts = [pool.join(name) for name in "abcd"]
    for host in hosts:
        put(host, host.name, 100_000)

    def transfer(idle_ns: int) -> list[Timing]:
        timings = []
        for _ in range(500):
            latest = max(host.virtual_ns for host in hosts)
            for host in hosts:
                host.advance_to(latest)
                with host.get(host.name) as view:
                    timings.append(view.timing)
                host.advance_by(idle_ns)
        return timings[-40:]

    quiet = transfer(100_000)  # 4 us of transfer in 100
    assert all(timing.queue_ns == 0 for timing in quiet)
    busy = transfer(0)
    assert all(timing.queue_ns > 0 for timing in busy)
    assert all(timing.service_ns == timing.base_ns + timing.queue_ns for timing in busy)
    assert busy[0].base_ns == quiet[0].base_ns


def test_one_host_alone_does_not_queue_for_itself(a: PoolHost) -> None:
    put(a, "x", 100_000)
    assert all(a.get("x").timing.queue_ns == 0 for _ in range(100))


def test_clocks_far_apart_don_t_queue_for_each_other(make_pool: PoolMaker) -> None:
    pool = make_pool(hosts=("a", "b"), latency=LatencyTable(shared_link_bytes_per_s=1e9))
    a, b = pool.join("a"), pool.join("b")
    put(a, "x", 100_000)
    put(b, "y", 100_000)
    for _ in range(50):
        b.get("y")
    a.advance_to(1_000_000_000)
    assert a.get("x").timing.queue_ns == 0


def test_figures_say_what_they_are(pool: Pool) -> None:
    host = pool.join("a")
    put(host, "x", 1)
    timing = host.last_timing
    assert repr(timing) == (
        f"Timing(service_ns={timing.service_ns}, base_ns={timing.base_ns}, "
        f"queue_ns=0, virtual_ns={timing.virtual_ns})"
    )
