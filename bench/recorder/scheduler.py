"""What the kernel's scheduler does with some processes, recorded by eBPF while a benchmark runs."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from bench.build import BUILD, BenchError
from wbpf.bpf import Object
from wbpf.build import compile_bpf

SOURCE = Path(__file__).with_name("scheduler.bpf.c")
_EVENT = struct.Struct("<QIIIIIIII")


class Kind(IntEnum):
    """What happened."""

    SWITCH = 0
    WAKING = 1
    FLUSHED = 2


class Event(NamedTuple):
    """One event, as in the source of the eBPF programs."""

    mono_ns: int
    kind: int
    cpu: int
    thread: int
    process: int
    other_thread: int
    other_process: int
    runnable: int
    reserved: int


@contextmanager
def recorded_scheduler(processes: Iterable[int]) -> Iterator[list[Event]]:
    """Record what is done inside; the events are there afterwards, in order of time.

    Args:
        processes: whose threads' wakers and flushes are recorded.

    Raises:
        BpfError: the kernel refuses.
        BenchError: there were more events than the buffer holds.
    """
    events: list[Event] = []
    BUILD.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        probe = stack.enter_context(Object.open(compile_bpf(SOURCE, BUILD / "scheduler.bpf.o", "-Werror")))
        probe.load()
        for process in processes:
            probe.maps["processes"][struct.pack("<I", process)] = struct.pack("<I", 1)
        with ExitStack() as attached:
            for program in probe.programs.values():
                attached.enter_context(program.attach())
            yield events
        with probe.maps["events"].ring() as ring:
            while batch := ring.read():
                events += (Event._make(_EVENT.unpack(record[: _EVENT.size])) for record in batch)
        refused = probe.variables["refused"]
        if refused:
            raise BenchError("the scheduler was not recorded whole", f"{refused!r} events found no room")
    events.sort()
