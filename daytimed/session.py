"""
One client, stream or datagram: judged, answered, ended and closed. The drop rule is here and nowhere else.

Whatever a client does, and whatever error its socket reports, the client is closed, counted under one reason and
forgotten. Nothing here waits for a client and nothing here logs. An exception that is not an OSError is a bug of ours
and propagates.
"""

from __future__ import annotations

import _socket
import errno
import mmap
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daytimed.addresses import unmap
from daytimed.datagram import is_loop, reply_source
from daytimed.gate import Gate
from daytimed.reasons import DENIED, NO_FD, NO_MEMORY, OS_ERROR, RESET, TIMEOUT

if TYPE_CHECKING:
    from daytimed.formats import Reply

Outcome = tuple[int, int | None]
"""Bytes sent, and None for a served client or the reason for the drop, an index of REASONS."""

# combined once, as plain integers: Python evaluates operators on enums in Python code
_SEND_FLAGS = int(socket.MSG_MORE | socket.MSG_DONTWAIT)
_DONTWAIT = int(socket.MSG_DONTWAIT)
_DISCARD_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_TRUNC)

#: Streams that wait for a later client to take their place, and as many again that wait for their own client.
#: 131,840 bytes of unread input each (measured) keep a worker below 16 MiB of kernel memory.
PLACES = 63
#: Of the descriptors that a process may open, one in this many is for served clients.
_SHARE = 8
#: A served client has this long to stop writing.
TICK_S = 0.1
TICKS = 20

#: Input is discarded in chunks of this size, and at most this many at a look.
DISCARDED = 1 << 18
_CHUNKS = 16
#: TCP does not copy what it discards (MSG_TRUNC, tcp(7)), so this memory is never used. A recv() of this size would map
#: and unmap it for each client, which can double the cost of a reply.
_discarded = mmap.mmap(-1, DISCARDED, mmap.MAP_PRIVATE)

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


def reason_for(error: OSError) -> int:
    """Return the reason to drop a client with this error, an index of REASONS."""
    return _REASONS.get(error.errno or 0, OS_ERROR)


def _close(descriptor: int) -> None:
    try:  # noqa: SIM105, for each client: contextlib would add three calls
        _socket.close(descriptor)
    except OSError:
        # close(2) releases the descriptor whatever it returns
        pass


class Streams:
    """
    The clients of a stream listener.

    A served stream ends at once, but its descriptor is closed later. TCP answers input for a closed socket with a reset
    (RFC 1122, 4.2.2.13), and a reset discards the reply that its client has not read yet. So the descriptor stays in a
    ring until a later client needs its place. By then nearly every client has closed its end; one that has not waits
    two seconds more, and its input is discarded. A timer runs while a descriptor is open: it looks at each, and closes
    those that are done.

    The tick of that timer is a signal handler: it can interrupt every method here between two steps of the interpreter.
    Each descriptor is in `_recent`, in `_waiting`, or in the hands of the one method that closes it; it moves in one
    step, and no method relies on what another has left there.
    """

    def __init__(
        self, kind: tuple[int, int, int], gate: Gate, reply: Reply, set_timer: Callable[[float], None] | None
    ) -> None:
        """
        Make them.

        Args:
            kind: Family, type and protocol of the listener, which its clients share.
            set_timer: Has `tick` called at this interval in seconds, until it is set to 0; None if the caller waits.
        """
        self._kind = kind
        is_unix = kind[0] == socket.AF_UNIX
        # a unix stream that is shut down both ways takes no input, and needs no place
        self._how = int(socket.SHUT_RDWR if is_unix else socket.SHUT_WR)
        self._places = 0 if is_unix else max(1, min(PLACES, os.sysconf("SC_OPEN_MAX") // _SHARE))
        self._judge = gate.judge if gate and not is_unix else None
        self._reply = reply
        self._sockets: dict[int, _socket.socket] = {}
        """One object for each descriptor number, whichever client has it: accept(2) returns the lowest free one."""
        self._recent: deque[int] = deque()
        self._waiting: dict[int, int] = {}
        """Ticks left by descriptor, the oldest first."""
        self._set_timer = set_timer
        self._ticking = self._in_tick = False

    def serve(self, client: tuple[int, Any], now_ns: int) -> Outcome:
        """
        Send the reply and end the stream; close a refused client at once, without a byte.

        The system calls of a client, after accept4 in the worker:

        - sendto: the reply waits (MSG_MORE) for the end of the stream;
        - shutdown: sends both in one segment;
        - recvfrom and close, of the earlier client whose place this one takes.
        """
        descriptor, peer = client
        if self._judge and (dropped := self._judge(peer[0], now_ns)) is not None:
            _close(descriptor)
            return 0, dropped
        try:
            line = self._reply(time.time_ns())
            stream = self._sockets.get(descriptor) or self._open(descriptor)
            sent = stream.send(line, _SEND_FLAGS)
            stream.shutdown(self._how)
        except OSError as error:
            _close(descriptor)
            return 0, reason_for(error)
        except BaseException:
            _close(descriptor)
            raise
        self._recent.append(descriptor)
        if len(self._recent) > self._places:
            self._make_place()
        if not self._ticking and self._places and self._set_timer:
            self._ticking = True
            self._set_timer(TICK_S)
        return sent, None if sent == len(line) else TIMEOUT

    def _open(self, descriptor: int) -> _socket.socket:
        stream = self._sockets[descriptor] = _socket.socket(*self._kind, descriptor)
        return stream

    def _make_place(self) -> None:
        """Take the oldest stream out of the ring: close it, or let it wait if its client has not closed."""
        try:
            descriptor = self._recent.popleft()
        except IndexError:
            # a tick has emptied the ring
            return
        try:
            # nearly always the end of the input: the rest is for others
            if not self._sockets[descriptor].recv_into(_discarded, 0, _DISCARD_FLAGS):
                _socket.close(descriptor)
                return
        except OSError:
            pass
        if self._is_open(descriptor):
            self._wait(descriptor, TICKS)

    def _is_open(self, descriptor: int) -> bool:
        """Discard the input of a stream; close it at the end of the input, or on an error."""
        receive = self._sockets[descriptor].recv_into
        try:
            for _ in range(_CHUNKS):
                if not receive(_discarded, 0, _DISCARD_FLAGS):
                    break
            else:
                return True
        except BlockingIOError:
            return True
        except OSError:
            pass
        _close(descriptor)
        return False

    def _wait(self, descriptor: int, ticks: int) -> None:
        """Let a stream wait for its client, at the expense of the one that has waited longest."""
        self._waiting[descriptor] = ticks
        if len(self._waiting) > self._places:
            oldest = next(iter(self._waiting), None)
            if oldest is not None and self._waiting.pop(oldest, None) is not None and self._is_open(oldest):
                _close(oldest)

    def tick(self) -> None:
        """Look at every stream; close those whose client has closed, or has had its time."""
        if self._in_tick:
            return
        self._in_tick = True
        waiting = list(self._waiting.items())
        self._waiting.clear()
        waiting += [(self._recent.popleft(), TICKS) for _ in range(len(self._recent))]
        for descriptor, ticks in waiting:
            if self._is_open(descriptor):
                if ticks > 1:
                    self._wait(descriptor, ticks - 1)
                else:
                    _close(descriptor)
        if not self._waiting:
            self._stop_ticking()
        self._in_tick = False

    def _stop_ticking(self) -> None:
        if self._set_timer:
            self._set_timer(0)
        self._ticking = False

    def wait(self) -> None:
        """Wait until every client has closed, two seconds at most."""
        until = time.monotonic() + TICKS * TICK_S
        while self._recent and (left_s := until - time.monotonic()) > 0:
            select.select(self._recent, (), (), left_s)
            for descriptor in [*self._recent]:
                if not self._is_open(descriptor):
                    self._recent.remove(descriptor)

    def release(self) -> int:
        """Close every stream now, whatever its client does; return how many there were."""
        # a tick that comes meanwhile does nothing
        self._in_tick = True
        self._stop_ticking()
        descriptors = [*self._waiting, *self._recent]
        self._waiting.clear()
        self._recent.clear()
        for descriptor in descriptors:
            if self._is_open(descriptor):
                _close(descriptor)
        self._in_tick = False
        return len(descriptors)

    def close(self) -> None:
        """Release the streams, and the objects that stood for them."""
        self.release()
        for stream in self._sockets.values():
            # the number may belong to another file by now
            stream.detach()
        self._sockets.clear()


class Datagrams:
    """The clients of a datagram listener."""

    def __init__(self, sender: _socket.socket, gate: Gate, reply: Reply, own_ports: frozenset[int]) -> None:
        """
        Take the socket that sends the replies.

        Args:
            own_ports: The ports of our datagram listeners.
        """
        self._sender = sender
        self._judge = gate.judge
        self._reply = reply
        self._own_ports = own_ports

    def serve(self, request: tuple[Any, ...], now_ns: int) -> Outcome:
        """Send one datagram in reply to one, as recvmsg returns it; its content does not matter (RFC 867)."""
        _, control, _, peer = request
        host, port = unmap(peer[0]), peer[1]
        source = reply_source(control)
        if source is None or is_loop(host, port, self._own_ports):
            return 0, DENIED
        if (dropped := self._judge(host, now_ns)) is not None:
            return 0, dropped
        line = self._reply(time.time_ns())
        try:
            self._sender.sendmsg([line], source, _DONTWAIT, peer)
        except OSError as error:
            return 0, reason_for(error)
        return len(line), None

    def release(self) -> int:
        """Release nothing: a datagram leaves no descriptor behind."""
        return 0

    def close(self) -> None:
        """Close the socket that sends the replies."""
        self._sender.close()
