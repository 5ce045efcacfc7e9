"""
A worker: a forked child in one blocking accept loop on one listener.

It ends when its listener is closed under it: the handler of SIGTERM closes this process's own copy, the blocked call
is interrupted, retried by Python (PEP 475) and fails with EBADF. A client that was accepted before is still served.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from daytimed import limits, session, signals
from daytimed.addresses import unmap
from daytimed.counters import (
    ACCEPTED,
    BUSY_SINCE,
    DROPPED,
    READY,
    SERVED,
    SUPPRESSED_DROPPED,
    SUPPRESSED_SERVED,
    WATCHED,
    Cells,
)
from daytimed.formats import Reply
from daytimed.limits import Budget, Gate, NetworkSet
from daytimed.listeners import IP_PKTINFO, Listener
from daytimed.log import Log
from daytimed.reasons import DENIED, REASONS

#: The pause of a worker that is out of descriptors or memory, and how rarely that is told.
PAUSE_S = 0.1
PAUSE_WARNING_S = 10.0

#: A client that is gone already, and the network errors that accept(2) passes on: the next client is not to blame.
_CLIENT_ERRORS = frozenset(
    {
        errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
        errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT, errno.EPERM,
    }
)  # fmt: skip
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_IPPROTO_IP = 0
_IPPROTO_IPV6 = 41
_IPV6_PKTINFO = 50
#: Room for struct in_pktinfo and struct in6_pktinfo, both with their headers, cmsg(3).
CONTROL_SPACE = 128
_IN_PKTINFO = struct.Struct("=i4s4s")
_UNKNOWN = bytes(4)


class ClientLog:
    """Tells of clients, as far as the settings and the budget of the whole daemon go; the rest is counted."""

    def __init__(self, log: Log, listener: str, clients: str, quiet: NetworkSet, budget: Budget | None) -> None:
        self._log = log
        self._listener = listener
        self._served = clients == "all" and log.is_enabled("client_served")
        self._dropped = clients != "none" and log.is_enabled("client_dropped")
        self._quiet = quiet or None  # asked for every client, and None is quicker to ask than an empty set
        self._budget = budget

    def __bool__(self) -> bool:
        """Say whether there is anything to tell."""
        return self._served or self._dropped

    def tell(self, peer: Any, now_ns: int, size: int, dropped: int | None) -> bool:
        """
        Log one client.

        Args:
            peer: As accept gives it; empty for a unix socket.
            size: Bytes that were sent.
            dropped: None if it was served, or why it was dropped.

        Returns:
            False if the budget is used up and somebody has to count it.
        """
        if dropped is None:
            if not self._served or (self._quiet and peer and unmap(peer[0]) in self._quiet):
                return True
        elif not self._dropped:
            return True
        if self._budget and not self._budget.take(now_ns):
            return False
        client, port = (unmap(peer[0]), peer[1]) if peer else ("unix", 0)
        if dropped is None:
            self._log.event("client_served", client=client, port=port, listener=self._listener, bytes=size)
        else:
            reason = REASONS[dropped]
            self._log.event("client_dropped", client=client, port=port, listener=self._listener, reason=reason)
        return True


class Worker:
    """What one worker needs, all of it made by the master before the fork or just behind it."""

    def __init__(
        self,
        listener: Listener,
        name: str,
        reply: Reply,
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
        self._warned_at: float | None = None

    def stop(self) -> None:
        """End the loop: close this process's copy of the listener."""
        self._stopping = True
        self.listener.socket.close()

    def run(self, log: Log, client_log: ClientLog, wake: Callable[[], None]) -> None:
        """
        Serve until stopped.

        Args:
            wake: Tells the master that something has begun.

        Raises:
            OSError: If the listener is broken: nothing that a client can do.
        """
        self._log = log
        self.slot[READY] = 1
        wake()
        if self.listener.is_datagram:
            self._answer_datagrams(client_log, wake)
        else:
            self._accept_clients(client_log, wake)

    def _accept_clients(self, client_log: ClientLog, wake: Callable[[], None]) -> None:
        # everything the loop touches is a local name: it runs for every client
        listener = self.listener.socket
        family, kind, protocol = int(listener.family), int(listener.type), listener.proto
        slot, head, reply, serve = self.slot, self.head, self.reply, session.serve
        new_socket, monotonic_ns, time_ns = _socket.socket, time.monotonic_ns, time.time_ns
        judge = self.gate.judge if self.gate and family != _AF_UNIX else None
        tell = client_log.tell if client_log else None
        # socket.accept() makes an enum and a Python object of every client; this is what it is made of
        accept = listener._accept  # type: ignore[attr-defined]
        while True:
            try:
                descriptor, peer = accept()
            except OSError as error:
                if self._go_on_after(error):
                    continue
                return
            now = monotonic_ns()
            slot[BUSY_SINCE] = now
            slot[ACCEPTED] += 1
            if not head[WATCHED]:
                wake()
            client = new_socket(family, kind, protocol, descriptor)
            dropped = judge(unmap(peer[0]), now) if judge else None
            if dropped is None:
                line = reply(time_ns())
                dropped = serve(client, line)
            else:
                line = b""
                client.close()
            if dropped is None:
                slot[SERVED] += 1
            else:
                slot[DROPPED + dropped] += 1
            if tell and not tell(peer, now, len(line), dropped):
                slot[SUPPRESSED_SERVED if dropped is None else SUPPRESSED_DROPPED] += 1
            slot[BUSY_SINCE] = 0
            if self._pauses:
                self._resume()

    def _answer_datagrams(self, client_log: ClientLog, wake: Callable[[], None]) -> None:
        server, slot = self.listener.socket, self.slot
        while True:
            try:
                # what was asked does not matter (RFC 867), and the kernel throws the rest of a datagram away
                _, control, _, peer = server.recvmsg(1, CONTROL_SPACE)
            except OSError as error:
                if self._go_on_after(error):
                    continue
                return
            now = time.monotonic_ns()
            slot[BUSY_SINCE] = now
            slot[ACCEPTED] += 1
            if not self.head[WATCHED]:
                wake()
            host, port = unmap(peer[0]), peer[1]
            source = reply_source(control)
            line = b""
            dropped: int | None
            if source is None or limits.is_loop(host, port, self.own_ports):
                dropped = DENIED
            else:
                dropped = self.gate.judge(host, now)
            if dropped is None and source is not None:
                line = self.reply(time.time_ns())
                dropped = session.answer(server, line, source, peer)
            slot[SERVED if dropped is None else DROPPED + dropped] += 1
            if not client_log.tell(peer, now, len(line), dropped):
                slot[SUPPRESSED_SERVED if dropped is None else SUPPRESSED_DROPPED] += 1
            slot[BUSY_SINCE] = 0
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
            os.set_blocking(self.listener.socket.fileno(), True)
            return True
        raise error

    def _pause(self, error: OSError) -> None:
        self._pauses += 1
        now = time.monotonic()
        if self._warned_at is None or now - self._warned_at >= PAUSE_WARNING_S:
            self._warned_at = now
            self._log.event("accept_paused", pid=os.getpid(), listener=self.name, error=error.strerror)
        time.sleep(PAUSE_S)

    def _resume(self) -> None:
        self._log.event("accept_resumed", pid=os.getpid(), listener=self.name, pauses=self._pauses)
        self._pauses = 0


_AF_UNIX = 1


def reply_source(control: Sequence[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]] | None:
    """
    Return the control message that makes a reply leave from the address that was asked (ip(7), ipv6(7)).

    Returns:
        An empty list if the kernel did not say; None if the datagram was sent to a broadcast or multicast address,
        from which nothing may be answered.
    """
    for level, kind, data in control:
        if level == _IPPROTO_IP and kind == IP_PKTINFO:
            _, local, destination = _IN_PKTINFO.unpack(data[: _IN_PKTINFO.size])
            if local == _UNKNOWN:
                # it came before the socket was told to say; the kernel chooses our address
                return None if destination[0] >= 224 else []
            return None if local != destination else [(level, kind, _IN_PKTINFO.pack(0, local, _UNKNOWN))]
    for level, kind, data in control:
        if level == _IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            return None if data[0] == 0xFF else [(level, kind, data)]
    return []


def main(worker: Worker, master: int, prctl: Callable[..., int], make_log: Callable[[], tuple[Log, ClientLog]]) -> int:
    """Be a worker: everything between the fork and the exit code of the child."""
    if not signals.die_with(master, prctl):
        return 0
    signals.prepare_worker(worker.stop)
    log, client_log = make_log()
    worker.run(log, client_log, lambda: os.kill(master, signals.WAKE))
    return 0
