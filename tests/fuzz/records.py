"""Hostile pieces: the codec, the schema parser, the store, assembly and every export of what they left.

`python -m tests.fuzz.records SECONDS [FIRST]`. Deliveries are damaged as messages, then taken in as the
collector does; of what it lets through, everything must be shown, or refused by a WbpfError.
"""

from __future__ import annotations

import io
import random
import tempfile
from collections import Counter
from pathlib import Path
from struct import pack

from tests.fuzz.messages import TEXTS, damage
from tests.fuzz.running import main
from wbpf.collector.intake import Intake, take_conclusion
from wbpf.errors import WbpfError
from wbpf.export import FORMATS, export
from wbpf.records import decode_run, host_id, parse_schemas, schema_id
from wbpf.records.codec import tick_range
from wbpf.records.layout import Kind
from wbpf.store import Store
from wbpf.wire import gather_pb2 as pb

IDS = [bytes([n]) * 16 for n in (1, 2, 3)]
LINES = (
    "work n:u64",
    "step name:str size:i32 ok:bool",
    "blob data:bytes x:f64",
    "bad n:u65",
    "a:b:c",
    " ",
    "",
    "x " + "f:u8 " * 400,
    "dup a:u8 a:u8",
)


def some_run(rng: random.Random) -> bytes:
    """Records, most of them possible, some cut or damaged."""
    data = b""
    for _ in range(rng.randrange(1, 8)):
        kind = rng.choice([*Kind, 0, 99]) | (0x80 if rng.random() < 0.7 else 0)
        payload = rng.randbytes(rng.choice((0, 3, 8, 16, 24, 40, 100)))
        if kind & 0x80:
            payload = rng.randrange(1 << rng.choice((1, 40, 64))).to_bytes(8, "little") + payload
        size = 8 + len(payload) + (rng.randrange(-9, 9) if rng.random() < 0.05 else 0)
        schema = schema_id(rng.choice(LINES)) if rng.random() < 0.8 else rng.randrange(1 << 32)
        record = pack("<HBBI", max(size, 0), kind, rng.randrange(256), schema) + payload
        data += record + bytes(-len(record) % 8)
    if rng.random() < 0.2:
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        data = bytes(flipped)
    return data


def some_delivery(rng: random.Random, host: str) -> pb.Delivery:
    """What an agent sends of one segment."""
    delivery = pb.Delivery(
        host=pb.HostFacts(protocol=1, name=host, host_id=host_id(host), incarnation=1, agent=7)
    )
    facts = delivery.segments.add(
        segment=1, segment_id=host_id(host) ^ 1, service="svc", ticks_hz=10**9, clock_kind=3
    )
    for line in rng.sample(LINES, 5):
        facts.schemas.add(schema_id=schema_id(line), descriptor_text=line)
    for n in range(rng.randrange(4)):
        facts.calibrations.add(
            ticks=n * 10**9, mono_ns=n * 10**9, unix_ns=(1_700_000_000 + n) * 10**9, error_ns=9
        )
    facts.processes.add(process=0, pid=5, name=rng.choice(TEXTS))
    for trace_id in rng.sample(IDS, 2):
        trace = delivery.traces.add(trace_id=trace_id)
        for n in range(rng.randrange(1, 4)):
            trace.pieces.add(
                segment=1, chunk=n, uses=1, start_unit=0, tid=1, pid=5, starts_run=True, data=some_run(rng)
            )
    return delivery


def store_delivery(store: Store, intake: Intake, delivery: pb.Delivery) -> None:
    """As wbpf.collector.committing does."""
    arrived = intake.take(delivery)
    with store.batch():
        if arrived.host is not None:
            store.put_host(arrived.host)
        for news in arrived.news:
            store.put_segment(news.segment)
            store.put_schemas(news.segment.segment_id, news.schemas)
            store.put_calibrations(news.segment.segment_id, news.calibrations)
            for process in news.processes:
                store.put_process(news.segment.segment_id, process.process, process.pid, process.name)
        store.put_pieces(arrived.pieces)


def attempt(told: Counter[str], what: str, work: object, *arguments: object) -> object:
    """Call something that may refuse."""
    try:
        done = work(*arguments)  # type: ignore[operator]
        told[what] += 1
    except WbpfError:
        told[f"{what} refused"] += 1
        return None
    return done


def one_case(rng: random.Random, told: Counter[str]) -> None:
    """A store filled by two hosts of which one sends damage, then shown in every way."""
    data = some_run(rng)
    schemas = attempt(
        told, "schemas", parse_schemas, {schema_id(line): line for line in rng.sample(LINES, 4)}
    )
    attempt(told, "run", decode_run, data, schemas or {})
    attempt(told, "ticks", tick_range, data)
    with (
        tempfile.TemporaryDirectory(prefix="wbpf-fuzz-") as folder,
        Store.open(Path(folder) / "s.db") as store,
    ):
        owners: dict[int, int] = {}
        for host in ("good", "bad"):
            intake = Intake(owners)
            for _ in range(rng.randrange(1, 4)):
                delivery = some_delivery(rng, host)
                if host == "bad":
                    for _ in range(rng.randrange(4)):
                        damage(delivery, rng, IDS)
                attempt(told, "delivery", store_delivery, store, intake, delivery)
        for trace_id in IDS[:2]:
            wire = pb.WireConclusion(trace_id=trace_id, trigger="t", fired_unix_ns=1, concluded_unix_ns=2)
            wire.hosts.add(name="good", host_id=host_id("good"), incarnation=1, status=1)
            for _ in range(rng.randrange(3)):
                damage(wire, rng, IDS)
            conclusion = attempt(told, "conclusion", take_conclusion, wire)
            if conclusion is not None:
                attempt(told, "stored", store.conclude, conclusion)
        show(store, told)


def show(store: Store, told: Counter[str]) -> None:
    """Everything that there is to see."""
    attempt(told, "list", lambda: list(store.traces()))
    attempt(told, "stats", store.stats)
    for trace_id in IDS:
        trace = attempt(told, "trace", store.trace, trace_id)
        if trace is not None:
            for name in FORMATS:
                attempt(told, name, export, [trace], name, io.BytesIO())


if __name__ == "__main__":
    main(one_case)
