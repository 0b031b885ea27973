"""On a terminal, `wbpf run` asks before it grants what a module wishes for."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.wasm.guests import module_of
from wbpf.wasm.manifest import Capabilities, Manifest
from wbpf.wasm.params import Param
from wbpf.wasm.sections import with_sections

ASKED = Capabilities(
    programs=("xdp", "raw_tracepoint"),
    attach=("raw_tp/sys_enter", "tp/sched/*"),
    fs=("/tmp:ro",),
    network=("udp:127.0.0.1:*", "tcp:{to}"),
)
MANIFEST = Manifest("app", params=(Param("to", "string", "metrics.example:9125"),), capabilities=ASKED)
QUESTION = """app.wasm asks to
  load eBPF programs: xdp, raw_tracepoint
  attach them: raw_tp/sys_enter, tp/sched/*
  use files: /tmp:ro
  connect to: udp:127.0.0.1:*, tcp:metrics.example:9125
Allow it? [y/N] """
REFUSED = (
    "error: module 'app.wasm' is not granted programs, attach, fs, network: it asks to load eBPF programs: "
    "xdp, raw_tracepoint; it asks to attach them: raw_tp/sys_enter, tp/sched/*; it asks to use files: "
    "/tmp:ro; it asks to connect to: udp:127.0.0.1:*, tcp:metrics.example:9125\n"
    "  try: --allow programs,attach,fs,network\n"
)


class Terminal:
    """`wbpf run`, whose standard input and error are a terminal of its own; standard output is a pipe."""

    def __init__(self, *words: str) -> None:
        command = [str(Path(sys.executable).with_name("wbpf")), "run", *words]
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        self.text = ""

    def until(self, end: str) -> None:
        """Read until the text ends so."""
        deadline = time.monotonic() + 30
        while not self.text.endswith(end):
            ready, _, _ = select.select([self._ours], [], [], deadline - time.monotonic())
            assert ready, self.text
            self.text += os.read(self._ours, 4096).decode().replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Its exit status."""
        status = self._process.wait(30)
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self.text += os.read(self._ours, 4096).decode().replace("\r\n", "\n")
            except OSError:  # nobody has the other end any more
                break
        os.close(self._ours)
        self.text = re.sub("\x1b\\[[0-9;]*m", "", self.text)
        return status


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A module that ends with status 7."""
    wasm = module_of("(call $exit (i32.const -7))").wasm
    path = tmp_path / "app.wasm"
    path.write_bytes(with_sections(wasm, {"wbpf.manifest": MANIFEST.to_json()}))
    return path


@pytest.mark.parametrize("answer", ["y", "YES"])
def test_yes_grants_it(app: Path, answer: str) -> None:
    terminal = Terminal(str(app))
    terminal.until("[y/N] ")
    assert terminal.text == QUESTION
    terminal.type(f"{answer}\n")
    assert terminal.end() == 7
    assert terminal.text == f"{QUESTION}{answer}\napp.wasm ended with status 7\n"


@pytest.mark.parametrize(
    ("typed", "shown"), [("n\n", "n\n"), ("\n", "\n"), ("yess\n", "yess\n"), ("\x04", "\n")]
)
def test_anything_else_refuses_it(app: Path, typed: str, shown: str) -> None:
    terminal = Terminal(str(app))
    terminal.until("[y/N] ")
    terminal.type(typed)
    assert terminal.end() == 3
    assert terminal.text.replace("^D\b\b", "") == f"{QUESTION}{shown}{REFUSED}"


def test_a_flag_is_the_answer(app: Path) -> None:
    terminal = Terminal("--allow", "all", str(app))
    assert terminal.end() == 7
    assert terminal.text == "app.wasm ended with status 7\n"
    terminal = Terminal("--allow", "none", str(app))
    assert (terminal.end(), terminal.text) == (3, REFUSED)
