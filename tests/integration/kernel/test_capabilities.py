"""What is missing is named: rights, BTF, libbpf, a new kernel. And nothing stays behind."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.kernel.conftest import Compile
from wbpf import _native
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings
from wbpf.build import compile_bpf
from wbpf.errors import BpfError, ConfigError, FormatError

LOAD = """
import sys
from wbpf.bpf import features
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings
from wbpf.errors import WbpfError
path, btf = sys.argv[1], sys.argv[2] or None
try:
    with Object.open(path, btf) as probe, KernelRings(probe, "tried") as rings:
        rings.follow()
    print("loaded")
except WbpfError as error:
    print(type(error).__name__, error)
print(features.have_fetch_add().have.value, features.have_mmapable_arrays().have.value)
"""


def load(path: Path, *wrapper: str | Path, btf: Path | str = "", prepare: str = "") -> str:
    """What a process says that loads an object, in a command or with mounts of its own."""
    command: list[str | Path] = [*wrapper, sys.executable, "-c", LOAD, path, btf]
    if prepare:
        command = ["unshare", "--mount", "sh", "-ec", f'{prepare}; exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if prepare and "Operation not permitted" in done.stderr:
        pytest.skip(f"needs mount namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def syscalls(compiled: Compile, variant: str, directory: Path) -> Path:
    return compiled("syscalls", variant)


def test_without_rights(syscalls: Path) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv: no such command")
    said = load(syscalls, "setpriv", "--inh-caps=-all", "--bounding-set=-all")
    assert said.startswith("AccessError eBPF object 'syscalls.")
    assert "CAP_BPF and CAP_PERFMON are missing\n  try: run as root" in said
    assert said.splitlines()[-1] == "could not tell could not tell"


def test_without_kernel_btf(syscalls: Path, tmp_path: Path) -> None:
    hide = "mount -t tmpfs none /sys/kernel/btf"
    said = load(syscalls, prepare=hide)
    assert said.startswith("BpfError eBPF object 'syscalls.")
    assert "needs kernel BTF: there is no /sys/kernel/btf/vmlinux\n  try: give the kernel's BTF:" in said

    btf = tmp_path / "vmlinux.btf"
    btf.write_bytes(Path("/sys/kernel/btf/vmlinux").read_bytes())
    assert load(syscalls, btf=btf, prepare=hide).startswith("loaded\n")


def test_without_libbpf(syscalls: Path) -> None:
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    (library,) = {Path(path).resolve() for path in re.findall(r"libbpf\.so\.1 .* => (\S+)", listed)}
    said = load(syscalls, prepare=f"mount --bind /dev/null {library}")
    assert said.startswith("BpfError eBPF object 'syscalls.")
    assert "needs libbpf: " in said
    assert "try: install libbpf1" in said


def test_in_a_pid_namespace(syscalls: Path) -> None:
    said = load(syscalls, "unshare", "--pid", "--fork")
    assert said.startswith("BpfError processes can't be followed: needs the host's pid namespace: ")


def test_on_an_older_kernel(compiled: Compile, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "bpf_probe_fetch_add", lambda: 0)
    new, old = compiled("syscalls", "perf").with_name("syscalls.array.o"), compiled("syscalls", "perf")
    with (
        Object.open(
            new if new.exists() else compile_bpf(Path(__file__).with_name("syscalls.bpf.c"), new)
        ) as probe,
        pytest.raises(BpfError, match="needs atomic fetch-and-add in eBPF") as caught,
    ):
        KernelRings(probe, "old")
    assert "-DWBPF_PERF_RING" in caught.value.hint
    with Object.open(old) as probe, KernelRings(probe, "old") as rings:
        assert rings.is_perf


def test_a_program_that_the_verifier_refuses(compiled: Compile, directory: Path, tmp_path: Path) -> None:
    source = tmp_path / "wild.bpf.c"
    source.write_text("""
        #include <wbpf/kernel.bpf.h>
        char LICENSE[] __attribute__((section("license"), used)) = "GPL";
        __attribute__((section("raw_tp/sys_enter"), used)) int wild(unsigned long *ctx)
        {
            return *(int *)ctx[0];
        }
    """)
    with (
        Object.open(compile_bpf(source, tmp_path / "wild.o")) as probe,
        pytest.raises(
            BpfError, match=r"program 'wild' of 'wild' can't be loaded: R. invalid mem access"
        ) as caught,
    ):
        probe.load()
    assert "-- BEGIN PROG LOAD LOG --" in caught.value.log
    assert "\n" not in caught.value.why


def test_what_can_not_be_used(compiled: Compile, directory: Path, tmp_path: Path) -> None:
    with pytest.raises(BpfError, match=r"can't be opened: .*No such file"):
        Object.open(tmp_path / "none.o")
    with pytest.raises(FormatError, match="not an eBPF object"):
        Object(b"#!/bin/sh", "script")
    elf = compiled("syscalls").read_bytes()
    with pytest.raises(FormatError, match="damaged"):
        Object(elf[: len(elf) // 2], "half")
    source = tmp_path / "plain.bpf.c"
    source.write_text("""
        char LICENSE[] __attribute__((section("license"), used)) = "GPL";
        __attribute__((section("raw_tp/no_such_place"), used)) int plain(void *ctx) { return !ctx; }
    """)
    with Object.open(compile_bpf(source, tmp_path / "plain.o")) as probe:
        with pytest.raises(
            BpfError, match=r"can't record: it has no kernel rings\n  try: include wbpf/kernel.bpf.h"
        ):
            KernelRings(probe, "plain")
        with pytest.raises(BpfError, match="variable 'x' of 'plain' can't be used: there is none"):
            probe.set("x", b"1234")
        probe.load()
        with pytest.raises(
            BpfError,
            match="'plain' can't be attached to 'no_such_place': the kernel has no such raw tracepoint",
        ):
            probe.programs["plain"].attach()


@pytest.mark.parametrize(
    ("name", "ring_kib"), [("", 64), ("a/b", 64), ("x" * 49, 64), ("ok", 0), ("ok", 48), ("ok", 1 << 21)]
)
def test_names_and_sizes(compiled: Compile, directory: Path, name: str, ring_kib: int) -> None:
    with Object.open(compiled("syscalls")) as probe, pytest.raises(ConfigError, match="kernel rings"):
        KernelRings(probe, name, ring_kib=ring_kib)


def test_values_must_fit(compiled: Compile, directory: Path) -> None:
    with Object.open(compiled("syscalls")) as probe:
        with pytest.raises(BpfError, match=r"'wbpf_ring_mask' .* it does not have 4 bytes"):
            probe.set("wbpf_ring_mask", b"1234")
        probe.load()
        processes = probe.maps["wbpf_processes"]
        key, value = (7).to_bytes(4, "little"), bytes(range(24))
        processes[key] = value
        assert dict(processes) == {key: value}
        with pytest.raises(
            BpfError, match="the key does not fit map 'wbpf_processes': it has 1 bytes, 4 are wanted"
        ):
            processes[b"x"] = value
        with pytest.raises(BpfError, match="the value does not fit"):
            processes[key] = b"x"
        del processes[key]
        with pytest.raises(KeyError):
            processes[key]
        with pytest.raises(KeyError):
            del processes[key]


def kernel_files() -> list[str]:
    """This process's descriptors of programs, maps, links and perf events."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(("anon_inode:bpf", "anon_inode:[perf_event"))]


def test_nothing_stays_behind(compiled: Compile, variant: str, directory: Path) -> None:
    assert kernel_files() == []
    with (
        pytest.raises(ZeroDivisionError),
        Object.open(compiled("nested", variant)) as probe,
        KernelRings(probe, "failing") as rings,
    ):
        probe.programs["outer"].attach()
        probe.programs["clock"].attach("cpu-clock@1000")
        assert len(kernel_files()) >= 5
        raise ZeroDivisionError
    assert kernel_files() == []
    assert not rings.path.exists()
