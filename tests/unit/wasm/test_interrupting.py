"""A guest is asked to come to its end before it is ended."""

from __future__ import annotations

import threading
import time

import pytest

from tests.unit.wasm.guests import guest_text
from wbpf.wasm import Module
from wbpf.wasm.module import module_of_text
from wbpf.wasm.result import Cause

EINTR = 4
WAIT = "(call $wait (i32.const -1) (i32.const 0) (i32.const 64))"


def module(body: str) -> Module:
    return Module(module_of_text(guest_text(body, "wait")))


def test_at_the_end_of_its_time_waiting_fails_and_the_guest_ends_by_itself() -> None:
    result = module(f"(call $exit {WAIT})").run(duration_s=0.05)
    assert (result.cause, result.exit_status) == (Cause.EXITED, EINTR)


def test_from_then_on_waiting_fails_always() -> None:
    result = module(f"(drop {WAIT}) (drop {WAIT}) (call $exit {WAIT})").run(duration_s=0.05)
    assert (result.cause, result.exit_status) == (Cause.EXITED, EINTR)


def test_a_guest_that_is_interrupted_before_it_waits() -> None:
    text = guest_text(f"(drop (call $now_ns)) (call $exit {WAIT})", "wait", "now_ns")
    with Module(module_of_text(text)).start() as guest:
        guest.interrupt()
        assert guest.wait(5).exit_status == EINTR


def test_a_guest_that_goes_on_is_stopped_a_second_later() -> None:
    start = time.monotonic()
    result = module(f"(loop (drop {WAIT}) (br 0))").run(duration_s=0.05)
    assert result.cause is Cause.STOPPED
    assert 1 <= time.monotonic() - start < 3


def test_ctrl_c_lets_it_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with module(f"(call $exit {WAIT})").start() as guest:
        real = threading.Event.wait

        def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
            monkeypatch.setattr(threading.Event, "wait", real)
            raise KeyboardInterrupt

        monkeypatch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            guest.wait()
        assert guest.wait(0).exit_status == EINTR
