"""Every example of docs/pool.md runs, and its figures are the defaults."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import wbpf._native
from tests.integration.pool.test_events import every_operation, run, stale_read
from tests.unit.recorder.reading import segment_in
from wbpf.pool import LatencyTable, Pool, VerifyResult
from wbpf.recorder import Segment

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/pool.md").read_text()
C_ROOT = Path(wbpf._native.__file__).parent / "_c"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(C_EXAMPLE,) = re.findall(r"```c\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(example: str, pool: Pool) -> None:
    path = f"{pool.path}-example"
    assert '"/dev/shm/example"' in example
    program = example.replace("/dev/shm/example", path)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not list(pool.path.parent.glob("*-example*"))


def test_c_example(tmp_path: Path) -> None:
    source, program = tmp_path / "example.c", tmp_path / "example"
    source.write_text(C_EXAMPLE)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{C_ROOT}/include"]
    subprocess.run(["gcc", *flags, source, C_ROOT / "lib/libwbpf.a", "-pthread", "-o", program], check=True)
    path = Path("/dev/shm") / f"wbpf-test-{tmp_path.name}"
    with Pool.create(path, 1 << 20) as pool:
        try:
            done = subprocess.run([program, path], capture_output=True, text=True, check=True)
            assert done.stdout == "hello, generation 1\n"
            with pool.join("host1") as host, host.get("from C") as view:
                assert bytes(view) == b"hello\0" and view.verify() is VerifyResult.OK
            assert subprocess.run([program, f"{path}-none"], capture_output=True, check=False).returncode == 1
        finally:
            pool.unlink()


def test_table_of_latencies() -> None:
    table = LatencyTable()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+ ns[^|]*) \|", PAGE, re.MULTILINE))
    for name, text in rows.items():
        cost = getattr(table, name)
        expected = f"{cost.latency_ns:.0f} ns"
        if cost.bandwidth_bytes_per_s:
            expected += f", {cost.bandwidth_bytes_per_s / 1e9:.0f} GB/s"
        assert text == expected
    assert len(rows) == 5


def test_table_of_events(pool: Pool, tmp_path: Path) -> None:
    """The page lists the fields of each event, in their order."""
    for work in (every_operation, stale_read):
        run(work, pool, tmp_path)
    with Segment.open(segment_in(tmp_path, service="store")) as segment:
        descriptors = [text.split() for _, text in segment.schemas()[1] if text.startswith("pool.")]
    recorded = {name: [field.partition(":")[0] for field in fields] for name, *fields in descriptors}
    listed = {}
    for names, fields in re.findall(r"^\| (`pool\.[^|]+) \| [A-Z]+ \| ([^|(]+)", PAGE, re.MULTILINE):
        listed |= dict.fromkeys(re.findall(r"`(pool\.\w+)`", names), fields.split())
    assert listed == recorded
