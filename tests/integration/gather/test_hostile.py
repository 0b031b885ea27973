"""Peers that lie, strangers, and doubles: errors, never a crash, unbounded memory or another host's data."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.gather.cluster import Application, Cluster
from tests.integration.gather.conftest import Start
from tests.unit.wire.certificates import Authority
from wbpf.agent import Agent, AgentSpec
from wbpf.errors import ConfigError, WbpfError, WireError
from wbpf.records import Status, host_id
from wbpf.wire import COLLECTION, COORDINATION, Client, Meter, Method, Stream, StreamEnded, TlsSpec, connect
from wbpf.wire import gather_pb2 as pb

TRACE = b"lie!" * 4


@asynccontextmanager
async def peer(address: str, method: Method, tls: TlsSpec | None = None) -> AsyncIterator[Stream]:
    channel = connect(address, tls)
    stream = method.stream(channel, Meter())
    try:
        await stream.connect()
        yield stream
    finally:
        stream.cancel()
        await channel.close()


def hello(host: str, **changes: Any) -> pb.FromAgent:
    values = {"protocol": 1, "host": host, "host_id": host_id(host), "incarnation": 1, "agent_id": 77}
    return pb.FromAgent(hello=pb.Hello(**{**values, **changes}))


def facts(host: str) -> pb.HostFacts:
    return pb.HostFacts(protocol=1, name=host, host_id=host_id(host), incarnation=1)


async def say(
    address: str, method: Method, messages: Iterable[Any], tls: TlsSpec | None = None
) -> StreamEnded:
    """Say all that, and hear how it ends."""
    try:
        async with peer(address, method, tls) as stream:
            for message in messages:
                await stream.write(message)
            while True:
                await asyncio.wait_for(stream.read(), 5)
    except StreamEnded as ended:
        return ended


def still_works(cluster: Cluster) -> None:
    trace_id, apps = cluster.chain("ab")
    apps[0].trigger(trace_id)
    cluster.stored(trace_id)
    for application in apps:
        application.close()
    assert not cluster.tree.ended()


@pytest.mark.parametrize(
    "first",
    [
        pb.FromAgent(),
        pb.FromAgent(heartbeat=pb.Heartbeat()),
        hello("z", host_id=5),
        hello("z", protocol=9),
        hello("../../etc"),
        hello(""),
        hello("z", watching=[pb.Watching(trace_id=b"short")]),
    ],
)
def test_a_stranger_s_hello_is_refused(cluster: Cluster, first: pb.FromAgent) -> None:
    ended = asyncio.run(say(cluster.tree.coordinator_address, COORDINATION["Attend"], [first]))
    assert ended.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
    assert len(cluster.tree.status().hosts) == 4


def test_who_only_says_nonsense_is_sent_away(cluster: Cluster) -> None:
    nonsense = [
        pb.FromAgent(founds=pb.Founds(found=[pb.Found(gather=n, records=1 << 31)])) for n in range(150)
    ]
    ended = asyncio.run(
        say(cluster.tree.coordinator_address, COORDINATION["Attend"], [hello("liar"), *nonsense])
    )
    # gRPC says INTERNAL if the end comes while the client writes.
    assert ended.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
    assert "liar" not in [host.host for host in cluster.tree.status().hosts if host.connected]
    still_works(cluster)


def test_bytes_that_are_no_message_do_no_harm(cluster: Cluster) -> None:
    async def main() -> None:
        for address, method in (
            (cluster.tree.coordinator_address, COORDINATION["Attend"]),
            (cluster.tree.collector_address, COLLECTION["Deliver"]),
            (cluster.tree.collector_address, COLLECTION["Conclude"]),
        ):
            channel = connect(address, None)
            for size in (1, 100, 100_000, 5_000_000):
                call = channel.stream_stream(method.path)()
                with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                    await call.write(os.urandom(size))
                    while await asyncio.wait_for(call.read(), 5) is not grpc.aio.EOF:
                        pass
                    await asyncio.wait_for(call.wait_for_connection(), 5)
                    raise asyncio.InvalidStateError
            await channel.close()

    asyncio.run(main())
    still_works(cluster)


def test_a_live_host_has_one_agent(cluster: Cluster) -> None:
    ended = asyncio.run(say(cluster.tree.coordinator_address, COORDINATION["Attend"], [hello("a")]))
    assert ended.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "another agent speaks for host 'a'" in ended.details
    spec = AgentSpec(
        "a", cluster.tree.directory, cluster.tree.coordinator_address, cluster.tree.collector_address
    )
    with pytest.raises(ConfigError, match="an agent for host 'a' is running already"):
        Agent(spec).start()
    still_works(cluster)


def test_the_same_name_on_another_machine_is_told_so(cluster: Cluster, tmp_path: Path) -> None:
    spec = AgentSpec("b", tmp_path, cluster.tree.coordinator_address, cluster.tree.collector_address)
    with Agent(spec):
        still_works(cluster)
        (state,) = (host for host in cluster.tree.status().hosts if host.host == "b")
        assert state.agent.pid == cluster.tree.children["agent b"].pid


def test_what_another_host_has_is_not_overwritten(cluster: Cluster) -> None:
    trace_id, apps = cluster.chain("a")
    apps[0].trigger(trace_id)
    before = cluster.stored(trace_id).records
    identity = before[0].identity
    lie = pb.Delivery(
        host=facts("liar"),
        segments=[pb.SegmentFacts(segment=1, segment_id=identity.segment_id, service="svc", ticks_hz=1)],
        traces=[
            pb.TracePieces(
                trace_id=bytes.fromhex(trace_id),
                pieces=[
                    pb.WirePiece(
                        segment=1,
                        chunk=identity.chunk,
                        uses=identity.uses,
                        start_unit=identity.unit,
                        data=bytes(50_000),
                    )
                ],
            )
        ],
    )
    ended = asyncio.run(say(cluster.tree.collector_address, COLLECTION["Deliver"], [lie]))
    assert ended.code is grpc.StatusCode.INVALID_ARGUMENT
    found = cluster.find(trace_id)
    assert found is not None and found.records == before


def test_replayed_triggers_do_no_work_twice(cluster: Cluster) -> None:
    fire = pb.Fire(fire_id=123, trace_id=TRACE, trigger="replayed", start_unix_ns=1)
    again = [pb.FromAgent(fires=pb.Fires(fires=[fire] * 100))] * 20

    async def replay() -> int:
        async with peer(cluster.tree.coordinator_address, COORDINATION["Attend"]) as stream:
            await stream.write(hello("replayer"))
            for message in again:
                await stream.write(message)
            collects = 0
            try:
                while True:
                    message = await asyncio.wait_for(stream.read(), 1)
                    collects += len(message.collects.collects)
            except TimeoutError:
                return collects

    before = cluster.tree.status().coordinator
    assert asyncio.run(replay()) == 1
    after = cluster.tree.status().coordinator
    assert (
        sum(item.admitted for item in after.admission) == sum(item.admitted for item in before.admission) + 1
    )


@pytest.mark.slow
def test_a_flood_of_names_stays_bounded(cluster: Cluster) -> None:
    def fires(start: int) -> pb.FromAgent:
        return pb.FromAgent(
            fires=pb.Fires(
                fires=[
                    pb.Fire(
                        fire_id=1_000_000 + n,
                        trace_id=n.to_bytes(16, "big"),
                        trigger=f"name-{n}" * 50,
                        laterals=os.urandom(640),
                    )
                    for n in range(start, start + 500)
                ]
            )
        )

    def taken() -> int:
        shares = cluster.tree.client().status(10).coordinator.admission
        return sum(share.admitted + share.refused for share in shares)

    before = taken()

    async def flood() -> None:
        async with peer(cluster.tree.coordinator_address, COORDINATION["Attend"]) as stream:
            await stream.write(hello("flooder"))
            for start in range(1, 20_000, 500):
                await stream.write(fires(start))
            await asyncio.to_thread(cluster.until, lambda: taken() >= before + 20_000, "all to be heard", 60)

    asyncio.run(flood())
    status = cluster.tree.client().status(10).coordinator
    assert status.in_flight <= 4096 and len(status.admission) <= 513 and status.refused > 10_000
    cluster.until(lambda: cluster.tree.client().status(10).coordinator.in_flight == 0, "it to be over", 60)
    rss_mib = int(Path(f"/proc/{status.pid}/statm").read_text().split()[1]) * 4096 >> 20
    assert rss_mib < 400
    still_works(cluster)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ours")


def test_with_tls_a_cluster_gathers(start: Start, authority: Authority) -> None:
    tls = authority.issue("daemons", "a", "b")
    cluster = start("ab", tls=tls)
    still_works(cluster)
    stranger = Authority.create(authority.folder.parent / "theirs").issue("daemons", "a", "b")
    mixed = TlsSpec(stranger.cert, stranger.key, tls.ca, "daemons")
    for wrong in (None, stranger, mixed):
        with Client(cluster.tree.coordinator_address, wrong, 3) as client, pytest.raises(WireError):
            client.status()
    assert cluster.tree.status().coordinator.complete == 1
    ended = asyncio.run(
        say(cluster.tree.coordinator_address, COORDINATION["Attend"], [hello("c")], authority.issue("b"))
    )
    assert ended.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "may not speak for host 'c'" in ended.details
    delivery = pb.Delivery(host=facts("a"))
    ended = asyncio.run(
        say(cluster.tree.collector_address, COLLECTION["Deliver"], [delivery], authority.issue("c"))
    )
    assert ended.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "may not speak for host 'a'" in ended.details


def test_tls_files_that_are_wrong_are_named_at_the_start(start: Start, tmp_path: Path) -> None:
    with pytest.raises(WbpfError, match="can't be read"):
        start("a", tls=TlsSpec(tmp_path / "no.pem", tmp_path / "no.key", tmp_path / "no.ca"))


def test_a_segment_that_everybody_may_write_is_shown_and_not_used(start: Start) -> None:
    cluster = start("a")
    app = cluster.application("a")
    open_to_all = cluster.tree.directory / "a" / "evil.seg"
    open_to_all.write_bytes((cluster.tree.directory / "a" / "svc.seg").read_bytes())
    open_to_all.chmod(0o666)
    (cluster.tree.directory / "a" / "junk.seg").write_bytes(b"junk" * 1000)

    def faults() -> list[str]:
        return list(cluster.tree.status().hosts[0].agent.faults)

    told = cluster.until(lambda: len(faults()) == 2 and faults(), "both faults")
    assert any("evil.seg" in fault for fault in told) and any("junk.seg" in fault for fault in told)
    trace_id, _ = app.visit()
    app.trigger(trace_id)
    assert cluster.stored(trace_id).status is Status.COMPLETE
    assert isinstance(app, Application)


def test_a_segment_that_is_cut_under_the_agent_ends_alone(start: Start) -> None:
    cluster = start("a")
    victim, app = cluster.application("a", "victim"), cluster.application("a")
    for one in (victim, app):
        trace_id, _ = one.visit()
        one.trigger(trace_id)
        cluster.stored(trace_id)
    os.truncate(cluster.tree.directory / "a" / "victim.seg", 0)

    def faults() -> list[str]:
        return list(cluster.tree.status().hosts[0].agent.faults)

    (told,) = cluster.until(lambda: faults(), "the fault")
    assert "victim.seg" in told
    for _ in range(3):
        trace_id, _ = app.visit()
        app.trigger(trace_id)
        assert cluster.stored(trace_id).status is Status.COMPLETE
    assert not cluster.tree.ended()
    with pytest.raises(json.JSONDecodeError):  # its own application is ended by SIGBUS: docs/operating.md
        victim.visit()
