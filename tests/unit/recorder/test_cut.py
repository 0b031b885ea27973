"""Segment files that are cut while they are read: an error, where SIGBUS was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wbpf
from wbpf.errors import FormatError, SegmentError
from wbpf.recorder import Segment, Watch

#: Bytes that may be left of the file: none, some of the header, all of it, some slots.
LEFT = (0, 100, 4096, 100_000)


@pytest.fixture
def copy(segment: Path) -> Iterator[Path]:
    """A copy of a segment with many traces, which no application has open."""
    for number in range(500):
        with wbpf.trace("order"):
            wbpf.event("step", number=number)
    path = Path(shutil.copy(segment, segment.with_name("copy.seg")))
    yield path
    path.unlink()  # what the tests damaged has no counters that `segment` could check


@pytest.mark.parametrize("left", LEFT)
def test_a_segment_that_is_cut_is_an_error(copy: Path, segment: Path, left: int) -> None:
    with Segment.open(copy) as reader, Segment.open(segment) as other:
        ids = sorted({piece.trace_id for piece in Watch(other).dump()})
        watch, whole = Watch(reader), Watch(other)
        watch.add(ids)
        whole.add(ids)
        assert len({piece.trace_id for piece in watch.poll()[0]}) == len(ids) == 500
        again = Watch(reader)
        again.add(ids)
        os.truncate(copy, left)
        with pytest.raises(SegmentError, match="was cut while it was open"):
            again.poll()
        with pytest.raises(SegmentError, match="was cut while it was open"):
            reader.counters()
        assert len({piece.trace_id for piece in whole.poll()[0]}) == 500, "others are read on"
    with pytest.raises(FormatError, match=r"too few|it was cut|magic"):
        Segment.open(copy)


def test_all_that_can_be_read_of_a_cut_segment_is_an_error(copy: Path) -> None:
    reads = {
        "schemas": lambda reader: reader.schemas(),
        "processes": lambda reader: reader.processes(),
        "counters": lambda reader: reader.counters(),
        "dump": lambda reader: list(Watch(reader).dump()),
        "triggers": lambda reader: reader.take_triggers(),
        "cleared": lambda reader: reader.cleared(0),
    }
    whole = copy.read_bytes()
    for read in reads.values():
        copy.write_bytes(whole)
        with Segment.open(copy, writable=True) as reader:
            os.truncate(copy, 0)
            with pytest.raises(SegmentError, match="was cut while it was open"):
                read(reader)


STRANGER = """
import faulthandler, mmap, os, sys
from wbpf.recorder import Segment
if sys.argv[2] == "before":
    faulthandler.enable()
reader = Segment.open(sys.argv[1])
if sys.argv[2] == "after":
    faulthandler.enable()
    again = Segment.open(sys.argv[1])
with open(sys.argv[1] + ".other", "w+b") as file:
    file.truncate(8192)
    memory = mmap.mmap(file.fileno(), 8192)
    file.truncate(0)
    print("reads", flush=True)
    memory[5000]
"""


@pytest.mark.parametrize("handler", ["none", "before", "after"])
def test_a_bus_error_elsewhere_is_what_it_was(copy: Path, handler: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, copy, handler],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.returncode) == ("reads\n", -signal.SIGBUS)
    assert ("Fatal Python error: Bus error" in done.stderr) == (handler != "none")
