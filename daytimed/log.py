"""
The log: every event by its name, with a sentence for people and fields for programs.

`EVENTS` is the whole vocabulary. An event is one write to one sink, and no sink ever waits: a log that is broken,
full or not read costs its lines and nothing else. What is lost is counted; the master tells it (`log_lost`) once a
line goes through again.

Each generation has a `Log` of its own, which its workers inherit: there is no logger at module level.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

import structlog

from daytimed.addresses import printable

Fields = MutableMapping[str, Any]
Sink = Callable[[str, bytes], bool]
"""Takes the level and one rendered event; False says that it is lost."""
Journal = Callable[[Mapping[str, str]], bool]
"""Takes the fields of one journal entry; False says that it is lost."""

SYSLOG_SOCKET = "/dev/log"
_SYSLOG_DAEMON = 3 << 3
#: Severities of syslog(3).
SEVERITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Event(NamedTuple):
    """What is known of an event before it happens."""

    id: str
    """MESSAGE_ID of the journal, by which the catalog explains it; never changes."""
    level: str
    sentence: str


#: No event that a client can cause is above info.
EVENTS = {
    "daemon_starting": Event(
        "784d4637a81040f483bba9283622d7a6",
        "info",
        "daytimed {version} starts.",
    ),
    "daemon_ready": Event(
        "ea425e4c2ee048b9bb9a1fd1b921eb57",
        "info",
        "Ready: {listeners} listeners, {workers} workers, {seconds:.3f} s after the start.",
    ),
    "daemon_reloading": Event(
        "070e642d682a403aa9c55745972d1d03",
        "info",
        "Reloading the configuration.",
    ),
    "daemon_reloaded": Event(
        "87a7392b5a644693b4a4b253de685440",
        "info",
        "Reloaded: generation {generation} serves with {workers} workers.",
    ),
    "reload_rejected": Event(
        "c926761218084d3db47dfce82f1e2a76",
        "error",
        "The reload is rejected and nothing has changed: {error}",
    ),
    "daemon_stopping": Event(
        "32f281074d4044feaa58d6d1bfd0a93f",
        "info",
        "Stopping, asked by {signal}.",
    ),
    "daemon_stopped": Event(
        "c51b4b1b018f441ca166bc8283f02e0b",
        "info",
        "Stopped: {accepted} clients accepted, {served} served, {dropped} dropped, in {uptime_s:.0f} s.",
    ),
    "listener_opened": Event(
        "a9382e633eec439da452000815ff2642",
        "info",
        "Listening on {address} as {listener}.",
    ),
    "listener_adopted": Event(
        "2c9a5727355142d0bbba90d8ef279256",
        "info",
        "Took over {address} as {listener}.",
    ),
    "listener_closed": Event(
        "363c0895696e44079a2f31bbddca16a6",
        "info",
        "No longer listening on {address}.",
    ),
    "listener_address_ignored": Event(
        "dc97a672c42a4942a048f595f8f07668",
        "info",
        "The configured address {address} of {listener} is not used.",
    ),
    "worker_started": Event(
        "cb2c377c29c3417dbd2a9b0d706b4a5f",
        "info",
        "Worker {pid} started for {listener}.",
    ),
    "worker_exited": Event(
        "26dd30435ebf4c87bb691740f9fe8649",
        "info",
        "Worker {pid} of {listener} {how}.",
    ),
    "worker_stuck": Event(
        "4e076c42069844f2b26aeab2946f690d",
        "warning",
        "Worker {pid} of {listener} does nothing for {seconds} s and is replaced.",
    ),
    "client_served": Event(
        "767d9ec97ac1488aadff1994b850daaf",
        "info",
        "Served {bytes} bytes to {client}.",
    ),
    "client_dropped": Event(
        "2e906531815f412da55f3cbe44edae19",
        "info",
        "Dropped {client}: {reason}.",
    ),
    "clients_suppressed": Event(
        "07e3b06b324b4595a6239a1170b16cb5",
        "info",
        "{served} served and {dropped} dropped clients are not logged one by one; at least: {networks}.",
    ),
    "accept_paused": Event(
        "1329abf6997a4b6eb4014b0d00abaef0",
        "warning",
        "Worker {pid} of {listener} cannot accept for now: {error}.",
    ),
    "accept_resumed": Event(
        "337234c22a1840eea61aea7c619e503f",
        "info",
        "Worker {pid} of {listener} accepts again, after {pauses} pauses.",
    ),
    "statistics": Event(
        "134ca0b71d414d0ea0cbe88dad0f7734",
        "info",
        "{accepted} clients accepted, {served} served, {dropped} dropped, {workers} workers, {uptime_s:.0f} s.",
    ),
    "log_lost": Event(
        "01a8f40628ce4a18919c74d7e44da20e",
        "warning",
        "{lost} events could not be logged.",
    ),
}


class Log:
    """The log of one process in one generation."""

    def __init__(
        self, sink: Sink | Journal, form: str, level: str, on_lost: Callable[[], None], *, colors: bool = False
    ) -> None:
        """
        Make a log.

        Args:
            sink: Where it goes; a `Journal` if that is the form.
            form: `console`, `json`, `journal` or `syslog`.
            level: The least level that is logged.
            on_lost: Called for each event that the sink did not take.
            colors: Whether the console understands colours.
        """
        self._least = SEVERITIES[level]
        self._on_lost = on_lost
        self._logger: Any = structlog.wrap_logger(
            _Output(sink, form),
            processors=[_add_sentence, *_renderers(form, colors)],
            wrapper_class=_Logger,
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
            False if it is lost, which is counted, but for those that are told again later.
        """
        level = level or EVENTS[name].level
        if SEVERITIES[level] > self._least:
            return True
        taken = self._logger.log(level, name, fields)
        if taken is False and name not in ("log_lost", "clients_suppressed"):
            self._on_lost()
        return taken is not False


class _Logger(structlog.BoundLoggerBase):
    """The outermost logger: one method for all levels, which is less to run for every client."""

    def log(self, level: str, name: str, fields: Fields) -> Any:
        return self._proxy_to_logger(level, name, **fields)


class _Output:
    """The innermost logger: hands a rendered event, whole, to the sink."""

    def __init__(self, sink: Any, form: str) -> None:
        for level in SEVERITIES:
            setattr(self, level, sink if form == "journal" else self._writer(sink, level))

    @staticmethod
    def _writer(sink: Sink, level: str) -> Callable[[str], bool]:
        return lambda rendered: sink(level, rendered.encode(errors="backslashreplace"))


def _add_sentence(logger: object, method: str, fields: Fields) -> Fields:
    name = fields.pop("event")
    sentence = EVENTS[name].sentence.format_map(fields)
    if name == "worker_exited" and fields["pid"] is None:
        sentence = "A worker of {listener} {how}.".format_map(fields)
    return {"level": method, "event": name, "message": sentence, **fields}


def _renderers(form: str, colors: bool) -> list[Any]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp")
    if form == "json":
        return [stamp, _put_first("timestamp"), structlog.processors.JSONRenderer()]
    if form == "console":
        return [
            stamp,
            _name_as_logger,
            _escaper("exception"),
            structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False),
        ]
    # journal and system log have a time of their own
    if form == "journal":
        return [_as_journal_entry]
    return [_escaper(), structlog.processors.LogfmtRenderer(key_order=["message", "event"])]


def _put_first(key: str) -> Callable[[object, str, Fields], Fields]:
    return lambda logger, method, fields: {key: fields.pop(key), **fields}


def _name_as_logger(logger: object, method: str, fields: Fields) -> Fields:
    """Show the sentence as the console's event, and the name of the event behind it in brackets."""
    fields["logger"] = fields["event"]
    fields["event"] = fields.pop("message")
    return fields


def _escaper(*kept: str) -> Callable[[object, str, Fields], Fields]:
    """Write as escapes what could control a terminal, or begin a line; what is kept is a traceback, of many lines."""
    return lambda logger, method, fields: {
        key: printable(value) if isinstance(value, str) and key not in kept else value for key, value in fields.items()
    }


def _as_journal_entry(logger: object, method: str, fields: Fields) -> tuple[tuple[dict[str, str]], dict[str, str]]:
    """Return the fields under the names of systemd.journal-fields(7); ours begin with DAYTIMED_."""
    name = fields.pop("event")
    entry = {
        "MESSAGE": fields.pop("message"),
        "PRIORITY": str(SEVERITIES[fields.pop("level")]),
        "SYSLOG_IDENTIFIER": "daytimed",
        "MESSAGE_ID": EVENTS[name].id,
        "DAYTIMED_EVENT": name,
    }
    own = {f"DAYTIMED_{key.upper()}": str(value) for key, value in fields.items() if value is not None}
    return (entry | own,), {}


class Output:
    """Where the log of this process goes; workers inherit it."""

    def __init__(
        self,
        fd: int | None,
        find_journal: Callable[[], Journal | None] = lambda: None,
        *,
        is_journal_stream: bool = False,
    ) -> None:
        """
        Choose the output.

        Args:
            fd: The descriptor to write lines to; None for the system log.
            find_journal: Returns what takes entries, where there is a journal.
            is_journal_stream: Whether what is written to `fd` ends up in the journal anyway.
        """
        self._find_journal = find_journal
        self._is_journal_stream = is_journal_stream
        self._to_syslog = fd is None
        self._to_terminal = fd is not None and os.isatty(fd)
        self._sink = syslog_sink() if fd is None else stream_sink(fd)

    def make_log(self, form: str, level: str, on_lost: Callable[[], None]) -> Log:
        """
        Make a log of a configured format.

        `auto` is the journal under systemd, the console on a terminal, and else JSON. `journal` where there is none is
        JSON too: a line in another form is better than no line.
        """
        if form == "journal" or (form == "auto" and self._is_journal_stream):
            journal = self._find_journal()
            if journal:
                return Log(journal, "journal", level, on_lost)
        if self._to_syslog:
            form = "syslog"
        elif form in ("auto", "journal"):
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
