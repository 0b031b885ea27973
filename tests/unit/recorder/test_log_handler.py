from __future__ import annotations

import logging
from pathlib import Path

import pytest

import wbpf
from tests.unit.recorder.reading import read_only_trace
from wbpf.recorder import Level, Segment
from wbpf.recorder.log_handler import severity


@pytest.fixture
def logger(segment: Path) -> logging.Logger:
    logger = logging.Logger("alone", 1)  # not in logging's tree: pytest's handlers stay away
    logger.addHandler(wbpf.LogHandler())
    return logger


def lines(segment: Path) -> list[tuple[int, str]]:
    records = read_only_trace(segment).records
    return [(r.level, str(r.fields["message"])) for r in records if r.kind_name == "log"]


def test_lines_keep_their_severity(segment: Path, logger: logging.Logger) -> None:
    with wbpf.trace("request"):
        logger.debug("one %d", 1)
        logger.warning("two")
        try:
            raise ValueError("oh")
        except ValueError:
            logger.exception("three")
    (debug, warning, error) = lines(segment)
    assert (debug, warning) == ((Level.DEBUG, "one 1"), (Level.WARN, "two"))
    assert error[0] == Level.ERROR
    assert error[1].startswith("three\nTraceback")
    assert error[1].endswith("ValueError: oh")


def test_lines_below_the_host_s_level_are_not_formatted(segment: Path, logger: logging.Logger) -> None:
    class Untouchable:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    with Segment.open(segment, writable=True) as writable:
        writable.set_level("warn")
    with wbpf.trace("request"):
        logger.info("%s", Untouchable())
        logger.error("kept")
    assert lines(segment) == [(Level.ERROR, "kept")]


def test_a_line_that_can_t_be_formatted_is_logging_s_business(
    segment: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with wbpf.trace("request"):
        logger.error("%d", "no number")
    assert "no number" in capsys.readouterr().err
    assert lines(segment) == []


@pytest.mark.parametrize(
    ("levelno", "number"),
    [(0, 1), (5, 3), (10, 5), (15, 7), (20, 9), (25, 11), (30, 13), (40, 17), (50, 21), (1000, 24), (-5, 1)],
)
def test_levels_between_the_named_ones_lie_between(levelno: int, number: int) -> None:
    assert severity(levelno) == number
