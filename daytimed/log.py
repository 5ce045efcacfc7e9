"""
The log: every event by its name, with a sentence for people and fields for programs.

`EVENTS` is the whole vocabulary. An event is one write to one sink, and no sink ever waits: a log that is broken,
full or not read costs its lines and nothing else. What is lost is counted; the master tells it (`log_lost`) once a
line goes through again.

Each process makes its own `Log`, and each generation a new one: there is no logger at module level.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple

import structlog

Fields = MutableMapping[str, Any]
Sink = Callable[[str, bytes], bool]
"""Takes the level and one rendered event; False says that it is lost."""

SYSLOG_SOCKET = "/dev/log"
_SYSLOG_DAEMON = 3 << 3
#: Severities of syslog(3).
SEVERITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Event(NamedTuple):
    """What one event is called for people."""

    level: str
    sentence: str


#: No event that a client can cause is above info.
EVENTS = {
    "daemon_starting": Event("info", "daytimed {version} starts."),
    "daemon_ready": Event("info", "Ready: {listeners} listeners, {workers} workers, {seconds:.3f} s after the start."),
    "daemon_reloading": Event("info", "Reloading the configuration."),
    "daemon_reloaded": Event("info", "Reloaded: generation {generation} serves with {workers} workers."),
    "reload_rejected": Event("error", "The reload is rejected and nothing has changed: {error}"),
    "daemon_stopping": Event("info", "Stopping, asked by {signal}."),
    "daemon_stopped": Event(
        "info", "Stopped: {accepted} clients accepted, {served} served, {dropped} dropped, in {uptime_s:.0f} s."
    ),
    "listener_opened": Event("info", "Listening on {address} as {listener}."),
    "listener_adopted": Event("info", "Took over {address} as {listener}."),
    "listener_closed": Event("info", "No longer listening on {address}."),
    "listener_address_ignored": Event("info", "The configured address {address} of {listener} is not used."),
    "worker_started": Event("info", "Worker {pid} started for {listener}."),
    "worker_exited": Event("info", "Worker {pid} of {listener} {how}."),
    "worker_stuck": Event("warning", "Worker {pid} of {listener} does nothing for {seconds} s and is replaced."),
    "client_served": Event("info", "Served {bytes} bytes to {client}."),
    "client_dropped": Event("info", "Dropped {client}: {reason}."),
    "clients_suppressed": Event("info", "{served} served and {dropped} dropped clients are not logged one by one."),
    "accept_paused": Event("warning", "Worker {pid} of {listener} cannot accept for now: {error}."),
    "accept_resumed": Event("info", "Worker {pid} of {listener} accepts again, after {pauses} pauses."),
    "statistics": Event(
        "info", "{accepted} clients accepted, {served} served, {dropped} dropped, {workers} workers, {uptime_s:.0f} s."
    ),
    "log_lost": Event("warning", "{lost} events could not be logged."),
}


class Log:
    """The log of one process in one generation."""

    def __init__(self, sink: Sink, form: str, level: str, on_lost: Callable[[], None], *, colors: bool = False) -> None:
        """
        Make a log.

        Args:
            sink: Where it goes.
            form: `console`, `json`, `journal` or `syslog`.
            level: The least level that is logged.
            on_lost: Called for each event that the sink did not take.
            colors: Whether the console understands colours.
        """
        self._least = SEVERITIES[level]
        self._on_lost = on_lost
        self._logger: Any = structlog.wrap_logger(
            _Output(sink),
            processors=[_add_sentence, *_renderers(form, colors)],
            wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
            context_class=dict,
            cache_logger_on_first_use=False,
        ).bind()

    def is_enabled(self, name: str) -> bool:
        """Say whether an event of this name would be logged."""
        return SEVERITIES[EVENTS[name].level] <= self._least

    def event(self, name: str, *, level: str | None = None, **fields: Any) -> bool:
        """
        Log an event; `level` is for the few whose weight depends on what happened.

        Returns:
            False if it is lost, which is counted, but for `log_lost` itself: that is told again later.
        """
        taken = getattr(self._logger, level or EVENTS[name].level)(name, **fields)
        if taken is False and name != "log_lost":
            self._on_lost()
        return taken is not False


class _Output:
    """The innermost logger: hands a rendered event, whole, to the sink."""

    def __init__(self, sink: Sink) -> None:
        for level in SEVERITIES:
            setattr(self, level, self._writer(sink, level))

    @staticmethod
    def _writer(sink: Sink, level: str) -> Callable[[str], bool]:
        return lambda rendered: sink(level, rendered.encode(errors="backslashreplace"))


def _add_sentence(logger: object, method: str, fields: Fields) -> Fields:
    name = fields.pop("event")
    sentence = EVENTS[name].sentence.format_map(fields)
    return {"level": method, "event": name, "message": sentence, **fields}


def _renderers(form: str, colors: bool) -> list[Any]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp")
    if form == "json":
        return [stamp, _put_first("timestamp"), structlog.processors.JSONRenderer()]
    if form == "console":
        return [stamp, _name_as_logger, structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)]
    # the system log has a time of its own
    return [structlog.processors.LogfmtRenderer(key_order=["message", "event"])]


def _put_first(key: str) -> Callable[[object, str, Fields], Fields]:
    return lambda logger, method, fields: {key: fields.pop(key), **fields}


def _name_as_logger(logger: object, method: str, fields: Fields) -> Fields:
    """Show the sentence as the console's event, and the name of the event behind it in brackets."""
    fields["logger"] = fields["event"]
    fields["event"] = fields.pop("message")
    return fields


class Output:
    """Where the log of this process goes; workers inherit it."""

    def __init__(self, fd: int | None) -> None:
        """
        Choose the output.

        Args:
            fd: The descriptor to write lines to; None for the system log.
        """
        self._to_syslog = fd is None
        self._to_terminal = fd is not None and os.isatty(fd)
        self._sink = syslog_sink() if fd is None else stream_sink(fd)

    def make_log(self, form: str, level: str, on_lost: Callable[[], None]) -> Log:
        """Make a log of a configured format; `auto` is the console on a terminal, and else JSON."""
        if self._to_syslog:
            form = "syslog"
        elif form == "auto":
            form = "console" if self._to_terminal else "json"
        colors = self._to_terminal and "NO_COLOR" not in os.environ
        return Log(self._sink, form, level, on_lost, colors=colors)


def error_descriptor() -> int | None:
    """Return where errors may be written: standard error, or None if that is the client's socket (inetd, xinetd)."""
    status = os.fstat(2)
    return None if stat.S_ISSOCK(status.st_mode) and os.path.samestat(status, os.fstat(0)) else 2


def stream_sink(fd: int) -> Sink:
    """
    Return a sink that writes lines to a descriptor and never waits for its reader.

    O_NONBLOCK on the descriptor itself would be shared with every process that has it (the shell, for one), so a pipe
    or terminal is opened anew, a socket is told with each message, and what can be neither is asked first.
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
    """Writes one line with one write(2); a torn one is lost, and the next begins on a line of its own."""

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
    # no more than a pipe that is ready takes at once, pipe(7)
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
