"""Programs of programs/ on both backends: on the same input the same output."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.programs.conftest import PROGRAMS, Built, traced, wait_for
from wbpf.build import Project
from wbpf.cli.app import main
from wbpf.wasm.filters import Filter

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
RUN = (sys.executable, "-m", "wbpf.cli", "run", "--allow", "all", "-o", "json")
ROW = re.compile(r"^\| \[(\w+)\]\(\1/README\.md\) \| (.*) \| (yes|no)\b.*\|$", re.MULTILINE)
FIELDS = ("comm", "filename", "result", "flags", "uid")


def test_opensnoop(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = built("opensnoop")
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    command = ["cat", *(str(tmp_path / name) for name in ("one", "missing", "two"))]

    def told(events: list[dict[str, object]]) -> list[dict[str, object]]:
        mine = [one for one in events if str(one["filename"]).startswith(f"{tmp_path}/")]
        return [{name: one[name] for name in FIELDS} for one in mine]

    user = subprocess.run(
        [*RUN, "--backend", "user", module, "--", *command], capture_output=True, text=True, check=False
    )
    assert user.returncode == 1, user.stderr  # cat's own: a file is missing
    in_user_space = told([json.loads(line) for line in user.stdout.splitlines()])
    assert [one["result"] for one in in_user_space] == [3, -2, 3]

    def canary() -> object:
        return subprocess.run(["cat", tmp_path / "canary"], capture_output=True, check=False)

    with traced(module, canary, Filter(comm="cat")) as events:
        events.clear()
        subprocess.run(command, capture_output=True, check=False)
        wait_for(lambda: any(str(one["filename"]).endswith("/two") for one in events))
        in_kernel = [one for one in told(events) if not str(one["filename"]).endswith("/canary")]
    assert in_user_space == in_kernel


def counted(rows: dict[str, str]) -> dict[str, list[int]]:
    """Packets, bytes and dropped ones by protocol, of all processors."""
    found = {}
    for key, value in rows.items():
        words = struct.unpack(f"<{len(value) // 16}Q", bytes.fromhex(value))
        found[key] = [sum(words[at::3]) for at in range(3)]
    return found


def test_xdp(built: Built) -> None:
    module, numbers = built("xdp"), random.Random(7)
    for size in (14, 60, 200):
        packet = (numbers.randbytes(12) + b"\x08\x00\x45" + numbers.randbytes(size))[:size]
        found = [
            subprocess.run(
                [*RUN, "--once", module, "--backend", backend, "--data", packet.hex()],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for backend in ("kernel", "user")
        ]
        kernel, user = map(json.loads, found)
        assert kernel["programs"] == user["programs"]
        assert counted(kernel["maps"]["counters"]) == counted(user["maps"]["counters"]) != {}


def test_the_table_of_programs(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    """What programs/README.md says of each is in its manifest, and what `wbpf check` says of it."""
    rows = ROW.findall((PROGRAMS / "README.md").read_text())
    assert [name for name, _, _ in rows] == sorted(one.parent.name for one in PROGRAMS.glob("*/wbpf.toml"))
    for name, description, in_user_space in rows:
        module = built(name)
        assert Project.load(PROGRAMS / name).spec.description == description
        main(["check", "--backend", "user", "-o", "json", str(module)])
        found = json.loads(capsys.readouterr().out)
        answers = {answer for row in found for answer in (row["loads"], row["attaches"])}
        assert ("no" in answers) == (in_user_space == "no"), (name, found)
