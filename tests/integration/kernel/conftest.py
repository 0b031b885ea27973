"""Programs compiled once a run, and the capabilities that loading them takes."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.kernel.subject import Subject
from wbpf.bpf import features
from wbpf.build import compile_bpf

HERE = Path(__file__).parent
FLAGS = {"array": (), "perf": ("-DWBPF_PERF_RING",)}

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compiles `NAME.bpf.c` of this folder for a variant of rings; skips where nothing can be loaded.

    WBPF_TEST_OBJECTS: a folder of objects to take instead, on machines without a compiler.
    """
    ready = os.environ.get("WBPF_TEST_OBJECTS")
    if not ready and importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang: install wbpf[build]")
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
    folder = Path(ready) if ready else tmp_path_factory.mktemp("bpf")

    def compile_once(name: str, variant: str = "array", *flags: str) -> Path:
        if variant == "array" and not features.have_fetch_add():
            pytest.skip(f"needs {features.have_fetch_add().what}: {features.have_fetch_add().why}")
        out = folder / f"{name}.{variant}{''.join(flags)}.o"
        return (
            out
            if out.exists()
            else compile_bpf(HERE / f"{name}.bpf.c", out, "-Werror", *FLAGS[variant], *flags)
        )

    return compile_once


@pytest.fixture(params=FLAGS)
def variant(request: pytest.FixtureRequest) -> str:
    """The kinds of rings: both run on a new kernel."""
    return str(request.param)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's hosts record; the host is `h1`."""
    folder = tmp_path / "hosts"
    monkeypatch.setenv("WBPF_DIR", str(folder))
    monkeypatch.setenv("WBPF_HOST", "h1")
    monkeypatch.setenv("WBPF_SEGMENT_MB", "4")
    return folder


@pytest.fixture
def subject(directory: Path) -> Iterator[Callable[..., Subject]]:
    """Starts processes that trace, and ends them."""
    started: list[Subject] = []

    def start(*command: str | Path) -> Subject:
        started.append(Subject(command))
        return started[-1]

    yield start
    for one in started:
        one.end()
