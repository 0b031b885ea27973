"""From ticks of a segment's counter to time on the coordinator's clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wbpf.errors import FormatError

#: Closer readings than this say little about the counter's rate: their errors are too large a part of it.
_SLOPE_NS = 50_000_000
#: The nominal rate is measured within 10 ms: it is right within this many millionths.
_NOMINAL_PPM = 200
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
        self._errors = [point.error_ns for point in points]
        self._offset_uncertainty_ns = uncertainty_ns
        nominal = (1_000_000_000, ticks_hz if ticks_hz > 0 else 1_000_000_000)
        self._before = _slope(points[0], points[1]) if len(points) > 1 else nominal
        self._after = _slope(points[-2], points[-1]) if len(points) > 1 else nominal
        self._before_error = _slope_error(points[:2])
        self._after_error = _slope_error(points[-2:])

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

    def uncertainty_ns(self, first: int, last: int) -> int:
        """The times of all ticks from the first to the last are right within this."""
        at = bisect_right(self._ticks, first) - 1
        until = bisect_right(self._ticks, last)
        error = max(self._errors[max(at, 0) : until + 1])
        if at < 0:
            before_ns = self.unix_ns(self._ticks[0]) - self.unix_ns(first)
            error = max(error, self._errors[0] + _part(before_ns, self._before_error))
        if until == len(self._ticks):
            after_ns = self.unix_ns(last) - self.unix_ns(self._ticks[-1])
            error = max(error, self._errors[-1] + _part(after_ns, self._after_error))
        return min(self._offset_uncertainty_ns + error, _TIME_MAX)


def clock_error_ns(calibrations: Sequence[Calibration], beyond_ns: int) -> int:
    """How wrong times can be that lie this long after the last calibration."""
    points = _thin(calibrations)
    if not points:
        return 0
    return points[-1].error_ns + _part(beyond_ns, _slope_error(points[-2:]))


def _slope_error(points: Sequence[Calibration]) -> tuple[int, int]:
    """How wrong the rate between two readings can be, as a fraction."""
    if len(points) < 2:
        return _NOMINAL_PPM, 1_000_000
    a, b = points
    return a.error_ns + b.error_ns, max(abs(b.mono_ns - a.mono_ns), 1)


def _part(whole: int, fraction: tuple[int, int]) -> int:
    return max(whole, 0) * fraction[0] // fraction[1]


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
