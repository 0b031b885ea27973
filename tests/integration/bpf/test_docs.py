"""The examples of docs/bpf.md, run in their order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.build import compile_bpf

PAGE = Path(__file__).parents[3] / "docs/bpf.md"


def test_the_examples(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    blocks = re.findall(r"^```(c|python)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    Path("calls.bpf.c").write_text(next(code for language, code in blocks if language == "c"))
    compile_bpf(Path("calls.bpf.c"), Path("calls.o"))
    code = [text for language, text in blocks if language == "python"]
    assert len(code) >= 7
    names = {"__name__": "example"}
    for block in code:
        exec(compile(block, str(PAGE), "exec"), names)
    assert re.search(r"^calls \d+$", capsys.readouterr().out, re.M)
