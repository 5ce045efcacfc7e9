"""The backlog of a listener that goes away: the clients in it are answered, without waiting for more."""

from __future__ import annotations

import contextlib
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
    """Answers waiting clients by the rules and with the default reply of a configuration; counts, but does not log."""

    def __init__(self, config: Config, replies: Mapping[tuple[str, str], formats.Reply], counters: Counters) -> None:
        self._access = config.access
        self._reply = replies[config.format, config.timezone]
        self._counters = counters

    def empty(self, listeners: Sequence[Listener]) -> None:
        """Answer the clients that wait at these listeners; no worker may use them any more."""
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

    def _answer(self, listener: Listener, cells: Cells, until_ns: int) -> None:
        server = listener.socket
        server.setblocking(False)
        limit = rates.limit(self._access, self._counters, is_datagram=listener.is_datagram)
        gate = Gate(NetworkSet(self._access.allow), NetworkSet(self._access.deny), limit)
        sessions: Any
        receive: Callable[[], Any]
        if listener.is_datagram:
            sessions = Datagrams(server.dup(), gate, self._reply, frozenset({listener.port}))
            receive = partial(server.recvmsg, 1, CONTROL_SPACE)
        else:
            sessions = Streams(Ring(listener.kind, None), gate, self._reply, is_unix=listener.is_unix)
            receive = server._accept  # type: ignore[attr-defined]
        with contextlib.closing(sessions):
            while (now_ns := time.monotonic_ns()) < until_ns:
                try:
                    client = receive()
                except BlockingIOError:
                    return
                except OSError:
                    # a client that has gone; whatever else it is, it ends with the time
                    continue
                cells[ACCEPTED] += 1
                _, dropped = sessions.serve(client, now_ns)
                cells[SERVED if dropped is None else DROPPED + dropped] += 1
                cells[FINISHED] += 1
