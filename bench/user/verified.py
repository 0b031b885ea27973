"""How long the verifier takes for a long program, and how much memory: in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.result import Bar, Row
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.verifier import Context, verify

_SET, _ADD, _EXIT = (
    bytes([opcode, 0, 0, 0, imm, 0, 0, 0]) for opcode, imm in ((0xB7, 0), (0x07, 1), (0x95, 0))
)
SECONDS, MIB = 120.0, 1500


def verifier_rows(count: int) -> Iterator[Row]:
    """A row for a program of so many instructions."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.user.verified", str(count)], capture_output=True, text=True, check=True
    )
    seconds, mib = (float(word) for word in done.stdout.split())
    note = f"processor time for {count:,} instructions, all proved; {mib:.0f} MiB more memory, at most {MIB}"
    yield Row("verifier", seconds, "s", bar=Bar(SECONDS, "two minutes"), note=note, facts={"mib": mib})


def main(count: int) -> None:
    """Print seconds and MiB."""
    code = _SET + _ADD * (count - 2) + _EXIT
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    verdict = verify(analyse(decode(code)), Context(64, memory=True))
    assert verdict.proof.complete
    mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    print(time.process_time() - begun, mib)


if __name__ == "__main__":
    main(int(sys.argv[1]))
