"""The other end of a cable: `python echo.py INTERFACE` gives it an address and echoes UDP and TCP."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

ADDRESS, UDP_PORT, TCP_PORT = "10.7.0.2", 7000, 7001
#: Answers to datagrams that begin with `slow` take so long.
SLOW_S = 0.02


def answer_datagrams(server: socket.socket) -> None:
    while True:
        data, sender = server.recvfrom(2048)
        if data.startswith(b"slow"):
            time.sleep(SLOW_S)
        server.sendto(data, sender)


def answer_connections(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(2048):
                connection.sendall(data)


def main(interface: str) -> None:
    for kind in ("all", "default"):
        subprocess.run(["sysctl", "-qw", f"net.ipv6.conf.{kind}.disable_ipv6=1"], check=True)
    print("there", flush=True)
    sys.stdin.readline()
    subprocess.run(["ip", "addr", "add", f"{ADDRESS}/24", "dev", interface], check=True)
    subprocess.run(["ip", "link", "set", interface, "up"], check=True)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((ADDRESS, UDP_PORT))
    connections = socket.create_server((ADDRESS, TCP_PORT))
    threading.Thread(target=answer_datagrams, args=(datagrams,), daemon=True).start()
    threading.Thread(target=answer_connections, args=(connections,), daemon=True).start()
    print("serves", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
