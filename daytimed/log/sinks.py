"""Sinks: where rendered events go. No sink waits: one that is broken, full or unread loses its events."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable, Mapping

from daytimed.log.events import SEVERITIES

Sink = Callable[[str, bytes], bool]
"""Takes the level and one rendered event; returns False if the event is lost."""
Journal = Callable[[Mapping[str, str]], bool]
"""Takes the fields of one journal entry; returns False if the entry is lost."""

SYSLOG_SOCKET = "/dev/log"
_SYSLOG_DAEMON = 3 << 3


def error_descriptor() -> int | None:
    """Return standard error, or None if that is the client's socket (inetd, xinetd)."""
    status = os.fstat(2)
    return None if stat.S_ISSOCK(status.st_mode) and os.path.samestat(status, os.fstat(0)) else 2


def stream_sink(fd: int) -> Sink:
    """
    Return a sink that writes lines to a descriptor and never waits for its reader.

    O_NONBLOCK on the descriptor itself would be shared with every process that has it, such as the shell. So a pipe or
    a terminal is opened again, a socket gets a flag with each message, and anything else is polled first.
    """
    kind = os.fstat(fd).st_mode
    if stat.S_ISSOCK(kind):
        sock = socket.socket(fileno=os.dup(fd))
        return _LineSink(lambda line: sock.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL))
    if stat.S_ISFIFO(kind) or os.isatty(fd):
        try:
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return _LineSink(lambda line: _write_if_ready(fd, line))
        return _LineSink(lambda line: os.write(own, line))
    return _LineSink(lambda line: os.write(fd, line))


class _LineSink:
    """Writes one line with one write(2). A line that was cut off is lost; the next one starts on a new line."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self._torn = False

    def __call__(self, level: str, rendered: bytes) -> bool:
        line = (b"\n" if self._torn else b"") + rendered + b"\n"
        try:
            written = self._write(line)
        except OSError:
            return False
        self._torn = written < len(line)
        return not self._torn


def _write_if_ready(fd: int, line: bytes) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not any(flags & select.POLLOUT for _, flags in poll.poll(0)):
        raise BlockingIOError
    # a pipe that is ready takes this much at once, pipe(7)
    return os.write(fd, line[: select.PIPE_BUF])


def syslog_sink(path: str = SYSLOG_SOCKET) -> Sink:
    """Return a sink that sends datagrams to the system log (RFC 3164, as syslog(3) does) and never waits."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(level: str, rendered: bytes) -> bool:
        head = b"<%d>daytimed[%d]: " % (_SYSLOG_DAEMON | SEVERITIES[level], os.getpid())
        try:
            sock.sendto(head + rendered, socket.MSG_DONTWAIT, path)
        except OSError:
            return False
        return True

    return send
