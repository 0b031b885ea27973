"""Calls of the guest ABI that no SDK's test makes, by a guest in C: calls/calls.c."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wbpf.bpf.symbols import symbolise
from wbpf.wasm import Grants, Module
from wbpf.wasm.manifest import Capabilities, Manifest
from wbpf.wasm.result import RunResult
from wbpf.wasm.sections import with_sections

Said = dict[str, int]


def lines(module: Module, *words: object) -> tuple[list[str], RunResult]:
    """What it prints, run to its end."""
    with tempfile.TemporaryFile() as out:
        result = module.run([str(word) for word in words], grants=Grants.all(), stdout=out.fileno())
        out.seek(0)
        return out.read().decode().splitlines(), result


def said(module: Module, *words: object) -> Said:
    """The figures that it prints."""
    printed, result = lines(module, *words)
    assert result.exit_status == 0, result.error
    return {name: int(value) for name, value in map(str.split, printed)}


def test_records_are_submitted_to_programs(calls: Module) -> None:
    figures = said(calls, "user_ring")
    # 4096 bytes hold records of 16, each behind a header of 8
    assert figures.pop("until_full") == 4096 // 24 and figures.pop("all") == 4096 // 24
    assert figures == {
        "submitted": 0,
        "another": 0,
        "drained": 42,
        "drained_again": 0,
        "full": -errno.ENOSPC,
        "too_large": -errno.E2BIG,
        "no_such_ring": -errno.EINVAL,
    }


def test_what_a_run_gives_back(calls: Module) -> None:
    assert said(calls, "run") == {
        "twice": 0,
        "result": 9,
        "reserved": 0,
        "context": 42,
        "cut": 0,
        "verdict": 3,
        "bytes": 62,
        "timed": 1,
        "first": 0xEE,
        "last": 0x11,
        "behind": 0x77,
        "input": 0x11,
        "small_output": -errno.ENOSPC,
        "another_type": -errno.EOPNOTSUPP,
    }


def test_an_iterator_is_read_in_pieces_and_anew(calls: Module) -> None:
    printed, result = lines(calls, "iterate", os.getpid())
    assert result.exit_status == 0
    text, total = "".join(f"line {number}\n" for number in range(200)).encode(), 0
    for byte in text:
        total = (total * 31 + byte) & 0xFFFFFFFF
    whole = ["end 0", f"bytes {len(text)}", f"sum {total}"]
    assert printed == [*whole, *whole, "end 0", "bytes 0", "sum 0", f"other {-errno.EOPNOTSUPP}"]


def test_places_that_are_not_there(calls: Module) -> None:
    assert said(calls, "nowhere") == {
        "interface": -errno.ENOENT,
        "event": -errno.ENOENT,
        "target": -errno.EINVAL,
        "tracepoint": -errno.ENOENT,
    }


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "bpffs"
    folder.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_maps_are_pinned_and_taken_again(calls: Module, bpffs: Path) -> None:
    mine = bpffs / "mine"
    mine.mkdir()
    asked = Capabilities(
        programs=("syscall", "xdp", "tracing", "raw_tracepoint", "perf_event"), attach=(), fs=(f"{mine}:rw",)
    )
    module = Module(
        with_sections(calls.wasm, {"wbpf.manifest": Manifest("calls", capabilities=asked).to_json()})
    )
    denied = -errno.EPERM
    assert said(module, "pin", mine / "table", bpffs / "table") == {
        "outside": denied,
        "pinned": 0,
        "again": -errno.EEXIST,
    }
    assert [path.name for path in mine.iterdir()] == ["table"] and not (bpffs / "table").exists()
    assert said(module, "reuse", mine / "table", bpffs / "table") == {
        "outside": denied,
        "missing": -errno.ENOENT,
        "other_kind": -errno.EINVAL,
        "reused": 0,
        "load": 0,
        "lookup": 0,
        "value": 55,
    }


def test_batches(calls: Module) -> None:
    figures = said(calls, "batch")
    assert figures.pop("pieces") >= 3
    assert figures == {
        "written": 300,
        "read": 300,
        "wrong": 0,
        "at_the_end": 2,
        "small_cursor": -errno.EINVAL,
        "small_keys": -errno.EINVAL,
        "no_operation": -errno.EINVAL,
        "removed": 100,
        "taken": 200,
        "left": -errno.ENOENT,
    }


def address_of_getpgid() -> int:
    return ctypes.cast(ctypes.CDLL(None).getpgid, ctypes.c_void_p).value or 0


def address_in_the_kernel() -> int:
    table = Path("/proc/kallsyms").read_text().splitlines()
    return next(int(line.split()[0], 16) for line in table if line.endswith(" T vfs_read"))


@pytest.mark.parametrize(
    ("address", "pid", "name"),
    [(address_of_getpgid, os.getpid(), "getpgid"), (address_in_the_kernel, -1, "vfs_read")],
    ids=["process", "kernel"],
)
def test_addresses_have_names(calls: Module, address: Callable[[], int], pid: int, name: str) -> None:
    at = address()
    printed, _ = lines(calls, "symbolise", at, pid)
    expected = symbolise([at, at + 4], pid if pid > 0 else None)
    assert expected[0].endswith("+0x0") and name in expected[0] and expected[1].endswith("+0x4")
    assert printed == [expected[0], "", expected[1], "same_length 1", f"no_process {-errno.ESRCH}"]
