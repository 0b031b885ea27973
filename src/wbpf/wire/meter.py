"""Counting what goes over the wire, by kind of message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from wbpf.wire.status_pb2 import ByteCount, ClusterStatus

#: Kinds of message that exist because a trace is gathered; all others keep the daemons together.
GATHERING = frozenset(
    {
        "fires",
        "founds",
        "delivered",
        "collects",
        "releases",
        "answers",
        "delivery",
        "delivery_acknowledged",
        "conclusions",
        "stored",
    }
)

M = TypeVar("M", bound=Message)


class Meter:
    """Serialized bytes and messages, sent and received."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def _count(self, kind: str, size: int, at: int) -> None:
        count = self._counts.get(kind)
        if count is None:
            count = self._counts[kind] = [0, 0, 0, 0]
        count[at] += size
        count[at + 2] += 1

    def serializer(self, kind: str | None) -> Callable[[Any], bytes]:
        """Make the function that serializes and counts; without a kind it is the field set in `body`."""

        def serialize(message: Any) -> bytes:
            data: bytes = message.SerializeToString()
            self._count(kind or message.WhichOneof("body") or "empty", len(data), 0)
            return data

        return serialize

    def deserializer(self, message_type: type[M], kind: str | None) -> Callable[[bytes], M]:
        """Make the function that parses and counts."""

        def deserialize(data: bytes) -> M:
            message = message_type.FromString(data)
            self._count(kind or message.WhichOneof("body") or "empty", len(data), 1)
            return message

        return deserialize

    def counts(self) -> list[ByteCount]:
        """The counts so far, by kind."""
        return [
            ByteCount(
                kind=kind,
                sent_bytes=count[0],
                received_bytes=count[1],
                sent_messages=count[2],
                received_messages=count[3],
            )
            for kind, count in sorted(self._counts.items())
        ]


def gathering_bytes(status: ClusterStatus) -> int:
    """All that gathering has put on the wire: deliveries, control messages of gathers, conclusions.

    Counted where it arrives or leaves in the middle, so nothing counts twice: at the coordinator what it
    exchanged with agents and collector, at the collector what it exchanged with agents.
    """
    total = 0
    for count in status.coordinator.bytes:
        if count.kind in GATHERING:
            total += count.sent_bytes + count.received_bytes
    for count in status.collector.bytes:
        if count.kind in ("delivery", "delivery_acknowledged"):
            total += count.sent_bytes + count.received_bytes
    return total
