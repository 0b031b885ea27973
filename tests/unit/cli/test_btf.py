"""`wbpf btf`: what its commands write and say."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from wbpf.bpf.btf import Btf, encode
from wbpf.bpf.btf import types as t
from wbpf.cli import main

CONTENT = encode(
    [
        t.Int(1, "int", 4, signed=True, bits=32),
        t.Struct(2, "task_struct", 8, (t.Member("pid", 1, 0), t.Member("tgid", 1, 32))),
        t.Struct(3, "other", 4, (t.Member("pid", 1, 0),)),
    ]
)
TASK = "struct task_struct {\n\tint pid;\n\tint tgid;\n};\n"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.btf"
    path.write_bytes(CONTENT)
    return path


def test_dump(raw: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["btf", "dump", str(raw), "--name", "task_struct"]) == 0
    assert capfdbinary.readouterr().out.decode() == TASK
    header = tmp_path / "vmlinux.h"
    assert main(["btf", "dump", str(raw), "--header", "--to", str(header)]) == 0
    text = header.read_text()
    assert text.startswith("#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n")
    assert "preserve_access_index" in text and TASK in text and "struct other {" in text


def test_a_type_that_is_not_there(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["btf", "dump", str(raw), "--name", "task_strut"]) == 10
    assert capsys.readouterr().err == (
        "error: there is no type 'task_strut': the BTF does not have it\n  try: did you mean 'task_struct'?\n"
    )


def test_what_is_no_btf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text"
    path.write_text("these are only thirty-two bytes!")
    assert main(["btf", "dump", str(path)]) == 5
    assert capsys.readouterr().err == (
        "error: not BTF: it starts with 0x6874, not 0xeb9f\n  try: give a file of raw BTF\n"
    )
    assert main(["btf", "dump", "/bin/true"]) == 10
    assert capsys.readouterr().err == (
        "error: '/bin/true' has no BTF\n  try: make it of DWARF: wbpf btf from-dwarf FILE\n"
    )


def test_fetch(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WBPF_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "archive/debian/10/arm64"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "4.19.0-17-arm64.btf.tar.xz", "w:xz") as archive:
        archive.add(raw, "4.19.0-17-arm64.btf")
    command = ["btf", "fetch", str(tmp_path / "archive"), "--distribution", "debian", "--version", "10"]
    command += ["--machine", "aarch64", "--release"]
    assert main([*command, "4.19.0-17-arm64", "-o", "json"]) == 0
    (kept,) = (tmp_path / "cache").rglob("*.btf")
    assert str(kept) in capsys.readouterr().out
    assert list(Btf.parse(kept.read_bytes())) == list(Btf.parse(CONTENT))
    assert main([*command, "4.19.0-18-arm64"]) == 10
    assert "there is no debian/10/arm64/4.19.0-18-arm64.btf" in capsys.readouterr().err


def test_min_and_check_by_it(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    from wbpf.build import compile_bpf

    (tmp_path / "app.bpf.c").write_text(
        """
        struct task_struct { int pid; int ppid; } __attribute__((preserve_access_index));
        __attribute__((section("raw_tp/sys_enter"))) int known(unsigned long long *context)
        {
            return ((struct task_struct *)context[0])->pid;
        }
        __attribute__((section("raw_tp/sys_enter"))) int unknown(unsigned long long *context)
        {
            return ((struct task_struct *)context[0])->ppid;
        }
        char LICENSE[] __attribute__((section("license"))) = "GPL";
        """
    )
    app, small = compile_bpf(tmp_path / "app.bpf.c", tmp_path / "app.bpf.o"), tmp_path / "min.btf"
    assert main(["btf", "min", str(app), "--btf", str(raw), "--to", str(small)]) == 0
    reduced = Btf.parse(small.read_bytes())
    assert [field.name for field in reduced.struct_layout("task_struct")] == ["pid"]
    assert reduced.find("other") is None
    assert main(["check", str(app), "--btf", str(raw), "--kernel", "4.18.0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["known", "raw_tp/sys_enter", "yes"],
        ["unknown", "raw_tp/sys_enter", "no"],
    ]
    assert "struct task_struct has no field 'ppid'" in "\n".join(lines)
    assert "did you mean 'pid'?" in "\n".join(lines)


def test_another_kernel_without_its_btf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "app.wasm"
    path.write_bytes(b"\0asm\x01\0\0\0")
    assert main(["check", str(path), "--kernel", "4.18.0"]) == 10
    assert "has no eBPF object" in capsys.readouterr().err


def test_from_dwarf_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("elftools", reason="needs pyelftools: install wbpf[dwarf]")
    assert main(["btf", "from-dwarf", "/bin/true", "--to", str(tmp_path / "out")]) == 10
    assert capsys.readouterr().err == (
        "error: '/bin/true' has no DWARF\n"
        "  try: compile with -g, or install the package with its debug symbols\n"
    )
