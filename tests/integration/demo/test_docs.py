"""The commands of docs/demo.md, as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from wbpf.demo.detector import ServiceTimes
from wbpf.demo.result import Kill

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/demo.md").read_text()


def test_commands(tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed, end = json.JSONDecoder().raw_decode(done.stdout)
    assert all(f"`{name}`" in PAGE for name in printed)
    scored, end = json.JSONDecoder().raw_decode(done.stdout, end + 1)
    assert scored["faults"] == printed["faults"]
    listed = done.stdout[end:].strip().splitlines()
    assert len(listed) == 1 + sum(count["caught"] for count in printed["faults"].values())


def test_what_the_page_says_of_the_code() -> None:
    times = ServiceTimes()
    assert f"more than {times.k:.0f} MADs beyond the median of the last {times.window} operations" in PAGE
    assert all(f"`{kill}`" in PAGE for kill in Kill)
