"""One agent's stream, from attaching to its end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio

from wbpf.coordinator.coordination import Coordination
from wbpf.coordinator.hosts import STRIKES_MOST, Host
from wbpf.coordinator.outbox import Outbox
from wbpf.errors import WbpfError
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.channel import may_speak_for, peer_names
from wbpf.wire.questions import Questions
from wbpf.wire.validate import Malformed, clip, split_ids, validate_trace_id

LOG = logging.getLogger("wbpf.coordinator")
#: Compare clocks so many times at once when an agent comes, then at every heartbeat.
FIRST_PINGS = 8
CLEARS_MOST = 65_536

Context = grpc.aio.ServicerContext[Any, Any]


class Attending:
    """The streams of all agents.

    Args:
        coordination: decides.
        questions: answers to what was asked of agents go here.
        verify_hosts: with TLS, an agent's certificate must name its host.
    """

    def __init__(self, coordination: Coordination, questions: Questions, verify_hosts: bool) -> None:
        self._coordination = coordination
        self._questions = questions
        self._verify_hosts = verify_hosts

    async def attend(self, _: Any, context: Context) -> None:
        """Serve one stream."""
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        something = asyncio.Event()
        try:
            host = self._attach(first, context, something)
        except WbpfError as error:
            LOG.warning(
                "an agent was refused",
                extra={"fields": {"peer": context.peer(), "host": clip(first.hello.host), "why": str(error)}},
            )
            code = (
                grpc.StatusCode.INVALID_ARGUMENT
                if isinstance(error, Malformed)
                else grpc.StatusCode.FAILED_PRECONDITION
            )
            await context.abort(code, str(error))
            return
        outbox = host.outbox
        assert outbox is not None
        LOG.info("an agent attached", extra={"fields": {"host": host.name, "peer": context.peer()}})
        tasks = [
            asyncio.ensure_future(self._write(outbox, something, context)),
            asyncio.ensure_future(self._read(host, outbox, context)),
        ]
        malformed: Malformed | None = None
        try:
            done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Malformed as error:
            malformed = error
        finally:
            self._coordination.detach(host, outbox)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            LOG.info("an agent left", extra={"fields": {"host": host.name, "peer": context.peer()}})
        if malformed is not None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(malformed))

    def _attach(self, first: pb.FromAgent, context: Context, something: asyncio.Event) -> Host:
        if first.WhichOneof("body") != "hello":
            raise Malformed("a stream that does not begin with a hello")
        names = peer_names(context) if self._verify_hosts else None
        if not may_speak_for(names, first.hello.host):
            raise WbpfError(
                f"this certificate may not speak for host {clip(first.hello.host)!r}",
                f"it names {', '.join(names or ()) or 'nobody'}",
                "sign a certificate with the host's name in it, or use --no-tls-verify-hosts",
            )
        return self._coordination.attach(first.hello, context.peer(), something.set)

    async def _write(self, outbox: Outbox, something: asyncio.Event, context: Context) -> None:
        clock = self._coordination.clock
        outbox.put(pb.ToAgent(ping=pb.Ping()))
        while True:
            await something.wait()
            something.clear()
            while messages := outbox.drain():
                for message in messages:
                    if message.WhichOneof("body") == "ping":
                        message.ping.t0_unix_ns = clock.unix_ns()
                    await context.write(message)

    async def _read(self, host: Host, outbox: Outbox, context: Context) -> None:
        pings = 1
        while True:
            message = await context.read()
            if message is grpc.aio.EOF or host.outbox is not outbox:
                return
            arrived_unix_ns = self._coordination.clock.unix_ns()
            self._coordination.heard(host)
            body = message.WhichOneof("body")
            try:
                if body == "pong":
                    self._coordination.pong(host, message.pong, arrived_unix_ns)
                    if pings < FIRST_PINGS:
                        pings += 1
                        outbox.put(pb.ToAgent(ping=pb.Ping()))
                elif body == "heartbeat":
                    host.watching = message.heartbeat.watching
                    outbox.put(pb.ToAgent(ping=pb.Ping()))
                else:
                    self._handle(host, outbox, body, message)
            except Malformed as error:
                host.strikes += 1
                if host.strikes > STRIKES_MOST:
                    raise
                if host.strikes == 1:
                    LOG.warning(
                        "a malformed message",
                        extra={"fields": {"host": host.name, "why": error.why or error.what}},
                    )

    def _handle(self, host: Host, outbox: Outbox, body: str | None, message: pb.FromAgent) -> None:
        coordination = self._coordination
        if body == "founds":
            for found in message.founds.found:
                coordination.found(host, found)
        elif body == "delivered":
            coordination.delivered(host, message.delivered.gathers)
        elif body == "fires":
            for fire in message.fires.fires:
                coordination.firing.fire(host, fire)
        elif body == "cleared":
            coordination.clear(split_ids(message.cleared.trace_ids, CLEARS_MOST), host)
        elif body == "reduces":
            for reduce in message.reduces.reduces:
                coordination.levels.change(validate_trace_id(reduce.trace_id), reduce.level)
                outbox.done(reduce.fire_id)
        elif body == "status":
            self._questions.answer(host.host_id, message.status.query, message.status)
        elif body == "current":
            self._questions.answer(host.host_id, message.current.query, message.current)
        else:
            raise Malformed(f"a message of kind {body}")
