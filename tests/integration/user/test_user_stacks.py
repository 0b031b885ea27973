"""Stacks of a process are the calls that led to a place, at each kind of place; as the kernel gives them."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.user.conftest import C_ROOT, HERE
from wbpf.bpf import Object, features
from wbpf.bpf.stacks import addresses, stack
from wbpf.bpf.symbols import symbolise
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="needs x86-64: the kernel dispatches system calls there alone"
)
PLACES = ("entry", "leave", "usdt", "call", "called", "raw", "site")
#: In the kernel USDT probes need libbpf's header, and are uprobes.
IN_BOTH = ("entry", "leave", "call", "called", "raw")
#: Innermost first. Where a function returns, its frame is gone.
INSIDE = ["inner", "middle", "outer", "main"]
KNOWN = dict.fromkeys(PLACES, INSIDE) | {"leave": INSIDE[1:]}


class Chain:
    """A running chain.c."""

    def __init__(self, process: subprocess.Popen[bytes], program: Path) -> None:
        self.process, self.program, self.pid = process, program, process.pid

    def call(self) -> None:
        """Once through it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(b"x")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"1\n"

    def attach(self, one: UserObject | Object, *, everywhere: bool) -> None:
        """Its programs; functions whose returns are traced leave other return addresses on the stack."""
        of = "" if isinstance(one, UserObject) else f"@{self.pid}"
        one.programs["on_entry"].attach(f"{self.program}:inner{of}")
        one.programs["on_leave"].attach(f"{self.program}:inner{of}")
        for name in ("on_call", "on_called", "on_raw"):
            one.programs[name].attach()
        if isinstance(one, UserObject):
            one.programs["on_usdt"].attach(f"{self.program}:chain:here")
            one.programs["on_site"].attach("chain:here")
        if everywhere:
            one.programs["on_leave"].attach(f"{self.program}:middle{of}")

    def names(self, one: UserObject | Object, place: str) -> list[str]:
        """The functions on the stack of a place, as long as they are its own."""
        words = addresses(bytes(memoryview(one.variables[f"at_{place}"]).cast("B")))  # type: ignore[arg-type]
        ids = struct.unpack("<7q", memoryview(one.variables["ids"]).cast("B"))  # type: ignore[arg-type]
        assert stack(one.maps["stacks"], ids[PLACES.index(place)]) == words
        names = [name.partition("+")[0] for name in symbolise(words, self.pid)]
        return names[: names.index("main") + 1] if "main" in names else names


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, library = tmp_path_factory.mktemp("chain") / "chain", C_ROOT / "lib"
    flags = ["-std=gnu11", "-O1", "-fno-omit-frame-pointer", f"-I{C_ROOT / 'include'}", f"-L{library}"]
    command = ["gcc", *flags, HERE / "chain.c", "-o", out, "-lwbpf", f"-Wl,-rpath,{library}"]
    subprocess.run(command, check=True)
    return out


@pytest.fixture
def chain(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "chain")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        one = Chain(process, program)
        one.call()
        yield one
        process.kill()


@pytest.fixture(scope="module")
def user_elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_bpf(
        HERE / "chain.bpf.c", tmp_path_factory.mktemp("chain") / "user.bpf.o", "-DIN_USER_SPACE"
    )


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_calls_that_led_there(chain: Chain, user_elf: Path, everywhere: bool) -> None:
    """Also where the returns of functions on the stack are traced."""
    with UserObject.open(user_elf, traced=Traced.of(chain.pid)) as one:
        one.variables["process"] = chain.pid
        one.load()
        chain.attach(one, everywhere=everywhere)
        chain.call()
        found = {place: chain.names(one, place) for place in PLACES if not (everywhere and place == "leave")}
    assert found == {place: KNOWN[place] for place in found}


def test_the_kernel_gives_the_same(chain: Chain, user_elf: Path, tmp_path: Path) -> None:
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
    found = {}
    kernel_elf = compile_bpf(HERE / "chain.bpf.c", tmp_path / "kernel.bpf.o")
    for elf, options in ((kernel_elf, None), (user_elf, Traced.of(chain.pid))):
        one = Object.open(elf) if options is None else UserObject.open(elf, traced=options)
        with one:
            one.variables["process"] = chain.pid
            one.load()
            chain.attach(one, everywhere=False)
            chain.call()
            found[elf] = {place: chain.names(one, place) for place in IN_BOTH}
    assert found[kernel_elf] == found[user_elf]
