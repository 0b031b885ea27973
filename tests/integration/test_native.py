"""Runs each C test of native/tests in each build: plain and with sanitisers.

A C test passes with exit status 0 and skips with 77, the last line of its output being `needs WHAT: WHY`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.native_build import ROOT, SANITIZERS, build_tests, run_test

TESTS = sorted(path.stem for path in (ROOT / "native/tests").glob("test_*.c"))


@pytest.fixture(scope="session", params=SANITIZERS)
def build(request: pytest.FixtureRequest) -> Path:
    return build_tests(request.param)


@pytest.mark.timeout(900)  # the first test of a build waits for the compiler
@pytest.mark.parametrize("name", TESTS)
def test_native(build: Path, name: str) -> None:
    run_test(build, name)
