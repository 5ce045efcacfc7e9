"""
An honest client: it asks again and again, one after the other, and notes how it was answered.

    honest.py tcp|udp PORT SOURCE ASKS

Prints as one JSON object what came of its questions, whole replies and everything else by its name, and how long the
half and 99 of 100 of them took at the most.
"""

from __future__ import annotations

import collections
import json
import socket
import sys
import time

from load import WHOLE, ask

HOST = "127.0.0.1"
#: Over UDP nobody sends anything twice: what has not come after this was lost.
UDP_PATIENCE_S = 5.0


def ask_datagram(port: int, source: str) -> str:
    """Be one client over UDP, and say how it ended."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(UDP_PATIENCE_S)
        client.bind((source, 0))
        client.connect((HOST, port))
        try:
            client.send(b"")
            reply = client.recv(2048)
        except OSError as error:
            return type(error).__name__
    return "whole" if WHOLE.fullmatch(reply) else "short"


def main() -> None:
    """Ask, and print the figures."""
    transport, source = sys.argv[1], sys.argv[3]
    port, asks = int(sys.argv[2]), int(sys.argv[4])
    outcomes: collections.Counter[str] = collections.Counter()
    took_us = []
    for _ in range(asks):
        begun = time.monotonic_ns()
        outcomes[ask_datagram(port, source) if transport == "udp" else ask(port, source, write=False)] += 1
        took_us.append((time.monotonic_ns() - begun) // 1000)
    took_us.sort()
    p50, p99 = (took_us[asks * part // 100] for part in (50, 99))
    print(json.dumps({"asks": asks, "outcomes": outcomes, "p50_us": p50, "p99_us": p99}))


if __name__ == "__main__":
    main()
