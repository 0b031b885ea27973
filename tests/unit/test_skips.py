"""The rules of tests/conftest.py about skips."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

def test_with_a_reason():
    pytest.skip("needs a CXL device: no /dev/dax0.0")

@pytest.mark.skipif(True, reason="needs a CXL device: it is in use")
def test_marked():
    assert False

def test_without_a_capability():
    pytest.skip("not today")

@pytest.mark.xfail
def test_expected_to_fail():
    assert False
"""


def test_a_skip_names_what_it_needs(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile(test_some=TESTS, test_module="import pytest; pytest.importorskip('no_such_module')")

    result = pytester.runpytest_subprocess("--continue-on-collection-errors")

    result.assert_outcomes(skipped=2, failed=1, xfailed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["2 skipped: needs a CXL device", "*test_without_a_capability*", "*test_module.py*"]
    )
