"""The examples that modules of wasm-bpf are known by, with workloads of known size."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.wasm_bpf.conftest import Build, Running

Run = Callable[..., Running]


def named_true(tmp_path: Path) -> Path:
    """A program of a name that nobody else runs."""
    path = tmp_path / f"wb{os.getpid()}"
    shutil.copy(shutil.which("true") or "/bin/true", path)
    return path


def check_fifty_runs(program: Path, running: Running) -> None:
    """Run a program fifty times: bootstrap tells each beginning and end once."""
    pids = set()
    for _ in range(50):
        process = subprocess.Popen([program])
        process.wait()
        pids.add(process.pid)
    seen = Counter(tuple(line.split()) for line in running.end())
    assert seen == Counter((what, program.name, str(pid)) for what in ("EXEC", "EXIT") for pid in pids)


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
def test_bootstrap(build: Build, run: Run, tmp_path: Path, cpu: str) -> None:
    program = named_true(tmp_path)
    running = run(build("bootstrap", cpu), program.name, 50).ready()
    check_fifty_runs(program, running)


def test_constants_patched_by_the_guest_reach_the_program(build: Build, run: Run, tmp_path: Path) -> None:
    program = tmp_path / f"wb{os.getpid()}"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    running = run(build("bootstrap"), program.name, 1, 200).ready()
    subprocess.run([program, "0"], check=True)
    slow = subprocess.Popen([program, "0.3"])
    slow.wait()
    assert running.end() == [f"EXIT {program.name} {slow.pid}"]


@pytest.mark.parametrize("cpu", ["v1", "v3"])
def test_opensnoop(build: Build, run: Run, tmp_path: Path, cpu: str) -> None:
    (tmp_path / "there").touch()
    running = run(build("opensnoop", cpu), os.getpid(), tmp_path / "there", 400).ready()
    for number in range(400):
        name = tmp_path / ("there" if number % 2 else f"there-not-{number}")
        try:
            os.close(os.open(name, os.O_RDONLY))
        except FileNotFoundError:
            assert number % 2 == 0
    lines = [line.split() for line in running.end()]
    assert len(lines) == 400
    assert {pid for pid, _, _ in lines} == {str(os.getpid())}
    assert sum(result == "-2" for _, result, _ in lines) == 200
    assert len({path for _, _, path in lines}) == 201


def test_sockops_takes_a_cgroup(build: Build, run: Run, cgroup: Path) -> None:
    running = run(build("sockops"), cgroup, 20).ready()
    connect = """
import socket, sys
open(sys.argv[1], "w").write("0")
server = socket.create_server(("127.0.0.1", 0))
for _ in range(20):
    socket.create_connection(server.getsockname()).close()
    server.accept()[0].close()
"""
    subprocess.run([sys.executable, "-c", connect, cgroup / "cgroup.procs"], check=True)
    active, passive = map(int, running.end()[0].split())
    assert (active, passive) == (20, 20)


def test_xdp_takes_an_interface_and_exit_statuses_propagate(build: Build, run: Run) -> None:
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
        inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        running = run(build("xdp"), "lo", 100, before=inside).ready()
        send = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(100):
    sender.sendto(b"x", ("127.0.0.1", 9))
"""
        subprocess.run([*inside, sys.executable, "-c", send], check=True)
        assert running.end(7) == ["100"]
        shown = subprocess.run([*inside, "ip", "link", "show", "lo"], capture_output=True, check=True)
        assert b"xdp" not in shown.stdout
    finally:
        holder.kill()
        holder.communicate()


def test_runqlat(build: Build, run: Run) -> None:
    woken = r"""
import time
input()
for _ in range(325):
    time.sleep(0.0005)
input()
"""
    process = subprocess.Popen([sys.executable, "-c", woken], stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        running = run(build("runqlat"), process.pid, 300).ready()
        process.stdin.write(b"\n")
        process.stdin.flush()
        # Every sleep is one wake-up, but who is woken before it left the processor has not waited for it.
        assert 300 <= int(running.end()[0]) <= 330
    finally:
        process.communicate(b"\n\n")


TRACED = """
#include <stdlib.h>
__attribute__((noinline)) int uprobed_add(int a, int b) { return a + b; }
int main(int argc, char **argv)
{
    volatile int sum = 0;
    for (int i = 0; i < atoi(argv[1]); i++)
        sum = uprobed_add(sum, i);
}
"""


def test_uprobe_by_its_section(build: Build, run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    traced = tmp_path_factory.mktemp("traced") / "traced"
    subprocess.run(["cc", "-xc", "-", "-o", traced], input=TRACED.encode(), check=True)
    running = run(build("uprobe", "v2", f'-DTRACED="{traced}"'), 160).ready()
    subprocess.run([traced, "80"], check=True)
    assert running.end() == ["1", "2"] * 80


def test_sockfilter_loads(build: Build, run: Run) -> None:
    # its socket is left to the program: there is nothing in the ABI that attaches it
    assert run(build("sockfilter")).end() == ["1 1"]
