"""The shop: takes orders, asks the stock service, and keeps the trace of every order that took too long.

WBPF_HOST=shop python shop.py --port 7001 --orders 400
"""

from __future__ import annotations

import argparse
import socket
import time

import wbpf
from wbpf.triggers import LatencyThreshold

too_slow = LatencyThreshold(20)  # ms


def count_of(item: str, stock: socket.SocketType) -> int:
    """Ask the stock service; the trace goes with the question."""
    headers = wbpf.inject("stock")
    stock.sendall(f"{headers['traceparent']}\t{headers['tracestate']}\t{item}\n".encode())
    return int(stock.makefile().readline())


def order(number: int, stock: socket.SocketType) -> None:
    with wbpf.trace("order", number=number, triggers=[too_slow]):
        item = f"item-{number % 17}"
        with wbpf.span("reserve", item=item):
            left = count_of(item, stock)
        wbpf.event("reserved", item=item, left=left)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=7001)
    options.add_argument("--orders", type=int, default=400)
    arguments = options.parse_args()
    wbpf.open(service="shop")
    with socket.create_connection(("127.0.0.1", arguments.port)) as stock:
        began = time.monotonic()
        for number in range(arguments.orders):
            order(number, stock)
    print(f"{arguments.orders} orders in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
