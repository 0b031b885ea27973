"""`wbpf inspect` and the errors that it shares with `wbpf check`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wbpf.cli import main
from wbpf.wasm.inside import find_objects
from wbpf.wasm.sections import with_sections

EMPTY = b"\0asm\x01\0\0\0"
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, int); __type(value, long); __uint(max_entries, 9); }
counts SEC(".maps");
SEC("tp/sched/sched_process_exec") int on_exec(void *context)
{
    int pid = bpf_get_current_pid_tgid() >> 32;
    long one = 1;
    bpf_map_update_elem(&counts, &pid, &one, 0);
    bpf_ringbuf_output(&events, &pid, sizeof pid, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


NO_PROBE = """\
error: 'probe' is no probe: it starts neither as a WebAssembly module nor as an eBPF object does
  try: give a .wasm file, or a .bpf.o
"""
CUT = """\
error: the WebAssembly module is damaged: it is cut short, section 11 at 8 ends 127 bytes behind its end
  try: copy or build it again
"""
COMPONENT = """\
error: not a core WebAssembly module: it is a component
  try: build for wasm32-wasip1, without a component
"""


def leb128(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def signed(number: int) -> bytes:
    out = leb128(number)
    return out if out[-1] < 0x40 else bytes([*out[:-1], out[-1] | 0x80, 0])


def module_with_data(*segments: tuple[int, bytes]) -> bytes:
    """A module of the `wasm_bpf` ABI, as far as its memory goes."""
    body = leb128(len(segments))
    for at, content in segments:
        body += b"\0\x41" + signed(at) + b"\x0b" + leb128(len(content)) + content
    return EMPTY + b"\x0b" + leb128(len(body)) + body


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    from wbpf.build import compile_bpf

    folder = tmp_path_factory.mktemp("inspect")
    (folder / "tracer.bpf.c").write_text(SOURCE)
    return compile_bpf(folder / "tracer.bpf.c", folder / "tracer.o").read_bytes()


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["inspect", str(path), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_objects_are_found_wherever_they_are(
    elf: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zeros = elf.index(bytes(8), 600)
    files = {
        "tracer.bpf.o": (elf, "tracer", None),
        "sections.wasm": (with_sections(EMPTY, {"wbpf.object.tracer": elf}), "tracer", "wasm_bpf"),
        "memory.wasm": (
            module_with_data((5, b"some text"), (1024, b"no" + elf + b"more")),
            "data",
            "wasm_bpf",
        ),
        "packed.wasm": (
            module_with_data((64, elf[:zeros]), (64 + zeros + 8, elf[zeros + 8 :])),
            "data",
            "wasm_bpf",
        ),
    }
    programs = None
    for name, (content, called, abi) in files.items():
        (tmp_path / name).write_bytes(content)
        data = inspected(tmp_path / name, capsys)
        assert data["abi"] == abi
        (found,) = data["objects"]  # type: ignore[misc, attr-defined]
        assert found["name"] == called
        programs = programs or found["programs"]
        assert found["programs"] == programs
    assert programs == [
        {
            "name": "on_exec",
            "section": "tp/sched/sched_process_exec",
            "type": "tracepoint",
            "helpers": ["map_update_elem", "get_current_pid_tgid", "ringbuf_output"],
            "kfuncs": [],
            "target": "sched:sched_process_exec",
            "btf": [],
            "kernel": "5.8",
        }
    ]


def test_two_objects_in_memory(elf: bytes) -> None:
    found = find_objects(module_with_data((16, elf + b"\x7fELF\x02\x01 is no object" + elf)))
    assert found == {"data": elf, "data2": elf}


def test_columns(elf: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tracer.bpf.o").write_bytes(elf)
    assert main(["inspect", str(tmp_path / "tracer.bpf.o")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "eBPF object"
    assert lines[2] == "object tracer"
    assert lines[4].split()[:4] == [
        "on_exec",
        "tracepoint",
        "tp/sched/sched_process_exec",
        "sched:sched_process_exec",
    ]
    assert [line.split()[0] for line in lines[5:]] == ["NAME", "counts", "events"]


@pytest.mark.parametrize("command", ["inspect", "check"])
@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"#!/bin/sh\n", 5, NO_PROBE),
        (EMPTY, 10, "error: 'probe' has no eBPF object: neither in its sections nor in its memory\n"),
        (EMPTY + b"\x0b\x7f", 5, CUT),
        (b"\0asm\x0d\0\x01\0", 5, COMPONENT),
        (None, 2, "error: 'PATH' can't be read: No such file or directory\n  try: check the path\n"),
    ],
)  # fmt: skip
def test_what_is_no_probe(
    command: str,
    content: bytes | None,
    status: int,
    error: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "probe"
    if content is not None:
        path.write_bytes(content)
    assert main([command, str(path)]) == status
    assert capsys.readouterr().err == error.replace("PATH", os.fspath(path))


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_a_truncated_object(
    command: str, elf: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.bpf.o"
    path.write_bytes(elf[: len(elf) // 2])
    assert main([command, str(path)]) == 5
    assert capsys.readouterr().err == (
        "error: the eBPF object is damaged: it is cut short, its table of sections lies behind its end\n"
        "  try: copy or compile it again\n"
    )


def test_a_manifest_that_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "probe.wasm"
    path.write_bytes(with_sections(EMPTY, {"wbpf.manifest": b'{"abi": 2}'}))
    assert main(["inspect", str(path)]) == 5
    assert capsys.readouterr().err == (
        "error: the module is built for ABI 2, this is 1\n  try: use a newer wBPF\n"
    )
