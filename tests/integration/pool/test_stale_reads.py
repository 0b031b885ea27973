"""A forgotten invalidate really reads old bytes; with it, nobody ever does. Two hosts are two processes."""

from __future__ import annotations

import pytest

from tests.integration.pool.processes import reader, started
from wbpf.pool import Pool, PoolHost, VerifyResult

TRIES = 1000


def put(host: PoolHost, id: str, byte: int, size: int) -> None:
    with host.create(id, size) as buffer:
        buffer[:] = bytes([byte]) * size


@pytest.mark.parametrize("skip", [True, False])
def test_a_thousand_reads(pool: Pool, a: PoolHost, skip: bool) -> None:
    old = mismatches = lines = 0
    with started(reader, str(pool.path), "b") as (_, pipe):
        assert pipe.recv() == "ready"
        for i in range(TRIES):
            size = 64 * (1 + i % 50)
            put(a, "old", 1, size)
            pipe.send(("old", False))
            assert pipe.recv() == (1, VerifyResult.OK, 0)
            a.delete("old")
            put(a, "new", 2, size)
            pipe.send(("new", skip))
            first, result, stale = pipe.recv()
            old += first == 1
            mismatches += result is not VerifyResult.OK
            lines += stale
            a.delete("new")
    if skip:
        assert (old, mismatches) == (TRIES, TRIES)
        assert lines == sum(2 + i % 50 for i in range(TRIES))
    else:
        assert (old, mismatches, lines) == (0, 0, 0)
