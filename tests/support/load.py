"""
Run a closed loop of many clients: THREADS at once, each CLIENTS in a row; every second one writes 64 KiB first.

    load.py PORT THREADS CLIENTS

With - for CLIENTS, it runs until its standard input ends.

Prints one JSON object: the number of clients for each outcome (`whole` is a complete reply), the longest wait and the
total time.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import math
import re
import socket
import sys
import threading
import time

WRITTEN = b"x" * 65536
WHOLE = re.compile(rb"The Date Time is: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})? [+-]\d{4} \w+\r\n")
TIMEOUT_S = 60.0
HOST = "127.0.0.1"
#: The line that a client prints when it has done its share and continues.
ENOUGH = "enough"


def ask(port: int, source: str, *, write: bool) -> str:
    """Act as one client; return the outcome."""
    reply = b""
    try:
        with socket.socket() as client:
            client.settimeout(TIMEOUT_S)
            # each thread has its own address, so that ports do not run out
            client.bind((source, 0))
            client.connect((HOST, port))
            if write:
                # the server reads nothing and may have closed already; that is not an error
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(WRITTEN)
            while part := client.recv(4096):
                reply += part
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        return f"{name} after {len(reply)} bytes"
    if not reply:
        return "empty"
    return "whole" if WHOLE.fullmatch(reply) else "short"


def main() -> None:
    """Run the load."""
    port, threads = int(sys.argv[1]), int(sys.argv[2])
    clients = math.inf if sys.argv[3] == "-" else int(sys.argv[3])
    over = threading.Event()
    ended: list[collections.Counter[str]] = [collections.Counter() for _ in range(threads)]
    longest = [0.0] * threads

    def loop(number: int) -> None:
        turn = 0
        while turn < clients and not over.is_set():
            begun = time.monotonic()
            ended[number][ask(port, f"127.0.1.{number + 1}", write=bool(turn % 2))] += 1
            longest[number] = max(longest[number], time.monotonic() - begun)
            turn += 1

    started = time.monotonic()
    running = [threading.Thread(target=loop, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    if clients == math.inf:
        sys.stdin.read()
        over.set()
    for thread in running:
        thread.join()
    outcomes = sum(ended, collections.Counter())
    json.dump(
        {**outcomes, "longest_s": round(max(longest), 3), "seconds": round(time.monotonic() - started, 3)}, sys.stdout
    )


if __name__ == "__main__":
    main()
