"""Compile eBPF programs in C, with the clang that the package ziglang carries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

INCLUDE = Path(__file__).resolve().parent.parent / "native/include"
#: v3: with the atomic operations that return the old value. -g: with BTF and what CO-RE relocates by.
FLAGS = ("-target", "bpfel-freestanding", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror")


def compile_bpf(source: Path, out: Path, *flags: str) -> Path:
    """Compile one source to an object file, which is returned; `wbpf/kernel.bpf.h` is found."""
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, f"-I{INCLUDE}", *flags]
    command += ["-c", str(source), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{source} can't be compiled:\n{done.stderr}")
    return out
