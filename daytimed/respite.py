"""
The respite: how long a start that fails takes while sockets are passed.

Each client that waits in the queue of a passed socket starts the daemon again, and systemd closes a socket that starts
its service too often (TriggerLimitBurst= of systemd.socket(5)). So a start that fails takes a second, and longer each
time. It ends early when the configuration file changes: then the daemon tries again, and no client is lost.

A client that came and left would start the daemon again and again, so a start that fails takes it from the queue.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from daytimed import signals
from daytimed.sockets import is_kept
from daytimed.systemd import FIRST_PASSED

FIRST_S, LONGEST_S = 1, 8
#: A start that has taken a waiting client from the queue stays this much longer at most, while that client waits.
PATIENCE_S = 10
#: The interval between two looks at the file.
LOOK_S = 0.25
#: One look takes at most this many clients from a queue: they can come faster than they are taken.
MOST_AT_ONCE = 4096

#: The name of a client that one try passes to the next; that of its socket follows.
CLIENT = "daytimed-client-of-"

_TIMEVAL = struct.Struct("ll")
#: The seconds of a stored timeout are a stamp, times this, plus the delay.
_STAMP_UNIT = 16
#: With more, the seconds would not fit into the kernel's clock ticks on a 32-bit host.
_STAMPS = 1 << 16


def next_delay(previous_s: int) -> int:
    """Return the delay that follows a delay, in seconds; 0 before the first failure."""
    return min(previous_s * 2, LONGEST_S) or FIRST_S


class Respite:
    """
    The delay before a start that has failed ends.

    The sockets are all that one start leaves to the next. So they keep the delay, and a stamp of the file, in the
    seconds of SO_SNDTIMEO, socket(7). Nothing else uses that option: replies are sent without waiting.
    """

    def __init__(self, passed: Sequence[tuple[str, int]], path: str, environ: Mapping[str, str]) -> None:
        """
        Prepare for a failure.

        Args:
            passed: Names and descriptors of the passed sockets; without any, no failure is delayed.
            path: The configuration file.
            environ: The environment of another try.
        """
        self.passed = [(name, each) for name, each in passed if not name.startswith(CLIENT)]
        self._path = path
        self._version = _version_of(path)
        self._environ = environ
        # now: at a failure they may be closed already
        self._delay_s = next_delay(self._previous())
        self._remember(self._delay_s)
        # copies: the originals are closed with the listeners. A kept socket starts nothing, and a copy of it would hold
        # an address that has to be free
        copied = ((name, _copy_of(each)) for name, each in self.passed if not is_kept(name))
        self._sockets = [(name, sock) for name, sock in copied if sock]
        self.client: tuple[socket.socket, str] | None = None
        """A client that has been taken from the queue of a socket and still waits; the name of that socket."""
        for name, each in passed:
            if name.startswith(CLIENT):
                self.client = socket.socket(fileno=each), name.removeprefix(CLIENT)

    def take(self) -> None:
        """Wait until the start must end; if the file changes meanwhile, replace this process by another try."""
        if not self.passed:
            return
        signals.prepare_master()
        now = time.monotonic()
        wanted, latest = now + self._delay_s, now + self._delay_s + PATIENCE_S
        while now < wanted or (now < latest and self._has_client()):
            taken = signals.wait(min(now + LOOK_S, latest if now >= wanted else wanted))
            if signals.STOP.intersection(taken):
                # an administrator waits for the next result
                self._remember(0)
                return
            if signals.RELOAD in taken or _version_of(self._path) != self._version:
                self._start_again()
                return
            now = time.monotonic()

    @property
    def longest_s(self) -> float:
        """The longest time that `take` waits."""
        return float(LONGEST_S + PATIENCE_S) if self.passed else 0.0

    def end(self) -> None:
        """Forget the delay, and close the copies: no worker may have them."""
        self._remember(0)
        for _, sock in self._sockets:
            sock.close()
        self._sockets = []

    def _start_again(self) -> None:
        sockets = list(self._sockets)
        if len(sockets) != len(self.passed):
            # one is kept, or is no socket: the next start has them all
            return
        if self.client:
            client, name = self.client
            sockets.append((f"{CLIENT}{name}", client))
        # out of the way first, and then into place
        copies = [fcntl.fcntl(sock, fcntl.F_DUPFD, FIRST_PASSED + len(sockets)) for _, sock in sockets]
        for number, copy in enumerate(copies):
            os.dup2(copy, FIRST_PASSED + number)
            os.close(copy)
        passed = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(name for name, _ in sockets)}
        os.execve(sys.executable, sys.orig_argv, {**self._environ, **passed})  # noqa: S606

    def _previous(self) -> int:
        """Return the delay of the last failure with the same file; 0 if there was none."""
        delays = [0]
        for sock in self._copies():
            with contextlib.suppress(OSError):
                option = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.size)
                stamp, delay_s = divmod(_TIMEVAL.unpack(option)[0], _STAMP_UNIT)
                if stamp == _stamp(self._version):
                    delays.append(delay_s)
        return max(delays)

    def _remember(self, delay_s: int) -> None:
        stamp = _stamp(self._version) if delay_s else 0
        for sock in self._copies():
            # TypeError: of a vsock, Python sets numbers only
            with contextlib.suppress(OSError, TypeError):
                option = _TIMEVAL.pack(stamp * _STAMP_UNIT + delay_s, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, option)

    def _copies(self) -> Iterator[socket.socket]:
        """Yield a copy of each socket that is still open, for a moment."""
        for _, descriptor in self.passed:
            if sock := _copy_of(descriptor):
                with sock:
                    yield sock

    def _has_client(self) -> bool:
        """Close each queued client that has left, up to the first one that still waits; return whether one does."""
        if self.client is None or _has_left(self.client[0]):
            waiting = ((_first_waiting(sock), name) for name, sock in self._sockets)
            self.client = next(((client, name) for client, name in waiting if client), None)
        return self.client is not None


def _first_waiting(sock: socket.socket) -> socket.socket | None:
    """Take clients from a queue until one has not left; discard the datagrams, whose senders have long given up."""
    for _ in range(MOST_AT_ONCE):
        if not _has(sock, select.POLLIN):
            break
        try:
            if sock.type == socket.SOCK_DGRAM:
                sock.recv(1, socket.MSG_DONTWAIT)
                continue
            client = sock.accept()[0]
        except OSError:
            break
        if not _has_left(client):
            return client
        client.close()
    return None


def _has_left(client: socket.socket) -> bool:
    return _has(client, select.POLLRDHUP)


def _has(sock: socket.socket, event: int) -> bool:
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(0))


def _copy_of(descriptor: int) -> socket.socket | None:
    copy = -1
    try:
        copy = os.dup(descriptor)
        return socket.socket(fileno=copy)
    except OSError:
        if copy >= 0:
            os.close(copy)
        return None


def _stamp(version: tuple[int, ...] | None) -> int:
    """Return a number that differs for two versions of the file, most probably."""
    return hash(version) % _STAMPS if version else 0


def _version_of(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
