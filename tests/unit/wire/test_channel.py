from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.unit.wire.certificates import Authority
from wbpf.errors import AccessError, ConfigError, WireError
from wbpf.wire import COORDINATION, Meter, TlsSpec, connect, handlers, serve
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.channel import is_loopback, may_speak_for, peer_names


class Answering:
    """A coordinator that only knows who asks."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.names: Any = "nobody asked"
        behaviours: dict[str, Callable[..., Any]] = dict.fromkeys(COORDINATION, self.refuse)
        behaviours.update(Status=self.status, Attend=self.echo)
        self.handler = handlers(COORDINATION, behaviours, self.meter)

    async def status(self, request: Any, context: Any) -> st.ClusterStatus:
        self.names = peer_names(context)
        return st.ClusterStatus(coordinator=st.CoordinatorStatus(address="here"))

    async def echo(self, requests: Any, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(pb.ToAgent(ping=pb.Ping(t0_unix_ns=message.pong.t0_unix_ns)))

    async def refuse(self, request: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)


async def ask(server: TlsSpec | None, client: TlsSpec | None) -> Any:
    answering = Answering()
    served, address = serve(answering.handler, "127.0.0.1:0", server)
    await served.start()
    channel = connect(address, client)
    try:
        await COORDINATION["Status"].call(channel, st.StatusRequest(), 3)
    finally:
        await channel.close()
        await served.stop(0)
    return answering.names


def test_without_tls_nobody_has_a_name() -> None:
    assert asyncio.run(ask(None, None)) is None


def test_with_tls_both_sides_show_certificates(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ours")
    names = asyncio.run(ask(authority.issue("daemons"), authority.issue("node-1", "*.rack.example")))
    assert set(names) == {"node-1", "*.rack.example"}


def test_strangers_and_the_nameless_get_no_answer(tmp_path: Path) -> None:
    ours, theirs = Authority.create(tmp_path / "ours"), Authority.create(tmp_path / "theirs")
    server, stranger = ours.issue("daemons"), theirs.issue("daemons")
    trusting = replace(stranger, ca=server.ca)  # believes us, but we did not sign it
    for client in (stranger, trusting, None, replace(server, name="other")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            asyncio.run(ask(server, client))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError):
        asyncio.run(ask(None, server))


def test_expired_certificates_and_those_of_another_host_get_no_answer(tmp_path: Path) -> None:
    ours = Authority.create(tmp_path / "ours")
    server, elsewhere = ours.issue("daemons"), ours.issue("elsewhere")
    expired = ours.issue("late", "daemons", days=-1)
    for serves, asks in ((server, expired), (expired, server), (elsewhere, server)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            asyncio.run(ask(serves, asks))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert set(asyncio.run(ask(server, elsewhere))) == {"elsewhere"}


def test_who_may_speak_for_whom() -> None:
    assert may_speak_for(None, "any")
    assert may_speak_for(["x", "node-1"], "node-1")
    assert may_speak_for(["*.rack.example"], "n1.rack.example")
    assert not may_speak_for(["*.rack.example"], "n1.sub.rack.example")
    assert not may_speak_for(["*.rack.example"], "rack.example")
    assert not may_speak_for(["node-1"], "node-2")
    assert not may_speak_for(["*."], "node-2")
    assert not may_speak_for([], "node-1")


def test_a_port_that_is_taken_is_not_shared() -> None:
    async def twice() -> None:
        first, address = serve(Answering().handler, "127.0.0.1:0", None)
        await first.start()
        try:
            with pytest.raises(WireError, match="can't be bound"):
                serve(Answering().handler, address, None)
        finally:
            await first.stop(0)

    asyncio.run(twice())


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", ":", "127.0.0.1:x"])
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    with pytest.raises(ConfigError):
        serve(Answering().handler, address, None)


def test_without_tls_only_loopback_is_served() -> None:
    with pytest.raises(ConfigError, match="without TLS"):
        serve(Answering().handler, "0.0.0.0:0", None)
    assert is_loopback("localhost:1") and is_loopback("[::1]:1") and is_loopback("127.9.9.9:1")
    assert not is_loopback("10.0.0.1:1") and not is_loopback("0.0.0.0:1")


def test_tls_files_are_needed_all_and_must_be_what_they_should(tmp_path: Path) -> None:
    assert TlsSpec.from_options(None, None, None) is None
    with pytest.raises(ConfigError, match="--tls-key, --tls-ca not given"):
        TlsSpec.from_options(tmp_path / "a", None, None)
    cert, key = tmp_path / "cert", tmp_path / "key"
    spec = TlsSpec(cert, key, cert)
    with pytest.raises(ConfigError, match="can't be read"):
        spec.read()
    cert.write_text("-----BEGIN CERTIFICATE-----")
    key.write_text("not a key")
    with pytest.raises(ConfigError, match="holds no PEM private key"):
        spec.read()
    key.write_text("-----BEGIN PRIVATE KEY-----")
    assert spec.read()[1] == b"-----BEGIN PRIVATE KEY-----"


def test_an_unreadable_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(AccessError, match=r"key\.pem"):
        TlsSpec(tmp_path / "key.pem", tmp_path / "key.pem", tmp_path / "key.pem").read()


def test_bytes_are_counted_by_kind_on_both_sides() -> None:
    async def talk() -> tuple[Meter, Meter]:
        answering, meter = Answering(), Meter()
        served, address = serve(answering.handler, "127.0.0.1:0", None)
        await served.start()
        channel = connect(address, None)
        call = COORDINATION["Attend"].stream(channel, meter)
        for n in range(3):
            await call.write(pb.FromAgent(pong=pb.Pong(t0_unix_ns=n + 1)))
            answer = await call.read()
            assert isinstance(answer, pb.ToAgent) and answer.ping.t0_unix_ns == n + 1
        call.cancel()
        await channel.close()
        await served.stop(0)
        return answering.meter, meter

    server, client = asyncio.run(talk())
    size = pb.FromAgent(pong=pb.Pong(t0_unix_ns=1)).ByteSize()
    sent = {count.kind: (count.sent_bytes, count.sent_messages) for count in client.counts()}
    heard = {count.kind: (count.received_bytes, count.received_messages) for count in server.counts()}
    assert sent["pong"] == heard["pong"] == (3 * size, 3)
    assert {count.kind for count in server.counts()} == {"ping", "pong"}
