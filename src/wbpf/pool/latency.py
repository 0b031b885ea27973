"""The latency model: what an access costs on each kind of memory, with where the figure is from."""

from __future__ import annotations

from dataclasses import dataclass

_LINK = "25 GB/s of the expander's link; the same port is assumed behind a switch"


@dataclass(frozen=True)
class AccessClass:
    """What accesses of one kind cost, modelled.

    Args:
        latency_ns: of one dependent access.
        bandwidth_bytes_per_s: of the host's own path; 0 is not limited.
        source: where the figures are from.
    """

    latency_ns: float
    bandwidth_bytes_per_s: float
    source: str


@dataclass(frozen=True)
class LatencyTable:
    """The modelled costs of a pool, fixed when it is made.

    A host's accesses to the pool have the class that the host was given; lines that its own cache holds cost
    `local_dram`. Transfers also queue at the link that all hosts share, once the other hosts use more than
    `knee` of it.

    Args:
        shared_link_bytes_per_s: capacity of that link; 0 is not limited.
        knee: utilisation beyond which transfers queue.
        jitter: standard deviation of the service time, as a share of the base time.
    """

    local_dram: AccessClass = AccessClass(100, 0, "local DRAM 100 ns, as CXL papers take it")
    direct_cxl: AccessClass = AccessClass(
        250, 25e9, f"direct expander 250 ns; Melody (ASPLOS'25) measured 140-410 ns over devices; {_LINK}"
    )
    multi_headed: AccessClass = AccessClass(
        270, 25e9, f"multi-headed device 270 ns; Pond (ASPLOS'23) gives +70-90 ns for small pools; {_LINK}"
    )
    one_switch: AccessClass = AccessClass(
        500, 25e9, f"one switch 500 ns; published 500-750 ns for switched pools, least certain; {_LINK}"
    )
    two_switches: AccessClass = AccessClass(
        750, 25e9, f"two switches 750 ns; published 500-750 ns for switched pools, least certain; {_LINK}"
    )
    shared_link_bytes_per_s: float = 25e9
    knee: float = 0.8
    jitter: float = 0.02


#: In the order of `enum wbpf_access_class`.
ACCESS_CLASSES = ("local_dram", "direct_cxl", "multi_headed", "one_switch", "two_switches")

__all__ = ["ACCESS_CLASSES", "AccessClass", "LatencyTable"]
