"""What `wbpf check --backend user` foresees is what loading and attaching in user space then do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE, Target
from wbpf.bpf.check import Finding
from wbpf.bpf.features import Have
from wbpf.bpf.object_file import ObjectFile
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.check import check_object
from wbpf.bpf.user.objects import UserObject
from wbpf.bpf.user.subject import Subject
from wbpf.build import compile_bpf
from wbpf.cli import main
from wbpf.errors import WbpfError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")

TARGETS = {
    "timer": "timer:10ms",
    "timer_misspelt": "timer:10m",
    "packets": "pcap:PCAP",
    "packets_of_no_file": "pcap:/nonexistent",
    "packets_without_direction": "pcap:PCAP",
    "packets_of_an_interface": "packet:nosuch0",
}
#: Of a process that has the runtime: loads, attaches, why not.
OF_PROCESS: dict[str, tuple[str, str | None, str]] = {
    "call": ("yes", "yes", ""),
    "call_misspelt": ("yes", "no", "no system call 'opanat' on x86-64; did you mean 'openat'?"),
    "calls": ("yes", "yes", ""),
    "calls_raw": ("yes", "yes", ""),
    "raw_of_the_kernel": ("yes", "no", "no tracepoint 'sched_switch' in user space"),
    "tracepoint_of_the_kernel": ("yes", "no", "no tracepoint 'sched/sched_switch' in user space"),
    "site": ("yes", "yes", ""),
    "site_misspelt": ("yes", "no", "has no such site; did you mean 'shop:order'?"),
    "site_without_name": ("yes", "no", "'shop' is no PROVIDER:NAME"),
    "library": ("yes", "yes", ""),
    "library_return": ("yes", "yes", ""),
    "library_return_inside": ("yes", "no", "a return is one of a function"),
    "library_misspelt": ("yes", "no", "has no function 'maloc'; did you mean 'malloc'?"),
    "no_library": ("yes", "no", "has not loaded libnothing.so"),
    "no_file": ("yes", "no", "there is no file /nonexistent/file"),
    "chosen_at_start": ("yes", "no", "(IFUNC)"),
    "usdt": ("yes", "yes", ""),
    "usdt_misspelt": ("yes", "no", "has no such probe; did you mean 'shop:order'?"),
    "anywhere": ("yes", None, ""),
    "timer": ("yes", "yes", ""),
    "timer_misspelt": ("yes", "no", "run by the clock"),
    "packets": ("yes", "yes", ""),
    "packets_of_no_file": ("yes", "no", "No such file"),
    "packets_without_direction": ("yes", "no", "it gets packets of files"),
    "packets_of_an_interface": ("yes", "no", "No such device"),
    "in_the_kernel": ("yes", "no", "it has none for programs of section"),
    "wild": ("no", "yes", "as an address"),
}


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_bpf(HERE / "places.bpf.c", tmp_path_factory.mktemp("places") / "places.bpf.o").read_bytes()


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pcap = tmp_path_factory.mktemp("places") / "empty.pcap"
    pcap.write_bytes(bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 ffff0000 01000000"))
    return {name: target.replace("PCAP", str(pcap)) for name, target in TARGETS.items()}


def checked(
    places: bytes, subject: Subject | None = None, targets: dict[str, str] | None = None
) -> dict[str, Finding]:
    found = check_object("places", places, subject=subject, targets=targets)
    return {one.program: one for one in found}


def shown(finding: Finding) -> tuple[str, str | None, str]:
    reasons = "; ".join(f"{one.why}; {one.hint}" for one in finding.reasons)
    return finding.loads.value, finding.attaches.value if finding.attaches else None, reasons


def outcome(places: bytes, name: str, traced: Traced | None, target: str | None) -> tuple[str, str | None]:
    """Whether a program loads and attaches, alone; a place is looked for even if it does not load."""
    with UserObject(places, "places", traced=traced) as opened:
        for one in opened.programs.values():
            one.autoload = one.name == name
        program = opened.programs[name]
        try:
            opened.load()
        except WbpfError:
            return "no", None
        if target is None and program.section in ("uprobe", "perf_event", "xdp"):
            return "yes", None
        try:
            program.attach(target).detach()
        except WbpfError:
            return "yes", "no"
        return "yes", "yes"


def test_foreseen_is_what_happens_to_a_process(
    places: bytes, targets: dict[str, str], target: Target
) -> None:
    found = checked(places, Subject(target.pid), targets)
    assert set(found) == set(OF_PROCESS) == {one.name for one in ObjectFile.parse(places).programs}
    traced = Traced.of(target.pid)
    for name, finding in found.items():
        loads, attaches, why = shown(finding)
        assert (loads, attaches) == OF_PROCESS[name][:2], (name, why)
        assert OF_PROCESS[name][2] in why, (name, why)
        happened = outcome(places, name, traced, targets.get(name))
        assert happened == (loads, attaches if loads == "yes" else None), name
    target.do("run 1")


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_looking_changes_nothing(places: bytes, target: Target) -> None:
    """A process without the runtime has none afterwards either, and is found to have the same."""
    idle = subprocess.Popen(["sleep", "100"])
    try:
        while "libc" not in Path(f"/proc/{idle.pid}/maps").read_text() or state_of(idle.pid) != "S":
            time.sleep(0.001)  # it is still loading its libraries
        found = checked(places, Subject(idle.pid))
        maps = Path(f"/proc/{idle.pid}/maps").read_text()
    finally:
        idle.kill()
        idle.wait()
    assert "libwbpf" not in maps
    for name in ("call", "library", "library_misspelt", "no_library"):
        assert shown(found[name])[:2] == OF_PROCESS[name][:2], name
    assert shown(found["site"])[1:] == ("no", f"process {idle.pid} has no such site; it has none")


def test_foreseen_is_what_happens_to_a_command(
    places: bytes,
    targets: dict[str, str],
    sites_program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`could not tell` where the place may be in what the command executes: attaching waits for it."""
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    found = checked(places, Subject(command=[str(sites_program)]), targets)
    later = {"site_misspelt", "no_library"}
    with Traced.launch([sites_program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as traced:
        for name, finding in found.items():
            loads, attaches, why = shown(finding)
            if name in later:
                assert attaches == "could not tell", why
                assert outcome(places, name, traced, None) == ("yes", "yes")
                continue
            assert (loads, attaches) == OF_PROCESS[name][:2], (name, why)
            happened = outcome(places, name, traced, targets.get(name))
            assert happened == (loads, attaches if loads == "yes" else None), name
    assert "did you mean 'shop:order'?" in shown(found["site_misspelt"])[2]


def test_without_a_process_files_are_looked_into(places: bytes, sites_program: Path) -> None:
    found = checked(places)
    assert found["call"].attaches is Have.YES and found["call_misspelt"].attaches is Have.NO
    for name in ("site", "library", "usdt"):
        loads, attaches, why = shown(found[name])
        assert (loads, attaches) == ("yes", "could not tell") and "--pid PID, or -- COMMAND" in why
    assert found["timer"].attaches is None and found["packets"].attaches is None
    named = checked(places, targets={"anywhere": f"{sites_program}:main"})["anywhere"]
    assert named.attaches is Have.YES, named.reasons
    wrong = checked(places, targets={"anywhere": f"{sites_program}:man"})["anywhere"]
    assert wrong.attaches is Have.NO and wrong.reasons[0].hint == "did you mean 'main'?"


@contextmanager
def sleeping(*command: str | Path) -> Iterator[int]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def static(folder: Path, *flags: str) -> Path:
    program = folder / "static"
    source = b'#include <stdio.h>\nint main(void) { puts("ready"); fflush(stdout); return getchar(); }'
    subprocess.run(["gcc", *flags, "-x", "c", "-", "-static", "-o", program], input=source, check=True)
    return program


def refused(places: bytes, subject: Subject) -> str:
    """Why nobody can be traced; places that are of no process are found all the same."""
    found = checked(places, subject, {"timer": "timer:10ms"})
    assert found["timer"].attaches is Have.YES
    assert found["call_misspelt"].attaches is Have.NO
    whys = {found[name].reasons[0].why for name in ("call", "site", "library", "usdt")}
    assert len(whys) == 1 and found["call"].attaches is Have.NO
    return whys.pop()


def test_who_can_not_be_traced_is_named(places: bytes, tmp_path: Path) -> None:
    program = static(tmp_path)
    for subject, raised in (
        (Subject(command=[str(program)]), lambda: Traced.launch([program])),
        (Subject(command=["/nonexistent"]), lambda: Traced.launch(["/nonexistent"])),
        (Subject(1 << 22), lambda: Traced.of(1 << 22)),
    ):
        why = refused(places, subject)
        with pytest.raises(WbpfError) as error:
            raised()
        assert error.value.why == why
    with sleeping(program) as pid:
        assert refused(places, Subject(pid)) == "it is linked statically: nothing can be loaded into it"
        with pytest.raises(WbpfError, match="linked statically"):
            Traced.of(pid)
    foreign = bytearray(program.read_bytes())
    foreign[18:20] = (183).to_bytes(2, "little")
    program.write_bytes(foreign)
    assert refused(places, Subject(command=[str(program)])).startswith(
        "it is a program for aarch64, and this"
    )


def test_a_process_that_is_traced_already_is_named(places: bytes) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace: no such command")
    with sleeping("sh", "-c", "echo ready; exec sleep 100") as pid:
        tracer = subprocess.Popen(["strace", "-qq", "-o", os.devnull, "-p", str(pid)])
        try:
            while f"TracerPid:\t{tracer.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
                assert tracer.poll() is None
            assert refused(places, Subject(pid)) == f"process {tracer.pid} traces it already (a debugger?)"
        finally:
            tracer.kill()
            tracer.wait()


def test_another_users_process_is_named(places: bytes, tmp_path: Path) -> None:
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv: to look with another user's eyes")
    script = f"""
from wbpf.bpf.user.subject import Subject
answer = Subject({os.getpid()}).answer
print(answer.why, answer.hint, sep="|")
"""
    command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout == "it belongs to user 0|run as that user or as root\n", done.stderr


def test_a_setuid_command_is_named_to_those_who_gain_by_it(places: bytes, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root: to make a file another user's")
    program = tmp_path / "program"
    shutil.copy("/bin/true", program)
    os.chown(program, 65534, 0)
    assert Subject(command=[str(program)]).answer
    program.chmod(0o4755)
    assert "it is setuid or setgid" in refused(places, Subject(command=[str(program)]))


def test_the_command(
    places: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], start: Callable[[], Target]
) -> None:
    file = tmp_path / "places.bpf.o"
    file.write_bytes(places)
    target = start()
    words = ["check", "--backend", "user", str(file), "-o", "json", "--attach", "timer=timer:1s"]
    assert main([*words, "--pid", str(target.pid)]) == 1
    rows = {row["program"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["site"]["attaches"], rows["timer"]["attaches"]) == ("yes", "yes")
    note = tmp_path / "note"
    assert main([*words, "--", "touch", str(note), "-r", "/"]) == 1
    assert not note.exists(), "the command was started"
    rows = {row["program"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["library"]["attaches"], rows["no_library"]["attaches"]) == ("yes", "could not tell")
    assert main([*words, "--pid", "1", "--", "true"]) == 2
    assert "leave out one of them" in capsys.readouterr().err
    assert main(["check", str(file), "--", "true"]) == 2
    assert "-- COMMAND can't be used: user space traces one" in capsys.readouterr().err
    assert main([*words, "--attach", "tmer=timer:1s"]) == 2
    assert "there is no program 'tmer'\n  try: did you mean 'timer'?" in capsys.readouterr().err
