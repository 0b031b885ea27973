"""Make the Python modules of the wire from src/wbpf/wire/*.proto; `--check` only says which are stale.

python tools/generate_wire.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
BANNER = "# made by tools/generate_wire.py from {}: do not edit\n"


def generate(into: Path) -> dict[Path, str]:
    """Run protoc; returns the text of each module by its place in the repository."""
    protos = sorted(path.relative_to(SOURCE) for path in (SOURCE / "wbpf/wire").glob("*.proto"))
    plugin = into / "protoc-gen-mypy"
    plugin.write_text(f"#!/bin/sh\nexec {sys.executable} -m mypy_protobuf.main\n")
    plugin.chmod(0o700)
    status = protoc.main(
        [
            "protoc",
            f"-I{SOURCE}",
            f"-I{files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={plugin}",
            f"--python_out={into}",
            f"--mypy_out=quiet:{into}",
            *map(str, protos),
        ]
    )
    if status:
        raise SystemExit("protoc failed")
    texts = {}
    for proto in protos:
        for suffix in ("_pb2.py", "_pb2.pyi"):
            made = proto.with_name(proto.stem + suffix)
            texts[SOURCE / made] = BANNER.format(f"src/{proto}") + (into / made).read_text()
    return texts


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        texts = generate(Path(directory))
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)}: run python tools/generate_wire.py")
        return bool(stale)
    for path in stale:
        path.write_text(texts[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
