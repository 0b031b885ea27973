"""`wbpf run --once` and `wbpf check --backend user`: programs without a control program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.user.conftest import HERE
from wbpf.bpf import features
from wbpf.build import compile_bpf

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")

CONTEXT = "05000000000000000200000000000000"


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = HERE.parent / "wasm" / "both" / "both.bpf.c"
    return compile_bpf(source, tmp_path_factory.mktemp("once") / "both.bpf.o")


def wbpf(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wbpf.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def once(both: Path, *words: str | Path) -> Any:
    done = wbpf("run", "--once", both, "-o", "json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_runs_once_and_its_maps_are_shown(both: Path, tmp_path: Path) -> None:
    found = once(both, "--backend", "user", "--context", CONTEXT)
    (run,) = found["programs"]
    assert (run["program"], run["result"], run["context"]) == ("fill", 2, CONTEXT)
    assert found["maps"]["hash"] == {"05000000": "0500000000000000"}
    file = tmp_path / "context"
    file.write_bytes(bytes.fromhex(CONTEXT))
    assert once(both, "--backend", "user", "--context", file, "--program", "fill") == found
    answer = features.have_privileges()
    if not answer:
        pytest.skip(f"needs {answer.what}: {answer.why}")
    kernel = once(both, "--backend", "kernel", "--context", CONTEXT)
    assert kernel == found


def test_what_can_not_be_run_is_said(both: Path) -> None:
    none = wbpf("run", "--once", both, "--program", "other")
    assert none.returncode == 2 and "there is no such program" in none.stderr
    wrong = wbpf("run", "--once", both, "--context", "xyz")
    assert wrong.returncode == 2 and "give a file, or hex digits" in wrong.stderr


def test_check_asks_the_verifier_of_user_space(both: Path, tmp_path: Path) -> None:
    good = wbpf("check", "--backend", "user", both, "-o", "json")
    assert [row["loads"] for row in json.loads(good.stdout)] == ["yes"]
    source = tmp_path / "wild.bpf.c"
    source.write_text(
        "#include <wbpf/vmlinux.h>\n#include <wbpf/program.bpf.h>\n"
        'SEC("syscall") int wild(u64 *ctx) { return *(int *)ctx[0]; }\n'
        'SEC("sockops") int other(void *ctx) { return 1; }\nchar LICENSE[] SEC("license") = "GPL";\n'
    )
    bad = wbpf("check", "--backend", "user", compile_bpf(source, tmp_path / "wild.bpf.o"))
    assert bad.returncode == 1
    assert "as an address, at" in bad.stdout and "(wild.bpf.c:3)" in bad.stdout
    assert "programs of kind 'sockops' have no context in user space" in bad.stdout
