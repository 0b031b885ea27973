"""The process that tests follow: makes system calls inside of traces, as it is told by lines."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable

import wbpf
from wbpf.recorder import segment_path


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


def traces(count: int, calls: int) -> list[str]:
    """Trace after trace, with system calls inside, and as many outside of them."""
    ids = []
    for _ in range(count):
        with wbpf.trace("work") as trace:
            for _ in range(calls):
                os.getppid()
        for _ in range(calls):
            os.getppid()
        ids.append(trace.trace_id)
    return ids


def nested() -> list[str]:
    """A trace inside a trace, a span in each: one call in each place."""
    with wbpf.trace("outer") as outer:
        os.getppid()
        with wbpf.span("step"):
            os.getppid()
        with wbpf.trace("inner") as inner:
            os.getppid()
        os.getppid()
    return [outer.trace_id, inner.trace_id]


def threads(count: int, calls: int) -> list[tuple[int, str]]:
    """A trace in each of several threads at a time."""
    made: list[tuple[int, str]] = []
    together = threading.Barrier(count)

    def work() -> None:
        together.wait()
        with wbpf.trace("thread") as trace:
            for _ in range(calls):
                os.getppid()
        made.append((threading.get_native_id(), trace.trace_id))

    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return made


def forked() -> list[object]:
    """A child of a process in mid-trace: it is in no trace, until it starts one."""
    with wbpf.trace("parent") as trace:
        os.getppid()
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.getppid()
            os.write(theirs, b".")
            os._exit(0)
        os.read(ours, 1)
        os.waitpid(pid, 0)
    return [trace.trace_id, os.getpid(), pid]


def exec_in_trace() -> None:
    """Become another program in the middle of a trace; the new one makes the same calls, in no trace."""
    with wbpf.trace("before") as trace:
        os.getppid()
        say([trace.trace_id])
        program = (
            "import os, sys; [os.getppid() for _ in range(50)]; print('true', flush=True); sys.stdin.read()"
        )
        os.execv(sys.executable, [sys.executable, "-c", program])


def main() -> None:
    wbpf.open("traced")
    assert segment_path()
    say("ready")
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "exec":
            exec_in_trace()
        work: dict[str, Callable[..., object]] = {
            "traces": traces,
            "nested": nested,
            "threads": threads,
            "forked": forked,
        }
        say(work[name](*map(int, numbers)))


main()
