"""How the daemons reach each other: messages, connections, TLS, deadlines, and what was sent."""

import os

# Its errors reach us as exceptions, and people in our words; this must be said before grpc is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from wbpf.wire.backoff import Backoff
from wbpf.wire.channel import TlsSpec, connect, serve
from wbpf.wire.client import Client
from wbpf.wire.daemon import Daemon
from wbpf.wire.meter import GATHERING, Meter, gathering_bytes
from wbpf.wire.methods import COLLECTION, COORDINATION, Method, handlers
from wbpf.wire.stream import Stream, StreamEnded

#: Both ends of a stream say which protocol they speak; another one is refused.
PROTOCOL = 1
COORDINATOR_ADDRESS = "127.0.0.1:5317"
COLLECTOR_ADDRESS = "127.0.0.1:5318"

__all__ = [
    "COLLECTION",
    "COLLECTOR_ADDRESS",
    "COORDINATION",
    "COORDINATOR_ADDRESS",
    "GATHERING",
    "PROTOCOL",
    "Backoff",
    "Client",
    "Daemon",
    "Meter",
    "Method",
    "Stream",
    "StreamEnded",
    "TlsSpec",
    "connect",
    "gathering_bytes",
    "handlers",
    "serve",
]
