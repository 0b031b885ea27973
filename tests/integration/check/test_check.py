"""What a check foresees is what loading and attaching then do, program by program, on this kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.check.agreement import compare
from wbpf.bpf import features
from wbpf.bpf.btf import Btf, encode
from wbpf.bpf.check import Finding, Kernel, check_object
from wbpf.bpf.features import Have
from wbpf.bpf.object_file import ObjectFile
from wbpf.cli import main

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    from wbpf.build import compile_bpf

    out = tmp_path_factory.mktemp("check") / "many.o"
    return compile_bpf(HERE / "many.bpf.c", out).read_bytes()


@pytest.fixture(scope="module")
def findings(elf: bytes) -> dict[str, Finding]:
    found = check_object("many", elf, Kernel(Btf.of_kernel(), here=True))
    return {one.program: one for one in found}


def test_foreseen_is_what_happens(elf: bytes) -> None:
    rows = compare(elf)
    assert len(rows) == len(ObjectFile.parse(elf).programs) > 40
    assert not [row for row in rows if row["foreseen"] != row["happened"]]
    outcomes = {tuple(row["happened"]) for row in rows}
    assert outcomes == {("yes", "yes"), ("yes", "no"), ("yes", None), ("no", None)}


@pytest.mark.parametrize(
    ("program", "why", "hint"),
    [
        (
            "on_tp_btf_missing",
            "the kernel has no raw tracepoint 'sched_switchh'",
            "did you mean 'sched_switch'?",
        ),
        (
            "on_raw_tp_missing",
            "the kernel has no raw tracepoint 'sched_switsh'",
            "did you mean 'sched_switch'?",
        ),
        (
            "on_tp_missing",
            "the kernel's category 'sched' has no 'sched_process_exek'",
            "did you mean 'sched_process_exec'?",
        ),
        ("on_tp_category_missing", "the kernel has no category 'shed'", "did you mean 'sched'?"),
        ("on_lsm_missing", "the kernel's BTF has no function 'file_opn'", "did you mean 'file_open'?"),
        (
            "on_fentry_missing",
            "the kernel's BTF has no function 'do_nanosleeep'",
            "did you mean 'do_nanosleep'?",
        ),
        ("on_uprobe_file_missing", "there is no file '/nonexistent/file'", "check the path"),
        (
            "field_missing",
            "struct task_struct has no field 'tgidd', at ./many.bpf.c:66",
            "did you mean 'tgid'?",
        ),
    ],
)
def test_reasons(findings: dict[str, Finding], program: str, why: str, hint: str) -> None:
    (reason,) = findings[program].reasons
    assert (reason.why, reason.hint) == (why, hint)


def test_a_missing_capability_is_named(
    elf: bytes, monkeypatch: pytest.MonkeyPatch, findings: dict[str, Finding]
) -> None:
    real = features.have_capabilities
    status = "CapEff:\t0000000000000000\n"
    for module in ("check", "kernel"):
        monkeypatch.setattr(f"wbpf.bpf.check.{module}.have_capabilities", lambda names: real(names, status))
    found = {one.program: one for one in check_object("many", elf, Kernel(Btf.of_kernel(), here=True))}
    assert found["on_tp"].loads is Have.NO
    assert found["on_tp"].reasons[0].why == "CAP_BPF and CAP_PERFMON are missing"
    assert found["on_xdp"].reasons[0].why == "CAP_BPF and CAP_NET_ADMIN are missing"
    assert found["on_tp"].reasons[1].have is Have.UNKNOWN


def test_a_kernel_without_btf(elf: bytes) -> None:
    found = {one.program: one for one in check_object("many", elf, Kernel(None, here=True))}
    for name in ("on_fentry", "on_tp_btf", "field_guarded"):
        assert found[name].loads is Have.NO
        assert found[name].reasons[0].what == "kernel BTF"


def test_an_older_kernel_by_its_btf(elf: bytes) -> None:
    """Simulated: this kernel's BTF without what came later."""
    from dataclasses import replace

    from wbpf.bpf.btf import types as t

    def older(one: t.Type) -> t.Type:
        if isinstance(one, t.Enum) and one.name == "bpf_prog_type":
            return replace(one, values=tuple(v for v in one.values if v[0] != "BPF_PROG_TYPE_SK_LOOKUP"))
        if isinstance(one, t.Enum) and one.name == "bpf_func_id":
            return replace(one, values=tuple(v for v in one.values if v[0] != "BPF_FUNC_ktime_get_ns"))
        return one

    kernel = Kernel(Btf.parse(encode(map(older, Btf.of_kernel()))), here=False)
    found = {one.program: one for one in check_object("many", elf, kernel)}
    too_old = [name for name, one in found.items() if one.reasons and "BPF_PROG_TYPE" in one.reasons[0].why]
    assert too_old == ["on_sk_lookup"]
    assert found["helper_allowed"].reasons[0].why == "the kernel has no such helper"
    assert found["on_fentry"].loads is Have.YES


GOOD = """
__attribute__((section("tp/sched/sched_process_exec"))) int on_exec(void *context) { return 0; }
__attribute__((section("xdp"))) int on_packet(void *context) { return 2; }
char LICENSE[] __attribute__((section("license"))) = "GPL";
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], elf: bytes) -> None:
    from wbpf.build import compile_bpf

    (tmp_path / "good.bpf.c").write_text(GOOD)
    assert main(["check", str(compile_bpf(tmp_path / "good.bpf.c", tmp_path / "good.bpf.o"))]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "PROGRAM    SECTION                      LOADS  ATTACHES",
        "on_exec    tp/sched/sched_process_exec  yes    yes",
        "on_packet  xdp                          yes",
    ]
    (tmp_path / "bad.bpf.c").write_text(GOOD.replace("process_exec", "process_exek"))
    assert main(["check", str(compile_bpf(tmp_path / "bad.bpf.c", tmp_path / "bad.bpf.o"))]) == 1
    why = "the kernel's category 'sched' has no 'sched_process_exek'"
    assert capsys.readouterr().out.splitlines()[3:] == [
        "",
        f"on_exec: needs tracepoint sched:sched_process_exek: no, {why}",
        "  try: did you mean 'sched_process_exec'?",
    ]
    (tmp_path / "many.bpf.o").write_bytes(elf)
    assert main(["check", str(tmp_path / "many.bpf.o"), "-o", "json"]) == 1
    rows = {row["program"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["field_missing"]["reasons"] == [
        {
            "needs": "struct task_struct.tgidd",
            "have": "no",
            "why": "struct task_struct has no field 'tgidd', at ./many.bpf.c:66",
            "hint": "did you mean 'tgid'?",
        }
    ]


def test_without_btf_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], elf: bytes
) -> None:
    (tmp_path / "many.bpf.o").write_bytes(elf)
    assert main(["check", str(tmp_path / "many.bpf.o"), "--btf", "none"]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("field_missing: needs kernel BTF: no, the kernel has none, and the object is relocated")
    assert lines[at + 1] == "  try: give it: --btf FILE or ARCHIVE"


def test_lockdown_is_the_reason_given(elf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: this kernel is not locked down."""
    lockdown = tmp_path / "lockdown"
    lockdown.write_text("none integrity [confidentiality]\n")
    monkeypatch.setattr("wbpf.bpf.check.kernel._LOCKDOWN", lockdown)
    found = {one.program: one for one in check_object("many", elf, Kernel(Btf.of_kernel(), here=True))}
    (reason,) = found["field_guarded"].reasons
    assert (reason.what, reason.have) == ("helper bpf_probe_read_kernel", Have.NO)
    assert reason.why == "the kernel is locked down for confidentiality"
    assert found["on_tp"].loads is Have.YES


CHOSEN = """
#include <wbpf/vmlinux.h>
#include <wbpf/program.bpf.h>
const volatile unsigned long long min_ns;
struct task_struct___odd { int no_such_field; } __attribute__((preserve_access_index));
SEC("tp/sched/sched_process_exec") int on_exec(void *context)
{
    struct task_struct___odd *task = (void *)bpf_get_current_task();
    return min_ns ? BPF_CORE_READ(task, no_such_field) : 0;
}
SEC("tp/sched/sched_process_exek") int on_other(void *context) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
EMPTY = b"\0asm\x01\0\0\0"


def test_parameters_choose_programs_and_set_constants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], elf: bytes
) -> None:
    """As with `wbpf run`: a program that is left out is not checked, a branch that can't be taken neither."""
    from wbpf.build import compile_bpf
    from wbpf.wasm.manifest import Manifest
    from wbpf.wasm.params import Param
    from wbpf.wasm.sections import with_sections

    (tmp_path / "chosen.bpf.c").write_text(CHOSEN)
    made = compile_bpf(tmp_path / "chosen.bpf.c", tmp_path / "chosen.bpf.o").read_bytes()
    params = (
        Param("least", "duration", "0s", variable="min_ns"),
        Param("other", "bool", False, programs=("on_other",)),
        Param("name", "string"),
    )
    manifest = Manifest("chosen", params=params).to_json()
    module = tmp_path / "chosen.wasm"
    module.write_bytes(with_sections(EMPTY, {"wbpf.object.chosen": made, "wbpf.manifest": manifest}))

    def checked(*words: str) -> tuple[int, dict[str, str]]:
        status = main(["check", str(module), *words, "-o", "json"])
        return status, {row["program"]: row["loads"] for row in json.loads(capsys.readouterr().out)}

    assert checked() == (0, {"on_exec": "yes"})
    assert checked("--least", "5ms") == (1, {"on_exec": "no"})
    assert checked("--other") == (1, {"on_exec": "yes", "on_other": "yes"})
    for words, said in (
        (["--leest", "5ms"], "there is no flag --leest: did you mean --least?"),
        (["--least", "5"], "--least='5' can't be used: it must be a number with a unit"),
        (["more"], "'more' can't be used: one file is checked at a time"),
    ):
        assert main(["check", str(module), *words]) == 2
        assert f"error: {said}" in capsys.readouterr().err
    assert main(["check", "--other", str(module)]) == 2
    assert "try: wbpf check FILE --NAME VALUE" in capsys.readouterr().err
