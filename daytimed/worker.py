"""
A worker: a forked child in one blocking accept loop on one listener.

It ends when its listener is closed: the handler of SIGTERM closes this process's own copy, the signal interrupts the
blocked call, Python retries it (PEP 475), and it fails with EBADF. A client that was accepted before is still served.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from daytimed import formats, signals
from daytimed.counters import ACCEPTED, DROPPED, FINISHED, READY, SERVED, SUPPRESSED_SERVED, WATCHED, Cells
from daytimed.datagram import CONTROL_SPACE
from daytimed.errors import OUT_OF_RESOURCES
from daytimed.gate import Gate
from daytimed.listeners import Listener
from daytimed.log.clients import ClientLog
from daytimed.log.log import Log
from daytimed.peers import NAMELESS, Peer
from daytimed.ring import Ring
from daytimed.session import Datagrams, Streams

#: The pause of a worker that is out of descriptors or memory, and the shortest time between two warnings about it.
PAUSE_S = 0.1
PAUSE_WARNING_S = 10.0

#: Enough for Python to specialize the code of a client and to fill its caches.
REHEARSED = 32
_OURSELVES: Peer = ("127.0.0.1", 0)

#: A client that has gone, and the network errors that accept(2) passes on: the next client is not affected.
_CLIENT_ERRORS = frozenset(
    {
        errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
        errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT, errno.EPERM,
        errno.ECONNREFUSED,
    }
)  # fmt: skip


class Worker:
    """All that a worker process needs. The master makes it before the fork."""

    def __init__(
        self,
        listener: Listener,
        name: str,
        reply: formats.Reply,
        gate: Gate,
        head: Cells,
        slot: Cells,
        own_ports: frozenset[int],
    ) -> None:
        self.listener = listener
        self.name = name
        self.slot = slot
        self._reply = reply
        self._gate = gate
        self._head = head
        self._own_ports = own_ports
        # made before the fork, so that the workers share the memory
        self._ring = Ring(listener.kind, signals.set_timer)
        self._streams = Streams(self._ring, gate, reply, is_unix=listener.is_unix)
        self._stopping = False
        self._pauses = 0
        self._pause_logged = False
        self._warned_at: float | None = None

    def stop(self) -> None:
        """End the loop: close this process's copy of the listener."""
        self._stopping = True
        self.listener.socket.close()

    def tick(self) -> None:
        """Close the streams of earlier clients that are done."""
        self._ring.tick()

    def rehearse(self, client_log: ClientLog) -> None:
        """
        Serve clients of our own, which count as any other.

        Python specializes code as it runs, and caches what it looks up. After a rehearsal in the master, workers share
        these pages; otherwise each of them writes its own.
        """
        with contextlib.suppress(StopIteration):
            self._serve(self._streams, partial(next, _extras()), 1, client_log, lambda: None)

    def run(self, log: Log, client_log: ClientLog, wake: Callable[[], None]) -> None:
        """
        Serve until stopped.

        Args:
            wake: Wakes the master, if it sleeps.

        Raises:
            OSError: If the listener is broken; no client can cause that.
        """
        self._log = log
        if opened := self._open():
            self._serve(*opened, client_log, wake)

    def _serve(
        self,
        sessions: Streams | Datagrams,
        receive: Callable[[], Any],
        peer_at: int,
        client_log: ClientLog,
        wake: Callable[[], None],
    ) -> None:
        # everything the loop uses is a local name: it runs for each client
        serve, slot, head, monotonic_ns = sessions.serve, self.slot, self._head, time.monotonic_ns
        nameless = self.listener.is_unix
        record = client_log.record if client_log else None
        # only this process writes to its slot: to read the count back would cost as much again
        accepted = served = 0
        with contextlib.closing(sessions):
            while True:
                try:
                    client = receive()
                except OSError as error:
                    if self._go_on_after(error):
                        continue
                    return
                now = monotonic_ns()
                accepted += 1
                slot[ACCEPTED] = accepted
                if not head[WATCHED]:
                    wake()
                size, dropped = serve(client, now)
                if dropped is None:
                    served += 1
                    slot[SERVED] = served
                else:
                    slot[DROPPED + dropped] += 1
                if dropped is None and now < client_log.suppresses_until_ns:
                    # ClientLog.record() in one step: during a flood this is nearly every client
                    slot[SUPPRESSED_SERVED] += 1
                elif record:
                    record(NAMELESS if nameless else client[peer_at], now, size, dropped)
                slot[FINISHED] = accepted
                if self._pauses:
                    self._resume()

    def _open(self) -> tuple[Streams | Datagrams, Callable[[], Any], int] | None:
        """Return the sessions, the call that receives a client, and the index of its address; None after a stop."""
        server = self.listener.socket
        if not self.listener.is_datagram:
            # socket.accept() would make an enum and a socket object for each client
            return self._streams, server._accept, 1  # type: ignore[attr-defined]
        try:
            # a stop closes the listener, perhaps before the last reply is sent: replies use a duplicate
            sender = server.dup()
        except OSError:
            if self._stopping:
                return None
            raise
        datagrams = Datagrams(sender, self._gate, self._reply, self._own_ports)
        # one byte of a request is enough; the kernel discards the rest of the datagram
        return datagrams, partial(server.recvmsg, 1, CONTROL_SPACE), 3

    def _go_on_after(self, error: OSError) -> bool:
        """Handle an error of accept or recvmsg; return False to end the loop."""
        if self._stopping:
            return False
        if error.errno in _CLIENT_ERRORS:
            return True
        if error.errno in OUT_OF_RESOURCES:
            if not self._ring.release():
                self._pause(error)
            return True
        if error.errno == errno.EAGAIN:
            # another process that shares this socket has made it non-blocking for all of us
            with contextlib.suppress(OSError):
                # a stop may close it just now; the next turn sees that
                self.listener.socket.setblocking(True)
            return True
        raise error

    def _pause(self, error: OSError) -> None:
        self._pauses += 1
        now = time.monotonic()
        if self._warned_at is None or now - self._warned_at >= PAUSE_WARNING_S:
            self._warned_at = now
            self._pause_logged = True
            self._log.event("accept_paused", pid=os.getpid(), listener=self.name, error=error.strerror)
        time.sleep(PAUSE_S)

    def _resume(self) -> None:
        # only after a pause that was logged: both come at most as often as the warning
        if self._pause_logged:
            self._log.event("accept_resumed", pid=os.getpid(), listener=self.name, pauses=self._pauses)
        self._pause_logged = False
        self._pauses = 0


def _extras() -> Iterator[tuple[int, Peer]]:
    """Yield the clients of a rehearsal; fewer if the system lacks descriptors."""
    with contextlib.suppress(OSError):
        for _ in range(REHEARSED):
            ours, theirs = socket.socketpair()
            with theirs:
                yield ours.detach(), _OURSELVES


def main(worker: Worker, master: int, prctl: Callable[..., int], log: Log, client_log: ClientLog) -> int:
    """Be a worker, from the fork to the exit code of the child."""
    if not signals.die_with(master, prctl):
        return 0

    def wake() -> None:
        os.kill(master, signals.WAKE)

    worker.slot[READY] = 1
    wake()
    # the workers of a configuration begin together, or not at all
    if not signals.wait_for_go():
        return 0
    signals.prepare_worker(worker.stop, worker.tick)
    worker.run(log, client_log, wake)
    # a repeated stop has nothing left to interrupt
    signals.end_worker()
    return 0
