"""
One client: everything that can happen to it, and the rule that drops it.

Whatever a client does, or whatever error its socket gives, it is closed, counted under one reason and forgotten.
Nothing here waits for a client and nothing here logs. An exception that is no OSError is our bug and goes through.
"""

from __future__ import annotations

import _socket
import errno
import mmap
import socket
import time
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD
from typing import Any, Self

from daytimed.addresses import unmap
from daytimed.datagram import is_loop, reply_source
from daytimed.reasons import DENIED, NO_FD, NO_MEMORY, OS_ERROR, RESET, TIMEOUT

# combined once and as plain numbers: of enums that is done in Python
_SEND_FLAGS = int(socket.MSG_MORE | socket.MSG_DONTWAIT)
_DONTWAIT = int(socket.MSG_DONTWAIT)
_DISCARD_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_TRUNC)

_close = socket.close

#: Filled by the kernel with an int. Given bytes, ioctl() first fails to take them for a buffer, and so costs twice as
#: much.
_unread_bytes = bytearray(4)
_unread = memoryview(_unread_bytes).cast("i")

#: Most that is read and thrown away of what a client has sent.
DISCARDED = 1 << 18
#: Where that goes, though TCP does not even copy it (MSG_TRUNC, tcp(7)), so that none of this memory is ever used. A
#: recv() of this size would map and unmap it for every client, which can double what it costs.
_discarded = mmap.mmap(-1, DISCARDED, mmap.MAP_PRIVATE)

_REASONS = {
    errno.ECONNRESET: RESET,
    errno.EPIPE: RESET,
    errno.ENOTCONN: RESET,
    errno.ECONNABORTED: RESET,
    errno.ECONNREFUSED: RESET,
    errno.ETIMEDOUT: TIMEOUT,
    # the socket does not take the reply at once, and waiting is not done
    errno.EAGAIN: TIMEOUT,
    errno.EMFILE: NO_FD,
    errno.ENFILE: NO_FD,
    errno.ENOBUFS: NO_MEMORY,
    errno.ENOMEM: NO_MEMORY,
}


def reason_for(error: OSError) -> int:
    """Return why a client with this error is dropped, as an index of REASONS."""
    return _REASONS.get(error.errno or 0, OS_ERROR)


class ClientSocket:
    """
    One socket object for all clients of a worker, one after the other.

    Each is given the lowest descriptor that is free (accept(2)), which is nearly always the same one: so the object is
    nearly always right as it is, and none is made and thrown away for each client.
    """

    def __init__(self, kind: tuple[int, int, int]) -> None:
        """Take the family, type and protocol of the listener, which are those of its clients."""
        self._kind = kind
        self._ends = int(socket.SHUT_RDWR if kind[0] == socket.AF_UNIX else socket.SHUT_WR)
        self._client: _socket.socket
        self._descriptor = -1

    def serve(self, descriptor: int, reply: bytes) -> int | None:
        """
        Send the reply, end the stream and close.

        The system calls of a client, each of which the reply needs, behind accept4 in the worker:

        - sendto: the reply stays back (MSG_MORE) until the end of the stream goes with it in one segment;
        - shutdown: sends both. A close straight after the send would lose the reply of a client that has written. Unix
          sockets are ended for reading as well: what came between the look below and the close would be a reset there;
        - ioctl, and recvfrom if it finds something: what the client has written is thrown away (RFC 867), because
          closing with unread data is a reset (RFC 1122, 4.2.2.13), and would give up a reply that is still on its way.
          To try recvfrom at once would cost an exception where there is nothing; to end the side for reading before,
          so that it is an end of file, would itself be a reset for what comes just then;
        - close.

        Returns:
            None if the client was served, or why it was dropped, as an index of REASONS.
        """
        if descriptor != self._descriptor:
            self._take(descriptor)
        try:
            sent = self._send(reply, _SEND_FLAGS)
            self._shutdown(self._ends)
            ioctl(descriptor, FIONREAD, _unread_bytes)
            if _unread[0]:
                self._client.recv_into(_discarded, 0, _DISCARD_FLAGS)
            return None if sent == len(reply) else TIMEOUT
        except OSError as error:
            return reason_for(error)
        finally:
            # close(), in place: a call that no client needs; contextlib would make three
            try:  # noqa: SIM105
                _close(descriptor)
            except OSError:
                pass

    def _take(self, descriptor: int) -> None:
        """Have the object stand for another descriptor."""
        self._leave()
        client = self._client = _socket.socket(*self._kind, descriptor)
        self._descriptor = descriptor
        self._send, self._shutdown = client.send, client.shutdown

    def _leave(self) -> None:
        if self._descriptor >= 0:
            # closed long ago; the number may be of something else now, which must not be closed with the object
            self._client.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave()


def close(descriptor: int) -> None:
    """Close a client; without anything before it this is how one is refused: at once, and without a byte."""
    try:
        _close(descriptor)
    except OSError:
        # whatever close(2) says, it has let go of the descriptor
        return


def answer(
    server: _socket.socket,
    request: tuple[Any, ...],
    own_ports: frozenset[int],
    judge: Callable[[str, int], int | None],
    reply: Callable[[int], bytes],
) -> tuple[int, int | None]:
    """
    Send one datagram in reply to one.

    Args:
        server: What the reply leaves by.
        request: As recvmsg gives it; what it says does not matter (RFC 867).
        own_ports: Of our UDP listeners.
        judge: Says why a host is to have no reply now, if so.
        reply: Makes the reply of an instant.

    Returns:
        The bytes that were sent, and as `serve`.
    """
    _, control, _, peer = request
    host, port = unmap(peer[0]), peer[1]
    source = reply_source(control)
    if source is None or is_loop(host, port, own_ports):
        return 0, DENIED
    dropped = judge(host, time.monotonic_ns())
    if dropped is not None:
        return 0, dropped
    line = reply(time.time_ns())
    try:
        server.sendmsg([line], source, _DONTWAIT, peer)
    except OSError as error:
        return 0, reason_for(error)
    return len(line), None
