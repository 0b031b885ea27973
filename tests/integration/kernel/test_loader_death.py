"""What becomes of the records when the process that loaded the programs dies, and who may read them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.kernel.conftest import Compile
from tests.integration.kernel.subject import Gathered, Subject
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings
from wbpf.errors import BpfError, ConfigError, FormatError, SegmentError
from wbpf.recorder import Segment, Watch
from wbpf.records.layout import KERNEL_SOURCE

Start = Callable[..., Subject]
LOADER = (sys.executable, str(Path(__file__).with_name("loader.py")))
NOBODY = 65534


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpffs of this test's own."""
    folder = tmp_path / "bpffs"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "bpf", "bpf", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a bpffs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def kill(loader: Subject) -> None:
    os.kill(loader.pid, signal.SIGKILL)
    loader.end()


def test_another_process_reads_the_loaders_rings(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    loader = subject(*LOADER, compiled("syscalls", variant), "syscalls", "")
    traced = subject()
    loader.ask("follow")
    ids = traced.ask("traces", 3, 4)
    path = directory / "h1/kernel.syscalls.seg"

    gathered = Gathered(path, ids)

    for one in ids:
        assert gathered.calls(one) == [(traced.pid, traced.pid)] * 4
    loader.end()
    assert not path.exists(), "a loader that ends takes its segment along"


def test_mapped_rings_outlive_their_loader(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    loader = subject(*LOADER, compiled("syscalls", variant), "syscalls", "")
    traced = subject()
    loader.ask("follow")
    ids = traced.ask("traces", 3, 4)
    path = directory / "h1/kernel.syscalls.seg"
    with Segment.open(path) as segment:
        kill(loader)
        watch = Watch(segment)
        watch.add(bytes.fromhex(one) for one in ids)
        assert len(watch.poll()[0]) >= 12
        assert next(process.alive for process in segment.processes()) is False
    with pytest.raises(SegmentError, match="has ended, and did not pin them"):
        Segment.open(path)


def test_pinned_rings_outlive_their_loader(
    compiled: Compile, directory: Path, subject: Start, bpffs: Path
) -> None:
    loader = subject(*LOADER, compiled("syscalls"), "syscalls", bpffs / "rings")
    traced = subject()
    loader.ask("follow")
    ids = traced.ask("traces", 3, 4)
    kill(loader)
    path = directory / "h1/kernel.syscalls.seg"

    gathered = Gathered(path, ids)

    for one in ids:
        assert gathered.calls(one) == [(traced.pid, traced.pid)] * 4
    again = subject(*LOADER, compiled("syscalls"), "syscalls", bpffs / "rings")
    assert Gathered(path, ids).pieces == [], "the next loader starts afresh"
    again.end()
    assert not (bpffs / "rings").exists()


def test_rings_can_be_kept(compiled: Compile, directory: Path, bpffs: Path) -> None:
    with Object.open(compiled("syscalls")) as probe:
        rings = KernelRings(probe, "kept", pin=bpffs / "kept")
        rings.close(keep=True)
    with Segment.open(rings.path) as segment:
        assert segment.counters().resident_records == 0
        assert segment.service == "kernel.kept"


def test_a_live_loaders_name_is_its_own(compiled: Compile, directory: Path) -> None:
    with (
        Object.open(compiled("syscalls")) as first,
        KernelRings(first, "mine"),
        Object.open(compiled("syscalls")) as second,
        pytest.raises(SegmentError, match="a live process records under that name"),
    ):
        KernelRings(second, "mine")


def test_pins_need_a_bpffs(compiled: Compile, directory: Path, tmp_path: Path) -> None:
    with (
        Object.open(compiled("syscalls")) as probe,
        pytest.raises(BpfError, match=r"needs bpffs: .* is on") as caught,
    ):
        KernelRings(probe, "pinned", pin=tmp_path / "rings")
    assert "mount -t bpf bpf" in caught.value.hint
    with (
        Object.open(compiled("syscalls", "perf")) as probe,
        pytest.raises(ConfigError, match="perf rings end"),
    ):
        KernelRings(probe, "pinned", pin=tmp_path / "rings")


# ---- rights ----

READ = """
import os, sys
from wbpf.errors import WbpfError
from wbpf.recorder import Segment
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Segment.open(sys.argv[1]).close()
    print("read")
except WbpfError as error:
    print(type(error).__name__, error)
"""


def read_as_nobody(path: Path) -> str:
    """What comes of opening a segment as a user without rights, in the group that may read the file."""
    for folder in (path.parent.parent, path.parent):
        folder.chmod(0o755)
    os.chown(path, -1, NOBODY)
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def open_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As `directory`, but where everybody may go."""
    folder = Path(f"/dev/shm/wbpf-test-{os.getpid()}")
    monkeypatch.setenv("WBPF_DIR", str(folder))
    monkeypatch.setenv("WBPF_HOST", "h1")
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def test_a_reader_without_rights_is_told_which(compiled: Compile, open_directory: Path) -> None:
    with Object.open(compiled("syscalls")) as probe, KernelRings(probe, "secret") as rings:
        said = read_as_nobody(rings.path)
    assert said.startswith("AccessError")
    assert "CAP_SYS_PTRACE" in said
    assert "bpffs" in said


def test_a_pin_of_the_readers_group_is_enough(compiled: Compile, open_directory: Path, bpffs: Path) -> None:
    with (
        Object.open(compiled("syscalls")) as probe,
        KernelRings(probe, "shared", pin=bpffs / "rings") as rings,
    ):
        for folder in (bpffs, *bpffs.parents[:4]):
            folder.chmod(0o755)
        os.chown(bpffs / "rings", -1, NOBODY)
        said = read_as_nobody(rings.path)
    if "CAP_SYS_PTRACE" in said:
        pytest.skip("needs maps that users without rights may open: kernel 5.19")
    assert said == "read"


# ---- segments that lie ----

DATA_OFFSET = 176  # segment_header.data_offset


def source_at(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[DATA_OFFSET : DATA_OFFSET + 8], "little")


def lie(path: Path, **fields: int | bytes) -> Path:
    """A copy of a kernel segment, of the same loader, that says something else of its rings."""
    names = ["magic", "variant", "map_id", "map_bytes", "header_offset"]
    names += ["perf_id", "perf_bytes", "map_fd", "perf_fd", "pin"]
    content = bytearray(path.read_bytes())
    at = source_at(path)
    values = dict(zip(names, KERNEL_SOURCE.unpack_from(content, at), strict=True)) | fields
    KERNEL_SOURCE.pack_into(content, at, *values.values())
    path.unlink()
    path.touch(0o660)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("fields", "error", "why"),
    [
        ({"map_id": 1 << 30}, SegmentError, "something else is where they were"),
        ({"map_fd": 0}, SegmentError, "something else is where they were"),
        ({"map_fd": 1 << 30}, SegmentError, "Bad file descriptor"),
        ({"map_bytes": 1 << 35}, SegmentError, "something else"),
        ({"map_bytes": 1 << 60}, FormatError, "impossible"),
        ({"map_bytes": 0}, FormatError, "impossible"),
        ({"header_offset": (1 << 64) - 64}, FormatError, "impossible"),
        ({"header_offset": 4}, FormatError, "impossible"),
        ({"header_offset": 64}, FormatError, "impossible"),
        ({"magic": 0}, FormatError, "impossible"),
        ({"variant": 2, "perf_bytes": 1 << 63}, FormatError, "impossible"),
        ({"variant": 2, "perf_bytes": 65536}, SegmentError, "something else"),
        ({"pin": b"/etc/passwd"}, None, ""),
        ({"pin": b"x" * 192}, None, ""),
    ],
    ids=str,
)
def test_a_segment_that_lies(
    compiled: Compile,
    directory: Path,
    fields: dict[str, int | bytes],
    error: type[Exception] | None,
    why: str,
) -> None:
    with Object.open(compiled("syscalls")) as probe, KernelRings(probe, "liar", ring_kib=64) as rings:
        path = lie(rings.path, **fields)
        if error is None:
            Segment.open(path).close()
            return
        with pytest.raises(error, match=why):
            Segment.open(path)


def test_a_segment_of_another_user_can_not_borrow_the_rings(compiled: Compile, directory: Path) -> None:
    """Who may write a segment could else have an agent with more rights read for him."""
    with Object.open(compiled("syscalls")) as probe, KernelRings(probe, "borrowed") as rings:
        os.chown(rings.path, NOBODY, -1)
        with pytest.raises(SegmentError, match="rings are gone"):
            Segment.open(rings.path)
