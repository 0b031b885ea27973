"""Reading what a host had flushed, on another host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wbpf import _native
from wbpf.errors import ObjectNotFound, WbpfError
from wbpf.pool import PoolHost
from wbpf.pooled.regions import regions
from wbpf.recorder import Segment


@dataclass(frozen=True, slots=True)
class Recovered:
    """A segment as it was flushed, in memory of this process.

    Args:
        region: where it was read.
        rounds: of its flusher, that had ended.
        flushed_unix_ns: what was recorded before that, by its host's clock, is in it, but for what is lost by
            the segment's own account.
        groups: that were read.
        torn: that were not whole and are left out: their writer was cut off.
    """

    region: str
    segment: Segment
    rounds: int
    flushed_unix_ns: int
    groups: int
    torn: int


def recover(
    member: PoolHost, host_id: int, known: Mapping[str, Recovered] | None = None
) -> tuple[dict[str, Recovered], list[str]]:
    """Read all regions of a host.

    Args:
        member: this process's own host, through whose line cache they are read.
        host_id: of the host that died.
        known: what an earlier call returned: regions that have not changed since are not read again.

    Returns:
        What was read, by region, one a segment; and why others could not be.
    """
    found: dict[str, Recovered] = {}
    faults: list[str] = []
    for region in regions(member, host_id):
        before = (known or {}).get(region)
        try:
            read = _native.recover_segment(member, region, before.rounds if before else 0)
        except ObjectNotFound:
            continue
        except WbpfError as error:
            faults.append(f"{error.what}: {error.why}")
            continue
        if read is None:
            assert before is not None
            found[region] = before
            continue
        segment = Segment.of(read[0], Path(f"pool:{region}"))
        if segment.host_id == host_id:
            found[region] = Recovered(region, segment, *read[1:])
        else:
            faults.append(f"the segment's region {region} is another host's")
    return _one_a_segment(found), faults


def _one_a_segment(found: dict[str, Recovered]) -> dict[str, Recovered]:
    """Of a segment that is there twice, since its flusher was started anew, what was flushed last."""
    latest: dict[int, Recovered] = {}
    for one in found.values():
        other = latest.get(one.segment.segment_id)
        if other is None or one.flushed_unix_ns > other.flushed_unix_ns:
            latest[one.segment.segment_id] = one
    return {one.region: one for one in latest.values()}
