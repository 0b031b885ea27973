"""Programs in C and C++ are built with the headers and the library that the package carries."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import wbpf._native

C_ROOT = Path(wbpf._native.__file__).parent / "_c"

PROGRAM = r"""
#include <stdio.h>
#include <wbpf/trace.h>

int main(void)
{
    if (wbpf_open(NULL) != 0) {
        puts(wbpf_error());
        return 1;
    }
    wbpf_scope scope;
    wbpf_begin(&scope, WBPF_NAME("request"), NULL);
    wbpf_end(&scope);
    puts(wbpf_segment_path());
    wbpf_close();
    return 0;
}
"""


def pkg_config(*options: str) -> list[str]:
    environ = {**os.environ, "PKG_CONFIG_PATH": str(C_ROOT / "lib/pkgconfig")}
    done = subprocess.run(
        ["pkg-config", *options, "wbpf"], env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="needs pkg-config: no such command")
@pytest.mark.parametrize("library", ["shared", "static"])
@pytest.mark.parametrize("compiler", ["gcc -std=c11", "g++ -std=c++17"])
def test_program_opens_a_segment(compiler: str, library: str, tmp_path: Path) -> None:
    source = tmp_path / ("program.c" if "gcc" in compiler else "program.cpp")
    source.write_text(PROGRAM)
    program = tmp_path / "program"
    folder = pkg_config("--variable=libdir")[0]
    shared = [*pkg_config("--libs"), f"-Wl,-rpath,{folder}"]
    link = shared if library == "shared" else [f"{folder}/libwbpf.a", "-pthread"]
    flags = ["-Wall", "-Wextra", "-Werror", *pkg_config("--cflags")]
    subprocess.run([*compiler.split(), *flags, source, "-o", program, *link], check=True)

    environ = {**os.environ, "WBPF_DIR": str(tmp_path / "segments"), "WBPF_SEGMENT_MB": "4"}
    done = subprocess.run([program], env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    segment = Path(done.stdout.strip())
    assert segment.is_relative_to(tmp_path / "segments")
    assert segment.is_file()
