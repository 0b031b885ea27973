from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wbpf.pool import Pool, PoolHost

PoolMaker = Callable[..., Pool]


@pytest.fixture
def make_pool() -> Iterator[PoolMaker]:
    """Makes pools in shared memory, of 4 MiB and the hosts "a" and "b" unless told otherwise."""
    made: list[Pool] = []
    with tempfile.TemporaryDirectory(prefix=f"wbpf-test-{os.getpid()}-", dir="/dev/shm") as folder:

        def make(size_bytes: int = 4 << 20, **options: Any) -> Pool:
            path = Path(folder) / f"pool{len(made)}"
            made.append(Pool.create(path, size_bytes, **{"hosts": ("a", "b"), **options}))
            return made[-1]

        yield make
        for pool in made:
            pool.close()


@pytest.fixture
def pool(make_pool: PoolMaker) -> Pool:
    return make_pool()


@pytest.fixture
def a(pool: Pool) -> Iterator[PoolHost]:
    with pool.join("a") as host:
        yield host


@pytest.fixture
def b(pool: Pool) -> Iterator[PoolHost]:
    with pool.join("b") as host:
        yield host
