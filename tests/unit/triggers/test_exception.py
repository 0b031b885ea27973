from __future__ import annotations

import asyncio

import pytest

import wbpf
from tests.unit.triggers.conftest import Recording
from wbpf.triggers import OnException


def test_it_fires_when_an_exception_leaves(recording: Recording) -> None:
    trigger = OnException()
    with pytest.raises(KeyError), wbpf.trace("bad", triggers=[trigger]) as bad:
        raise KeyError("x")
    with wbpf.trace("good", triggers=[trigger]), pytest.raises(KeyError):
        raise KeyError("caught inside")
    ((name, fired),) = recording.fired()
    assert (name, fired.trace_id.hex(), fired.value) == ("exception", bad.trace_id, 1.0)


def test_only_the_kinds_asked_for() -> None:
    trigger = OnException(OSError, name="io")
    assert trigger.observe(FileNotFoundError())
    assert not trigger.observe(ValueError())
    with pytest.raises(OSError, match="oh"), trigger.watch():
        raise OSError("oh")
    assert (trigger.observed, trigger.fired) == (3, 2)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, asyncio.CancelledError])
def test_neither_cancelling_nor_ctrl_c_is_a_fault(kind: type[BaseException]) -> None:
    trigger = OnException()
    with pytest.raises(kind), trigger.watch():
        raise kind
    assert trigger.fired == 0
