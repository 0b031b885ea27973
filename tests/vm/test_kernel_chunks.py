"""Kernel chunks on other kernels: tests of tests/integration/kernel run there, with objects compiled here."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.kernel.conftest import FLAGS
from tests.vm.boot import run_in_vm
from tests.vm.image import guest_python
from wbpf.build import compile_bpf

pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")

ROOT = Path(__file__).parents[2]
HERE = "tests/integration/kernel"
TESTS = ("test_attribution.py", "test_nesting.py", "test_overwriting.py")
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pytest-timeout", "pygments")
#: In emulation a clock of 50 µs fills the rings before the programs are through, and a program may be under
#: way for longer than perf rings believe (WBPF_OPEN_NS).
TOO_SLOW = "test_the_clock_interrupts_a_program or (test_a_program_inside_another and perf)"
#: The rings that each kernel has; 5.10 can't add atomically.
RINGS = {"5.10": {"perf"}, "6.1": {"perf", "array"}}


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for variant, flags in FLAGS.items():
        for source in sorted((ROOT / HERE).glob("*.bpf.c")):
            name = source.name.removesuffix(".bpf.c")
            compile_bpf(source, folder / f"{name}.{variant}.o", *flags)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("kernel", RINGS)
def test_records_are_written_and_read_back(kernel: str, objects: Path) -> None:
    unshare = shutil.which("unshare")
    assert unshare
    files = {
        **guest_python(*PYTEST),
        "usr/bin/unshare": Path(unshare),
        "objects": objects,
        "repo/pyproject.toml": ROOT / "pyproject.toml",
        "repo/tests/conftest.py": ROOT / "tests/conftest.py",
        f"repo/{HERE}": ROOT / HERE,
        "repo/tools": ROOT / "tools",
    }
    command = "cd /repo; export WBPF_TEST_OBJECTS=/objects; exec python -m pytest -v -p no:cacheprovider "
    command += f"-k 'not ({TOO_SLOW})' "
    command += " ".join(f"{HERE}/{one}" for one in TESTS)

    result = run_in_vm(kernel, ["sh", "-ec", command], files=files, timeout_s=300)  # 45 to 120 s

    print(result.output)
    assert result.status == 0
    outcomes: dict[str, Counter[str]] = {variant: Counter() for variant in FLAGS}
    for line in result.output.splitlines():
        test, _, outcome = line.partition(" ")
        if "::" in test and test.endswith("]"):
            outcomes[test.rpartition("[")[2][:-1]][outcome.split()[0]] += 1
    for variant, counts in outcomes.items():
        if variant in RINGS[kernel]:
            # Of each kind of rings all are run but one, which needs a compiler.
            assert counts["PASSED"] >= 11 and counts["SKIPPED"] <= 1, counts
        else:
            assert counts["PASSED"] == 0, counts
