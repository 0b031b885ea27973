from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.errors import ConfigError
from wbpf.triggers import SlidingQuantile

VALUES = st.floats(1e-6, 1e6) | st.sampled_from([1.0, 2.0, 1000.0])


def panes(values: list[float], window: int) -> list[float]:
    """The values that the window covers: it moves in eighths."""
    size = window // 8
    full, rest = divmod(len(values), size)
    kept = min(full, 8 if rest == 0 else 7)
    return values[len(values) - kept * size - rest :]


@given(st.lists(VALUES, min_size=1, max_size=200), st.floats(0.01, 0.99), st.integers(8, 60))
def test_it_is_within_its_relative_error(values: list[float], q: float, window: int) -> None:
    quantile = SlidingQuantile(q, window, relative_error=0.01)
    for value in values:
        quantile.add(value)
    kept = sorted(panes(values, window))
    assert len(quantile) == len(kept)
    above = (1 - q) * len(kept)
    # the least value that has no more than the wanted share above it
    exact = next(value for i, value in enumerate(kept) if sum(v > value for v in kept[i:]) <= above)
    assert quantile.value == pytest.approx(exact, rel=0.0101)


@given(st.lists(VALUES, min_size=1, max_size=100), VALUES)
def test_what_exceeds_is_greater_and_what_is_much_greater_exceeds(
    values: list[float], next_one: float
) -> None:
    quantile = SlidingQuantile(0.9, 1000, relative_error=0.01)
    for value in values:
        quantile.add(value)
    threshold = quantile.value
    exceeds = quantile.add(next_one)
    if next_one > threshold * 1.021:
        assert exceeds
    if next_one < threshold:
        assert not exceeds


def test_odd_values() -> None:
    quantile = SlidingQuantile(0.5, 100)
    assert quantile.value == 0
    assert not quantile.add(1)
    for value in (math.nan, math.inf, -math.inf):
        assert not quantile.add(value)
    assert len(quantile) == 1
    assert not quantile.add(0)
    assert not quantile.add(-5)
    assert quantile.value == pytest.approx(1e-9, rel=0.01)
    assert quantile.add(1e300)
    assert quantile.add(5e-324) is False


@pytest.mark.parametrize("q", [0, 1, -1, 2, math.nan])
def test_quantiles_lie_between_0_and_1(q: float) -> None:
    with pytest.raises(ConfigError, match="is not a quantile"):
        SlidingQuantile(q)


@pytest.mark.parametrize(("window", "error"), [(7, 0.01), (100, 0), (100, 1)])
def test_windows_and_errors_are_checked(window: int, error: float) -> None:
    with pytest.raises(ConfigError, match="can't be made"):
        SlidingQuantile(0.5, window, error)
