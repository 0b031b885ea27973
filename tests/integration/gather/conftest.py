from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.integration.gather.cluster import Cluster, running

Start: TypeAlias = Callable[..., Cluster]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts clusters that end with the test: `start("abcd", options=…)`."""
    with ExitStack() as stack:

        def enter(
            make: Callable[..., AbstractContextManager[Cluster]], hosts: str, **spec: object
        ) -> Cluster:
            return stack.enter_context(make(tmp_path / "traces.db", hosts, **spec))

        yield partial(enter, running)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four hosts, shared by the tests of a module."""
    with running(tmp_path_factory.mktemp("store") / "traces.db", "abcd") as started:
        yield started
