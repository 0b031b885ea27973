"""Cgroups of version 2, wherever they are mounted."""

from __future__ import annotations

import struct
from pathlib import Path

from wbpf.wasm.filters import Filter


def test_a_filters_depth_is_counted_from_where_version_2_is_mounted(cgroup: Path) -> None:
    _, _, number, level = struct.unpack_from("<IIQI", Filter(cgroup=str(cgroup)).pack())
    assert (number, level) == (cgroup.stat().st_ino, 1)
    assert Filter(cgroup=cgroup.name).pack() == Filter(cgroup=str(cgroup)).pack()
