"""What is said of an object that libbpf no longer reads, and what to try."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.wasm_bpf.conftest import Build, Running


def test_maps_of_before_libbpf_1_are_named(build: Build, run: Callable[..., Running]) -> None:
    running = run(build("legacy", "v1", guest="load"))
    assert running.end(91) == []
    said = running.err.read_text()
    assert "its maps are in a section 'maps', of a form that libbpf does not read since" in said
    assert 'try: write them as struct { __uint(type, …); … } NAME SEC(".maps")' in said
