"""A host's process: does what the driver orders, over the pool, and records all of it."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import wbpf
from wbpf.demo.cost import Account
from wbpf.demo.data import Tables
from wbpf.demo.messages import (
    Answer,
    Finish,
    Finished,
    HostLost,
    Map,
    Order,
    Owners,
    Ready,
    Reduce,
    WorkerSpec,
)
from wbpf.demo.score import HOST_LOST
from wbpf.demo.tasks import Tasks
from wbpf.pool import Pool


def serve(spec: WorkerSpec, driver: Connection) -> None:
    """Do the driver's orders until it says that there are no more.

    Raises:
        EOFError, OSError: the driver is gone.
    """

    def say(answer: Answer) -> None:
        driver.send(answer)

    with Pool.open(spec.pool) as pool, pool.join(spec.host) as host:
        wbpf.open("shuffle", size_mib=spec.segment_mib)
        tasks = Tasks(spec, host, Tables.load(Path(spec.tables)))
        with Account(tasks.rehearse) as account:
            say(Ready())
            while True:
                order: Order = driver.recv()
                match order:
                    case Map():
                        say(tasks.map(order))
                    case Reduce():
                        say(tasks.reduce(order))
                    case Owners():
                        tasks.owners = order.owners
                    case HostLost():
                        ask_for_traces(order)
                    case Finish():
                        say(Finished(tasks.totals, account.cost(tasks.calls), host.virtual_ns))
                        return


def ask_for_traces(lost: HostLost) -> None:
    """Trigger for each trace in which a dead host had work that nobody will finish."""
    for context in lost.contexts:
        wbpf.attach(wbpf.TraceContext.from_bytes(context))
        wbpf.event("host.lost", level="error", host=lost.host)
        wbpf.trigger(HOST_LOST)
        wbpf.detach()


def main() -> None:
    """Run a worker: WorkerSpec as JSON, and the number of the file that leads to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's: it closes the connection
    spec, driver = WorkerSpec.from_json(sys.argv[1]), Connection(int(sys.argv[2]))
    try:
        serve(spec, driver)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(f"{spec.host}: the driver is gone")


if __name__ == "__main__":
    main()
