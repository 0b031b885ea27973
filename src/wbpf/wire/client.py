"""Asking the coordinator: for the command line, and programs that are not asynchronous."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from wbpf.errors import WireError
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.channel import TlsSpec, client_credentials, client_options
from wbpf.wire.methods import COORDINATION


def short_cause(details: str) -> str:
    """What gRPC says of a connection that failed, without all the ways that it tried."""
    for known in ("Connection refused", "certificate", "Name or service not known", "Socket closed"):
        if known.lower() in details.lower():
            return known.lower() if known != "certificate" else f"TLS: {details.rpartition(': ')[2]}"
    return details


class Client:
    """A connection to the coordinator.

    Every method raises WireError if the coordinator is away, refuses, or does not answer in time.

    Args:
        address: of the coordinator.
        tls: None: without.
        timeout_s: how long a question may take, seconds.
    """

    def __init__(self, address: str, tls: TlsSpec | None = None, timeout_s: float = 15.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._channel = (
            grpc.insecure_channel(address, options=client_options(tls))
            if tls is None
            else grpc.secure_channel(address, client_credentials(tls), options=client_options(tls))
        )

    def status(self, timeout_s: float | None = None) -> st.ClusterStatus:
        """What all daemons say of themselves."""
        status: st.ClusterStatus = self._call("Status", st.StatusRequest(), timeout_s)
        return status

    def dump(self, trace_ids: Iterable[bytes] = (), current: bool = False) -> pb.DumpReply:
        """Gather traces from all hosts, or those that run now; returns how it ended, or that nobody knows."""
        request = pb.DumpRequest(trace_ids=b"".join(trace_ids), current=current)
        reply: pb.DumpReply = self._call("Dump", request)
        return reply

    def reduce(self, level: int, trace_id: bytes = b"", host: str = "") -> list[str]:
        """Set the level of a trace or a host; returns the hosts that were told."""
        request = pb.ReduceRequest(trace_id=trace_id, host=host, level=level)
        reply: pb.ReduceReply = self._call("Reduce", request)
        return list(reply.hosts)

    def clear(self, trace_ids: Iterable[bytes]) -> list[str]:
        """Say that traces are known to be good; returns the hosts that were told."""
        reply: pb.ClearReply = self._call("Clear", pb.ClearRequest(trace_ids=b"".join(trace_ids)))
        return list(reply.hosts)

    def _call(self, name: str, request: Any, timeout_s: float | None = None) -> Any:
        method = COORDINATION[name]
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            return call(request, timeout=timeout_s or self.timeout_s)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                raise WireError(f"the coordinator refuses `{name.lower()}`", details) from error
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                details = f"no answer within {timeout_s or self.timeout_s:g} s"
            raise WireError(
                f"no coordinator at {self.address}",
                short_cause(details),
                "start one with `wbpf up`, or name another --coordinator",
            ) from error

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
