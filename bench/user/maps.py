"""Operations on maps, called by the same programs in user space and in the kernel."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from bench.result import Row, median_row
from wbpf.bpf import Object
from wbpf.bpf.user.objects import UserObject
from wbpf.build.compile import compile_bpf
from wbpf.errors import BpfError

_SOURCE = Path(__file__).with_name("maps.bpf.c")
_ROUNDS, _RUNS, _ENTRIES = 100, 500, 1024
_PACKET = bytes(64)
KERNEL = "the same program on the kernel's map, by BPF_PROG_TEST_RUN"


def map_rows(slices: int) -> list[Row]:
    """Rows `map/TYPE/OPERATION`, in ns for each operation.

    Args:
        slices: how often each is measured, in turn.

    Raises:
        BpfError: programs can't be loaded into the kernel here.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = compile_bpf(_SOURCE, Path(folder) / "maps.o")
        with Object.open(path) as kernel, UserObject.open(path) as user:
            backends: tuple[Object | UserObject, Object | UserObject] = (kernel, user)
            for one in backends:
                one.load()
                _fill(one)
            samples: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in user.programs}
            for _ in range(slices):
                for name, pair in samples.items():
                    for one, into in zip(backends, pair, strict=True):
                        into.append(_measure(one, name))
    return [_row(name, *pair) for name, pair in samples.items()]


def _fill(one: Object | UserObject) -> None:
    for number in range(_ENTRIES):
        for name in ("hash", "percpu_hash", "lru_hash"):
            there = one.maps[name]
            there[number.to_bytes(4, "little")] = bytes(there.value_bytes)
        bits = 16 + number % 17
        one.maps["lpm_trie"][struct.pack("<II", bits, number * 2654435761 & 0xFFFFFFFF)] = bytes(8)


def _measure(one: Object | UserObject, name: str) -> float:
    run = one.programs[name].test_run(_PACKET, repeat=_RUNS)
    if run.result:
        raise BpfError(f"{name} can't be measured", "its ring is full")
    if name.startswith("ringbuf"):
        with one.maps["ringbuf"].ring() as ring:
            while ring.read_frames(1 << 24):
                pass
    return run.duration_ns / _ROUNDS


def _row(name: str, kernel: list[float], user: list[float]) -> Row:
    kind, operation = next(
        (kind, name.removeprefix(f"{kind}_"))
        for kind in (
            "percpu_hash",
            "percpu_array",
            "lru_hash",
            "lpm_trie",
            "ringbuf",
            "hash",
            "array",
            "queue",
        )
        if name.startswith(f"{kind}_")
    )
    baseline = sorted(kernel)[len(kernel) // 2]
    note = "with the update that puts it back" if operation == "delete" else ""
    return median_row(f"map/{kind}/{operation}", "ns", user, baseline=baseline, baseline_is=KERNEL, note=note)
