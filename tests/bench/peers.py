"""
The peers in Python: what a daytime server is with the standard library alone.

Run as `peers.py forking PORT` or `peers.py asyncio PORT`. Both send the sentence of daytimed, with microseconds, and
have the same backlog as the other servers, so that what is compared is the model and not a full queue.
"""

from __future__ import annotations

import asyncio
import socketserver
import sys
from datetime import datetime

BACKLOG = 65535


def sentence() -> bytes:
    return datetime.now().astimezone().strftime("The Date Time is: %Y-%m-%d %H:%M:%S.%f %z %Z\r\n").encode()


class Handler(socketserver.BaseRequestHandler):
    """One client of the forking server, in a process of its own."""

    def handle(self) -> None:
        self.request.sendall(sentence())


class Forking(socketserver.ForkingTCPServer):
    """A process for each client."""

    allow_reuse_address = True
    request_queue_size = BACKLOG


async def serve_asyncio(port: int) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sentence())
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "forking":
        Forking(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
    else:
        asyncio.run(serve_asyncio(int(sys.argv[2])))
