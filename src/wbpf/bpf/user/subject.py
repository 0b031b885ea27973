"""What programs would be attached to in user space, looked at without touching it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wbpf.bpf.features import Answer, Have
from wbpf.bpf.user.attach import binary
from wbpf.bpf.user.attach.command import libraries_of, program_of
from wbpf.bpf.user.attach.traced import validate_traceable
from wbpf.errors import ConfigError, WbpfError


class Subject:
    """A process that runs, a command that would be started, or neither.

    Args:
        pid: of the process; None: none is given.
        command: the command; empty: none is given.

    Raises:
        ConfigError: both are given.
    """

    def __init__(self, pid: int | None = None, command: Sequence[str] = ()) -> None:
        if pid is not None and command:
            raise ConfigError("--pid can't be used", "a command is given too", "leave out one of them")
        self.pid, self.command = pid, tuple(command)
        #: Where the process has its socket.
        self.folder: Path | None = None
        #: What the command starts with: program and libraries.
        self.files: tuple[str, ...] = ()
        #: Whether it can be traced; None: nobody is given.
        self.answer: Answer | None = None
        if pid is not None or command:
            self.answer = self._look(f"command {command[0]!r}" if command else f"process {pid}")

    def _look(self, what: str) -> Answer:
        try:
            if self.pid is not None:
                self.folder = validate_traceable(self.pid)
            else:
                program, interpreter = program_of(self.command, os.environ, what)
                self.files = (os.path.realpath(program), *libraries_of(program, interpreter))
        except WbpfError as error:
            return Answer(f"{what}, with the runtime in it", Have.NO, error.why, error.hint)
        return Answer(what, Have.YES, "it can be traced")

    @property
    def refusal(self) -> Answer | None:
        """Why it can't be traced; None: it can, or nobody is given."""
        return None if self.answer is None or self.answer else self.answer

    def sources(self) -> list[Path]:
        """Files that may have types, the program's first."""
        if self.pid is None:
            return [Path(one) for one in self.files]
        return binary.files_of(self.pid, f"the types of process {self.pid} can't be read")

    def file(self, name: str, what: str) -> binary.Binary | Answer:
        """A program file or library that a target names, for a command or for nobody.

        Raises:
            BpfError: there is no such file, or it can't be read.
        """
        wanted = os.path.realpath(name)
        for one in self.files:
            if one == wanted if "/" in name else binary.is_called(one, name):
                return binary.read(os.getpid(), one, what)
        if "/" not in name:
            if self.command:
                why = f"{self.command[0]} does not start with it: what it loads or executes later may have it"
                return Answer(what, Have.UNKNOWN, why, "name its path")
            return Answer(what, Have.UNKNOWN, f"which file is {name!r} depends on the process", _GIVE)
        return binary.read(os.getpid(), name, what)

    def is_started_with(self, path: str) -> bool:
        """Whether a command has a file from its start on; true where there is no command."""
        return not self.command or os.path.realpath(path) in self.files


_GIVE = "give it: --pid PID, or -- COMMAND"
