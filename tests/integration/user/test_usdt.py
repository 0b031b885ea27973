"""USDT probes of a process, with libbpf's header."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import FLAGS
from tests.integration.user.conftest import Target
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.errors import BpfError

ROOT = Path(__file__).parents[3]
THREADS = 4

PROGRAM = r"""
#include <stdio.h>
#include <unistd.h>
unsigned short shop_sold_semaphore __attribute__((section(".probes")));
/* What sys/sdt.h makes of DTRACE_PROBE1(shop, sold, amount), with a semaphore. */
#define PROBE(amount) __asm__ volatile("990: nop\n" ".pushsection .note.stapsdt,\"?\",\"note\"\n" \
    ".balign 4\n.4byte 8, 994f-993f, 3\n.asciz \"stapsdt\"\n993: .8byte 990b, 0, shop_sold_semaphore\n" \
    ".asciz \"shop\"\n.asciz \"sold\"\n.asciz \"-4@%0\"\n994: .balign 4\n.popsection\n" :: "nor"(amount))
static volatile int sold;
__attribute__((noinline)) void sell(int amount)
{
    if (*(volatile unsigned short *)&shop_sold_semaphore) {
        PROBE(amount);
        sold += amount;
    }
}
int main(void)
{
    puts("ready");
    fflush(stdout);
    for (char c; read(0, &c, 1) == 1;)
        for (int i = -10; i < 100; i++)
            sell(i);
    return shop_sold_semaphore;
}
"""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    return compile_bpf(ROOT / "tests/integration/bpf/usdt.bpf.c", tmp_path / "usdt.bpf.o", *FLAGS)


def test_probes_of_a_program_that_knows_nothing_of_wbpf(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    program = tmp_path / "shop"
    subprocess.run(["gcc", "-O2", "-x", "c", "-", "-o", program], input=PROGRAM.encode(), check=True)
    with (
        Traced.launch([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject.open(probe, traced=traced) as usdt,
    ):
        usdt.load()
        with pytest.raises(BpfError, match=r"no such probe(.|\n)*shop:sold"):
            usdt.programs["on_work"].attach(f"{program}:shop:bought")
        link = usdt.programs["on_work"].attach(f"{program}:shop:sold", cookie=5)
        traced.go()
        process = traced.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(b"xx")
        process.stdin.flush()
        while usdt.variables["calls"] < 220:
            assert process.poll() is None
        link.detach()
        process.communicate(b"x", timeout=20)
        assert process.returncode == 0, "the semaphore was not counted down"
        assert usdt.variables["calls"] == 220
        assert usdt.variables["sum"] == 2 * sum(range(-10, 100))
        assert usdt.variables["cookies"] == 5 * 220


def test_probe_sites_are_usdt_probes_too(probe: Path, start: Callable[[], Target]) -> None:
    target = start()
    with UserObject.open(probe, traced=Traced.of(target.pid)) as usdt:
        usdt.load()
        with usdt.programs["on_work"].attach(f"{target.program}:shop:order"):
            target.do("run 100")
        target.do("run 100")
        assert usdt.variables["calls"] == THREADS * 100
        assert usdt.variables["sum"] == THREADS * sum(range(100))
