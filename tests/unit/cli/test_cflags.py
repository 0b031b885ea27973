from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import wbpf
from tests.unit.cli.conftest import Run
from wbpf.errors import ConfigError

SOURCE = """
#include <wbpf/trace.h>
#include <stdio.h>
int main(void)
{
    wbpf_options options = {.service = "c", .host = "host1", .size_mib = 2};
    if (wbpf_open(&options))
        return puts(wbpf_error()), 1;
    wbpf_scope scope;
    wbpf_begin(&scope, WBPF_NAME("request"), NULL);
    wbpf_end(&scope);
    return puts(wbpf_segment_path()), 0;
}
"""


@pytest.mark.parametrize("options", [["--libs"], ["--static"]])
def test_a_program_compiles_and_records_with_them(run: Run, tmp_path: Path, options: list[str]) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: no cc")
    flags = run("cflags", *options)
    assert flags.status == 0 and flags.err == ""
    (tmp_path / "app.c").write_text(SOURCE)
    command = f"{compiler} app.c -o app {flags.out}"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    env = {**os.environ, "WBPF_DIR": str(tmp_path / "segments")}
    ran = subprocess.run([tmp_path / "app"], env=env, capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()).is_file()
    assert "request" in run("segment", "dump", ran.stdout.strip()).out


def test_headers_alone(run: Run) -> None:
    words = run("cflags").out.split()
    assert len(words) == 1 and (Path(words[0].removeprefix("-I")) / "wbpf/trace.h").is_file()


def test_without_the_library_it_says_so(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wbpf, "__path__", [str(tmp_path)])
    ran = run("cflags")
    assert ran.status == ConfigError.exit_code and "make setup" in ran.err
