"""Programs attached to the probe sites of a Python program, and to those of the pool library in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wbpf
from tests.integration.user.test_sites import words
from wbpf.bpf.user.attach import attach_site, list_sites
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.errors import BpfError, ConfigError

HERE = Path(__file__).parent
PROGRAM = """
import os, sys
import wbpf
ORDER = wbpf.probe("shop", "order")
assert wbpf.probe("shop", "order").name == ORDER.name == "shop:order"

def orders(count):
    for number in range(count):
        ORDER(number, "text")

def in_child():
    if (child := os.fork()) == 0:
        orders(10)
        os._exit(0)
    os.waitpid(child, 0)

print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""
POOL = """
import sys
from wbpf.pool import Pool
host = Pool.open(sys.argv[1]).join("host1")

def work(count):
    for number in range(count):
        with host.create(f"object {number}", 1000) as buffer:
            buffer[:] = bytes(1000)
        for _ in range(2):
            with host.get(f"object {number}") as view:
                assert len(view) == 1000
        host.delete(f"object {number}")

print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Running:
    """A Python program that evaluates what it is told to."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self._answer() == "ready"

    def ask(self, expression: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "shop")
    started: list[Running] = []

    def run(program: str, *arguments: str) -> Running:
        started.append(Running(program, *arguments))
        return started[-1]

    yield run
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def python_elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("sites") / "python.bpf.o"
    return compile_bpf(HERE / "sites_of_python.bpf.c", out).read_bytes()


@pytest.fixture
def seen(python_elf: bytes) -> Iterator[UserObject]:
    with UserObject(python_elf, "python") as made:
        made.load()
        yield made


def text_of(seen: UserObject, name: str) -> str:
    return str(seen.variables[name])


def test_each_call_is_counted_while_attached_and_none_else(start: Start, seen: UserObject) -> None:
    shop = start(PROGRAM)
    shop.ask("orders(100)")
    assert shop.ask("bool(ORDER)") == "False"
    with attach_site(shop.pid, "shop:order", seen.programs["order"]) as link:
        assert link.sites == 1
        assert shop.ask("bool(ORDER)") == "True"
        shop.ask("orders(5000)")
        ended = link.detach()
    assert (ended.stopped, ended.missed) == (0, 0)
    assert shop.ask("bool(ORDER)") == "False"
    shop.ask("orders(100)")
    assert (seen.variables["count"], seen.variables["sum"]) == (5000, sum(range(5000)))
    assert text_of(seen, "text") == "text"


@pytest.mark.parametrize(
    ("call", "numbers"),
    [
        ("ORDER()", [0] * 9),
        ("ORDER(-1, None, True, 2**64 + 5, 1.5, [], -2**63, 8)", [-1, 0, 1, 5, 0, 0, -(2**63), 8, 8]),
        ("ORDER(7, '\\udc80')", [7, 0, 0, 0, 0, 0, 0, 0, 2]),
    ],
)
def test_arguments(start: Start, seen: UserObject, call: str, numbers: list[int]) -> None:
    shop = start(PROGRAM)
    with attach_site(shop.pid, "shop:order", seen.programs["order"]):
        assert shop.ask(call) == "None"
    assert words(seen, "seen", "q") == numbers


@pytest.mark.parametrize(("call", "text"), [("b'by\\0tes'", "by"), ("'Ünï'", "Ünï"), ("'x' * 99", "x" * 15)])
def test_texts_and_bytes_are_read_by_their_address(
    start: Start, seen: UserObject, call: str, text: str
) -> None:
    shop = start(PROGRAM)
    with attach_site(shop.pid, "shop:order", seen.programs["order"]):
        shop.ask(f"ORDER(1, {call})")
    assert text_of(seen, "text") == text


def test_a_child_begins_detached_and_listens_itself(start: Start, seen: UserObject) -> None:
    shop = start(PROGRAM)
    with attach_site(shop.pid, "shop:order", seen.programs["order"]):
        shop.ask("in_child()")
        assert seen.variables["count"] == 0
        shop.ask("orders(3)")
    assert seen.variables["count"] == 3


def test_what_a_killed_process_leaves_is_swept(start: Start, tmp_path: Path) -> None:
    killed, alive = start(PROGRAM), start(PROGRAM)
    killed.close()
    folder = tmp_path / "wbpf/shop"
    names = {f"probes.{one.pid}" for one in (killed, alive)}
    assert {path.name for path in folder.iterdir()} == names, "the killed one could not clean up"
    third = start(PROGRAM)
    assert {path.name for path in folder.iterdir()} == {f"probes.{one.pid}" for one in (alive, third)}
    assert "shop:order" in list_sites(alive.pid)


def test_its_sites_are_listed(start: Start, seen: UserObject) -> None:
    shop = start(PROGRAM)
    names = list_sites(shop.pid)
    assert "shop:order" in names and "wbpf_pool:create" in names
    shop.ask("wbpf.probe('shop', 'later')")
    assert set(list_sites(shop.pid)) - set(names) == {"shop:later"}
    with pytest.raises(BpfError, match=r"no such site\n  try: did you mean shop:order\?"):
        attach_site(shop.pid, "shop:orders", seen.programs["order"])
    with pytest.raises(BpfError, match="no process listens"):
        list_sites(1)


def test_wrong_calls_are_errors_attached_or_not() -> None:
    site = wbpf.probe("shop", "wrong")
    for call in (lambda: site(*range(9)), lambda: site(number=1)):  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="up to 8 arguments, none by name"):
            call()
    for provider, name in (("shop", "or der"), ("", "order"), ("shop", "ö"), ("s" * 200, "o" * 60)):
        with pytest.raises(ConfigError, match="can't be called"):
            wbpf.probe(provider, name)


SITES = ("create", "seal", "get", "release", "delete", "flush", "fetch", "invalidate", "abort", "mismatch")


def test_the_pool_of_a_running_process_is_counted(start: Start, seen: UserObject, tmp_path: Path) -> None:
    """40 objects: each created and sealed once, read twice, deleted."""
    from wbpf.pool import Pool

    path = str(tmp_path / "pool")
    Pool.create(path, 8 << 20, hosts=["host1", "host2"])
    worker = start(POOL, path)
    worker.ask("work(3)")
    links = [
        attach_site(worker.pid, f"wbpf_pool:{name}", seen.programs["pool"], cookie=number)
        for number, name in enumerate(SITES)
    ]
    with attach_site(worker.pid, "wbpf_pool:create", seen.programs["created"]):
        worker.ask("work(40)")
    for link in links:
        assert link.sites == 1
        link.detach()
    worker.ask("work(3)")
    calls = dict(zip(SITES, words(seen, "calls", "Q"), strict=False))
    assert calls == {
        "create": 40,
        "seal": 40,
        "get": 80,
        "release": 80,
        "delete": 40,
        "flush": 40,
        "fetch": 80,
        "invalidate": 80,
        "abort": 0,
        "mismatch": 0,
    }
    sizes = dict(zip(SITES, words(seen, "bytes", "Q"), strict=False))
    assert sizes["create"] == sizes["seal"] == 40 * 1000 and sizes["get"] == 80 * 1000
    lines = sizes["flush"]  # lines that were dirty: all of them, 16 of 64 bytes and those of the envelope
    assert lines % 40 == 0 and lines // 40 >= 16
    assert sizes["fetch"] == sizes["invalidate"] == 2 * lines
    assert text_of(seen, "last_id") == "object 39"
