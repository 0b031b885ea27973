from __future__ import annotations

from wbpf.wire import GATHERING, gathering_bytes
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.methods import COLLECTION, COORDINATION


def count(kind: str, sent: int, received: int) -> st.ByteCount:
    return st.ByteCount(kind=kind, sent_bytes=sent, received_bytes=received)


def test_gathering_is_counted_once_and_nothing_else_is() -> None:
    status = st.ClusterStatus(
        coordinator=st.CoordinatorStatus(
            bytes=[
                count("fires", 0, 1),
                count("collects", 10, 0),
                count("conclusions", 100, 0),
                count("ping", 7, 7),
            ]
        ),
        collector=st.CollectorStatus(
            bytes=[
                count("delivery", 0, 1000),
                count("delivery_acknowledged", 10_000, 0),
                count("conclusions", 0, 100),
            ]
        ),
        hosts=[st.HostState(agent=st.AgentStatus(bytes=[count("delivery", 1000, 0)]))],
    )
    assert gathering_bytes(status) == 11_111


def test_every_kind_of_gathering_is_one_that_is_sent() -> None:
    kinds = {field.name for message in (pb.FromAgent, pb.ToAgent) for field in message.DESCRIPTOR.fields}
    for method in (*COORDINATION.values(), *COLLECTION.values()):
        kinds |= {kind for kind in (method.request_kind, method.response_kind) if kind}
    assert kinds >= GATHERING
