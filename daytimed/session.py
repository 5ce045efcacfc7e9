"""
One client, stream or datagram: judged, answered, ended and closed. The drop rule is here and nowhere else.

Whatever a client does, and whatever error its socket reports, the client is dropped under one reason. A stream that was
served is closed later: see ring.py. Nothing here waits for a client and nothing here logs. An exception that is not an
OSError is a bug of ours and propagates.
"""

from __future__ import annotations

import errno
import socket
from time import time_ns
from typing import TYPE_CHECKING, Any

from daytimed.addresses import unmap
from daytimed.datagram import is_loop, reply_source
from daytimed.gate import Gate
from daytimed.peers import host_of
from daytimed.reasons import DENIED, NO_FD, NO_MEMORY, OS_ERROR, RESET, TIMEOUT
from daytimed.ring import Ring, close

if TYPE_CHECKING:
    from daytimed.formats import Reply

Outcome = tuple[int, int | None]
"""Bytes sent, and None for a served client or the reason for the drop, an index of REASONS."""

# combined once, as plain integers: Python evaluates operators on enums in Python code
_SEND_FLAGS = int(socket.MSG_MORE | socket.MSG_DONTWAIT)
_DONTWAIT = int(socket.MSG_DONTWAIT)

_REASONS = {
    errno.ECONNRESET: RESET,
    errno.EPIPE: RESET,
    errno.ENOTCONN: RESET,
    errno.ECONNABORTED: RESET,
    errno.ECONNREFUSED: RESET,
    errno.ETIMEDOUT: TIMEOUT,
    # the socket does not take the whole reply now, and nothing waits here
    errno.EAGAIN: TIMEOUT,
    errno.EMFILE: NO_FD,
    errno.ENFILE: NO_FD,
    errno.ENOBUFS: NO_MEMORY,
    errno.ENOMEM: NO_MEMORY,
}


def drop(error: OSError) -> Outcome:
    """Return the outcome of a client whose socket reports this error."""
    return 0, _REASONS.get(error.errno or 0, OS_ERROR)


class Streams:
    """The clients of a stream listener."""

    def __init__(self, ring: Ring, gate: Gate, reply: Reply, *, is_unix: bool) -> None:
        """Take the gate, the reply, and the ring that closes the streams."""
        self._ring = ring
        self._sockets = ring.sockets
        self._how = int(socket.SHUT_RDWR if is_unix else socket.SHUT_WR)
        self._judge = gate.judge if gate and not is_unix else None
        self._reply = reply

    def serve(self, client: tuple[int, Any], now_ns: int) -> Outcome:
        """
        Send the reply and end the stream; close a refused client at once, without a byte.

        The system calls of a client under load, after accept4 in the worker:

        - sendto: the reply waits (MSG_MORE) for the end of the stream;
        - shutdown: sends both in one segment;
        - recvfrom and close, of the earlier client whose place in the ring this one takes.
        """
        descriptor, peer = client
        if self._judge and (dropped := self._judge(host_of(peer), now_ns)) is not None:
            close(descriptor)
            return 0, dropped
        try:
            line = self._reply(time_ns())
            try:
                stream = self._sockets[descriptor]
            except KeyError:
                stream = self._ring.open(descriptor)
            sent = stream.send(line, _SEND_FLAGS)
            stream.shutdown(self._how)
        except OSError as error:
            close(descriptor)
            return drop(error)
        except BaseException:
            close(descriptor)
            raise
        self._ring.add(descriptor)
        return sent, None if sent == len(line) else TIMEOUT

    def close(self) -> None:
        """Close every client that the ring still holds."""
        self._ring.close()


class Datagrams:
    """The clients of a datagram listener."""

    def __init__(self, sender: socket.socket, gate: Gate, reply: Reply, own_ports: frozenset[int]) -> None:
        """
        Take the gate and the reply.

        Args:
            sender: The socket that sends the replies.
            own_ports: The ports of our datagram listeners.
        """
        self._sender = sender
        self._judge = gate.judge
        self._reply = reply
        self._own_ports = own_ports

    def serve(self, request: tuple[Any, ...], now_ns: int) -> Outcome:
        """Answer one datagram, as recvmsg returns it, with one; its content does not matter (RFC 867)."""
        _, control, _, peer = request
        host, port = unmap(host_of(peer)), peer[1]
        source = reply_source(control)
        if source is None or is_loop(host, port, self._own_ports):
            return 0, DENIED
        if (dropped := self._judge(host, now_ns)) is not None:
            return 0, dropped
        line = self._reply(time_ns())
        try:
            self._sender.sendmsg([line], source, _DONTWAIT, peer)
        except OSError as error:
            return drop(error)
        return len(line), None

    def close(self) -> None:
        """Close the socket that sends the replies."""
        self._sender.close()
