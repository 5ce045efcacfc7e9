"""
An honest client: it asks again and again, one question after the other, and notes how it was answered.

    honest.py tcp|udp PORT ASKS [on]

Asks so often; with `on`, says then that it is enough and goes on until SIGTERM. It asks from each of 65,536 addresses
in turn, so that no limit is meant for it. Prints as one JSON object what came of its questions, whole replies and
everything else by its name, and how long the half and 99 of 100 of them took at the most.
"""

from __future__ import annotations

import collections
import json
import signal
import socket
import sys
import time

from load import ENOUGH, HOST, WHOLE, ask

#: Where it comes from.
NETWORK = "127.7"
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
    transport, port, least, goes_on = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["on"]

    def stop(*_: object) -> None:
        nonlocal goes_on
        goes_on = False

    signal.signal(signal.SIGTERM, stop)
    outcomes: collections.Counter[str] = collections.Counter()
    took_us: list[int] = []
    while goes_on or len(took_us) < least:
        source = f"{NETWORK}.{len(took_us) >> 8 & 255}.{len(took_us) & 255}"
        begun = time.monotonic_ns()
        outcomes[ask_datagram(port, source) if transport == "udp" else ask(port, source, write=False)] += 1
        took_us.append((time.monotonic_ns() - begun) // 1000)
        if goes_on and len(took_us) == least:
            print(ENOUGH, flush=True)
    asks = len(took_us)
    took_us.sort()
    p50_us, p99_us = (took_us[asks * part // 100] for part in (50, 99))
    print(json.dumps({"asks": asks, "outcomes": outcomes, "p50_us": p50_us, "p99_us": p99_us}))


if __name__ == "__main__":
    main()
