"""From ticks of a segment's counter to time on the coordinator's clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from wbpf.errors import FormatError

#: Closer readings than this say little about the counter's rate: their errors are too large a part of it.
_SLOPE_NS = 10_000_000
_TIME_MAX = (1 << 63) - 1


class Calibration(NamedTuple):
    """The tick counter against two clocks, read together."""

    ticks: int
    mono_ns: int
    unix_ns: int
    error_ns: int


class Clock:
    """Time of a segment's ticks, piecewise linear through its calibrations.

    Args:
        calibrations: of the segment, in any order.
        ticks_hz: nominal rate, for ticks outside of them when they span too little time.
        offset_ns: added to bring the host's wall clock to the coordinator's.
        uncertainty_ns: of that offset.

    Raises:
        FormatError: there is no calibration.
    """

    def __init__(
        self,
        calibrations: Iterable[Calibration],
        ticks_hz: int,
        offset_ns: int = 0,
        uncertainty_ns: int = 0,
    ) -> None:
        points = _thin(calibrations)
        if not points:
            raise FormatError(
                "ticks of the segment can't be turned into time", "the segment has no clock calibration"
            )
        self._ticks = [point.ticks for point in points]
        self._unix = [point.unix_ns + offset_ns for point in points]
        self.uncertainty_ns = uncertainty_ns + max(point.error_ns for point in points)
        nominal = (1_000_000_000, ticks_hz if ticks_hz > 0 else 1_000_000_000)
        self._before = _slope(points[0], points[1]) if len(points) > 1 else nominal
        self._after = _slope(points[-2], points[-1]) if len(points) > 1 else nominal

    def unix_ns(self, ticks: int) -> int:
        """Nanoseconds since 1970 on the coordinator's clock."""
        i = bisect_right(self._ticks, ticks) - 1
        if i < 0:
            i, (rise, run) = 0, self._before
        elif i == len(self._ticks) - 1:
            rise, run = self._after
        else:
            rise, run = self._unix[i + 1] - self._unix[i], self._ticks[i + 1] - self._ticks[i]
        time = self._unix[i] + (ticks - self._ticks[i]) * rise // run
        return min(max(time, 0), _TIME_MAX)


def _slope(a: Calibration, b: Calibration) -> tuple[int, int]:
    return b.unix_ns - a.unix_ns, b.ticks - a.ticks


def _thin(calibrations: Iterable[Calibration]) -> list[Calibration]:
    """In order of ticks, and of those closer than `_SLOPE_NS` only the most exact one."""
    points: list[Calibration] = []
    for point in sorted(calibrations):
        if points and (
            point.ticks == points[-1].ticks or abs(point.mono_ns - points[-1].mono_ns) < _SLOPE_NS
        ):
            if point.error_ns < points[-1].error_ns:
                points[-1] = point
        else:
            points.append(point)
    return points
