"""Guests that call every host function with whatever comes, under sanitisers.

`python -m tests.fuzz.hostcalls SECONDS [FIRST]`: FIRST repeats a case that failed, and goes on behind it.
"""

from __future__ import annotations

import sys

from tests.integration.native_build import OPTIONS, ROOT, build_tests, run
from wbpf.build import compile_bpf
from wbpf.wasm.engine import library

GUEST = ROOT / "tests/integration/wasm/guest.bpf.c"
#: Wasmtime handles faults itself, and keeps what it allocates until the process ends.
_FAULTS = ":".join(f"handle_{name}=0" for name in ("segv", "sigbus", "sigill", "sigfpe"))
_ASAN = {"ASAN_OPTIONS": f"{OPTIONS['ASAN_OPTIONS']}:detect_leaks=0:{_FAULTS}"}


def fuzz(seconds: float, *first: str) -> str:
    """What the run said; fails with the number of the case that the host did not survive."""
    program = build_tests("address") / "native/fuzz_hostcalls"
    elf = compile_bpf(GUEST, program.with_name("fuzzed.o"), "-DTRACED=1", "-DNUMBER=0")
    command = [program, str(seconds), str(library()), elf, *first]
    done = run(*command, timeout_s=seconds + 120, variables=_ASAN)
    assert done.returncode == 0, done.stdout
    return done.stdout


if __name__ == "__main__":
    print(fuzz(float(sys.argv[1]), *sys.argv[2:]))
