"""Programs are built once a run, and traced in this process, on what a test does itself."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wbpf.bpf import features
from wbpf.build import Project, build
from wbpf.wasm import Grants, Module
from wbpf.wasm.filters import Filter

PROGRAMS = Path(__file__).parents[3] / "programs"

Event = dict[str, Any]
Built = Callable[[str], Path]


@pytest.fixture(scope="session")
def capable() -> None:
    """Skips where nothing can be built or loaded."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang: install wbpf[build]")
    if importlib.util.find_spec("wasmtime") is None:
        pytest.skip("needs wasmtime: install wbpf[wasm]")
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")


@pytest.fixture(scope="session")
def built(capable: None, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The module of a program of programs/."""
    folder = tmp_path_factory.mktemp("programs")

    def once(name: str) -> Path:
        out = folder / f"{name}.wasm"
        return out if out.exists() else build(Project.load(PROGRAMS / name), out).path

    return once


@contextmanager
def traced(
    module: Path, canary: Callable[[], object], filter: Filter | None = None, **params: Any
) -> Iterator[list[Event]]:
    """Run a module while something is done; the events that it has emitted are collected.

    Args:
        module: the file.
        canary: makes an event; it is called until there is one, so that all is attached by then.
        filter: what is traced.
        params: of the module.
    """
    events: list[Event] = []
    guest = Module.open(module).start(
        params=params, grants=Grants.all(), filter=filter, on_event=lambda event: events.append(event.fields)
    )
    try:
        wait_for(lambda: (canary(), events)[1] or guest.has_ended)
        assert not guest.has_ended, guest.wait()
        yield events
    finally:
        guest.close()


def wait_for(done: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)
