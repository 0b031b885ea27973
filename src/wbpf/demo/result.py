"""What the demo is asked for, and what it comes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wbpf.demo.score import Score


class Kill(StrEnum):
    """What of the last host is killed (SIGKILL) in mid-run, to show what a death costs."""

    WRITER = "writer"  # the process, inside a request
    AGENT = "agent"
    AGENT_RESTARTED = "agent-restarted"  # and started again when three quarters of the requests are done
    HOST = "host"  # both


@dataclass(frozen=True)
class DemoSpec:
    """What to run.

    Args:
        directory: for what is kept: the store, the exported traces, the injector's file, logs.
    """

    directory: Path
    seed: int = 1
    requests: int = 20_000
    fault_rate: float = 0.001
    hosts: int = 4
    kill: Kill | None = None

    @property
    def store(self) -> Path:
        return self.directory / "traces.db"

    @property
    def faults(self) -> Path:
        return self.directory / "faults.jsonl"

    @property
    def traces(self) -> Path:
        return self.directory / "traces.json"

    @property
    def host_names(self) -> tuple[str, ...]:
        return tuple(f"host{number}" for number in range(self.hosts))


@dataclass(frozen=True)
class DemoResult:
    """A finished run.

    Args:
        records, bytes_recorded: written by all hosts.
        bytes_shipped: what gathering sent: pieces, control messages, conclusions.
        recording_s: processor time that recording took.
        cpu_s: processor time that the hosts' processes took, recording included.
        seconds: the stream, from its first request to the end of its last.
        virtual_ns: modelled: the hosts' clocks at the end, by name.
        lost: requests under way on a host that died.
        dead: hosts whose process died.
        unfinished: traces that hosts asked for and that were not gathered in time.
    """

    spec: DemoSpec
    score: Score
    records: int
    bytes_recorded: int
    bytes_shipped: int
    recording_s: float
    cpu_s: float
    answer_correct: bool
    seconds: float
    virtual_ns: dict[str, int]
    lost: int
    dead: tuple[str, ...]
    unfinished: int

    @property
    def recording_share(self) -> float:
        """Processor time for recording, as a part of what the hosts' processes took."""
        return self.recording_s / self.cpu_s if self.cpu_s else 0.0

    @property
    def passed(self) -> bool:
        """Was every effective fault caught and complete, and is the answer right?"""
        return self.answer_correct and self.score.all_caught

    def to_dict(self) -> dict[str, Any]:
        """What `wbpf demo -o json` prints."""
        return {
            "requests": self.spec.requests,
            "faults": {kind: asdict(count) for kind, count in self.score.faults.items()},
            "false_alarms": self.score.false_alarms,
            "bytes_recorded": self.bytes_recorded,
            "bytes_shipped": self.bytes_shipped,
            "bytes_faulted": self.score.bytes_faulted,
            "recording_share": round(self.recording_share, 4),
            "answer_correct": self.answer_correct,
            "seconds": round(self.seconds, 2),
        }
