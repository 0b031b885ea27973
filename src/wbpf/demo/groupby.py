"""What the job computes: delays by carrier, weather at departure and manufacturer of the plane.

All sums are of integers, so the answer does not depend on the order of work.
"""

from __future__ import annotations

import numpy as np

from wbpf.demo.data import FLIGHT, MISSING, UNKNOWN, WEATHER, Array, Names, Source, sort_weather

#: A flight after both joins, as it travels through the pool.
JOINED = np.dtype(
    [
        ("group", "i4"),
        ("carrier", "i2"),
        ("weather", "i2"),
        ("manufacturer", "i2"),
        ("dep_delay", "i2"),
        ("arr_delay", "i2"),
        ("distance", "i2"),
    ]
)
#: The columns of an answer, a row for each group.
TOTALS = ("flights", "departed", "dep_delay", "arrived", "arr_delay", "arr_delay_squared", "distance")


def join(flights: Array, weather: Array, planes: Array, manufacturers: int) -> Array:
    """Join flights with the weather at departure and with their planes.

    Args:
        flights: some of `Tables.flights`.
        weather: `Tables.weather`.
        planes: `Tables.planes`.
        manufacturers: how many `Names` knows.
    """
    assert flights.dtype == FLIGHT
    joined = np.empty(len(flights), JOINED)
    for name in ("carrier", "dep_delay", "arr_delay", "distance"):
        joined[name] = flights[name]
    joined["weather"] = _look_up(weather["station_hour"], weather["weather"], flights["station_hour"])
    joined["manufacturer"] = _look_up(planes["tailnum"], planes["manufacturer"], flights["tailnum"])
    joined["group"] = joined["carrier"].astype("i4") * len(WEATHER) + joined["weather"]
    joined["group"] = joined["group"] * manufacturers + joined["manufacturer"]
    return joined


def _look_up(keys: Array, values: Array, wanted: Array) -> Array:
    """The value of each key wanted; 0 for one that is not there."""
    place = np.searchsorted(keys, wanted)
    place[place == len(keys)] = 0
    found: Array = np.where(keys[place] == wanted, values[place], 0)
    return found


def partition(joined: Array, owners: Array) -> dict[int, Array]:
    """Split joined flights by the host that owns their carrier's groups.

    Args:
        joined: what `join` returned.
        owners: the index of the owning host, for each carrier.
    """
    owner = owners[joined["carrier"]]
    return {int(host): joined[owner == host] for host in np.unique(owner)}


def fold(totals: Array, joined: Array) -> list[tuple[int, int]]:
    """Add joined flights to totals of shape [groups, len(TOTALS)].

    Returns:
        Which groups they are of, and how many of each.
    """
    group = joined["group"]
    departed, arrived = joined["dep_delay"] != MISSING, joined["arr_delay"] != MISSING
    dep_delay = np.where(departed, joined["dep_delay"], 0).astype("i8")
    arr_delay = np.where(arrived, joined["arr_delay"], 0).astype("i8")
    rows = np.empty((len(joined), len(TOTALS)), "i8")
    rows[:, 0] = 1
    rows[:, 1] = departed
    rows[:, 2] = dep_delay
    rows[:, 3] = arrived
    rows[:, 4] = arr_delay
    rows[:, 5] = arr_delay**2
    rows[:, 6] = joined["distance"]
    np.add.at(totals, group, rows)
    touched, counts = np.unique(group, return_counts=True)
    return list(zip(touched.tolist(), counts.tolist(), strict=True))


def empty(names: Names) -> Array:
    """Totals of no flight."""
    return np.zeros((names.groups, len(TOTALS)), "i8")


def reference(source: Source, names: Names) -> Array:
    """The answer as one process computes it with pandas, from the files and by other code than the hosts'."""
    weather = source.weather.assign(weather=sort_weather(source.weather))
    weather = weather[["origin", "time_hour", "weather"]].astype({"origin": "str", "time_hour": "str"})
    flights = source.flights.astype({"origin": "str", "time_hour": "str", "carrier": "str", "tailnum": "str"})
    joined = flights.merge(weather, "left", ["origin", "time_hour"]).merge(source.planes, "left", "tailnum")
    joined = joined.fillna({"weather": WEATHER[0], "manufacturer": UNKNOWN})
    joined["arr_delay_squared"] = joined.arr_delay**2
    answer = joined.groupby(["carrier", "weather", "manufacturer"]).agg(
        flights=("carrier", "size"),
        departed=("dep_delay", "count"),
        dep_delay=("dep_delay", "sum"),
        arrived=("arr_delay", "count"),
        arr_delay=("arr_delay", "sum"),
        arr_delay_squared=("arr_delay_squared", "sum"),
        distance=("distance", "sum"),
    )
    totals = empty(names).reshape(len(names.carriers), len(WEATHER), len(names.manufacturers), len(TOTALS))
    for (carrier, kind, manufacturer), row in zip(answer.index, answer.to_numpy(), strict=True):
        place = names.carriers.index(carrier), WEATHER.index(kind), names.manufacturers.index(manufacturer)
        totals[place] = row
    return totals.reshape(names.groups, len(TOTALS))
