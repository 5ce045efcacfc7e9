"""
A worker: a forked child in one blocking accept loop on one listener.

It ends when its listener is closed under it: the handler of SIGTERM closes this process's own copy, the blocked call
is interrupted, retried by Python (PEP 475) and fails with EBADF. A client that was accepted before is still served.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import Any

from daytimed import formats, session, signals
from daytimed.clientlog import NAMELESS, ClientLog, Peer
from daytimed.counters import ACCEPTED, DROPPED, FINISHED, READY, SERVED, SUPPRESSED_SERVED, WATCHED, Cells
from daytimed.datagram import CONTROL_SPACE
from daytimed.limits import Gate
from daytimed.listeners import Listener
from daytimed.log import Log

#: The pause of a worker that is out of descriptors or memory, and how rarely that is told.
PAUSE_S = 0.1
PAUSE_WARNING_S = 10.0

#: A client that is gone already, and the network errors that accept(2) passes on: the next client is not to blame.
_CLIENT_ERRORS = frozenset(
    {
        errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
        errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT, errno.EPERM,
        errno.ECONNREFUSED,
    }
)  # fmt: skip
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Worker:
    """What one worker needs, all of it made by the master before the fork or just behind it."""

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
        self.reply = reply
        self.gate = gate
        self.head = head
        self.slot = slot
        self.own_ports = own_ports
        self._stopping = False
        self._pauses = 0
        self._pause_told = False
        self._warned_at: float | None = None

    def stop(self) -> None:
        """End the loop: close this process's copy of the listener."""
        self._stopping = True
        self.listener.socket.close()

    def run(self, log: Log, client_log: ClientLog, wake: Callable[[], None]) -> None:
        """
        Serve until stopped.

        Args:
            wake: Tells the master that clients come.

        Raises:
            OSError: If the listener is broken: nothing that a client can do.
        """
        self._log = log
        if self.listener.is_datagram:
            self._answer_datagrams(client_log, wake)
        else:
            self._accept_clients(client_log, wake)

    def _accept_clients(self, client_log: ClientLog, wake: Callable[[], None]) -> None:
        # everything the loop touches is a local name: it runs for every client
        listener, nameless = self.listener.socket, self.listener.is_unix
        slot, head, reply = self.slot, self.head, self.reply
        monotonic_ns, time_ns = time.monotonic_ns, time.time_ns
        judge = self.gate.judge if self.gate and not nameless else None
        tell = client_log.tell if client_log else None
        networks, place = client_log.talkers.counts, client_log.talkers.place
        # socket.accept() makes an enum and a Python object of every client; this is what it is made of
        accept = listener._accept  # type: ignore[attr-defined]
        if nameless:
            accept = _accept_nameless(accept)
        # counted here and only stored in the slot, to which nobody else writes: reading it back costs as much again
        accepted = served = 0
        with session.ClientSocket(self.listener.kind) as client:
            serve = client.serve
            while True:
                try:
                    descriptor, peer = accept()
                except OSError as error:
                    if self._go_on_after(error):
                        continue
                    return
                now = monotonic_ns()
                accepted += 1
                slot[ACCEPTED] = accepted
                if not head[WATCHED]:
                    wake()
                dropped = judge(peer[0], now) if judge else None
                if dropped is None:
                    line = reply(time_ns())
                    dropped = serve(descriptor, line)
                else:
                    line = b""
                    session.close(descriptor)
                if dropped is None:
                    served += 1
                    slot[SERVED] = served
                else:
                    slot[DROPPED + dropped] += 1
                if now < client_log.suppresses_until_ns and dropped is None:
                    # ClientLog.tell(), in place: under load this is nearly everyone; both add to the same cells
                    slot[SUPPRESSED_SERVED] += 1
                    networks[place(peer[0])] += 1
                elif tell:
                    tell(peer, now, len(line), dropped)
                slot[FINISHED] = accepted
                if self._pauses:
                    self._resume()

    def _answer_datagrams(self, client_log: ClientLog, wake: Callable[[], None]) -> None:
        server, slot = self.listener.socket, self.slot
        try:
            # replies leave by a copy of our own: a stop closes the listener while a client may be in our hands
            sender = server.dup()
        except OSError:
            if self._stopping:
                return
            raise
        with sender:
            while True:
                try:
                    # of what was asked, one byte is more than enough; the kernel throws the rest of a datagram away
                    request = server.recvmsg(1, CONTROL_SPACE)
                except OSError as error:
                    if self._go_on_after(error):
                        continue
                    return
                now = time.monotonic_ns()
                slot[ACCEPTED] += 1
                if not self.head[WATCHED]:
                    wake()
                size, dropped = session.answer(sender, request, self.own_ports, self.gate.judge, self.reply)
                slot[SERVED if dropped is None else DROPPED + dropped] += 1
                client_log.tell(request[3], now, size, dropped)
                slot[FINISHED] += 1
                if self._pauses:
                    self._resume()

    def _go_on_after(self, error: OSError) -> bool:
        """Deal with an error of accept or recvmsg; False ends the loop."""
        if self._stopping:
            return False
        if error.errno in _CLIENT_ERRORS:
            return True
        if error.errno in _OUT_OF_RESOURCES:
            self._pause(error)
            return True
        if error.errno == errno.EAGAIN:
            # somebody who shares this socket has made it non-blocking, for all of us
            with contextlib.suppress(OSError):
                # closed by a stop that comes just now, which the next turn sees
                self.listener.socket.setblocking(True)
            return True
        raise error

    def _pause(self, error: OSError) -> None:
        self._pauses += 1
        now = time.monotonic()
        if self._warned_at is None or now - self._warned_at >= PAUSE_WARNING_S:
            self._warned_at = now
            self._pause_told = True
            self._log.event("accept_paused", pid=os.getpid(), listener=self.name, error=error.strerror)
        time.sleep(PAUSE_S)

    def _resume(self) -> None:
        # told only after a pause that was: both come no more often than the warning does
        if self._pause_told:
            self._log.event("accept_resumed", pid=os.getpid(), listener=self.name, pauses=self._pauses)
        self._pause_told = False
        self._pauses = 0


def _accept_nameless(accept: Callable[[], tuple[int, Any]]) -> Callable[[], tuple[int, Peer]]:
    """Return an accept for unix sockets, whose clients choose their names, which may be anything."""
    return lambda: (accept()[0], NAMELESS)


def main(worker: Worker, master: int, prctl: Callable[..., int], log: Log, client_log: ClientLog) -> int:
    """Be a worker: everything between the fork and the exit code of the child."""
    if not signals.die_with(master, prctl):
        return 0

    def wake() -> None:
        os.kill(master, signals.WAKE)

    worker.slot[READY] = 1
    wake()
    # the workers of a configuration begin together, or not at all
    if not signals.wait_for_go():
        return 0
    signals.prepare_worker(worker.stop)
    worker.run(log, client_log, wake)
    # asked once more, on the way out, there is nothing left to interrupt
    signals.end_worker()
    return 0
