"""Commands to runner.c, and what it answers: the same ones to an arm64 process and to one of x86-64."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from tests.arm64.emulation import compile_for, run_for
from wbpf.bpf.kinds import MapType
from wbpf.bpf.user.blobs import Translation
from wbpf.bpf.user.objects import UserObject
from wbpf.bpf.user.program import translate_programs

FUEL = 1 << 32
_COMMANDS = ("map", "update", "refer", "look_up", "load", "run", "run_on_frame", "attach", "detach", "hit")


class Script:
    """What a runner is to do. It knows programs and maps by numbers, in the order they were made."""

    def __init__(self, arch: str) -> None:
        self.arch, self._text = arch, bytearray()
        self._names: dict[str, int] = {}
        self._maps: dict[str, int] = {}
        self._programs = 0

    def _say(self, command: str, *parts: int | bytes) -> None:
        words = (_COMMANDS.index(command), *parts)
        self._text += b"".join(
            one if isinstance(one, bytes) else struct.pack("<Q", one & (1 << 64) - 1) for one in words
        )

    def load(self, translation: Translation, kinds: Mapping[str, int]) -> None:
        """Load all programs of a translation; `kinds` are those of their contexts."""
        words: list[int] = []
        for name, part in translation.parts.items():
            self._names[name] = self._programs
            self._programs += 1
            words += [part.entry, not part.complete, kinds[name], len(part.helpers), *part.helpers]
        self._say("load", len(translation.code), translation.code, len(translation.parts), *words)

    def load_object(self, one: UserObject) -> None:
        """Make the maps of an object that is loaded, with what is in its arrays, and load its programs."""
        specs = {program.name: program.program.spec for program in one.programs.values()}
        for name, there in one.maps.items():
            kind = (there.kind, there.key_bytes, there.element_bytes, there.entries, there.flags)
            self._say("map", *kind, there.lock_offset, *there.inner)
            self._maps[name] = len(self._maps)
            if there.kind == MapType.ARRAY:
                for row in range(there.entries):
                    self.update(name, row.to_bytes(4, "little"), there[row.to_bytes(4, "little")])
        self.load(
            translate_programs(specs, self.arch), {name: spec.context.kind for name, spec in specs.items()}
        )

    def update(self, name: str, key: bytes, value: bytes) -> None:
        self._say("update", self._maps[name], len(key), len(value), key, value)

    def refer(self, name: str, key: int, *, program: str = "", to_map: str = "") -> None:
        """Put a program, or a map, into one that holds such."""
        number = self._names[program] if program else self._maps[to_map]
        self._say("refer", self._maps[name], key, bool(program), number)

    def look_up(self, name: str, key: bytes) -> None:
        self._say("look_up", self._maps[name], len(key), key)

    def run(self, program: str, context: bytes, fuel: int = FUEL) -> None:
        self._say("run", self._names[program], fuel, len(context), context)

    def run_on_frame(self, program: str, frame: bytes) -> None:
        self._say("run_on_frame", self._names[program], len(frame), frame)

    def attach(self, program: str) -> None:
        """To the site of the runner, which `hit` comes by."""
        self._say("attach", self._names[program])

    def detach(self, link: int) -> None:
        self._say("detach", link)

    def hit(self, number: int) -> None:
        self._say("hit", number)

    def answers(self) -> BytesIO:
        """Have it done."""
        runner = compile_for(self.arch, Path(__file__).with_name("runner.c"))
        done = run_for(self.arch, runner, given=bytes(self._text))
        assert done.returncode == 0, done.stderr.decode()
        return BytesIO(done.stdout)
