"""Stacks of a process and of the kernel, with the names that they really have."""

from __future__ import annotations

from struct import pack

import pytest

from tests.integration.bpf.conftest import Compiled, Subject
from wbpf.bpf import Object
from wbpf.bpf.stacks import Frame, KernelSymbols, ProcessSymbols, addresses, stack, symbolise
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
        frames = symbolise(stack(stacks, user_id), ProcessSymbols(subject.pid))
        assert (frames[0].symbol, frames[0].offset) == ("leaf", 0)
        # At its first instruction a function has no frame of its own yet: its caller is not seen.
        assert frames[1].symbol == "main"
        assert {frame.module for frame in frames[:2]} == {str(subject.program)}
        kernel = symbolise(stack(stacks, kernel_id), KernelSymbols())
        assert any("syscall" in frame.symbol for frame in kernel), [str(frame) for frame in kernel]
        with pytest.raises(BpfError, match="another stack has the same hash"):
            stack(stacks, -17)


def test_what_is_not_known(subject: Subject) -> None:
    symbols = ProcessSymbols(subject.pid)
    assert symbols.frame(1) == Frame(1, "", 0, "")
    assert str(symbols.frame(1)) == "0x1"
    assert addresses(pack("<4Q", 5, 6, 0, 7)) == [5, 6]
    assert addresses(pack("<2Q", 5, 6)) == [5, 6]
    with pytest.raises(BpfError, match="the symbols of process 999999999 can't be read"):
        ProcessSymbols(999999999)
