"""Every interleaving of the recorder's protocol is right; of known bad variants, what is wrong is found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

# chunks, records a chunk, writers, records a writer, polls, deaths, cleared traces, buffer, shuffled loads
SMALL = {
    "a search and a watch, one death": "1 2 2 2 2 1 0 6 0",
    "two chunks": "2 2 2 2 1 0 0 6 0",
    "takers that die one after another": "1 1 4 1 0 3 0 8 0",
    "cleared traces": "1 2 3 2 1 0 1 6 0",
}
LARGE = {
    "loads in any order": "1 2 2 2 1 1 0 6 1",
    "two deaths": "1 1 3 1 1 2 0 6 0",
    "two chunks, one death": "2 2 2 2 1 1 0 6 0",
    "two chunks, recycled again and again": "2 1 2 2 1 0 0 5 0",
    "three records a writer": "1 2 2 3 1 0 0 5 0",
    "cleared traces, one death": "1 2 3 2 1 1 1 6 0",
}
ONE_DEATH = "1 2 2 2 1 1 0 6 0"
MISSING = "a record is missing and lost_until does not tell"
BAD = {
    "two-words": (ONE_DEATH, "a record is shown in another's trace"),
    "bump-first": (ONE_DEATH, "a record is torn"),
    "bump-and-reset": (ONE_DEATH, "written is not resident + recycled"),
    "steal": (ONE_DEATH, MISSING),
    "no-odd-fence": (ONE_DEATH, "a record is torn"),
    "late-lost": (ONE_DEATH, MISSING),
    "relaxed-publish": (ONE_DEATH, "a record is shown in another's trace"),
    "no-read-fence": (ONE_DEATH, "a record is shown as another process's"),
    "late-process": (ONE_DEATH, "a record is shown as another process's"),
    "early-lost": (ONE_DEATH, MISSING),
    "no-pending": (ONE_DEATH, "written is not resident + recycled"),
    "relaxed-disown": (ONE_DEATH, MISSING),
    "skip-odd": (ONE_DEATH, "a chunk cannot be taken again"),
    "stale-flags": ("1 1 2 4 1 0 1 6 0", MISSING),
    "flag-unowned": ("1 2 3 2 1 0 1 6 0", MISSING),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not COMPILER:
        pytest.skip("needs a C compiler: none of cc, gcc, clang is here")
    program = tmp_path_factory.mktemp("model") / "recorder_protocol"
    options = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([COMPILER, *options, HERE / "recorder_protocol.c", "-o", program], check=True)
    return program


def search(model: Path, variant: str, size: str) -> tuple[int, str]:
    done = subprocess.run([model, variant, *size.split()], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("size", SMALL.values(), ids=SMALL)
def test_nothing_is_wrong(model: Path, size: str) -> None:
    status, output = search(model, "good", size)
    assert status == 0, output


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", LARGE.values(), ids=LARGE)
def test_nothing_is_wrong_in_large(model: Path, size: str) -> None:
    status, output = search(model, "good", size)
    assert status == 0, output


@pytest.mark.parametrize("variant", BAD)
def test_bad_variant_is_found(model: Path, variant: str) -> None:
    size, wrong = BAD[variant]
    status, output = search(model, variant, size)
    assert status == 1, output
    assert output.startswith(f"{variant}: {wrong};")


def test_every_variant_is_tried(model: Path) -> None:
    _, usage = search(model, "?", ONE_DEATH)
    listed = {line.split(":")[0].strip() for line in usage.splitlines() if line.startswith("  ")}
    assert listed == {"good", *BAD}
