"""Servers for tests, with the behaviour that a test gives them."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import DEADLINE_S

Behaviour = Callable[[socket.socket], None]
Reply = Callable[[], bytes]


class Place(str):
    """The address of a server, as the probe writes it."""

    __slots__ = ()

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])


@contextlib.contextmanager
def stream_server(*behaviours: Behaviour, path: Path | None = None, host: str = "127.0.0.1") -> Iterator[Place]:
    """Run a server that handles clients in parallel; each gets the next behaviour, in a cycle."""
    if path is None:
        listener = socket.create_server((host, 0), backlog=256)
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
    clients: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def treat(client: socket.socket, behave: Behaviour) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(DEADLINE_S)
            behave(client)

    def serve() -> None:
        with contextlib.suppress(OSError):
            for behave in itertools.cycle(behaviours):
                client, _ = listener.accept()
                clients.append(client)
                threads.append(threading.Thread(target=treat, args=(client, behave), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=serve, daemon=True)
    acceptor.start()
    try:
        yield Place(f"unix://{path}" if path else f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        # ends the accept, and then the clients that a failed test left waiting
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(DEADLINE_S)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(DEADLINE_S)
        listener.close()
    assert not [thread for thread in (acceptor, *threads) if thread.is_alive()]


@contextlib.contextmanager
def refusing() -> Iterator[Place]:
    """Reserve a port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Place(f"tcp://127.0.0.1:{bound.getsockname()[1]}")


def silence(client: socket.socket) -> None:
    """Wait until the client closes."""
    client.recv(1)


def saying(reply: bytes | Reply) -> Behaviour:
    """Send the reply, or what it returns at that moment."""
    return lambda client: client.sendall(reply if isinstance(reply, bytes) else reply())


def reset(*before: bytes) -> Behaviour:
    """Reset the connection after the given bytes."""

    def behave(client: socket.socket) -> None:
        client.sendall(b"".join(before))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return behave


def unix_time(ahead_s: int = 0) -> Reply:
    """Return a reply with the seconds since 1970."""
    return lambda: b"%d\r\n" % (int(time.time()) + ahead_s)
