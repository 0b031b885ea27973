"""The two services' methods, for servers and clients that count what they send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2
from wbpf.wire.meter import Meter
from wbpf.wire.stream import Stream


@dataclass(frozen=True)
class Method:
    """One method of a service.

    Args:
        streams: both ways; else one request, one response.
        request_kind, response_kind: under which they are counted; None: the name of the field set in `body`.
    """

    service: str
    name: str
    request: type[Message]
    response: type[Message]
    streams: bool = False
    request_kind: str | None = None
    response_kind: str | None = None

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"

    def stream(self, channel: grpc.aio.Channel, meter: Meter) -> Stream:
        """Open a stream of this method."""
        call = channel.stream_stream(
            self.path,
            request_serializer=meter.serializer(self.request_kind),
            response_deserializer=meter.deserializer(self.response, self.response_kind),
        )
        return Stream(call())

    async def call(
        self, channel: grpc.aio.Channel, request: Message, timeout_s: float, meter: Meter | None = None
    ) -> Any:
        """Call the method.

        Raises:
            grpc.aio.AioRpcError: the peer is away, refuses, or did not answer in time.
        """
        meter = meter or Meter()
        call = channel.unary_unary(
            self.path,
            request_serializer=meter.serializer(self.request_kind),
            response_deserializer=meter.deserializer(self.response, self.response_kind),
        )
        return await call(request, timeout=timeout_s)


def _service(name: str, *methods: tuple[Any, ...]) -> dict[str, Method]:
    return {item[0]: Method(name, *item) for item in methods}


COORDINATION = _service(
    "wbpf.v1.Coordination",
    ("Attend", pb.FromAgent, pb.ToAgent, True),
    ("Status", status_pb2.StatusRequest, status_pb2.ClusterStatus, False, "status", "status"),
    ("Dump", pb.DumpRequest, pb.DumpReply, False, "dump", "dump"),
    ("Reduce", pb.ReduceRequest, pb.ReduceReply, False, "reduce", "reduce"),
    ("Clear", pb.ClearRequest, pb.ClearReply, False, "clear", "clear"),
)
COLLECTION = _service(
    "wbpf.v1.Collection",
    ("Deliver", pb.Delivery, pb.Acknowledged, True, "delivery", "delivery_acknowledged"),
    ("Conclude", pb.Conclusions, pb.Stored, True, "conclusions", "stored"),
    ("Status", status_pb2.StatusRequest, status_pb2.CollectorStatus, False, "status", "status"),
)


def handlers(
    methods: Mapping[str, Method], behaviours: Mapping[str, Callable[..., Any]], meter: Meter
) -> grpc.GenericRpcHandler:
    """Make the handler of a service from a coroutine function for each method's name."""
    made = {}
    for name, method in methods.items():
        kind = (
            grpc.stream_stream_rpc_method_handler if method.streams else grpc.unary_unary_rpc_method_handler
        )
        made[name] = kind(
            behaviours[name],
            request_deserializer=meter.deserializer(method.request, method.request_kind),
            response_serializer=meter.serializer(method.response_kind),
        )
    service = next(iter(methods.values())).service
    return grpc.method_handlers_generic_handler(service, made)
