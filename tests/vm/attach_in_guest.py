"""Run in a guest: attach each program of traced.bpf.c, do what it counts, print what came of it as JSON."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from wbpf.bpf import Object
from wbpf.bpf.tc_filters import remove_dead
from wbpf.errors import WbpfError

TIMES = 5
COUNTERS = {
    "on_kprobe": "kprobes",
    "on_kretprobe": "kretprobes",
    "on_fentry": "fentries",
    "on_fexit": "fexits",
    "on_ksyscall": "syscalls",
    "on_open": "opens",
    "on_multi": "multi",
}


def act() -> None:
    for i in range(TIMES):
        path = Path(f"/tmp/{i}")
        path.write_text("")  # opens
        path.unlink()  # do_unlinkat
        os.getpgid(0)


def try_traced(path: str) -> dict[str, int | str]:
    outcome: dict[str, int | str] = {}
    for name, counter in COUNTERS.items():
        with Object.open(path) as probe:
            for one in probe.programs.values():
                one.autoload = one.name == name
            try:
                probe.load()
                link = probe.programs[name].attach()
            except WbpfError as error:
                outcome[name] = str(error)
                continue
            probe.variables["pid"] = os.getpid()
            act()
            link.detach()
            seen = probe.variables[counter]
            act()
            assert probe.variables[counter] == seen, "detached programs count nothing"
            outcome[name] = int(seen)  # type: ignore[arg-type]
    return outcome


def try_tc(path: str) -> dict[str, int]:
    with Object.open(path) as probe:
        for one in probe.programs.values():
            one.autoload = one.name == "on_packet"
        probe.load()
        child = os.fork()
        if not child:  # dies with its filter attached, and its guard before it
            link = probe.programs["on_packet"].attach("lo:ingress")
            guard = Path("/proc/self/task", str(os.getpid()), "children").read_text().split()
            for pid in guard:
                os.kill(int(pid), 9)
            assert link.attached
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
        counted = [_packets(probe)]
        _send()
        counted.append(_packets(probe))
        removed = remove_dead()
        _send()
        counted.append(_packets(probe))
    return {"before": counted[1] - counted[0], "removed": removed, "after": counted[2] - counted[1]}


def _send() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        other.bind(("127.0.0.1", 0))
        for _ in range(TIMES):
            one.sendto(b"x", other.getsockname())


def _packets(probe: Object) -> int:
    packets = probe.variables["packets"]
    assert isinstance(packets, int)
    return packets


print(json.dumps({"traced": try_traced(sys.argv[1]), "tc": try_tc(sys.argv[1])}))
