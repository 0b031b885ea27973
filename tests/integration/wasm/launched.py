"""`wbpf run` in a folder of its own, and modules for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.wasm.guests import module_of
from wbpf.wasm.manifest import Capabilities, EventType, Field, Manifest
from wbpf.wasm.params import Param
from wbpf.wasm.sections import with_sections

PYTHON = [sys.executable, "-m", "wbpf.cli"]
OPEN = "(local $o i32) (local $p i32) (local.set $o (call $object_open (i32.const 0) (i32.const 0)))"
LOAD = "(drop (call $object_load (local.get $o)))"
#: Writes `bytes` of memory at 4096 to standard output.
SAY = """(func $say (param $bytes i32)
  (i32.store (i32.const 40) (i32.const 4096)) (i32.store (i32.const 44) (local.get $bytes))
  (drop (call $fd_write (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 48))))"""
PAIR = EventType("pair", 8, (Field("a", 0, 4, "uint"), Field("b", 4, 4, "int")))
#: Says `up`.
UP = "(i32.store (i32.const 4096) (i32.const 0x000a7075)) (call $say (i32.const 3))"
#: Waits until it is told to end; then says `bye` and ends with status 5.
PATIENT = f"""{UP} (drop (call $wait (i32.const -1) (i32.const 64) (i32.const 4)))
  (i32.store (i32.const 4096) (i32.const 0x0a657962)) (call $say (i32.const 4)) (call $exit (i32.const -5))"""


class Started:
    """The command in a folder of its own: with Python beside it, and without."""

    def __init__(self, folder: Path, command: Path) -> None:
        self._folder, self._command = folder, command
        self.cache = folder / "cache/wasm"
        self.environment = {**os.environ, "WBPF_CACHE_DIR": str(folder / "cache")}
        self.alone = folder / "bin/wbpf"
        self.alone.parent.mkdir()
        shutil.copy(command, self.alone)

    def module(self, wasm: bytes) -> str:
        """The file of a module."""
        path = self._folder / "app.wasm"
        path.write_bytes(wasm)
        return str(path)

    def run(self, command: list[str], *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*command, "run", *words],
            capture_output=True, text=True, errors="surrogateescape", check=False,
            env=self.environment, timeout=60, input=input,
        )  # fmt: skip

    def without_python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it where no Python can be found: 127 if it wants one."""
        done = subprocess.run(
            [str(self.alone), "run", *words],
            capture_output=True, text=True, errors="surrogateescape", check=False, timeout=60,
            stdin=subprocess.DEVNULL,
            env={**self.environment, "PATH": "/nowhere"},
        )  # fmt: skip
        assert (done.returncode == 127) == ("can't be started" in done.stderr), done
        return done

    def both(self, path: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it by Python and by the command, which don't differ."""
        python, command = self.run(PYTHON, path, *words), self.run([str(self._command)], path, *words)
        assert (command.returncode, command.stdout, command.stderr) == (
            python.returncode,
            python.stdout,
            python.stderr,
        )
        return command


def text_of(*, params: tuple[Param, ...] = (), body: str, **capabilities: object) -> bytes:
    """A module with a manifest, events and parameters."""
    manifest = Manifest(
        "guest",
        params=params,
        events=(PAIR,),
        capabilities=Capabilities(**capabilities),  # type: ignore[arg-type]
    )
    return with_sections(module_of(body, extra=SAY).wasm, {"wbpf.manifest": manifest.to_json()})
