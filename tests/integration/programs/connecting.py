"""A process that connects on loopback, and says what it did.

Lines on standard input: `connect TIMES BYTES`, `refused`.
"""

from __future__ import annotations

import json
import socket
import sys
import time


def connect(server: socket.socket, size: int) -> dict[str, object]:
    client = socket.socket(server.family)
    start = time.monotonic_ns()
    client.connect(server.getsockname())
    took_ns = time.monotonic_ns() - start
    accepted, _ = server.accept()
    client.sendall(bytes(size))
    left = size
    while left:
        left -= len(accepted.recv(left))
    accepted.sendall(b"thanks")
    client.recv(100)
    local, remote = client.getsockname(), client.getpeername()
    client.close()
    while accepted.recv(100):
        pass
    accepted.close()
    return {"local": local, "remote": remote, "took_ns": took_ns, "bytes": size}


def refused() -> dict[str, object]:
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        local = client.getsockname()
        assert client.connect_ex(("127.0.0.1", 1)) != 0
    return {"local": local}


def main() -> None:
    servers: list[socket.socket] = []
    for line in sys.stdin:
        if not servers:  # sockets stay in the cgroup that they were made in: by now it is the right one
            servers.append(socket.create_server(("127.0.0.1", 0)))
            servers.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
        what, *numbers = line.split()
        if what == "refused":
            done = [refused()]
        else:
            times, size = map(int, numbers)
            done = [connect(servers[number % 2], size * number) for number in range(times)]
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
