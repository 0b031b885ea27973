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
from wbpf.bpf.user.attach import MODULES, Traced, attach_site, wire
from wbpf.bpf.user.maps import UserMap
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.build.zig import compile_c
from wbpf.errors import BpfError, ConfigError

THREADS = 4
ROOT = Path(__file__).parents[3]


def order(elf: bytes) -> UserObject:
    orders = UserObject(elf, "order")
    orders.load()
    return orders


def words(orders: UserObject, variable: str, kind: str) -> list[int]:
    return list(memoryview(bytes(orders.variables[variable])).cast("B").cast(kind))  # type: ignore[call-overload]


def socket_of(target: Target) -> Path:
    return Path(os.environ["WBPF_DIR"]) / "shop" / f"probes.{target.pid}"


def test_every_call_is_counted_while_attached_and_none_else(target: Target, elf: bytes) -> None:
    program = order(elf)
    assert program.programs["order"].program.is_proved
    target.do("run 1000")
    assert program.variables["count"] == 0
    with attach_site(target.pid, "shop:order", program.programs["order"]) as link:
        assert link.sites == 1
        target.do("run 50000")
        assert program.variables["count"] == THREADS * 50000
        assert program.variables["sum"] == THREADS * sum(range(50000))
        slots = words(program, "slots", "Q")
        assert slots[:5] == [THREADS * 2, THREADS * 2, THREADS * 4, THREADS * 8, THREADS * 16]
        assert sum(slots) == THREADS * 50000
        ended = link.detach()
    assert (ended.stopped, ended.missed) == (0, 0)
    target.do("run 1000")
    assert program.variables["count"] == THREADS * 50000


def test_an_object_for_a_process_attaches_to_it_until_it_is_closed(target: Target, elf: bytes) -> None:
    with UserObject(elf, "order", traced=Traced.of(target.pid)) as orders:
        orders.load()
        orders.programs["order"].attach("shop:order")
        target.do("run 10")
        assert orders.variables["count"] == THREADS * 10
        with pytest.raises(ConfigError, match="no PROVIDER:NAME"):
            orders.programs["order"].attach()
        with orders.programs["all"].attach("shop:all") as link:
            assert not link.detach().stopped
        slots = orders.maps[".bss"]
        kept = UserMap.open(slots.fileno())
    before = kept[bytes(4)]
    target.do("run 10")
    assert kept[bytes(4)] == before


def test_what_user_space_has_no_place_for_is_named(elf: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with UserObject(elf, "order") as orders:
        orders.load()
        with pytest.raises(ConfigError, match="one of a process"):
            orders.programs["order"].attach("shop:order")
        monkeypatch.delitem(MODULES, "uprobe", raising=False)
        with pytest.raises(BpfError, match="no place for programs of section 'uprobe'"):
            orders.programs["other"].attach()


def test_detaching_waits_for_threads_that_are_inside(target: Target, elf: bytes) -> None:
    program = order(elf)
    target.do("spin")
    for _ in range(20):
        before = program.variables["count"]
        link = attach_site(target.pid, "shop:order", program.programs["order"])
        deadline = time.monotonic() + 10
        while program.variables["count"] < before + 1000 and time.monotonic() < deadline:
            time.sleep(0.001)
        link.detach()
        counted = program.variables["count"]
        assert counted >= before + 1000
        time.sleep(0.002)
        assert program.variables["count"] == counted
    target.do("rest")


def test_programs_share_a_site(target: Target, elf: bytes) -> None:
    first, second = order(elf), order(elf)
    with attach_site(target.pid, "shop:order", first.programs["order"]):
        target.do("run 10")
        with attach_site(target.pid, "shop:order", second.programs["order"]):
            target.do("run 10")
        target.do("run 10")
    assert (first.variables["count"], second.variables["count"]) == (THREADS * 30, THREADS * 10)


def test_arguments_are_extended_as_their_types_say(target: Target, elf: bytes) -> None:
    program = order(elf)
    with attach_site(target.pid, "shop:all", program.programs["all"]):
        target.do("all")
    seen = words(program, "seen", "q")
    assert seen[:5] == [-1, -2, -3, 4, 5]
    assert seen[5] > 0
    assert seen[6:] == [1, 255, 8]
    with attach_site(target.pid, "shop:none", program.programs["all"]):
        target.do("all")
    assert words(program, "seen", "q") == [0] * 9


def test_a_child_begins_detached_and_listens_itself(target: Target, elf: bytes) -> None:
    program = order(elf)
    with attach_site(target.pid, "shop:order", program.programs["order"]):
        target.do("fork")
        assert program.variables["count"] == 0
        target.do("run 1")
        assert program.variables["count"] == THREADS


def test_a_killed_controller_leaves_the_target_detached(target: Target, elf: bytes, tmp_path: Path) -> None:
    (tmp_path / "order.bpf.o").write_bytes(elf)
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from wbpf.bpf.user.attach import attach_site\n"
        "from wbpf.bpf.user.objects import UserObject\n"
        "orders = UserObject.open(sys.argv[1])\n"
        "orders.load()\n"
        "link = attach_site(int(sys.argv[2]), 'shop:order', orders.programs['order'])\n"
        "while orders.variables['count'] < 1000: time.sleep(0.001)\n"
        "print('counting', flush=True)\n"
        "time.sleep(600)\n"
    )
    with attach_site(target.pid, "shop:order", order(elf).programs["order"]):
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
    with attach_site(target.pid, "shop:order", program.programs["order"]):
        target.do("run 10")
    assert program.variables["count"] == THREADS * 10


def test_what_can_not_be_attached_says_why(target: Target, elf: bytes) -> None:
    with pytest.raises(BpfError, match=r"no such site\n  try: it has shop:all, shop:none, shop:order, "):
        attach_site(target.pid, "x:gone", order(elf).programs["order"])
    with pytest.raises(BpfError, match=r"no such site\n  try: did you mean shop:order\?"):
        attach_site(target.pid, "shop:odrer", order(elf).programs["order"])
    with pytest.raises(BpfError, match="no process listens"):
        attach_site(1, "shop:order", order(elf).programs["order"])
    with pytest.raises(BpfError, match=r"program 'other' is for 'uprobe'"):
        attach_site(target.pid, "shop:order", order(elf).programs["other"])


def request(target: Target, message: bytes, *fds: int) -> tuple[int, str]:
    """Send a message; the error and why."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(10)
        handle = os.open(socket_of(target).parent, os.O_PATH)
        connection.connect(f"/proc/self/fd/{handle}/probes.{target.pid}")
        os.close(handle)
        socket.send_fds(connection, [message], list(fds))
        answer = wire.REPLY.unpack(connection.recv(4096))
        return answer[0], answer[-1].rstrip(b"\0").decode()


def sealed(content: bytes, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_hostile_requests_are_refused(target: Target, elf: bytes, tmp_path: Path) -> None:
    good = wire.REQUEST.pack(wire.MAGIC, wire.AttachKind.SITE, 0, 0, 0, 0, b"shop:order")
    good += bytes(wire.CODE.size)
    head = wire.PROGRAM.pack(wire.MAGIC, 64, 0, 0, 0, 0, 0)
    assert request(target, b"hello")[1].startswith("it is no request")
    assert request(target, good)[1].startswith("it is no request")
    assert request(target, b"x" * len(good), sealed(head))[1].startswith("it is no request")
    assert request(target, good[:40] + b"x" * 256 + good[296:], sealed(head))[1].startswith(
        "it is no request"
    )
    with (tmp_path / "file").open("w+b") as file:
        file.write(head + bytes(64))
        file.flush()
        assert request(target, good, file.fileno())[1] == "a descriptor is no memfd, or not sealed"
    assert request(target, good, sealed(head, 0))[1] == "a descriptor is no memfd, or not sealed"
    assert request(target, good, sealed(head[:16]))[1] == "a memfd is shorter than it should be"
    assert request(target, good, sealed(head))[1] == "the program is cut off"
    for words in [
        (1, 64, 0, 0, 0, 0, 0),
        (wire.MAGIC, 64, 64, 0, 0, 0, 0),
        (wire.MAGIC, 1 << 40, 0, 0, 0, 0, 0),
        (wire.MAGIC, 64, 0, 1 << 31, 0, 0, 0),
        (wire.MAGIC, 64, 0, 0, 3, 0, 0),
    ]:
        fd = sealed(wire.PROGRAM.pack(*words) + bytes(64))
        assert request(target, good, fd)[1] == "it is no program for this version of libwbpf"
        os.close(fd)
    helper = wire.PROGRAM.pack(wire.MAGIC, 64, 0, 1, 0, 0, 0) + struct.pack("<i", 1 << 20) + bytes(64)
    assert request(target, good, sealed(helper))[1] == "it calls a helper that there is not in user space"
    one = wire.PROGRAM.pack(wire.MAGIC, 64, 0, 0, 1, 0, 0) + bytes(64)
    assert request(target, good, sealed(one), sealed(bytes(8192)))[1] == "a map can't be opened"
    assert request(target, good, sealed(one), sealed(bytes(8), 0))[1].endswith("not sealed")
    with (tmp_path / "map").open("w+b") as file:
        assert request(target, good, sealed(one), file.fileno())[1].endswith("not sealed")
    program = order(elf)
    with attach_site(target.pid, "shop:order", program.programs["order"]):
        target.do("run 5")
    assert program.variables["count"] == THREADS * 5


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
        "print(c.recv(4096)[48:].rstrip(b'\\0').decode())\n"
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


def test_maps_are_shared(target: Target, elf: bytes) -> None:
    program = order(elf)
    with attach_site(target.pid, "shop:order", program.programs["keyed"]):
        target.do("run 10")
    counted = {
        int.from_bytes(k, "little"): int.from_bytes(v, "little") for k, v in program.maps["numbers"].items()
    }
    assert counted == dict.fromkeys(range(10), THREADS)


def test_a_second_process_is_another(start: Callable[[], Target], elf: bytes) -> None:
    one, other = start(), start()
    program = order(elf)
    with attach_site(one.pid, "shop:order", program.programs["order"]):
        other.do("run 100")
        assert program.variables["count"] == 0
        one.do("run 100")
    assert program.variables["count"] == THREADS * 100


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
            with attach_site(target.pid, "shop:order", program.programs["order"]):
                target.do("run 10")
            target.do("run 10")
        target.do("run 10")
        assert probe.variables["calls"] == 3 * THREADS * 10
        assert probe.variables["sum"] == 3 * THREADS * sum(range(10))
        assert probe.variables["cookies"] == 5 * 3 * THREADS * 10
    assert program.variables["count"] == THREADS * 10


@pytest.mark.parametrize(
    "command",
    ["gcc -std=gnu11 shop.c -o shop", "g++ -std=gnu++17 -x c++ shop.c -o shop", ""],
    ids=["c", "c++", "python"],
)
def test_the_examples_of_the_docs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shop in C, C++ and Python, watched by the same eBPF program."""
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    page = (ROOT / "docs/probe-sites.md").read_text()
    blocks = re.findall(r"^```(?:c|python)\n// (\S+)\n(.*?)^```", page.replace("\n# ", "\n// "), re.M | re.S)
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    run = [sys.executable, "orders.py"]
    if command:
        flags = [f"-I{C_ROOT / 'include'}", f"-L{C_ROOT / 'lib'}", f"-Wl,-rpath,{C_ROOT / 'lib'}", "-lwbpf"]
        subprocess.run([*command.split(), *flags], cwd=tmp_path, check=True)
        run = ["./shop"]
    with subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE) as shop:
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


def test_sites_in_code_that_the_linker_leaves_out(tmp_path: Path) -> None:
    """Lld drops sections that are known by their ends alone, while the note of where sites are stays."""
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    source, program = tmp_path / "never.c", tmp_path / "never"
    never = "void never(void) { WBPF_PROBE(shop, never, 1); }"
    source.write_text(f"#include <wbpf/probe.h>\n{never}\nint main(void) {{ return 7; }}\n")
    flags = ["-O2", "-ffunction-sections", "-Wl,--gc-sections", "-DWBPF_WEAK", f"-I{C_ROOT / 'include'}"]
    compile_c([source], program, flags)
    assert subprocess.run([program], check=False).returncode == 7
