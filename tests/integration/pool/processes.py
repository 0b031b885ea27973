"""What the processes of these tests do: each is a member of a host, started afresh, not forked."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from wbpf.pool import Pool, PoolHost, VerifyResult, faults

SPAWN = multiprocessing.get_context("spawn")


def reader(pipe: Connection, path: str, host: str) -> None:
    """Answer requests to get an object: (id, skip the invalidate?) -> (first byte, result, lines stale)."""
    with Pool.open(path).join(host) as member:
        pipe.send("ready")
        while (request := pipe.recv()) is not None:
            id, skip = request
            armed = faults.arm_skip_invalidate(member, id) if skip else None
            with member.get(id) as view:
                first, result = memoryview(view)[0], view.verify()
            pipe.send((first, result, armed.result().lines_stale if armed else 0))


def churn(pipe: Connection, path: str, host: str, seed: int) -> None:
    """Create, read and delete objects of one's own until killed or told to stop; tell what was wrong."""
    wrong = 0
    generator = random.Random(seed)
    with Pool.open(path).join(host) as member:
        pipe.send("ready")
        rounds = 0
        while not pipe.poll():
            wrong += not one_round(member, f"{seed}/{generator.randrange(50)}", generator.randrange(4000))
            rounds += 1
        pipe.send((rounds, wrong))


def one_round(member: PoolHost, id: str, size: int) -> bool:
    """Put an object, or if it is there, check and delete it. Is all as it should be?"""
    if member.contains(id):
        with member.get(id) as view:
            good = view.verify() is VerifyResult.OK and bytes(view) == bytes([len(view) % 256]) * len(view)
        member.delete(id)
        return good
    with member.create(id, size) as buffer:
        buffer[:] = bytes([size % 256]) * size
    return True


def hold(pipe: Connection, path: str, host: str, id: str) -> None:
    """Hold a view of an object and an object that is not sealed, until killed."""
    member = Pool.open(path).join(host)
    view = member.get(id)
    writer = member.create(f"unsealed by {os.getpid()}", 5000)
    pipe.send((view.generation, writer.generation))
    pipe.recv()


def wait_for(pipe: Connection, path: str, host: str, id: str) -> None:
    """Wait for an object's seal; tell its content."""
    with Pool.open(path).join(host) as member:
        pipe.send("ready")
        pipe.send(bytes(member.get(id, 30)))


@contextmanager
def started(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run a function in a process of its own; kills it in the end."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()
