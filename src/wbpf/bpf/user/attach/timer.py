"""Programs of section `perf_event` that a clock of this process runs."""

from __future__ import annotations

import os
import platform
import re
import struct
import threading
from types import TracebackType
from typing import Self

from wbpf.bpf.target import section_target
from wbpf.bpf.user.attach.link import Detached
from wbpf.bpf.user.attach.traced import Traced
from wbpf.bpf.user.contexts import prepare
from wbpf.bpf.user.objects import UserObjectProgram
from wbpf.errors import BpfError, ConfigError

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_CLOCKS = ("cpu-clock", "task-clock")
_COUNTS = struct.Struct("<QQQ")
#: Where struct bpf_perf_event_data has `sample_period`: behind the registers.
_PERIOD_AT = {"x86_64": 168, "aarch64": 272}
_LEAST_NS = 1_000


class TimerLink:
    """A program that runs at each tick, in a thread of its own, until it is detached.

    Args:
        program: loaded.
        period_ns: from one tick to the next.
    """

    def __init__(self, program: UserObjectProgram, period_ns: int) -> None:
        run = prepare(program.kind, b"", b"")
        struct.pack_into("<Q", run.memory, _PERIOD_AT[platform.machine()], period_ns)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._counts = bytearray(_COUNTS.size)
        self._program = program.program
        self._error = 0
        self._memory, self._period_ns = run.memory, period_ns
        self._thread = threading.Thread(target=self._tick, name=f"wbpf {program.name}", daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        self._error = self._program.native.run_every(self._memory, self._period_ns, self._stop, self._counts)

    @property
    def runs(self) -> int:
        """How often it ran."""
        return int(_COUNTS.unpack(self._counts)[0])

    def detach(self) -> Detached:
        """When it returns, the program runs no more; `missed` says how many ticks came too fast.

        Raises:
            BpfError: the system gave no timer.
        """
        if self._stop >= 0:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            os.close(self._stop)
            self._stop = -1
            if self._error:
                raise BpfError("the program was not run by a timer", os.strerror(-self._error))
        _, missed, stopped = _COUNTS.unpack(self._counts)
        return Detached(stopped, missed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> TimerLink:
    """Run a program by the clock.

    Args:
        program: loaded.
        cookie: no helper of these programs tells it.
        traced: it runs in this process all the same.
        target: `timer:10ms`, or `cpu-clock@99` for that many times a second.

    Raises:
        ConfigError: the target is no such text.
    """
    text = section_target(program.section) if target is None else target
    return TimerLink(program, period_of(program.name, text or ""))


def period_of(name: str, text: str) -> int:
    """Nanoseconds from one run to the next. Raises ConfigError: the text does not say."""
    kind, _, given = text.partition(":")
    event, _, frequency = text.partition("@")
    period_ns = 0
    if kind == "timer" and (found := re.fullmatch(r"(\d+)(ns|us|ms|s)", given)):
        period_ns = int(found[1]) * _UNITS_NS[found[2]]
    elif event in _CLOCKS and frequency.isdecimal() and int(frequency):
        period_ns = 10**9 // int(frequency)
    if period_ns < _LEAST_NS:
        raise ConfigError(
            f"program {name!r} can't be attached to {text!r}",
            "in user space it is run by the clock, each microsecond at most",
            "name timer:10ms, or cpu-clock@99 for 99 times a second",
        )
    return period_ns
