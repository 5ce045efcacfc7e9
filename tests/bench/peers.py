"""
The peers in Python: daytime servers from the standard library alone.

Run as `peers.py forking PORT` or `peers.py asyncio PORT`; `peers:application` is for a WSGI server. All send the
sentence of daytimed, with microseconds. Their backlog is that of the other servers, so that the process model makes
the difference, not a full queue.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

BACKLOG = 65535


def sentence() -> bytes:
    return datetime.now().astimezone().strftime("The Date Time is: %Y-%m-%d %H:%M:%S.%f %z %Z\r\n").encode()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Reply over HTTP."""
    line = sentence()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(line)))])
    return [line]


def serve_forking(port: int) -> None:
    """Fork a process for each client."""
    import socketserver

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(sentence())

    class Forking(socketserver.ForkingTCPServer):
        allow_reuse_address = True
        request_queue_size = BACKLOG

    Forking(("127.0.0.1", port), Handler).serve_forever()


def serve_asyncio(port: int) -> None:
    """Serve all clients in one process."""
    import asyncio

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sentence())
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=BACKLOG)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    {"forking": serve_forking, "asyncio": serve_asyncio}[sys.argv[1]](int(sys.argv[2]))
