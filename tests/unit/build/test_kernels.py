from __future__ import annotations

import pytest

from wbpf.bpf.target import Kind
from wbpf.build.kernels import kernel_of_helper, kernel_of_map, kernel_of_section, latest
from wbpf.wasm.manifest import Kernel


@pytest.mark.parametrize(
    ("number", "name", "version"),
    [
        (1, "map_lookup_elem", "3.19"),
        (35, "get_current_task", "4.8"),
        (80, "get_current_cgroup_id", "4.18"),
        (113, "probe_read_kernel", "5.5"),
        (131, "ringbuf_reserve", "5.8"),
        (156, "task_storage_get", "5.11"),
        (174, "get_attach_cookie", "5.15"),
        (181, "loop", "5.17"),
        (211, "cgrp_storage_delete", "6.2"),
    ],
)
def test_helpers(number: int, name: str, version: str) -> None:
    assert kernel_of_helper(number, name) == Kernel(version, f"helper {name}")


def test_what_the_table_does_not_know() -> None:
    assert kernel_of_helper(212, "newer") is None
    assert kernel_of_map(99, "newer") is None
    assert kernel_of_section(Kind.NOT_ATTACHED, "syscall") is None


def test_maps_and_their_flags() -> None:
    assert kernel_of_map(1, "hash") == Kernel("3.19", "map type hash")
    assert kernel_of_map(27, "ringbuf") == Kernel("5.8", "map type ringbuf")
    assert kernel_of_map(2, "array", 1 << 10) == Kernel("5.5", "flag BPF_F_MMAPABLE")
    assert kernel_of_map(27, "ringbuf", 1 << 10) == Kernel("5.8", "map type ringbuf")


def test_sections() -> None:
    assert kernel_of_section(Kind.FENTRY, "fentry/x") == Kernel("5.5", "programs of section fentry")
    assert kernel_of_section(Kind.FENTRY, "fentry.s/x") == Kernel("5.10", "sleepable programs: fentry.s")
    assert kernel_of_section(Kind.UPROBE, "?uprobe.s") == Kernel("6.0", "sleepable programs: uprobe.s")


def test_the_latest_counts() -> None:
    assert latest([Kernel("5.10", "a"), None, Kernel("5.8", "b")]) == Kernel("5.10", "a")
    assert latest([None]) is None
