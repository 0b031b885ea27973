from __future__ import annotations

import errno
from pathlib import Path

import pytest

from wbpf import _native
from wbpf.bpf import features
from wbpf.bpf.diagnosis import demand
from wbpf.bpf.features import Have
from wbpf.errors import BpfError


@pytest.mark.parametrize(
    ("capabilities", "have", "why"),
    [
        (1 << 21, Have.YES, "CAP_SYS_ADMIN"),
        (1 << 38 | 1 << 39, Have.YES, "CAP_BPF and CAP_PERFMON"),
        (1 << 38, Have.NO, "CAP_BPF is missing"),
        (1 << 39, Have.NO, "CAP_PERFMON is missing"),
        (0, Have.NO, "CAP_BPF and CAP_PERFMON are missing"),
    ],
)
def test_rights_are_named(capabilities: int, have: Have, why: str) -> None:
    answer = features.have_privileges(f"Name:\tx\nCapEff:\t{capabilities:016x}\n")
    assert (answer.have, answer.why) == (have, why)
    assert bool(answer) == (have is Have.YES)


def test_rights_that_can_not_be_told() -> None:
    assert features.have_privileges("Name:\tx\n").have is Have.UNKNOWN


@pytest.mark.parametrize(
    ("result", "have"),
    [(1, Have.YES), (0, Have.NO), (-errno.EPERM, Have.UNKNOWN), (-errno.ENOMEM, Have.UNKNOWN)],
)
def test_probes_have_three_answers(monkeypatch: pytest.MonkeyPatch, result: int, have: Have) -> None:
    monkeypatch.setattr(_native, "bpf_probe_fetch_add", lambda: result)
    assert features.have_fetch_add().have is have


@pytest.mark.parametrize(
    ("error", "package"), [(-errno.ENOSYS, "libbpf-dev"), (-errno.ENOENT, "libbpf1"), (0, "")]
)
def test_libbpf_missing_at_build_or_at_run_time(
    monkeypatch: pytest.MonkeyPatch, error: int, package: str
) -> None:
    monkeypatch.setattr(_native, "find_libbpf", lambda: (error, "as it says"))
    answer = features.have_libbpf()
    assert bool(answer) == (error == 0)
    assert f"install {package} " in answer.hint if package else not answer.hint


def test_kernel_btf_is_looked_for(tmp_path: Path) -> None:
    there = tmp_path / "vmlinux"
    assert features.have_kernel_btf(there).have is Have.NO
    there.touch()
    assert features.have_kernel_btf(there).have is Have.YES


def test_an_ordinary_folder_is_no_bpffs(tmp_path: Path) -> None:
    answer = features.have_bpffs(tmp_path)
    assert answer.have is Have.NO
    assert answer.hint == f"mount -t bpf bpf {tmp_path}"


def test_what_is_missing_is_raised_with_what_to_try() -> None:
    missing = features.Answer("a thing", Have.NO, "there is none", "make one")
    with pytest.raises(BpfError) as caught:
        demand(missing, "it can't be done")
    assert str(caught.value) == "it can't be done: needs a thing: there is none\n  try: make one"
