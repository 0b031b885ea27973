"""The stepping tests of native/tests, at every instruction of every path instead of a sample."""

from __future__ import annotations

import re

import pytest

from tests.integration.native_build import build_tests, run_test

EVERY = "1000000"
LINE = re.compile(r"^(.{40}) +(\d+) instructions, +(\d+) (deaths|signals)$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("name", "variable"), [("test_death", "WBPF_TEST_KILLS"), ("test_reentry", "WBPF_TEST_SIGNALS")]
)
def test_every_instruction(name: str, variable: str) -> None:
    printed = run_test(build_tests("plain"), name, timeout_s=1200, variables={variable: EVERY})
    paths = LINE.findall(printed)
    assert len(paths) >= 19
    for path, instructions, times, _ in paths:
        assert int(times) >= int(instructions), path
