"""A process that loads a program and records with it, until it is killed or told to end, as subjects are."""

from __future__ import annotations

import json
import sys

from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings


def main(path: str, name: str, pin: str) -> None:
    with Object.open(path) as probe, KernelRings(probe, name, ring_kib=64, pin=pin or None) as rings:
        probe.programs["on_enter"].attach()
        print(json.dumps("ready"), flush=True)
        for _ in sys.stdin:
            rings.follow()
            print(json.dumps("followed"), flush=True)


main(*sys.argv[1:])
