"""Regions by name: objects of the pool that a host's segments are flushed to."""

from __future__ import annotations

from wbpf.errors import PoolFull
from wbpf.pool import PoolHost

#: Of one host, at one time.
REGIONS_MOST = 64


def _region(host_id: int, index: int) -> str:
    return f"wbpf.recorder/{host_id:016x}/{index}"


def regions(member: PoolHost, host_id: int) -> list[str]:
    """The regions that there are of a host.

    Args:
        member: through which the pool is seen: of any host.
        host_id: whose they are.
    """
    names = (_region(host_id, index) for index in range(REGIONS_MOST))
    return [name for name in names if member.contains(name)]


def free_region(member: PoolHost) -> str:
    """A name for one more region of the member's own host.

    Raises:
        PoolFull: it has as many as it can have.
    """
    host_id = member.host_id
    taken = regions(member, host_id)
    for index in range(REGIONS_MOST):
        if (name := _region(host_id, index)) not in taken:
            return name
    raise PoolFull(
        f"host {member.name!r} has no name left for a segment's region",
        f"{REGIONS_MOST} of its segments are in the pool",
        "remove segments that are not used any more",
    )
