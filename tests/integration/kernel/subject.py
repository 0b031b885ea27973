"""A process that traces, told by its standard input what to do, and what is gathered of it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wbpf.recorder import Piece, Segment, Watch
from wbpf.records import RawRecord, decode_run, parse_schemas
from wbpf.records.layout import Kind

#: A system call that programs make only if told to.
GETPPID = {"x86_64": 110, "aarch64": 173}[platform.machine()]
PYTHON = (sys.executable, str(Path(__file__).with_name("traced.py")))


class Subject:
    """A process: a line in, one line of JSON out."""

    def __init__(self, command: Sequence[str | Path] = ()) -> None:
        self._process = subprocess.Popen(
            command or PYTHON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.answer() == "ready"

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, *words: str | int) -> Any:
        """What it answers to a line."""
        assert self._process.stdin
        print(*words, file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the subject ended with status {self._process.wait(10)}"
        return json.loads(line)

    def end(self) -> None:
        """Have it end, and wait for that."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.stdout.close()


class Gathered:
    """What a kernel segment has of some traces."""

    def __init__(self, path: Path, ids: Iterable[str]) -> None:
        with Segment.open(path) as segment:
            watch = Watch(segment)
            watch.add(bytes.fromhex(one) for one in ids)
            self.pieces, self.lost_until = watch.poll()
            self.schemas = parse_schemas(dict(segment.schemas()[1]))
            self.pids = {process.index: process.pid for process in segment.processes()}

    def events(self, piece: Piece) -> list[RawRecord]:
        """The records of a piece, behind the RESUME that it starts with."""
        first, *events = decode_run(piece.data, self.schemas)
        assert first.kind == Kind.RESUME
        assert first.span_id
        return events

    def calls(self, trace_id: str, number: int = GETPPID) -> list[tuple[int, int]]:
        """Process and thread of each such system call in a trace, in the order of their times."""
        found = [
            (event.ticks or 0, self.pids.get(piece.process, 0), piece.tid)
            for piece in self.pieces
            if piece.trace_id.hex() == trace_id
            for event in self.events(piece)
            if event.fields.get("number") == number
        ]
        return [(pid, tid) for _, pid, tid in sorted(found)]
