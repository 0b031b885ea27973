"""C tests of native/tests, compiled for arm64 and run in emulation.

Not there: those that step or kill at an instruction, as QEMU has no ptrace; test_liveness, as it ignores
MADV_DONTFORK; and those of what is for x86-64, for eBPF in the kernel, or for Wasm.
"""

from __future__ import annotations

import pytest

from tests.arm64.emulation import NATIVE, compile_for, run_for

POOL = ["pool", "pool_allocator"]
RECORDER = ["recorder", "counters", "fork", "kernel_ring", "lost_until", "threads"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", ["maps", *POOL, *RECORDER])
def test_native(name: str) -> None:
    run(f"test_{name}")


def test_damaged_segments() -> None:
    assert b" opened, " in run("fuzz_segment", "10")


def run(name: str, *arguments: str) -> bytes:
    """Run a C test; returns what it printed."""
    done = run_for("aarch64", compile_for("aarch64", NATIVE / f"tests/{name}.c"), *arguments)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout
