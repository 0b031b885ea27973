"""Exact errors of `wbpf run`: the whole of what it says, in tests/golden/run. UPDATE_GOLDEN=1 writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.wasm.conftest import HERE, Wbpf
from tests.integration.wasm.guests import module_of
from tests.integration.wasm.test_run import LOAD, OPEN
from tests.unit.cli.golden import assert_golden
from wbpf.bpf.btf import Btf, reduce
from wbpf.bpf.object_file import ObjectFile
from wbpf.build import compile_bpf

#: Runs a command where the kernel has no BTF, as far as anybody can see.
WITHOUT_BTF = ("unshare", "-m", "sh", "-ec", 'mount -t tmpfs none /sys/kernel/btf; exec "$@"', "sh")


def find(what: str, name_at: int, length: int) -> str:
    return f"{OPEN} (call $exit (call ${what} (local.get $o) (i32.const {name_at}) (i32.const {length})))"


@pytest.fixture
def reads(elf: bytes, tmp_path: Path) -> Callable[[str], bytes]:
    """An object whose program reads a field of task_struct."""
    return lambda name: compile_bpf(
        HERE / "errors.bpf.c", tmp_path / f"{name}.o", f"-DFIELD={name}"
    ).read_bytes()


@pytest.fixture
def says(wbpf: Wbpf, tmp_path: Path) -> Callable[..., None]:
    """Runs a module and compares all that it says."""

    def compare(name: str, wasm: bytes, *words: str, status: int, **how: object) -> None:
        done = wbpf(wasm, *words, **how)
        text = done.stderr.replace(str(tmp_path), "FOLDER")
        assert_golden(f"run/{name}.txt", f"{text}status {done.returncode}\n")
        assert (done.returncode, done.stdout) == (status, "")

    return compare


Says = Callable[..., None]


def test_no_root(says: Says, elf: bytes) -> None:
    wasm = module_of(OPEN + LOAD, elf).wasm
    says("no-root", wasm, "--backend", "kernel", unprivileged=True, status=2)


def test_no_btf(says: Says, reads: Callable[[str], bytes]) -> None:
    wasm = module_of(OPEN + LOAD, reads("pid")).wasm
    says("no-btf", wasm, before=WITHOUT_BTF, status=2)
    says("no-btf", wasm, "--btf", "none", before=WITHOUT_BTF, status=2)
    says("no-btf-file", wasm, "--btf", "/no/such.btf", status=10)


def test_a_kernel_that_is_too_old(says: Says, reads: Callable[[str], bytes], tmp_path: Path) -> None:
    known = ObjectFile.parse(reads("pid"))
    assert known.btf
    (tmp_path / "old.btf").write_bytes(reduce(Btf.of_kernel(), [(known.btf, known.relocations())]))
    older = ("--btf", str(tmp_path / "old.btf"))
    says("old-kernel", module_of(OPEN + LOAD, reads("tgid")).wasm, *older, status=2)
    says("old-kernel-is-enough", module_of(OPEN + LOAD, reads("pid")).wasm, *older, status=0)


def test_a_program_that_the_verifier_refuses(says: Says, compiled: Callable[..., bytes], elf: bytes) -> None:
    says("verifier", module_of(OPEN + LOAD, compiled("-DREFUSED")).wasm, status=2)


def test_a_missing_program(says: Says, elf: bytes) -> None:
    says("missing-program", module_of(find("program_find", 272, 6), elf).wasm, status=2)
    says("misspelt-program", module_of(find("program_find", 256, 7), elf).wasm, status=2)


def test_a_missing_map(says: Says, elf: bytes) -> None:
    says("missing-map", module_of(find("map_find", 368, 4), elf).wasm, status=2)
    says("misspelt-map", module_of(find("map_find", 272, 5), elf).wasm, status=2)


def test_another_abi(says: Says) -> None:
    export = '(func (export "wbpf_abi") (result i32) (i32.const 2))'
    says("other-abi", module_of("", extra=export).wasm, status=12)


def test_not_a_wasm_file(says: Says, elf: bytes) -> None:
    says("not-wasm", b"#!/bin/sh\n", status=5)
    says("not-wasm-but-elf", elf, status=5)
    says("component", b"\0asm\x0d\0\x01\0", status=5)
    says("truncated-module", module_of("").wasm[:-7], status=5)


def test_a_truncated_object(says: Says, elf: bytes) -> None:
    says("truncated-object", module_of(OPEN + LOAD, elf[:5000]).wasm, status=1)
    says("no-object", module_of(OPEN + LOAD, b"no eBPF").wasm, status=1)
