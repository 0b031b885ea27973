"""Damaged messages and damaged bytes over gRPC itself: the daemons refuse them, go on, and stay small.

For longer: `FUZZ_SECONDS=600 FUZZ_FIRST=1 python -m pytest tests/integration/gather/test_fuzzed_wire.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tests.fuzz.messages import damage
from tests.integration.gather.conftest import Start
from tests.integration.gather.test_hostile import facts, hello, still_works
from wbpf.wire import COLLECTION, COORDINATION, Method, connect
from wbpf.wire import gather_pb2 as pb

SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
FIRST = int(os.environ.get("FUZZ_FIRST", "1"))
IDS = [bytes([n]) * 16 for n in range(1, 6)]
#: An answer may take longer than we wait: then the call is cancelled, which the daemons have to bear too.
PATIENCE_S = 0.05
RSS_MOST_MIB = 400
#: What gRPC logs of bytes that are no message, and of a call that the other side cancels as it ends.
EXPECTED = {"google.protobuf.message.DecodeError", "grpc._cython.cygrpc.ExecuteBatchError"}


def an_agent_says(rng: random.Random) -> list[Any]:
    trace_id = rng.choice(IDS)
    fire = pb.Fire(
        fire_id=rng.randrange(5), trace_id=trace_id, trigger="fuzz", laterals=rng.choice(IDS), weight=2
    )
    crumbs = pb.Crumbs(peer_host_id=rng.randrange(3), edges=[1, 2])
    found = pb.Found(
        gather=rng.randrange(20), records=2, bytes=64, sent=[crumbs], received=[crumbs], start_unix_ns=1
    )
    said = [
        pb.FromAgent(fires=pb.Fires(fires=[fire])),
        pb.FromAgent(founds=pb.Founds(found=[found])),
        pb.FromAgent(delivered=pb.Delivered(gathers=[rng.randrange(20)])),
        pb.FromAgent(heartbeat=pb.Heartbeat(watching=1)),
        pb.FromAgent(pong=pb.Pong(t0_unix_ns=1, t1_unix_ns=2, t2_unix_ns=3)),
        pb.FromAgent(reduces=pb.Reduces(reduces=[pb.Reduce(fire_id=1, trace_id=trace_id, level=9)])),
        pb.FromAgent(cleared=pb.Cleared(trace_ids=trace_id)),
        pb.FromAgent(current=pb.Current(query=1, trace_ids=trace_id)),
    ]
    return [hello("fuzz"), *rng.choices(said, k=rng.randrange(1, 8))]


def an_agent_delivers(rng: random.Random) -> list[Any]:
    piece = pb.WirePiece(segment=1, chunk=3, uses=1, tid=4, pid=5, starts_run=True, data=bytes(64))
    segment = pb.SegmentFacts(segment=1, segment_id=rng.getrandbits(63), service="fuzz", ticks_hz=10**9)
    traces = [pb.TracePieces(trace_id=rng.choice(IDS), pieces=[piece])]
    return [
        pb.Delivery(host=facts("fuzz"), segments=[segment], traces=traces, upto=1),
        *(pb.Delivery(traces=traces, upto=n) for n in range(2, rng.randrange(3, 6))),
    ]


def a_coordinator_concludes(rng: random.Random) -> list[Any]:
    host = pb.WireHostPart(
        name="fuzz", host_id=1, incarnation=1, status=pb.HOST_STATUS_PARTIAL, reasons=["x"]
    )
    concluded = pb.WireConclusion(trace_id=rng.choice(IDS), trigger="fuzz", ticket=1, hosts=[host])
    return [pb.Conclusions(conclusions=[concluded]) for _ in range(rng.randrange(1, 4))]


def a_person_asks(rng: random.Random) -> list[Any]:
    return [pb.DumpRequest(trace_ids=rng.choice(IDS))]


def a_person_clears(rng: random.Random) -> list[Any]:
    return [pb.ClearRequest(trace_ids=rng.choice(IDS))]


TALKS = [
    (COORDINATION["Attend"], an_agent_says),
    (COLLECTION["Deliver"], an_agent_delivers),
    (COLLECTION["Conclude"], a_coordinator_concludes),
    (COORDINATION["Dump"], a_person_asks),
    (COORDINATION["Clear"], a_person_clears),
]


def damaged(message: Any, rng: random.Random) -> bytes:
    """What is sent for a message: the message, another one, or no message at all."""
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        damage(message, rng, IDS)
    data: bytes = message.SerializeToString()
    if rng.random() < 0.2 and data:
        bent = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            bent[rng.randrange(len(bent))] = rng.randrange(256)
        data = bytes(bent[: rng.randrange(1, len(bent) + 1)])
    return data


async def talk(channel: grpc.aio.Channel, method: Method, said: list[bytes]) -> str:
    """Say all that, listen for a moment; how it ended."""
    if not method.streams:
        call = channel.unary_unary(method.path)(said[0], timeout=PATIENCE_S)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"
    stream = channel.stream_stream(method.path)()
    try:
        for data in said:
            await stream.write(data)
        end_s = time.monotonic() + PATIENCE_S
        while (left_s := end_s - time.monotonic()) > 0:
            if await asyncio.wait_for(stream.read(), left_s) is grpc.aio.EOF:
                return (await stream.code()).name
    except TimeoutError:
        return "OK"
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return (await stream.code()).name
    finally:
        stream.cancel()
    return "OK"


async def fuzz(addresses: dict[str, str], told: Counter[str]) -> int:
    channels = {service: connect(address, None) for service, address in addresses.items()}
    number, end_s = FIRST, time.monotonic() + SECONDS
    while time.monotonic() < end_s:
        rng = random.Random(number)
        method, make = rng.choice(TALKS)
        said = [damaged(message, rng) for message in make(rng)]
        told[f"{method.name} {await talk(channels[method.service], method, said)}"] += 1
        number += 1
    for channel in channels.values():
        await channel.close()
    return number - FIRST


def test_damaged_messages_over_grpc(start: Start, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    cluster = start("ab", logs=logs)
    tree = cluster.tree
    addresses = {
        COORDINATION["Attend"].service: tree.coordinator_address,
        COLLECTION["Deliver"].service: tree.collector_address,
    }
    told: Counter[str] = Counter()
    cases = asyncio.run(fuzz(addresses, told))
    print(f"{cases} cases from {FIRST}: {dict(told)}")
    for method, _ in TALKS:
        ends = {end.partition(" ")[2] for end in told if end.startswith(method.name + " ")}
        assert len(ends) > 1, f"{method.name}: only {ends}"
    still_works(cluster)
    for name, child in tree.children.items():
        rss_mib = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1]) * 4096 >> 20
        assert rss_mib < RSS_MOST_MIB, name
        assert child.log is not None
        raised = re.findall(r"(?:^|\\n)([\w.]+(?:Error|Exception)): ", child.log.read_text(), re.MULTILINE)
        assert set(raised) <= EXPECTED, name
