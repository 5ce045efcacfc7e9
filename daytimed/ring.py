"""
The ring: streams that have ended, until their descriptors can be closed without a reset.

TCP answers input for a closed socket with a reset (RFC 1122, 4.2.2.13). The client's next send then fails, and many
clients discard the reply unread. So the descriptor of a served client stays here until a later client needs its place.
By then nearly every client has closed its end; one that has not waits two seconds more, and its input is discarded. A
timer runs while a descriptor is open: it looks at each, and closes those that are done.

The tick of that timer is a signal handler: it can interrupt every method here between two steps of the interpreter.
Each descriptor is in `_recent`, in `_waiting`, or in the hands of the one method that closes it; it moves in one step,
and no method relies on what another has left there.
"""

from __future__ import annotations

import _socket
import mmap
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable

#: Streams that keep their place until a later client needs it: few, so that they stay in the caches of the CPU.
RECENT = 16
#: Streams that wait for their own client. With 70 KB of unread input each (the most that was measured; see
#: listeners.RECEIVE_BUFFER), the places of one worker hold less than 16 MiB of kernel memory.
WAITING = 224
#: At most one in this many of the descriptors that a process may open waits, and half as many are recent.
_SHARE = 4
#: A client that does not close has two seconds, and a tick: the first one may come at once.
TICK_S = 0.1
TICKS = 21

#: Most input that one look discards: chunks of this size. A writer can be faster than the look.
_CHUNK = 1 << 18
_CHUNKS = 4
#: TCP does not copy what it discards (MSG_TRUNC, tcp(7)), so this memory is never used. A recv() of this size would map
#: and unmap it for each client, which can double the cost of a reply.
_discarded = mmap.mmap(-1, _CHUNK, mmap.MAP_PRIVATE)
_DISCARD = int(socket.MSG_DONTWAIT | socket.MSG_TRUNC)


def close(descriptor: int) -> None:
    """Close a descriptor. close(2) releases it, whatever it returns."""
    try:  # noqa: SIM105, for each client: contextlib would add three calls
        _socket.close(descriptor)
    except OSError:
        pass


class Ring:
    """The ended streams of one listener."""

    def __init__(self, kind: tuple[int, int, int], set_timer: Callable[[float], None] | None) -> None:
        """
        Make a ring.

        Args:
            kind: Family, type and protocol of the listener, which its clients share.
            set_timer: Starts calls of `tick` at this interval in seconds; 0 ends them. None if the caller waits.
        """
        self._kind = kind
        self._set_timer = set_timer
        most = os.sysconf("SC_OPEN_MAX") // _SHARE
        # a unix stream that is shut down in both directions takes no input, and needs no place
        self._most_recent = 0 if kind[0] == socket.AF_UNIX else max(1, min(RECENT, most // 2))
        self._most_waiting = 0 if kind[0] == socket.AF_UNIX else max(1, min(WAITING, most))
        self.sockets: dict[int, _socket.socket] = {}
        """One object for each descriptor number, whichever client has it: accept(2) returns the lowest free one."""
        self._recent: deque[int] = deque()
        self._waiting: deque[tuple[int, int]] = deque()
        """Descriptors with the ticks that they have left, the oldest first."""
        self._ticking = self._is_busy = False

    def open(self, descriptor: int) -> _socket.socket:
        """Return an object for a descriptor number that is new here."""
        stream = self.sockets[descriptor] = _socket.socket(*self._kind, descriptor)
        return stream

    def add(self, descriptor: int) -> None:
        """Take a stream that has ended; if the places are full, the oldest one leaves."""
        recent = self._recent
        recent.append(descriptor)
        if not self._ticking:
            self._start_timer()
        if len(recent) <= self._most_recent:
            return
        try:
            oldest = recent.popleft()
        except IndexError:
            # a tick has emptied it
            return
        try:
            # nearly always: the client has closed
            at_end = not self.sockets[oldest].recv_into(_discarded, 0, _DISCARD)
        except OSError:
            at_end = False
        if at_end:
            close(oldest)
        elif self._is_open(oldest):
            self._wait(oldest, TICKS)

    def _is_open(self, descriptor: int) -> bool:
        """Discard the input of a stream; close it at the end of the input, or on an error."""
        receive = self.sockets[descriptor].recv_into
        try:
            for _ in range(_CHUNKS):
                if not receive(_discarded, 0, _DISCARD):
                    break
            else:
                return True
        except BlockingIOError:
            return True
        except OSError:
            pass
        close(descriptor)
        return False

    def _wait(self, descriptor: int, ticks: int) -> None:
        """Let a stream wait for its client; if the places are full, the one that has waited longest leaves."""
        self._waiting.append((descriptor, ticks))
        # a tick while the caller held the descriptor found nothing, and ended the timer
        if not self._ticking:
            self._start_timer()
        if len(self._waiting) > self._most_waiting:
            try:
                oldest, _ = self._waiting.popleft()
            except IndexError:
                # a tick has emptied it
                return
            if self._is_open(oldest):
                close(oldest)

    def tick(self) -> None:
        """Look at every stream; close those whose client has closed, or has used up its time."""
        if self._is_busy:
            return
        self._is_busy = True
        waiting = [*self._waiting, *((descriptor, TICKS) for descriptor in self._recent)]
        self._waiting.clear()
        self._recent.clear()
        for descriptor, ticks in waiting:
            if self._is_open(descriptor):
                if ticks > 1:
                    self._wait(descriptor, ticks - 1)
                else:
                    close(descriptor)
        if not self._waiting:
            self._stop_timer()
        self._is_busy = False

    def _start_timer(self) -> None:
        if self._most_waiting and self._set_timer:
            self._ticking = True
            self._set_timer(TICK_S)

    def _stop_timer(self) -> None:
        if self._set_timer:
            self._set_timer(0)
        self._ticking = False

    def wait(self) -> None:
        """Wait until every client has closed, two seconds at most."""
        until = time.monotonic() + TICKS * TICK_S
        while self._recent and (left_s := until - time.monotonic()) > 0:
            poll = select.poll()
            for descriptor in self._recent:
                poll.register(descriptor, select.POLLIN)
            poll.poll(left_s * 1000)
            for descriptor in [*self._recent]:
                if not self._is_open(descriptor):
                    self._recent.remove(descriptor)

    def release(self) -> int:
        """Close every stream now, whatever its client does; return their number."""
        # a tick that comes meanwhile does nothing
        self._is_busy = True
        self._stop_timer()
        descriptors = [*(descriptor for descriptor, _ in self._waiting), *self._recent]
        self._waiting.clear()
        self._recent.clear()
        for descriptor in descriptors:
            if self._is_open(descriptor):
                close(descriptor)
        self._is_busy = False
        return len(descriptors)

    def close(self) -> None:
        """Release the streams, and the objects that stood for them."""
        self.release()
        for stream in self.sockets.values():
            # the number may belong to another file by now
            stream.detach()
        self.sockets.clear()
