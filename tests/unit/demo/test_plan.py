from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.demo import plan
from wbpf.errors import ConfigError

CARRIERS = st.lists(st.integers(0, 9), min_size=1, max_size=300).map(lambda codes: np.array(codes, "i2"))


@given(CARRIERS, st.integers(2, 6), st.data())
def test_requests_cover_the_flights_and_touch_two_hosts(
    carriers: np.ndarray, hosts: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(carriers)))
    owner = plan.owners(carriers, hosts)
    requests = plan.requests(carriers, owner, hosts, count)
    assert [request.index for request in requests] == list(range(count))
    assert [flight for request in requests for flight in range(request.start, request.stop)] == list(
        range(len(carriers))
    )
    for request in requests:
        readers = set(owner[carriers[request.start : request.stop]].tolist())
        assert len(readers | {request.mapper}) >= 2
        assert 0 <= request.mapper < hosts


def test_owners_share_the_flights_evenly() -> None:
    owner = plan.owners(np.repeat(np.arange(5), [50, 30, 25, 15, 10]).astype("i2"), 2)
    assert owner.tolist() == [0, 1, 1, 0, 1]


def test_groups_of_a_dead_host_go_to_the_others() -> None:
    assert plan.without(np.array([0, 1, 2, 1, 1]), 1, [0, 2]).tolist() == [0, 0, 2, 2, 0]


@pytest.mark.parametrize(("hosts", "count"), [(1, 1), (2, 0), (2, 4)])
def test_what_cannot_be_planned_is_refused(hosts: int, count: int) -> None:
    with pytest.raises(ConfigError, match="try: use --"):
        plan.requests(np.zeros(3, "i2"), np.zeros(1, "i4"), hosts, count)
