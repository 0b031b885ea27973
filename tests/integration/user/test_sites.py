"""Programs attached to the probe sites of another process."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import FLAGS
from tests.integration.user.conftest import C_ROOT, Target
from wbpf.bpf import Object, features
from wbpf.bpf.user.attach import AttachedProgram, attach_site, site
from wbpf.build import compile_bpf
from wbpf.errors import BpfError

THREADS = 4
ROOT = Path(__file__).parents[3]


def order(elf: bytes) -> AttachedProgram:
    return AttachedProgram.from_object(elf, "probe/order")


def socket_of(target: Target) -> Path:
    return Path(os.environ["WBPF_DIR"]) / "shop" / f"probes.{target.pid}"


def test_every_call_is_counted_while_attached_and_none_else(target: Target, elf: bytes) -> None:
    program = order(elf)
    assert not program.checked
    target.do("run 1000")
    assert program.number("count") == 0
    with attach_site(target.pid, "shop:order", program) as link:
        assert link.sites == 1
        target.do("run 50000")
        assert program.number("count") == THREADS * 50000
        assert program.number("sum") == THREADS * sum(range(50000))
        slots = list(program.variables["slots"].cast("Q"))
        assert slots[:5] == [THREADS * 2, THREADS * 2, THREADS * 4, THREADS * 8, THREADS * 16]
        assert sum(slots) == THREADS * 50000
        ended = link.detach()
    assert (ended.stopped, ended.missed) == (0, 0)
    target.do("run 1000")
    assert program.number("count") == THREADS * 50000


def test_detaching_waits_for_threads_that_are_inside(target: Target, elf: bytes) -> None:
    program = order(elf)
    target.do("spin")
    for _ in range(20):
        before = program.number("count")
        link = attach_site(target.pid, "shop:order", program)
        deadline = time.monotonic() + 10
        while program.number("count") < before + 1000 and time.monotonic() < deadline:
            time.sleep(0.001)
        link.detach()
        counted = program.number("count")
        assert counted >= before + 1000
        time.sleep(0.002)
        assert program.number("count") == counted
    target.do("rest")


def test_programs_share_a_site(target: Target, elf: bytes) -> None:
    first, second = order(elf), order(elf)
    with attach_site(target.pid, "shop:order", first):
        target.do("run 10")
        with attach_site(target.pid, "shop:order", second):
            target.do("run 10")
        target.do("run 10")
    assert (first.number("count"), second.number("count")) == (THREADS * 30, THREADS * 10)


def test_arguments_are_extended_as_their_types_say(target: Target, elf: bytes) -> None:
    program = AttachedProgram.from_object(elf, "probe/all")
    with attach_site(target.pid, "shop:all", program):
        target.do("all")
    seen = list(program.variables["seen"].cast("q"))
    assert seen[:5] == [-1, -2, -3, 4, 5]
    assert seen[5] > 0
    assert seen[6:] == [1, 255, 8]
    with attach_site(target.pid, "shop:none", program):
        target.do("all")
    assert list(program.variables["seen"].cast("q")) == [0] * 9


def test_a_child_begins_detached_and_listens_itself(target: Target, elf: bytes) -> None:
    program = order(elf)
    with attach_site(target.pid, "shop:order", program):
        target.do("fork")
        assert program.number("count") == 0
        target.do("run 1")
        assert program.number("count") == THREADS


def test_a_killed_controller_leaves_the_target_detached(target: Target, elf: bytes, tmp_path: Path) -> None:
    (tmp_path / "order.bpf.o").write_bytes(elf)
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from wbpf.bpf.user.attach import AttachedProgram, attach_site\n"
        "program = AttachedProgram.from_object(Path(sys.argv[1]).read_bytes(), 'probe/order')\n"
        "link = attach_site(int(sys.argv[2]), 'shop:order', program)\n"
        "while program.number('count') < 1000: time.sleep(0.001)\n"
        "print('counting', flush=True)\n"
        "time.sleep(600)\n"
    )
    with attach_site(target.pid, "shop:order", order(elf)):
        attached = float(target.do("measure"))
    arguments = [sys.executable, "-c", script, tmp_path / "order.bpf.o", str(target.pid)]
    controller = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert controller.stdout is not None
    target.do("spin")
    assert controller.stdout.readline() == "counting\n"
    controller.kill()
    controller.communicate()
    target.do("rest")
    deadline = time.monotonic() + 10
    while float(target.do("measure")) > attached / 2:
        assert time.monotonic() < deadline, "the killed controller's program still runs"
    program = order(elf)
    with attach_site(target.pid, "shop:order", program):
        target.do("run 10")
    assert program.number("count") == THREADS * 10


def test_what_can_not_be_attached_says_why(target: Target, elf: bytes) -> None:
    with pytest.raises(BpfError, match=r"no such site.*\n?.*readelf"):
        attach_site(target.pid, "shop:nothing", order(elf))
    with pytest.raises(BpfError, match="no process listens"):
        attach_site(1, "shop:order", order(elf))
    with pytest.raises(BpfError, match=r"there is no program 'probe/other'.*probe/order"):
        AttachedProgram.from_object(elf, "probe/other")


def request(target: Target, message: bytes, *fds: int) -> tuple[int, str]:
    """Send a message; the error and why."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(10)
        handle = os.open(socket_of(target).parent, os.O_PATH)
        connection.connect(f"/proc/self/fd/{handle}/probes.{target.pid}")
        os.close(handle)
        socket.send_fds(connection, [message], list(fds))
        error, _, _, _, why = struct.unpack("<iIQQ104s", connection.recv(4096))
        return error, why.rstrip(b"\0").decode()


def sealed(content: bytes, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_hostile_requests_are_refused(target: Target, elf: bytes, tmp_path: Path) -> None:
    good = site._REQUEST.pack(site._MAGIC, b"shop:order")
    head = site._PROGRAM.pack(site._MAGIC, 64, 0, 0, 0, 0, 0)
    assert request(target, b"hello")[1].startswith("it is no request")
    assert request(target, good)[1].startswith("it is no request")
    assert request(target, b"x" * len(good), sealed(head))[1].startswith("it is no request")
    assert request(target, good[:8] + b"x" * 256, sealed(head))[1].startswith("it is no request")
    with (tmp_path / "file").open("w+b") as file:
        file.write(head + bytes(64))
        file.flush()
        assert request(target, good, file.fileno())[1] == "a descriptor is no memfd, or not sealed"
    assert request(target, good, sealed(head, 0))[1] == "a descriptor is no memfd, or not sealed"
    assert request(target, good, sealed(head[:16]))[1] == "a memfd is shorter than it should be"
    assert request(target, good, sealed(head))[1] == "the program is cut off"
    for words in [
        (1, 64, 0, 0, 0, 0, 0),
        (site._MAGIC, 64, 64, 0, 0, 0, 0),
        (site._MAGIC, 1 << 40, 0, 0, 0, 0, 0),
        (site._MAGIC, 64, 0, 1 << 31, 0, 0, 0),
        (site._MAGIC, 64, 0, 0, 3, 0, 0),
    ]:
        fd = sealed(site._PROGRAM.pack(*words) + bytes(64))
        assert request(target, good, fd)[1] == "it is no program for this version of libwbpf"
        os.close(fd)
    helper = site._PROGRAM.pack(site._MAGIC, 64, 0, 1, 0, 0, 0) + struct.pack("<i", 1 << 20) + bytes(64)
    assert request(target, good, sealed(helper))[1] == "it calls a helper that there is not in user space"
    for sizes, why in [
        ((8, 2, 8), "a map's sizes do not fit each other"),
        ((8, 1 << 40, 1), "a map's sizes do not fit each other"),
        ((0, 0, 0), "a map's sizes do not fit each other"),
        ((1 << 30, 1, 8), "a memfd is shorter than it should be"),
    ]:
        one = site._PROGRAM.pack(site._MAGIC, 64, 0, 0, 1, 0, 0) + struct.pack("<QQQ", *sizes) + bytes(64)
        assert request(target, good, sealed(one), sealed(bytes(8)))[1] == why
    program = order(elf)
    with attach_site(target.pid, "shop:order", program):
        target.do("run 5")
    assert program.number("count") == THREADS * 5


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: another user is tried")
def test_other_users_are_refused(target: Target) -> None:
    path = socket_of(target)
    path.chmod(0o777)
    path.parent.chmod(0o755)
    script = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "c.connect(sys.argv[1])\n"
        "print(c.recv(4096)[24:].rstrip(b'\\0').decode())\n"
    )
    command = [sys.executable, "-S", "-c", script, path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.stdout == "only the process's user and root may attach\n", done.stderr


def test_notes_are_those_of_usdt_probes(sites_program: Path) -> None:
    notes = subprocess.run(
        ["readelf", "-n", sites_program], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for part in notes.split("Provider: ")[1:]:
        lines = [line.strip() for line in part.splitlines()]
        found[f"{lines[0]}:{lines[1].removeprefix('Name: ')}"] = lines
    assert set(found) == {"shop:order", "shop:all", "shop:none"}
    assert int(found["shop:order"][2].rsplit(" ", 1)[1], 16) > 0, "it has no semaphore"
    assert found["shop:order"][3].count("8@") == 2
    assert found["shop:all"][3].startswith("Arguments: 8@$-1 8@$-2 8@$-3 8@$4 8@$5 8@%")


def test_a_second_process_is_another(start: Callable[[], Target], elf: bytes) -> None:
    one, other = start(), start()
    program = order(elf)
    with attach_site(one.pid, "shop:order", program):
        other.do("run 100")
        assert program.number("count") == 0
        one.do("run 100")
    assert program.number("count") == THREADS * 100


def test_the_kernel_sees_the_same_site(target: Target, elf: bytes, tmp_path: Path) -> None:
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        if not have():
            pytest.skip(f"needs {have().what}: {have().why}")
    usdt = compile_bpf(ROOT / "tests/integration/bpf/usdt.bpf.c", tmp_path / "usdt.bpf.o", *FLAGS)
    program = order(elf)
    with Object.open(usdt) as probe:
        probe.load()
        with probe.programs["on_work"].attach(f"{target.program}:shop:order@{target.pid}", cookie=5):
            target.do("run 10")
            with attach_site(target.pid, "shop:order", program):
                target.do("run 10")
            target.do("run 10")
        target.do("run 10")
        assert probe.variables["calls"] == 3 * THREADS * 10
        assert probe.variables["sum"] == 3 * THREADS * sum(range(10))
        assert probe.variables["cookies"] == 5 * 3 * THREADS * 10
    assert program.number("count") == THREADS * 10


@pytest.mark.parametrize("compiler", ["gcc -std=gnu11", "g++ -std=gnu++17 -x c++"])
def test_the_example_of_the_docs(compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    page = (ROOT / "docs/probe-sites.md").read_text()
    blocks = re.findall(r"^```(?:c|python)\n// (\S+)\n(.*?)^```", page.replace("\n# ", "\n// "), re.M | re.S)
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    flags = [f"-I{C_ROOT / 'include'}", f"-L{C_ROOT / 'lib'}", f"-Wl,-rpath,{C_ROOT / 'lib'}"]
    command = [*compiler.split(), "shop.c", *flags, "-lwbpf", "-o", "shop"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with subprocess.Popen([tmp_path / "shop"], stdout=subprocess.PIPE) as shop:
        try:
            assert shop.stdout is not None and shop.stdout.readline() == b"open\n"
            done = subprocess.run(
                [sys.executable, "watch.py", str(shop.pid)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            shop.kill()
    assert re.fullmatch(r"\d+ orders\n", done.stdout), done.stderr
    assert int(done.stdout.split()[0]) > 10
