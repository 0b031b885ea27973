"""Who does what: which host owns which groups, and which slice of the flights each request is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wbpf.demo.data import Array
from wbpf.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Request:
    """Flights `start` to `stop`, read and joined by host number `mapper`."""

    index: int
    start: int
    stop: int
    mapper: int


def owners(carriers: Array, hosts: int) -> Array:
    """Spread the carriers over the hosts: the one with most flights first, to the host with fewest.

    Args:
        carriers: the carrier of each flight.
        hosts: how many hosts there are.

    Returns:
        The number of the owning host, for each carrier.
    """
    flights = np.bincount(carriers)
    load = [0] * hosts
    owner = np.zeros(len(flights), "i4")
    for carrier in np.argsort(-flights, kind="stable"):
        host = load.index(min(load))
        owner[carrier] = host
        load[host] += int(flights[carrier])
    return owner


def without(owner: Array, dead: int, alive: Sequence[int]) -> Array:
    """Hand the carriers of a dead host to the others in turn."""
    handed = owner.copy()
    orphans = np.flatnonzero(owner == dead)
    handed[orphans] = [alive[turn % len(alive)] for turn in range(len(orphans))]
    return handed


def requests(carriers: Array, owner: Array, hosts: int, count: int) -> list[Request]:
    """Cut the flights into `count` requests.

    A request's mapper is never the owner of its first flight's carrier, so that each touches two hosts.

    Raises:
        ConfigError: there are fewer than two hosts, or more requests than flights.
    """
    if hosts < 2:
        raise ConfigError(f"{hosts} host can't shuffle", "a request touches two or more", "use --hosts 4")
    if not 1 <= count <= len(carriers):
        raise ConfigError(
            f"{len(carriers)} flights can't be cut into {count} requests",
            "a request is at least one flight",
            f"use --requests with 1 to {len(carriers)}",
        )
    bounds = np.arange(count + 1, dtype="i8") * len(carriers) // count
    start, stop = bounds[:-1], bounds[1:]
    mapper = (owner[carriers[start]] + 1 + np.arange(count) % (hosts - 1)) % hosts
    columns = zip(start.tolist(), stop.tolist(), mapper.tolist(), strict=True)
    return [Request(index, *column) for index, column in enumerate(columns)]
