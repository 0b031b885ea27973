"""Stacks of a process and of the kernel, with the names that they really have."""

from __future__ import annotations

from struct import pack

import pytest

from tests.integration.bpf.conftest import Compiled, Subject
from wbpf.bpf import Object
from wbpf.bpf.stacks import addresses, stack
from wbpf.bpf.symbols import symbolise
from wbpf.errors import BpfError


def test_stacks_have_names(compiled: Compiled, subject: Subject) -> None:
    with Object.open(compiled("stacks")) as probe:
        probe.load()
        probe.programs["on_entry"].attach(f"{subject.program}:leaf@{subject.pid}")
        probe.programs["on_call"].attach()
        subject.work(1)
        stacks = probe.maps["stacks"]
        user_id, kernel_id = probe.variables["user_id"], probe.variables["kernel_id"]
        assert isinstance(user_id, int) and isinstance(kernel_id, int)
        names = symbolise(stack(stacks, user_id), subject.pid)
        assert names[0] == "leaf+0x0"
        # At its first instruction a function has no frame of its own yet: its caller is not seen.
        assert names[1].startswith("main+")
        names = symbolise(stack(stacks, kernel_id))
        assert any("syscall" in name for name in names), names
        with pytest.raises(BpfError, match="another stack has the same hash"):
            stack(stacks, -17)


def test_stacks_in_buffers() -> None:
    assert addresses(pack("<4Q", 5, 6, 0, 7)) == [5, 6]
    assert addresses(pack("<2Q", 5, 6)) == [5, 6]
