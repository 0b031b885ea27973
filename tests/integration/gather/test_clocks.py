"""Hosts whose wall clocks are off by 50 ms and drift by 100 ppm, against the clock that they really share."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.gather.cluster import Cluster, running
from tests.integration.gather.skewed import MS, Judged, Skew, SkewedHosts, judge, timed_request

SKEWS = {
    "a": Skew(50 * MS, 100),
    "b": Skew(-50 * MS, -100),
    "c": Skew(50 * MS, -100),
    "d": Skew(-50 * MS, 100),
}


def gathered(cluster: Cluster, hosts: SkewedHosts, count: int, ages_s: list[float]) -> list[Judged]:
    """Requests through all hosts, both ways, that are gathered at these ages."""
    applications = [hosts.application(cluster, host) for host in hosts.skews]
    time.sleep(1)
    ids: dict[float, list[str]] = {}
    began_s = time.monotonic()
    for age_s in ages_s:
        ids[age_s] = [
            timed_request(applications[:: 1 if number % 2 else -1], 3)
            for number in range(count // len(ages_s))
        ]
    for age_s in sorted(ages_s):
        time.sleep(max(began_s + age_s - time.monotonic(), 0))
        for trace_id in ids[age_s]:
            applications[0].trigger(trace_id)
    return [judge(cluster.stored(trace_id)) for of_age in ids.values() for trace_id in of_age]


def check(judged: list[Judged]) -> None:
    wrong = [trace for trace in judged if not trace.right]
    assert len(wrong) <= len(judged) // 100, wrong
    # A control: without the correction times and order would be wrong.
    assert all(trace.uncorrected_ns > 45 * MS for trace in judged)
    assert all(trace.reversed_unless_corrected >= 1 for trace in judged)


def test_the_truth_lies_within_the_uncertainty(tmp_path: Path) -> None:
    hosts = SkewedHosts(tmp_path / "skewed_clock.so", SKEWS)
    with running(tmp_path / "traces.db", "abcd", make=hosts.tree) as cluster:
        check(gathered(cluster, hosts, 100, [0, 4]))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_truth_lies_within_the_uncertainty_of_old_traces(tmp_path: Path) -> None:
    hosts = SkewedHosts(tmp_path / "skewed_clock.so", SKEWS)
    with running(tmp_path / "traces.db", "abcd", make=hosts.tree) as cluster:
        check(gathered(cluster, hosts, 400, [0, 10, 30, 70]))
