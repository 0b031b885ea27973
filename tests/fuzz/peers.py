"""Peers that lie: damaged, repeated, reordered and borrowed messages before the daemons' real logic.

`python -m tests.fuzz.peers SECONDS [FIRST]`. One host of three lies to the coordinator and the collector, and
the coordinator lies to one agent. What is malformed is refused by a WbpfError; nothing else may be raised, no
host may deliver pieces of another's segment, and what is kept of it all stays bounded.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import Any

from tests.fuzz.messages import damage
from tests.fuzz.running import main
from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.test_protocol import Request, run
from wbpf.collector.intake import Intake
from wbpf.coordinator.attending import Attending
from wbpf.errors import WbpfError
from wbpf.records import Conclusion, Piece, host_id
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.questions import Questions
from wbpf.wire.validate import Malformed

LIAR, MISLED = "c", "b"


class HostInNoPool(HostDouble):
    """A host whose own agent has told the collector that it is in no pool: none may stand in for it."""

    def connect_collector(self) -> None:
        super().connect_collector()
        self.intake = Intake(self.cluster.owners, dict.fromkeys(map(host_id, "ab"), 0))


class LyingCluster(Cluster):
    """A cluster in which one host lies, and one agent is lied to."""

    def __init__(self, rng: random.Random, told: Counter[str]) -> None:
        self.told = told
        self.ids = [bytes(15) + b"\1"]
        super().__init__("abc", rng, make_host=HostInNoPool)

    def start_coordinator(self) -> None:
        super().start_coordinator()
        self.attending = Attending(self.coordination, Questions(), False)

    def bend(self, message: Any, sort: str) -> Any:
        """The message, or a damaged copy of it."""
        if self.rng.random() > 0.3:
            return message
        bent = type(message).FromString(message.SerializeToString())
        for _ in range(self.rng.randrange(1, 4)):
            damage(bent, self.rng, self.ids)
        self.told[f"{sort} damaged"] += 1
        return bent

    def coordinator_hears(self, host: HostDouble) -> bool:
        if not host.up or host.host is None or host.outbox is None:
            return False
        message = host.up.popleft()
        if host.name == LIAR:
            if self.rng.random() < 0.2:
                host.up.append(message)  # and once more
            elif self.rng.random() < 0.1:
                other = self.hosts["a"].up
                message = other[0] if other else message
            elif self.rng.random() < 0.1:
                now = self.unix_ns()
                message = pb.FromAgent(pong=pb.Pong(t0_unix_ns=now, t1_unix_ns=now, t2_unix_ns=now))
            message = self.bend(message, "to coordinator")
        body = message.WhichOneof("body")
        self.coordination.heard(host.host)
        try:
            if body == "pong":
                self.coordination.pong(host.host, message.pong, self.unix_ns())
            elif body != "heartbeat":
                self.attending._handle(host.host, host.outbox, body, message)
        except Malformed:
            self.told["to coordinator refused"] += 1
        return True

    def agent_hears(self, host: HostDouble) -> bool:
        if host.name == MISLED and host.down and host.agent is not None and host.welcomed:
            host.down[0] = self.bend(host.down[0], "to agent")
            if host.down[0].WhichOneof("body") == "welcome":
                host.down.popleft()
                return True
        try:
            return super().agent_hears(host)
        except WbpfError:
            self.told["to agent refused"] += 1
            host.disconnect()
            return True

    def collector_takes(self, host: HostDouble) -> bool:
        if host.name == LIAR and host.shipped:
            others = self.hosts["a"].shipped
            if others and self.rng.random() < 0.1:
                host.shipped[0] = others[0]
            host.shipped[0] = self.bend(host.shipped[0], "to collector")
        try:
            return super().collector_takes(host)
        except Malformed:
            self.told["to collector refused"] += 1
            host.connect_collector()
            return True

    def take_piece(self, host: HostDouble, piece: Piece) -> None:
        speaks_for = host.intake.host  # who may, certificates say: tests/integration/gather/test_hostile.py
        assert speaks_for is not None and self.owners[piece.segment_id] == speaks_for.host_id
        super().take_piece(host, piece)

    def check(self, conclusion: Conclusion) -> None:
        """With a liar among the hosts of a trace, nobody can know what is missing."""
        self.told["concluded"] += 1


def one_case(rng: random.Random, told: Counter[str]) -> None:
    """A life of a cluster with a liar in it."""
    cluster = LyingCluster(rng, told)
    requests = [Request(cluster, number) for number in range(1, 5)]
    cluster.ids = [request.trace_id for request in requests]
    for host in cluster.hosts.values():
        host.connect()
    run(cluster, requests, 400, 0.01, 0.0)
    hello = pb.Hello(protocol=1, host=LIAR)
    for _ in range(20):
        with suppress(WbpfError):
            damage(hello, rng, cluster.ids)
            cluster.coordination.attach(hello, "liar", lambda: None)
    assert len(cluster.coordination.gathers.by_number) < 2000


if __name__ == "__main__":
    main(one_case)
