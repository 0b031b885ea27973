"""What is said of an object that libbpf no longer reads."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.wasm_bpf.conftest import Build, Running


def test_maps_of_before_libbpf_1_are_named(build: Build, run: Callable[..., Running]) -> None:
    running = run(build("legacy", "v1", guest="load"))
    assert running.end(91) == []
    assert "legacy map definitions in 'maps' section" in running.err.read_text()
