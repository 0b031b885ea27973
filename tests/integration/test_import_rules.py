"""The import rules of pyproject.toml, on a small source tree that breaks them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ALLOWED = {
    "__init__": "__version__ = '0'\nimport wbpf.recorder",
    "errors": "",
    "records": "from wbpf.errors import X",
    "recorder": "from wbpf import (\n    _native,\n)\nimport wbpf.records",
    "store": "import wbpf.records",
    "wire": "",
    "agent": "import wbpf.wire, wbpf.recorder\nfrom wbpf import __version__",
    "demo": "import wbpf.store, wbpf.recorder",
    "cli": "import wbpf.agent, wbpf.demo",
}


def check(folder: Path, sources: dict[str, str]) -> tuple[int, str]:
    """Run the rules on packages with these sources; returns the exit status and what was printed."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools/import_rules.py", folder / "tools")
    for name, text in sources.items():
        path = folder / "src/wbpf" / ("__init__.py" if name == "__init__" else f"{name}/__init__.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    command = [sys.executable, "tools/import_rules.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_what_the_design_allows_passes(tmp_path: Path) -> None:
    status, output = check(tmp_path, ALLOWED)
    assert status == 0, output


@pytest.mark.parametrize(
    ("importer", "statement", "imported"),
    [
        ("errors", "import wbpf.records", "records"),
        ("recorder", "def f():\n    from wbpf.wire import x", "wire"),
        ("store", "from ..recorder import x", "recorder"),
        ("agent", "from wbpf import coordinator", "coordinator"),
        ("demo", "import wbpf.cli", "cli"),
        ("recorder", "import wbpf.demo", "demo"),
        ("records", "from wbpf import __version__", "__init__"),
        ("agent", "from wbpf._native import x", "_native"),
        ("cli", "import wbpf._native", "_native"),
        ("store", "from wbpf import _native", "_native"),
    ],
)
def test_what_it_forbids_is_named(tmp_path: Path, importer: str, statement: str, imported: str) -> None:
    status, output = check(tmp_path, {**ALLOWED, "coordinator": "", importer: statement})
    assert status == 1, output
    assert f"src/wbpf/{importer}/__init__.py:{statement.count(chr(10)) + 1}: " in output.replace("\n", "")
    assert f"{importer} may not import {imported}" in output
