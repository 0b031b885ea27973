"""The contexts of programs at system calls are laid out as this kernel's tracepoints say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import wbpf.bpf.user
from wbpf import _native
from wbpf.bpf.btf import Btf
from wbpf.bpf.tracefs import tracepoints
from wbpf.bpf.user.attach.syscall_numbers import NUMBERS

CONTEXTS = Path(wbpf.bpf.user.__file__).with_name(f"contexts.{os.uname().machine}.btf")
_FIELD = re.compile(r"\tfield:(?P<type>.*?)(?P<name>\w+)(\[\d+\])?;\toffset:(\d+);\tsize:(\d+);\tsigned:\d;")
#: What all tracepoints begin with.
HEAD = {
    "common_type": (0, 2),
    "common_flags": (2, 1),
    "common_preempt_count": (3, 1),
    "common_pid": (4, 4),
}
WORD = 8

Layout = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def tracefs() -> Iterator[int]:
    folder = _native.tracefs_open()
    if folder < 0:
        pytest.skip(f"needs tracefs: {os.strerror(-folder)}")
    if not tracepoints("syscalls"):
        pytest.skip("needs tracepoints of system calls: CONFIG_FTRACE_SYSCALLS is not set")
    yield folder
    os.close(folder)


def layout_of(tracefs: int, category: str, name: str) -> Layout:
    """Its fields, in order: where each is, and how long."""
    file = os.open(f"events/{category}/{name}/format", os.O_RDONLY, dir_fd=tracefs)
    with os.fdopen(file) as opened:
        found = _FIELD.finditer(opened.read())
        return {one["name"]: (int(one[4]), int(one[5])) for one in found}


def ours(name: str) -> dict[str, int]:
    """Members of a structure that we ship: where each is, in bytes."""
    fields = Btf.parse(CONTEXTS.read_bytes()).struct_layout(name)
    return {field.name: field.bit_offset // 8 for field in fields}


def test_each_call(tracefs: int) -> None:
    """Behind the head: its number, and behind that words, as many as it has arguments, or its result."""
    entry, exit = ours("trace_event_raw_sys_enter"), ours("trace_event_raw_sys_exit")
    names = tracepoints("syscalls")
    assert len(names) > 500
    for name in names:
        fields = layout_of(tracefs, "syscalls", name)
        assert {one: fields.pop(one) for one in HEAD} == HEAD, name
        assert fields.pop("__syscall_nr") == (entry["id"], 4), name
        if name.startswith("sys_exit_"):
            assert fields == {"ret": (exit["ret"], WORD)}, name
        else:
            words = [(entry["args"] + WORD * number, WORD) for number in range(len(fields))]
            assert list(fields.values()) == words, name


def test_all_calls(tracefs: int) -> None:
    entry, exit = ours("trace_event_raw_sys_enter"), ours("trace_event_raw_sys_exit")
    expected = {"id": (entry["id"], WORD), "args": (entry["args"], 6 * WORD)}
    assert layout_of(tracefs, "raw_syscalls", "sys_enter") == HEAD | expected
    expected = {"id": (exit["id"], WORD), "ret": (exit["ret"], WORD)}
    assert layout_of(tracefs, "raw_syscalls", "sys_exit") == HEAD | expected


def test_the_head(tracefs: int) -> None:
    entry = ours("trace_entry")
    assert {f"common_{name}": at for name, at in entry.items()} == {
        name: at for name, (at, _) in HEAD.items()
    }


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86-64: calls are traced there alone")
def test_each_name_is_known(tracefs: int) -> None:
    """A call is attached to by its tracepoint's name; one that a newer kernel has is to be added."""
    names = {name.partition("_")[2].partition("_")[2] for name in tracepoints("syscalls")}
    assert names - set(NUMBERS) == set()
