"""How far a host's wall clock is from the coordinator's, and how sure that is (Cristian's algorithm)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

#: Two clocks drift apart by no more than this, in parts per million: each may be off by 100.
DRIFT_PPM = 200
SAMPLES = 32


class Offset(NamedTuple):
    """Nanoseconds to add to the host's clock to get the coordinator's, right within `uncertainty_ns`."""

    offset_ns: int
    uncertainty_ns: int


class OffsetEstimate:
    """The best of the last samples: the shorter the round trip and the fresher, the better."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Offset]] = deque(maxlen=SAMPLES)
        self._best: tuple[float, Offset] | None = None

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, now_s: float, t0_ns: int, t1_ns: int, t2_ns: int, t3_ns: int) -> bool:
        """Take a sample: asked at t0 and heard at t3 (coordinator), received at t1 and answered at t2 (host).

        Returns:
            False if the times are impossible; the sample is then not used.
        """
        round_trip_ns = (t3_ns - t0_ns) - (t2_ns - t1_ns)
        if t3_ns < t0_ns or t2_ns < t1_ns or round_trip_ns < 0:
            return False
        # The clocks drift during the exchange too.
        drift_ns = (t3_ns - t0_ns) * DRIFT_PPM // 1_000_000
        offset = Offset(((t0_ns - t1_ns) + (t3_ns - t2_ns)) // 2, round_trip_ns // 2 + drift_ns + 1)
        best = self.best(now_s)
        if best is not None:
            apart_ns = abs(best.offset_ns - offset.offset_ns)
            if apart_ns > best.uncertainty_ns + offset.uncertainty_ns:
                self._samples.clear()  # one of the two clocks was set
        self._samples.append((now_s, offset))
        # All samples age alike, so which one is best changes only here.
        self._best = min(self._samples, key=lambda sample: _aged(sample, now_s).uncertainty_ns)
        return True

    def best(self, now_s: float) -> Offset | None:
        """The estimate now; None before the first sample."""
        return None if self._best is None else _aged(self._best, now_s)


def _aged(sample: tuple[float, Offset], now_s: float) -> Offset:
    at_s, offset = sample
    return Offset(offset.offset_ns, offset.uncertainty_ns + int((now_s - at_s) * DRIFT_PPM * 1_000))
