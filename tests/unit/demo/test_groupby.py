from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from wbpf.demo import data, groupby, plan
from wbpf.demo.data import MISSING, WEATHER, Names, Source, Tables


@pytest.fixture(scope="module")
def source() -> Source:
    return data.read()


@pytest.fixture(scope="module")
def encoded(source: Source) -> tuple[Names, Tables]:
    return data.encode(source)


@pytest.mark.parametrize("hosts", [2, 4, 5])
@pytest.mark.parametrize("count", [7, 2000])
def test_hosts_and_one_process_compute_the_same(
    source: Source, encoded: tuple[Names, Tables], hosts: int, count: int
) -> None:
    names, tables = encoded
    owner = plan.owners(tables.flights["carrier"], hosts)
    totals = [groupby.empty(names) for _ in range(hosts)]
    for request in plan.requests(tables.flights["carrier"], owner, hosts, count):
        flights = tables.flights[request.start : request.stop]
        joined = groupby.join(flights, tables.weather, tables.planes, len(names.manufacturers))
        for host, part in groupby.partition(joined, owner).items():
            groupby.fold(totals[host], part)
    assert (np.sum(totals, axis=0) == groupby.reference(source, names)).all()
    assert all(total.any() for total in totals)


def test_the_answer_is_that_of_the_known_data(source: Source, encoded: tuple[Names, Tables]) -> None:
    answer = dict(zip(groupby.TOTALS, groupby.reference(source, encoded[0]).sum(0), strict=True))
    assert answer["flights"] == len(source.flights) == 336_776
    assert answer["departed"] == source.flights.dep_delay.count()
    assert answer["arr_delay"] == source.flights.arr_delay.sum()


def test_flights_without_weather_plane_or_arrival_are_kept(encoded: tuple[Names, Tables]) -> None:
    names, tables = encoded
    flights = tables.flights[:4].copy()
    flights["station_hour"][:2] = -1, 2**31 - 1
    flights["tailnum"][2:] = b"", b"~~~~~~"
    flights["arr_delay"][0] = MISSING
    joined = groupby.join(flights, tables.weather, tables.planes, len(names.manufacturers))
    assert [WEATHER[code] for code in joined["weather"][:2]] == ["no observation"] * 2
    assert (joined["weather"][2:] != 0).all()
    assert [names.manufacturers[code] for code in joined["manufacturer"][2:]] == ["unknown"] * 2
    totals = groupby.empty(names)
    touched = groupby.fold(totals, joined)
    assert dict(touched) == Counter(joined["group"].tolist())
    for row in joined:
        assert names.group(int(row["group"])) == (
            names.carriers[row["carrier"]],
            WEATHER[row["weather"]],
            names.manufacturers[row["manufacturer"]],
        )
    answer = dict(zip(groupby.TOTALS, totals.sum(0), strict=True))
    assert answer["flights"] == 4
    assert answer["arrived"] == 3


def test_saved_tables_come_back(
    encoded: tuple[Names, Tables], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tables")
    encoded[1].save(directory)
    again = Tables.load(directory)
    assert (again.flights == encoded[1].flights).all()
    assert (again.weather == encoded[1].weather).all()
    assert (again.planes == encoded[1].planes).all()
