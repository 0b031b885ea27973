"""Connections: addresses, TLS, and the options that keep them fast, quiet when idle, and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from wbpf.errors import AccessError, ConfigError, WireError

#: The longest message that is accepted. Agents cut deliveries well below it.
MAX_MESSAGE_BYTES = 4 << 20

_COMMON: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A fixed window instead of bandwidth probes: an idle stream then costs a third.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_SERVER: tuple[tuple[str, Any], ...] = (
    *_COMMON,
    ("grpc.so_reuseport", 0),  # a second daemon on the same port must fail, not share it
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_concurrent_streams", 4096),
)
_CLIENT: tuple[tuple[str, Any], ...] = (
    *_COMMON,
    ("grpc.enable_http_proxy", 0),  # daemons of one cluster; a proxy would see all traces
    ("grpc.use_local_subchannel_pool", 1),
    # The daemons have their own waits between tries; gRPC's shall not stand in their way.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


@dataclass(frozen=True)
class TlsSpec:
    """Mutual TLS: all three daemons and the command line show a certificate and want one.

    Args:
        cert, key: this side's certificate chain and private key, PEM files.
        ca: the authorities that may sign the other side's, a PEM file.
        name: the name that the server's certificate must carry; None: the address's host.
        verify_hosts: an agent's certificate must carry the name of the host it speaks for.
    """

    cert: Path
    key: Path
    ca: Path
    name: str | None = None
    verify_hosts: bool = True

    @classmethod
    def from_options(
        cls,
        cert: Path | None,
        key: Path | None,
        ca: Path | None,
        name: str | None = None,
        verify_hosts: bool = True,
    ) -> TlsSpec | None:
        """None when no file is given.

        Raises:
            ConfigError: some of the three files are given, but not all.
        """
        given = {"--tls-cert": cert, "--tls-key": key, "--tls-ca": ca}
        if not any(given.values()):
            return None
        if cert is None or key is None or ca is None:
            missing = ", ".join(option for option, value in given.items() if value is None)
            raise ConfigError("TLS can't be used", f"{missing} not given", "give all three files, or none")
        return cls(cert, key, ca, name, verify_hosts)

    def read(self) -> tuple[bytes, bytes, bytes]:
        """The contents of cert, key and ca.

        Raises:
            ConfigError: a file is missing or is no PEM file.
            AccessError: a file may not be read.
        """
        contents = []
        for path, marker in (
            (self.cert, b"CERTIFICATE"),
            (self.key, b"PRIVATE KEY"),
            (self.ca, b"CERTIFICATE"),
        ):
            try:
                data = path.read_bytes()
            except PermissionError as error:
                raise AccessError(
                    f"TLS file {path} can't be read", "permission denied", "run as its owner"
                ) from error
            except OSError as error:
                raise ConfigError(
                    f"TLS file {path} can't be read", error.strerror or str(error), "check the path"
                ) from error
            if marker not in data:
                raise ConfigError(
                    f"TLS file {path} can't be used", f"it holds no PEM {marker.decode().lower()}"
                )
            contents.append(data)
        return contents[0], contents[1], contents[2]


def is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def serve(handler: grpc.GenericRpcHandler, address: str, tls: TlsSpec | None) -> tuple[grpc.aio.Server, str]:
    """Make a server at host:port (port 0: a free one), not yet started.

    Returns:
        The server and the address it is bound to.

    Raises:
        WireError: the address can't be bound.
        ConfigError: the address or TLS files can't be used; the address is not loopback and there is no TLS.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"address {address!r} can't be used", "it is not HOST:PORT", "use 127.0.0.1:0")
    if tls is None and not is_loopback(address):
        raise ConfigError(
            f"address {address} is refused",
            "without TLS anybody who reaches it could read and change traces",
            "give --tls-cert, --tls-key and --tls-ca, or a loopback address",
        )
    server = grpc.aio.server(options=_SERVER)
    server.add_generic_rpc_handlers((handler,))
    try:
        if tls is None:
            bound = server.add_insecure_port(address)
        else:
            cert, key, ca = tls.read()
            credentials = grpc.ssl_server_credentials(
                [(key, cert)], root_certificates=ca, require_client_auth=True
            )
            bound = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise WireError(
            f"address {address} can't be bound",
            "the port is taken, or the address is not one of this machine",
            "stop the daemon that has it, or choose another port (0: any free one)",
        ) from error
    return server, f"{host}:{bound}"


def connect(address: str, tls: TlsSpec | None) -> grpc.aio.Channel:
    """Make a channel; it connects when used.

    Raises:
        ConfigError, AccessError: TLS files can't be used.
    """
    if tls is None:
        return grpc.aio.insecure_channel(address, options=client_options(tls))
    return grpc.aio.secure_channel(address, client_credentials(tls), options=client_options(tls))


def client_credentials(tls: TlsSpec) -> grpc.ChannelCredentials:
    """What a client shows and wants to see.

    Raises:
        ConfigError, AccessError: TLS files can't be used.
    """
    cert, key, ca = tls.read()
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def client_options(tls: TlsSpec | None) -> tuple[tuple[str, Any], ...]:
    """A client's options."""
    if tls is None or tls.name is None:
        return _CLIENT
    return (*_CLIENT, ("grpc.ssl_target_name_override", tls.name))


def peer_names(context: grpc.aio.ServicerContext[Any, Any]) -> Sequence[str] | None:
    """Names in the certificate of a server's peer; None without TLS."""
    auth = context.auth_context()
    if auth.get("transport_security_type") != [b"ssl"]:
        return None
    names = [*auth.get("x509_subject_alternative_name", ()), *auth.get("x509_common_name", ())]
    return [name.decode(errors="replace") for name in names]


def may_speak_for(names: Sequence[str] | None, host: str) -> bool:
    """Does a certificate with these names stand for the host? Without TLS (None) everybody may."""
    return names is None or any(
        name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:] and "." in host)
        for name in names
    )
