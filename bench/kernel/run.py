"""Slices of the programs of events.bpf.c, interleaved, their records read back."""

from __future__ import annotations

import mmap
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory

import wbpf
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings
from wbpf.build import compile_bpf
from wbpf.errors import BpfError
from wbpf.recorder import Segment, Watch
from wbpf.records import decode_run, parse_schemas

SOURCE = Path(__file__).with_name("events.bpf.c")
COUNT, WORDS = 64, 8  # as in the source
_HEADER, _BUSY, _LENGTH = 8, 1 << 31, (1 << 30) - 1


class Events:
    """The programs of one variant of rings, loaded, and how much each has appended."""

    def __init__(self, variant: str, folder: Path) -> None:
        flags = ("-Werror", "-DWBPF_PERF_RING") if variant == "perf" else ("-Werror",)
        self._stack = ExitStack()
        self._probe = self._stack.enter_context(
            Object.open(compile_bpf(SOURCE, folder / f"events.{variant}.o", *flags))
        )
        self.rings = self._stack.enter_context(KernelRings(self._probe, f"bench.{variant}"))
        self._ringbuf = _Ringbuf(self._probe.maps["ringbuf"].fd, self._probe.maps["ringbuf"].entries)
        self.appended: Counter[str] = Counter()
        self._number = 0

    def slice_ns(self, program: str, runs: int) -> float:
        """Nanoseconds an event, over so many runs of a program."""
        spent_ns = 0
        for _ in range(runs):
            spent_ns += self._probe.programs[program].test_run(context=pack("<Q", self._number)).result
            self._number += COUNT * WORDS
        self.appended[program] += runs * COUNT
        if program.startswith("ringbuf"):
            taken = self._ringbuf.drain()
            if taken != runs * COUNT:
                raise BpfError(f"{program}: {taken} of {runs * COUNT} events are in the ring buffer")
        return spent_ns / (runs * COUNT)

    def verify(self) -> None:
        """Look whether the ring has taken all, and what is still there is as it was written.

        Raises:
            BpfError: it is not.
        """
        written = sum(amount for program, amount in self.appended.items() if program.startswith("ring_"))
        written += self.appended["ring"]
        counters = self.rings.counters()
        if sum(row.records for row in counters) != written or any(row.refused for row in counters):
            raise BpfError(f"the rings have taken something else than {written} events", str(counters))
        with Segment.open(self.rings.path) as segment:
            schemas = parse_schemas(dict(segment.schemas()[1]))
            resident = 0
            for piece in Watch(segment).dump():
                words = list(decode_run(piece.data, schemas)[-1].fields.values())
                first = int(words[0])
                if words != list(range(first, first + WORDS)):
                    raise BpfError("an event was read that was not written", str(words))
                resident += 1
        if resident < min(written, 4096):
            raise BpfError(f"only {resident} events are still in the rings")

    def close(self) -> None:
        """Unload."""
        self._ringbuf.close()
        self._stack.close()


class _Ringbuf:
    """The reading end of BPF's ring buffer: a page of ours, a page of the kernel's, the data mapped twice."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self._size = size
        self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED)
        self._producer = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._page = page

    def drain(self) -> int:
        """Take all events; their words have to be in order."""
        at = int.from_bytes(self._consumer[:8], "little")
        end = int.from_bytes(self._producer[:8], "little")
        taken = 0
        while at < end:
            place = self._page + at % self._size
            length = int.from_bytes(self._producer[place : place + 4], "little")
            if length & _BUSY:
                raise BpfError("an event in the ring buffer was not submitted")
            last = place + _HEADER + (length & _LENGTH)
            first = int.from_bytes(self._producer[last - 8 * WORDS : last - 8 * WORDS + 8], "little")
            if int.from_bytes(self._producer[last - 8 : last], "little") != first + WORDS - 1:
                raise BpfError("an event in the ring buffer is not as it was written")
            at += (_HEADER + (length & _LENGTH) + 7) // 8 * 8
            taken += 1
        self._consumer[:8] = at.to_bytes(8, "little")
        return taken

    def close(self) -> None:
        self._consumer.close()
        self._producer.close()


@contextmanager
def recording() -> Iterator[Path]:
    """A host of our own, this process recording, pinned to a processor."""
    affinity = os.sched_getaffinity(0)
    with TemporaryDirectory(dir="/dev/shm", prefix="wbpf-bench-") as folder:
        os.environ["WBPF_DIR"] = folder
        os.sched_setaffinity(0, {max(affinity)})
        wbpf.open("bench", size_mib=4)
        try:
            yield Path(folder)
        finally:
            wbpf.close()
            os.sched_setaffinity(0, affinity)


def measure(rounds: int, runs: int, seed: int) -> dict[str, list[float]]:
    """Samples in nanoseconds an event, by variant and program, as `array/ring`."""
    order = random.Random(seed)
    samples: dict[str, list[float]] = defaultdict(list)
    with recording() as folder, ExitStack() as stack:
        events = {variant: Events(variant, folder) for variant in ("array", "perf")}
        for one in events.values():
            stack.callback(one.close)
        for _ in range(rounds):
            samples["unknown/context"].append(events["array"].slice_ns("context", runs))
        for one in events.values():
            one.rings.follow()
        slices = [
            ("array", "ring"),
            ("array", "ring_in_trace"),
            ("array", "ringbuf_event"),
            ("array", "ringbuf_in_trace"),
            ("array", "context"),
            ("perf", "ring"),
        ]
        with wbpf.trace("bench"):
            for _ in range(rounds):
                order.shuffle(slices)
                for variant, program in slices:
                    samples[f"{variant}/{program}"].append(events[variant].slice_ns(program, runs))
            for one in events.values():
                one.verify()
    return samples
