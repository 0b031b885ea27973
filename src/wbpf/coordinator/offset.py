"""How far a host's wall clock is from the coordinator's, and how sure that is (Cristian's algorithm)."""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import NamedTuple

#: Two clocks drift apart by no more than this, in parts per million: each may be off by 100.
DRIFT_PPM = 200
SAMPLES = 32
#: Of the samples before those the best of each `SAMPLES` is kept: for traces that began long ago.
OLD_SAMPLES = 32
#: Later times do not fit the wire: only a liar tells them.
TIME_MOST_NS = (1 << 63) - 1
#: For what began since then the best sample for now does as well.
RECENT_S = 1.0


class Offset(NamedTuple):
    """Nanoseconds to add to the host's clock to get the coordinator's, right within `uncertainty_ns`."""

    offset_ns: int
    uncertainty_ns: int


class OffsetEstimate:
    """The best of the last samples: the shorter the round trip and the fresher, the better."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._old: deque[_Sample] = deque(maxlen=OLD_SAMPLES)
        self._leaving: list[_Sample] = []
        self._best: _Sample | None = None

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, now_s: float, t0_ns: int, t1_ns: int, t2_ns: int, t3_ns: int) -> bool:
        """Take a sample: asked at t0 and heard at t3 (coordinator), received at t1 and answered at t2 (host).

        Returns:
            False if the times are impossible; the sample is then not used.
        """
        round_trip_ns = (t3_ns - t0_ns) - (t2_ns - t1_ns)
        if t3_ns < t0_ns or t2_ns < t1_ns or round_trip_ns < 0 or t2_ns > TIME_MOST_NS:
            return False
        # The clocks drift during the exchange too.
        drift_ns = (t3_ns - t0_ns) * DRIFT_PPM // 1_000_000
        offset = Offset(((t0_ns - t1_ns) + (t3_ns - t2_ns)) // 2, round_trip_ns // 2 + drift_ns + 1)
        best = self.best(now_s)
        if best is not None:
            apart_ns = abs(best.offset_ns - offset.offset_ns)
            if apart_ns > best.uncertainty_ns + offset.uncertainty_ns:
                self._samples.clear()  # one of the two clocks was set
                self._old.clear()
                self._leaving.clear()
        self._samples.append((now_s, offset))
        if len(self._samples) > SAMPLES:
            self._leave(self._samples.popleft())
        # All samples age alike, so which one is best changes only here.
        self._best = min(self._samples, key=lambda sample: _aged(sample, now_s, now_s).uncertainty_ns)
        return True

    def _leave(self, sample: _Sample) -> None:
        self._leaving.append(sample)
        if len(self._leaving) == SAMPLES:
            self._old.append(min(self._leaving, key=lambda sample: sample[1].uncertainty_ns))
            self._leaving.clear()

    def best(self, now_s: float, since_s: float | None = None) -> Offset | None:
        """The estimate now, or one that is right at any time since then; None before the first sample."""
        if self._best is None:
            return None
        since_s = now_s if since_s is None else min(since_s, now_s)
        if now_s - since_s <= RECENT_S:
            return _aged(self._best, now_s, since_s)
        estimates = (_aged(sample, now_s, since_s) for sample in chain(self._samples, self._old))
        return min(estimates, key=lambda offset: offset.uncertainty_ns)


_Sample = tuple[float, Offset]


def _aged(sample: _Sample, now_s: float, since_s: float) -> Offset:
    at_s, offset = sample
    away_s = max(now_s - at_s, at_s - since_s)
    return Offset(offset.offset_ns, offset.uncertainty_ns + int(away_s * DRIFT_PPM * 1_000))
