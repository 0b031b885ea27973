"""Skips that say what was missing, and a count of them at the end of a run.

A test skips with a reason that begins with "needs": `pytest.skip("needs kernel BTF: no /sys/kernel/btf")`.
Any other reason fails the test. The summary counts skips by the text before the colon.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Zig compares inodes: checkouts that share a cache read its libraries anew, each time they take turns.
os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(Path(__file__).parents[1] / "build/zig"))

Report = pytest.TestReport | pytest.CollectReport


def skip_reason(report: Report) -> str:
    """Why a report says "skipped", without the word that pytest puts before it."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def demand_capability(report: Report) -> None:
    """Turn a skip that does not say what was missing into a failure."""
    if report.skipped and not hasattr(report, "wasxfail") and not skip_reason(report).startswith("needs "):
        report.outcome = "failed"
        report.longrepr = f"skipped with {skip_reason(report)!r}: a skip must say what it needs"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    demand_capability(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    demand_capability(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped for what."""
    reasons = (skip_reason(report) for report in terminalreporter.stats.get("skipped", []))
    counts = Counter(reason.partition(":")[0] for reason in reasons)
    for capability, count in counts.most_common():
        terminalreporter.write_line(f"{count} skipped: {capability}")
