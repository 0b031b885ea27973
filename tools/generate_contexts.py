"""Make the BTF that src/wbpf/bpf/user/contexts.btf.c describes; `--check` only says which are stale.

python tools/generate_contexts.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from wbpf.bpf.elf import read_elf
from wbpf.build import compile_bpf

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/wbpf/bpf/user/contexts.btf.c"
TARGETS = {name: ROOT / f"src/wbpf/bpf/user/contexts.{name}.btf" for name in ("x86_64", "aarch64")}


def make(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "contexts.bpf.c"
        aside.write_text(f"#define WBPF_{name.upper()} 1\n{SOURCE.read_text()}")
        elf = compile_bpf(aside, aside.with_suffix(".o")).read_bytes()
    return next(bytes(section.content) for section in read_elf(elf) if section.name == ".BTF")


def main() -> int:
    made = {path: make(name) for name, path in TARGETS.items()}
    stale = [path for path, content in made.items() if not path.exists() or path.read_bytes() != content]
    if "--check" in sys.argv:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)}: run python tools/generate_contexts.py")
        return bool(stale)
    for path in stale:
        path.write_bytes(made[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
