"""The tutorial's commands, as they stand there, in one shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def commands(page: Path) -> str:
    """All ```sh blocks of a page, each announced by a line `## N`."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return "\n".join(f"echo '## {number}'\n{block}" for number, block in enumerate(blocks))


@pytest.mark.timeout(120)
def test_tutorial(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs cc: no C compiler")
    shutil.copytree(ROOT / "examples/orders", tmp_path / "orders")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WBPF_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WBPF_DIR": str(tmp_path / "hosts"),
        "COLUMNS": "120",
    }
    # A failed command leaves daemons behind: the trap stops what this shell started.
    script = "set -e\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n" + commands(ROOT / "docs/tutorial.md")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path / "orders", env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = re.split(r"^## \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert "400 orders" in parts[2]
    listed = [line for line in parts[3].splitlines() if "latency.threshold" in line and "shop,stock" in line]
    assert len(listed) == 4 and all("complete" in line for line in listed), parts[3]
    assert "lock.wait" in parts[3] and "waited_us=30000" in parts[3]
    assert (tmp_path / "orders/slow.perfetto").stat().st_size > 0
    assert "4 complete, 0 partial" in parts[5]
