from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import wbpf
from tests.unit.recorder.reading import read_only_trace, read_trace, trace_ids
from wbpf.errors import ConfigError
from wbpf.recorder import traced


@traced
def add(a: int, b: int = 1) -> int:
    """Adds."""
    wbpf.event("adding", a=a)
    return a + b


@traced("named")
async def later(value: int) -> int:
    await asyncio.sleep(0)
    with wbpf.span("inside"):
        return add(value)


def test_a_call_is_a_trace_or_a_span(segment: Path) -> None:
    assert add(1) == 2
    assert [root.name for root in read_only_trace(segment).roots] == ["add"]
    with wbpf.trace("request") as trace:
        assert add(2, b=3) == 5
    (root,) = read_trace(segment, trace.trace_id).roots
    assert [child.name for child in root.children] == ["add"]


def test_coroutines_are_awaited_inside(segment: Path) -> None:
    async def both() -> tuple[int, int]:
        return await asyncio.gather(later(1), later(10))

    assert tuple(asyncio.run(both())) == (2, 11)
    for trace_id in trace_ids(segment):
        (root,) = read_trace(segment, trace_id).roots
        assert root.name == "named"
        assert [(c.name, [g.name for g in c.children]) for c in root.children] == [("inside", ["add"])]
    assert len(trace_ids(segment)) == 2


def test_methods_and_their_metadata(segment: Path) -> None:
    class Shop:
        @traced
        def buy(self, what: str) -> str:
            return what

        @staticmethod
        @traced
        def fee() -> int:
            return 3

    assert (Shop().buy("tea"), Shop.fee()) == ("tea", 3)
    assert add.__doc__ == "Adds."
    assert add.__name__ == "add"
    assert asyncio.iscoroutinefunction(later)
    names = {read_trace(segment, trace_id).roots[0].name for trace_id in trace_ids(segment)}
    assert names == {Shop.buy.__qualname__, Shop.fee.__qualname__}


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (generator, "it is a generator"),
        (async_generator, "it is a generator"),
        (staticmethod(add), "it is a staticmethod"),
        (Path, "it is a type"),
        (3, "it is a int"),
    ],
)
def test_what_can_t_be_a_span_is_refused(what: Any, why: str) -> None:
    decorate: Any = traced
    for attempt in (decorate, decorate("name")):
        with pytest.raises(ConfigError, match=f"can't be traced: {why}") as raised:
            attempt(what)
        assert raised.value.hint
