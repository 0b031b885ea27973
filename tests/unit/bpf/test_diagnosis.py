from __future__ import annotations

import errno
from pathlib import Path

import pytest

from wbpf.bpf import diagnosis
from wbpf.bpf.diagnosis import Rejection, explain, forbidden, parse_rejection, reason_of
from wbpf.bpf.features import Answer, Have
from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.nearest import hint, nearest
from wbpf.errors import AccessError, BpfError

VERIFIER = """libbpf: prog 'f': BPF program load failed: Permission denied
libbpf: prog 'f': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; return *(int *)ctx[0]; @ wild.bpf.c:6
1: (61) r0 = *(u32 *)(r1 +0)
R1 invalid mem access 'scalar'
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'f': failed to load: -13
"""


def test_a_rejection_with_its_line() -> None:
    assert parse_rejection(VERIFIER) == Rejection(
        "R1 invalid mem access 'scalar'", "return *(int *)ctx[0];", "wild.bpf.c:6", 1
    )
    assert reason_of(VERIFIER) == "R1 invalid mem access 'scalar', at `return *(int *)ctx[0];` (wild.bpf.c:6)"


def test_older_kernels_tell_the_line_but_not_where_it_stands() -> None:
    log = VERIFIER.replace(" @ wild.bpf.c:6", "")
    assert reason_of(log) == "R1 invalid mem access 'scalar', at `return *(int *)ctx[0];`"


def test_without_line_information_the_instruction_is_named() -> None:
    log = "".join(line for line in VERIFIER.splitlines(True) if not line.startswith(";"))
    assert reason_of(log) == "R1 invalid mem access 'scalar', at instruction 1"


@pytest.mark.parametrize(
    ("reason", "tip"),
    [
        ("R1 invalid mem access 'scalar'", "it is no pointer that the verifier knows: "),
        ("R1 invalid mem access 'inv'", "it is no pointer that the verifier knows: "),
        ("R7 invalid mem access 'map_value_or_null'", "it may be NULL: "),
        ("invalid access to packet, off=0 size=14, R1(id=0,off=0,r=0)", "compare the end of what is read"),
        ("R2 unbounded memory access, use 'var &= const' or 'if (var < const)'", "compare the index or size"),
        (
            "R3 min value is negative, either use unsigned index or do a if (index >=0) check.",
            "compare the in",
        ),
        ("invalid access to map value, value_size=16 off=16 size=4", "compare the index or size"),
        ("R4 !read_ok", "give it a value"),
        ("back-edge from insn 9 to 2", "give the loop a bound"),
        ("infinite loop detected at insn 4", "give the loop a bound"),
        ("cannot call GPL-restricted function from non-GPL compatible program", "say SEC("),
        ("Unreleased reference id=3 alloc_insn=7", "release it"),
        ("combined stack size of 2 calls is 544. Too large", "use less of the stack"),
        ("invalid read from stack off -8+0 size 8", "-v shows"),
    ],
)
def test_what_most_often_helps(reason: str, tip: str) -> None:
    log = VERIFIER.replace("R1 invalid mem access 'scalar'", reason)
    hint = explain("program 'f' can't be loaded", -errno.EACCES, log, needs=()).hint
    assert hint.startswith(tip) and hint.endswith("-v shows the verifier's whole log")


def test_what_libbpf_found_wrong() -> None:
    assert reason_of("libbpf: elf: no such thing\nlibbpf: giving up\n") == "elf: no such thing"
    assert reason_of("libbpf: failed to load object 'x'\nlibbpf: map 'm': bad\n") == "map 'm': bad"
    assert reason_of("") == ""


LATER = "the kernel's struct task_struct has no field 'later', at `return task->later == 1;` (new.bpf.c:15)"
UNRESOLVED = """libbpf: prog 'f': BPF program load failed: Invalid argument
libbpf: prog 'f': -- BEGIN PROG LOAD LOG --
; return task->later == 1; @ new.bpf.c:15
3: <invalid CO-RE relocation>
failed to resolve CO-RE relocation <byte_off> [5] struct task_struct.later (0:0 @ offset 0)
processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
"""


@pytest.mark.parametrize(
    ("error", "log", "why", "hint"),
    [
        (
            -errno.EINVAL,
            UNRESOLVED,
            LATER,
            "use a newer kernel, or ask bpf_core_field_exists() before",
        ),
        (
            -errno.ESRCH,
            "libbpf: prog 'f': failed to find kernel BTF type ID of 'do_unlinkta': -3\n",
            "the kernel has no function or tracepoint 'do_unlinkta' that can be attached to",
            "did you mean 'do_unlinkat'?",
        ),
        (
            -errno.EINVAL,
            VERIFIER.replace("R1 invalid mem access 'scalar'", "invalid func unknown#212"),
            "this kernel has no helper unknown#212 for programs of this kind",
            "use a newer kernel, or leave the program out: autoload = False",
        ),
        (
            -errno.EINVAL,
            "libbpf: map 'ring': failed to create: Invalid argument(-22)\n",
            "map 'ring' can't be made: Invalid argument(-22)",
            "the kernel may be too old for its kind or flags: `wbpf check` tells",
        ),
        (
            -errno.E2BIG,
            "",
            "it is too complex for the verifier",
            "bound its loops, or split it by tail calls",
        ),
        (-errno.EINVAL, "", "Invalid argument", ""),
        (-4003, "", "Endian mismatch", ""),
    ],
)
def test_explanations(monkeypatch: pytest.MonkeyPatch, error: int, log: str, why: str, hint: str) -> None:
    monkeypatch.setattr(diagnosis, "kernel_functions", lambda: {"do_unlinkat", "do_rmdir"})
    explained = explain("it can't be done", error, log)
    assert isinstance(explained, BpfError)
    assert (explained.why, explained.hint, explained.log) == (why, hint, log)


def test_missing_capabilities_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def have(names: tuple[str, ...]) -> Answer:
        asked.append(tuple(names))
        return Answer("a right", Have.NO, "CAP_NET_ADMIN is missing", "run as root")

    monkeypatch.setattr(diagnosis, "have_capabilities", have)
    explained = explain("it can't be done", -errno.EPERM, "", needs=("CAP_BPF", "CAP_NET_ADMIN"))
    assert isinstance(explained, AccessError)
    assert str(explained) == "it can't be done: CAP_NET_ADMIN is missing\n  try: run as root"
    assert asked == [("CAP_BPF", "CAP_NET_ADMIN")]


def test_no_kernel_btf(tmp_path: Path) -> None:
    log = "libbpf: Error loading vmlinux BTF: -2\n"
    missing = explain("it can't be loaded", -errno.ENOENT, log, btf=str(tmp_path / "none"))
    assert str(missing).startswith(f"it can't be loaded: needs kernel BTF: there is no {tmp_path / 'none'}\n")
    (tmp_path / "bad").write_bytes(b"?")
    damaged = explain("it can't be loaded", -errno.EINVAL, log, btf=str(tmp_path / "bad"))
    assert isinstance(damaged, BpfError) and damaged.why.endswith("bad is no valid BTF")


def test_the_nearest_name() -> None:
    names = ["sched_switch", "sched_wakeup", "sys_enter_openat", "tcp_v4_connect"]
    assert nearest("sched_swich", names) == "sched_switch"
    assert nearest("tcp_v4_conect", names) == "tcp_v4_connect"
    assert nearest("zzz", names) is None
    assert hint("sys_enter_open", names) == "did you mean 'sys_enter_openat'?"
    assert hint("zzz", names) == ""


@pytest.mark.parametrize(
    ("kind", "files", "why", "hint"),
    [
        (
            ProgramType.LSM,
            {"lsm": "lockdown,yama"},
            "its security modules are lockdown,yama, without bpf",
            "lsm=",
        ),
        (ProgramType.LSM, {"lsm": "yama,bpf"}, "", "CONFIG_BPF_LSM=y"),
        (ProgramType.LSM, {}, "", "CONFIG_BPF_LSM=y"),
        (
            ProgramType.LSM,
            {"lsm": "bpf", "lockdown": "none [integrity] confidentiality"},
            "for integrity",
            "boot",
        ),
        (ProgramType.TRACING, {"lsm": "yama", "lockdown": "[none] integrity"}, "", "look whether"),
        (
            ProgramType.TRACING,
            {"lockdown": "none integrity [confidentiality]"},
            "confidentiality",
            "boot without",
        ),
    ],
)
def test_why_the_kernel_forbids_a_kind(
    tmp_path: Path, kind: ProgramType, files: dict[str, str], why: str, hint: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(f"{content}\n")
    said, tried = forbidden(kind, tmp_path)
    general = "the kernel forbids it, although no capability is missing"
    assert said.startswith(general) and said.endswith(why) and bool(why) == (said != general)
    assert hint in tried


def test_maps_of_a_form_that_is_gone() -> None:
    log = "libbpf: elf: legacy map definitions in 'maps' section are not supported by libbpf v1.0+\n"
    error = explain("it can't be opened", -errno.ENOTSUP, log)
    assert (
        error.why == "its maps are in a section 'maps', of a form that libbpf does not read since version 1.0"
    )
    assert 'SEC(".maps")' in error.hint
