"""Segments of both chunk kinds, damaged with knowledge of the format, before the reader under sanitisers.

`python -m tests.fuzz.segment SECONDS [FIRST]`: FIRST repeats a case that failed, and goes on behind it.
"""

from __future__ import annotations

import sys

from tests.integration.native_build import build_tests, run


def fuzz(seconds: float, *first: str) -> str:
    """What the run said; fails with the number of the case that the reader did not survive."""
    done = run(build_tests("address") / "native/fuzz_segment", str(seconds), *first, timeout_s=seconds + 120)
    assert done.returncode == 0, done.stdout
    return done.stdout


if __name__ == "__main__":
    print(fuzz(float(sys.argv[1]), *sys.argv[2:]))
