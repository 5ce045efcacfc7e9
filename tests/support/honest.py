"""
An honest client: it asks one question after another and records the replies.

    honest.py tcp|udp PORT ASKS [on]

It asks ASKS times; with `on`, it then prints `enough` and continues until SIGTERM. It asks from each of 65,536
addresses in turn, so that no rate limit applies to it. Prints one JSON object: the number of questions for each outcome
(`whole` is a complete reply), and the 50th and 99th percentiles of their duration.
"""

from __future__ import annotations

import collections
import json
import signal
import socket
import sys
import time

from load import ENOUGH, HOST, WHOLE, ask

#: Its source addresses.
NETWORK = "127.7"
#: UDP retransmits nothing: a reply that takes longer is lost.
UDP_PATIENCE_S = 5.0


def ask_datagram(port: int, source: str) -> str:
    """Act as one client over UDP; return the outcome."""
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
