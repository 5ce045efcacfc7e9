"""
The backlog: clients that have connected, and that no worker will accept.

They wait at a listener that goes away, or were taken from its queue by a start that failed. Each is answered, and none
is waited for.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from daytimed import formats, rates
from daytimed.config.settings import Config
from daytimed.counters import ACCEPTED, DROPPED, FINISHED, SERVED, Cells, Counters
from daytimed.datagram import CONTROL_SPACE
from daytimed.gate import Gate
from daytimed.listeners import Listener
from daytimed.networks import NetworkSet
from daytimed.ring import Ring
from daytimed.session import Datagrams, Streams

#: For all listeners that go away together: clients that keep coming do not hold up a start or a reload.
LONGEST_NS = 100_000_000


class Backlog:
    """Answers waiting clients by the rules of a configuration; counts, but does not log."""

    def __init__(self, config: Config, replies: Mapping[tuple[str, str], formats.Reply], counters: Counters) -> None:
        self._config = config
        self._replies = replies
        self._counters = counters

    def empty(self, listeners: Sequence[Listener]) -> None:
        """Answer the clients that wait at these listeners, with the default reply; no worker may use them any more."""
        slot = self._counters.acquire() if listeners else None
        if slot is None:
            return
        until_ns = time.monotonic_ns() + LONGEST_NS
        try:
            for listener in listeners:
                with contextlib.suppress(OSError):
                    # out of descriptors: nobody can be answered here
                    self._answer(listener, self._counters.slot(slot), until_ns)
        finally:
            self._counters.release(slot)

    def answer(self, client: socket.socket, name: str) -> None:
        """Answer a client that was taken from the queue of the passed socket with this name."""
        settings = self._config.settings_of(name)
        slot = self._counters.acquire()
        if slot is None:
            return
        try:
            peer = client.getpeername()
            kind = int(client.family), int(client.type), client.proto
            reply = self._replies[settings.format, settings.timezone]
            with contextlib.closing(self._streams(kind, reply, is_unix=client.family == socket.AF_UNIX)) as sessions:
                _serve(sessions, (client.detach(), peer), self._counters.slot(slot), time.monotonic_ns())
        except OSError:
            # it has gone
            client.close()
        finally:
            self._counters.release(slot)

    def _answer(self, listener: Listener, cells: Cells, until_ns: int) -> None:
        server = listener.socket
        server.setblocking(False)
        reply = self._replies[self._config.format, self._config.timezone]
        sessions: Streams | Datagrams
        receive: Callable[[], Any]
        if listener.is_datagram:
            sessions = Datagrams(server.dup(), self._gate(is_datagram=True), reply, frozenset({listener.port}))
            receive = partial(server.recvmsg, 1, CONTROL_SPACE)
        else:
            sessions = self._streams(listener.kind, reply, is_unix=listener.is_unix)
            receive = server._accept  # type: ignore[attr-defined]
        with contextlib.closing(sessions):
            while (now_ns := time.monotonic_ns()) < until_ns:
                try:
                    client = receive()
                except BlockingIOError:
                    return
                except OSError:
                    # most likely a client that has gone; the time limit ends any other error
                    continue
                _serve(sessions, client, cells, now_ns)

    def _streams(self, kind: tuple[int, int, int], reply: formats.Reply, *, is_unix: bool) -> Streams:
        return Streams(Ring(kind, None), self._gate(is_datagram=False), reply, is_unix=is_unix)

    def _gate(self, *, is_datagram: bool) -> Gate:
        access = self._config.access
        limit = rates.limit(access, self._counters, is_datagram=is_datagram)
        return Gate(NetworkSet(access.allow), NetworkSet(access.deny), limit)


def _serve(sessions: Streams | Datagrams, client: tuple[Any, ...], cells: Cells, now_ns: int) -> None:
    cells[ACCEPTED] += 1
    _, dropped = sessions.serve(client, now_ns)
    cells[SERVED if dropped is None else DROPPED + dropped] += 1
    cells[FINISHED] += 1
