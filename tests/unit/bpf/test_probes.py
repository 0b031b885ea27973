from __future__ import annotations

import errno
import gzip
from collections.abc import Iterable
from pathlib import Path

import pytest

from wbpf import _native
from wbpf.bpf import probes
from wbpf.bpf.features import Answer, Have
from wbpf.bpf.kinds import MapType, ProgramType, capabilities_for


@pytest.fixture
def rights(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """All capabilities; what was asked for."""
    asked: list[tuple[str, ...]] = []

    def have(names: Iterable[str]) -> Answer:
        asked.append(tuple(names))
        return Answer("rights", Have.YES, "all")

    monkeypatch.setattr(probes, "have_capabilities", have)
    monkeypatch.setattr(probes, "have_libbpf", lambda: Answer("libbpf", Have.YES, "there"))
    return asked


@pytest.mark.parametrize(
    ("result", "have"), [(1, Have.YES), (0, Have.NO), (-errno.EPERM, Have.UNKNOWN), (-95, Have.UNKNOWN)]
)
def test_trials_have_three_answers(
    monkeypatch: pytest.MonkeyPatch, rights: list[tuple[str, ...]], result: int, have: Have
) -> None:
    for name in ("bpf_probe_program", "bpf_probe_map_type"):
        monkeypatch.setattr(_native, name, lambda kind: result)
    monkeypatch.setattr(_native, "bpf_probe_helper", lambda kind, helper: result if helper == 12 else None)
    assert probes.have_program_type(ProgramType.XDP).have is have
    assert probes.have_map_type(MapType.RINGBUF).have is have
    assert probes.have_helper(ProgramType.XDP, "bpf_tail_call").have is have
    assert rights == [("CAP_BPF", "CAP_NET_ADMIN"), ("CAP_BPF",), ("CAP_BPF", "CAP_NET_ADMIN")]


def test_a_refused_function_says_nothing_of_others(
    monkeypatch: pytest.MonkeyPatch, rights: list[tuple[str, ...]]
) -> None:
    monkeypatch.setattr(_native, "bpf_probe_program", lambda kind: 0)
    assert probes.have_program_type(ProgramType.TRACING).have is Have.UNKNOWN
    assert probes.have_program_type(ProgramType.SYSCALL).what == "programs of type SYSCALL (kernel 5.14)"


def test_without_a_right_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Answer("rights", Have.NO, "CAP_BPF is missing", "run as root")
    monkeypatch.setattr(probes, "have_libbpf", lambda: Answer("libbpf", Have.YES, "there"))
    monkeypatch.setattr(probes, "have_capabilities", lambda names: lacking)
    answer = probes.have_map_type(MapType.HASH)
    assert (answer.have, answer.why) == (Have.UNKNOWN, "it can't be tried: CAP_BPF is missing")


def test_an_unknown_helper() -> None:
    assert probes.have_helper(ProgramType.XDP, "no_such").have is Have.UNKNOWN


def test_names_in_btf(tmp_path: Path) -> None:
    btf = tmp_path / "vmlinux"
    assert probes.have_kfunc("bpf_x", btf).have is Have.UNKNOWN
    other = tmp_path / "other"
    other.write_bytes(b"\0bpf_x\0BPF_TCX_INGRESS\0")
    assert probes.have_kfunc("bpf_x", other).have is Have.YES
    assert probes.have_kfunc("bpf_", other).have is Have.NO
    assert probes.have_attach_type("BPF_TCX_INGRESS", other).have is Have.YES


def test_options(tmp_path: Path) -> None:
    config = tmp_path / "config.gz"
    config.write_bytes(gzip.compress(b"# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_BB=n\nCONFIG_C=m\n"))
    answers = [probes.have_config(f"CONFIG_{one}", [tmp_path / "none", config]).have for one in "ABCD"]
    assert answers == [Have.NO, Have.YES, Have.YES, Have.NO]
    assert probes.have_config("CONFIG_B", [tmp_path / "none"]).have is Have.UNKNOWN


@pytest.mark.parametrize(
    ("text", "have", "why"),
    [
        ("[none] integrity confidentiality\n", Have.YES, "lockdown is none"),
        ("none [integrity] confidentiality\n", Have.YES, "lockdown is integrity"),
        ("none integrity [confidentiality]\n", Have.NO, "lockdown is confidentiality"),
    ],
)
def test_lockdown(tmp_path: Path, text: str, have: Have, why: str) -> None:
    path = tmp_path / "lockdown"
    assert probes.have_no_lockdown(path).have is Have.UNKNOWN
    path.write_text(text)
    answer = probes.have_no_lockdown(path)
    assert (answer.have, answer.why) == (have, why)


def test_capabilities_by_kind() -> None:
    assert capabilities_for(ProgramType.KPROBE) == ("CAP_BPF", "CAP_PERFMON")
    assert capabilities_for(ProgramType.SCHED_CLS) == ("CAP_BPF", "CAP_NET_ADMIN")
    assert capabilities_for(ProgramType.SYSCALL) == ("CAP_BPF",)
