"""Events: their sentences, their forms, and their loss."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import json
import os
import pty
import resource
import socket
import string
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_systemd import parse_entry
from unit_help import OS_TEXT, within

import daytimed
from daytimed import log
from daytimed.log import EVENTS, SEVERITIES, Log, Output
from daytimed.systemd import encode_entry

#: Fields for every sentence; the fields that a sentence does not name are for programs.
FIELDS: dict[str, Any] = {
    "version": "1.2.3", "listeners": 2, "workers": 4, "seconds": 1.25, "generation": 3, "error": "it broke",
    "signal": "SIGTERM", "accepted": 10, "served": 7, "dropped": 3, "uptime_s": 99.5, "address": "tcp://:6000",
    "listener": "daytime", "pid": 4711, "how": "stopped as asked", "bytes": 59, "client": "192.0.2.1", "port": 55512,
    "reason": "reset", "pauses": 2, "lost": 5, "networks": "192.0.2.0/24=9",
}  # fmt: skip

SENTENCES = {
    "daemon_starting": "daytimed 1.2.3 starts.",
    "daemon_ready": "Ready: 2 listeners, 4 workers, 1.250 s after the start.",
    "daemon_reloading": "Reloading the configuration.",
    "daemon_reloaded": "Reloaded: generation 3 serves with 4 workers.",
    "reload_rejected": "The reload is rejected and nothing has changed: it broke",
    "daemon_stopping": "Stopping, asked by SIGTERM.",
    "daemon_stopped": "Stopped: 10 clients accepted, 7 served, 3 dropped, in 100 s.",
    "listener_opened": "Listening on tcp://:6000 as daytime.",
    "listener_adopted": "Took over tcp://:6000 as daytime.",
    "listener_closed": "No longer listening on tcp://:6000.",
    "listener_address_ignored": "The configured address tcp://:6000 of daytime is not used.",
    "worker_started": "Worker 4711 started for daytime.",
    "worker_exited": "Worker 4711 of daytime stopped as asked.",
    "worker_stuck": "Worker 4711 of daytime does nothing for 1.25 s and is replaced.",
    "client_served": "Served 59 bytes to 192.0.2.1.",
    "client_dropped": "Dropped 192.0.2.1: reset.",
    "clients_suppressed": "7 served and 3 dropped clients are not logged one by one; at least: 192.0.2.0/24=9.",
    "accept_paused": "Worker 4711 of daytime cannot accept for now: it broke.",
    "accept_resumed": "Worker 4711 of daytime accepts again, after 2 pauses.",
    "statistics": "10 clients accepted, 7 served, 3 dropped, 4 workers, 100 s.",
    "log_lost": "5 events could not be logged.",
}


class Lines:
    """A sink that keeps every line while `takes` is set."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.takes = True

    def __call__(self, level: str, rendered: bytes) -> bool:
        if self.takes:
            self.taken.append((level, rendered.decode()))
        return self.takes


class Losses:
    """A counter of lost events."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def json_log(fd: int) -> tuple[Log, Losses]:
    losses = Losses()
    return Log(log.stream_sink(fd), "json", "debug", losses), losses


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the descriptors of a pipe: a non-blocking one for reading, and one for writing."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def drain(reading: int) -> bytes:
    """Read everything that is in a pipe."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(reading, 1 << 20):
            parts.append(part)
    return b"".join(parts)


def fill(writing: int) -> None:
    """Fill a pipe to its last byte."""
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65536)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)


# -- the vocabulary --------------------------------------------------------------------------------------------------


def test_events_are_those_of_the_design() -> None:
    """The names of the events are an interface."""
    assert set(SENTENCES) == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_sentence(name: str) -> None:
    """Every event has a sentence, with the values of its fields."""
    assert SENTENCES[name] == EVENTS[name].sentence.format_map(FIELDS)


def test_clients_cause_nothing_above_info() -> None:
    """The events that a client can cause have the level info."""
    caused = {name: event.level for name, event in EVENTS.items() if name.startswith(("client_", "clients_"))}
    assert {"client_served": "info", "client_dropped": "info", "clients_suppressed": "info"} == caused


def test_levels_are_known() -> None:
    """Every event has one of the levels, which have the severities of syslog(3)."""
    assert {event.level for event in EVENTS.values()} <= set(SEVERITIES)
    assert {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2} == SEVERITIES


def calls_of_event() -> list[tuple[str, ast.Call]]:
    """Return every call of `event` in the package, with its place."""
    found = []
    for path in sorted(Path(daytimed.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "event":
                found.append((f"{path.name}:{node.lineno}", node))
    return found


def test_program_tells_only_known_events_with_all_their_fields() -> None:
    """No call names an unknown event or omits a field of its sentence, which would end the process."""
    wrong = []
    for place, call in calls_of_event():
        name = ast.literal_eval(call.args[0])
        given_fields = {keyword.arg for keyword in call.keywords}
        wanted = {field for _, field, _, _ in string.Formatter().parse(EVENTS[name].sentence) if field}
        # the fields of a ** are not known here
        if None not in given_fields and not wanted <= given_fields:
            wrong.append((place, name, wanted - given_fields))
    assert [] == wrong
    assert len(calls_of_event()) > 10


# -- the forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console", "syslog"])
@pytest.mark.parametrize("name", EVENTS)
def test_one_event_is_one_line_and_one_write(name: str, form: str) -> None:
    """In every form, an event is one write of one line, at its own level, and is not lost."""
    lines, losses = Lines(), Losses()
    assert Log(lines, form, "debug", losses).event(name, **FIELDS)
    assert ([(EVENTS[name].level, [])], 0) == (
        [(level, [character for character in text if not character.isprintable()]) for level, text in lines.taken],
        losses.count,
    )


def test_json_line(pipe: tuple[int, int]) -> None:
    """A JSON event has timestamp, level, event, message and its fields, in this order; the time is UTC."""
    reading, writing = pipe
    before = datetime.now(UTC)
    assert json_log(writing)[0].event("client_dropped", client="192.0.2.1", port=5, listener="daytime", reason="rate")
    line = drain(reading).decode()
    found = json.loads(line)
    expected = ["timestamp", "level", "event", "message", "client", "port", "listener", "reason"]
    assert (expected, "\n", 1) == (list(found), line[-1], line.count("\n"))
    stamp = datetime.fromisoformat(found.pop("timestamp"))
    assert (timedelta(0), True) == (stamp.utcoffset(), before <= stamp <= datetime.now(UTC))
    assert found == {
        "level": "info",
        "event": "client_dropped",
        "message": "Dropped 192.0.2.1: rate.",
        "client": "192.0.2.1",
        "port": 5,
        "listener": "daytime",
        "reason": "rate",
    }


def test_console_line() -> None:
    """A console event has the sentence first, then its name and its fields."""
    lines = Lines()
    Log(lines, "console", "debug", Losses()).event("client_served", client="192.0.2.1", port=5, bytes=59, listener="d")
    words = lines.taken[0][1].split()
    expected = "Served 59 bytes to 192.0.2.1. [client_served] client=192.0.2.1 port=5 bytes=59 listener=d"
    assert expected.split() == [word for word in words[1:] if word not in ("[info", "]")]


def test_console_has_colours_where_asked() -> None:
    """The console form has colours only on request."""
    plain, coloured = Lines(), Lines()
    for lines, colors in ((plain, False), (coloured, True)):
        Log(lines, "console", "debug", Losses(), colors=colors).event("daemon_reloading")
    assert (False, True) == ("\x1b" in plain.taken[0][1], "\x1b" in coloured.taken[0][1])


def test_system_log_line() -> None:
    """An event in the system log is a sentence and its fields, without a time, which the system log adds."""
    lines = Lines()
    Log(lines, "syslog", "debug", Losses()).event("client_served", client="192.0.2.1", bytes=59)
    expected = 'message="Served 59 bytes to 192.0.2.1." event=client_served level=info client=192.0.2.1 bytes=59'
    assert [("info", expected)] == lines.taken


@given(text=st.text() | OS_TEXT)
@example(text="\x1b[2J\r\n\u2028")
def test_no_field_controls_a_reader(text: str) -> None:
    """With any value of a field, every form is one printable line, and JSON returns the field unchanged."""
    for form in ("console", "json", "syslog"):
        lines = Lines()
        made = Log(lines, form, "debug", Losses())
        made.event("client_dropped", client=text, port=5, listener=text, reason="rate")
        line = lines.taken[0][1]
        assert line.isprintable()
        if form == "json":
            assert (True, text) == (line.isascii(), json.loads(line)["client"])


@given(text=st.text() | OS_TEXT)
@example(text="\nPRIORITY=0\n")
def test_no_field_tears_an_entry_of_the_journal(text: str) -> None:
    """Any value of a field arrives in that field, and changes no other field."""
    entries = Entries()
    Log(entries, "journal", "debug", Losses()).event("client_dropped", client=text, listener="daytime", reason=text)
    (entry,) = entries.taken
    shown = text.encode(errors="backslashreplace").decode()
    assert (shown, "6") == (parse_entry(encode_entry(entry))["DAYTIMED_CLIENT"], entry["PRIORITY"])
    assert list(entry) == list(parse_entry(encode_entry(entry)))


def test_traceback_keeps_its_lines_on_a_console() -> None:
    """A traceback keeps its lines on a console, for people, and is one line in other forms."""
    found = {}
    for form in ("console", "syslog"):
        lines = Lines()
        trace = "Traceback\n  File\nError: no"
        Log(lines, form, "debug", Losses()).event("worker_exited", pid=1, listener="d", how="failed", exception=trace)
        found[form] = lines.taken[0][1].count("\n")
    assert found == {"console": 3, "syslog": 0}


@pytest.mark.parametrize("form", ["json", "console", "syslog"])
def test_bytes_that_are_no_text_are_written(form: str) -> None:
    """A field from a file name that is not UTF-8 is shown as an escape and does not end the process."""
    lines = Lines()
    Log(lines, form, "debug", Losses()).event("reload_rejected", error="\udcff")
    assert "\\udcff" in lines.taken[0][1]


class Entries:
    """A journal that keeps its entries."""

    def __init__(self) -> None:
        self.taken: list[dict[str, str]] = []

    def __call__(self, fields: Mapping[str, str]) -> bool:
        self.taken.append(dict(fields))
        return True


def test_journal_entry() -> None:
    """A journal entry has the fields of systemd, and ours with the prefix DAYTIMED_; a field of None is omitted."""
    entries = Entries()
    made = Log(entries, "journal", "info", Losses())
    assert made.event("client_dropped", client="192.0.2.1", port=5, listener="daytime", reason="rate", nothing=None)
    expected = {
        "MESSAGE": "Dropped 192.0.2.1: rate.",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "daytimed",
        "MESSAGE_ID": EVENTS["client_dropped"].id,
        "DAYTIMED_EVENT": "client_dropped",
        "DAYTIMED_CLIENT": "192.0.2.1",
        "DAYTIMED_PORT": "5",
        "DAYTIMED_LISTENER": "daytime",
        "DAYTIMED_REASON": "rate",
    }
    assert [expected] == entries.taken


@pytest.mark.parametrize("name", EVENTS)
def test_journal_takes_every_event(name: str) -> None:
    """Every event is an entry with its sentence, its id and the severity of its level."""
    entries = Entries()
    assert Log(entries, "journal", "debug", Losses()).event(name, **FIELDS)
    (entry,) = entries.taken
    expected = (SENTENCES[name], EVENTS[name].id, str(SEVERITIES[EVENTS[name].level]))
    assert expected == (entry["MESSAGE"], entry["MESSAGE_ID"], entry["PRIORITY"])


def test_every_event_has_an_id_of_its_own() -> None:
    """Each event has a different id of 128 bits, in lower-case hexadecimal digits as the catalog requires."""
    ids = [event.id for event in EVENTS.values()]
    assert len(EVENTS) == len(set(ids))
    assert [] == [each for each in ids if len(each) != 32 or set(each) - set("0123456789abcdef")]


def test_worker_that_never_was() -> None:
    """The event of a worker that could not be forked has no pid."""
    lines = Lines()
    Log(lines, "json", "info", Losses()).event("worker_exited", pid=None, listener="daytime", how="could not be forked")
    found = json.loads(lines.taken[0][1])
    assert ("A worker of daytime could not be forked.", None) == (found["message"], found["pid"])


# -- levels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", SEVERITIES)
def test_level(level: str) -> None:
    """The log writes the events at or above its level; the others do not count as lost."""
    lines, losses = Lines(), Losses()
    made = Log(lines, "json", level, losses)
    assert [True] * len(EVENTS) == [made.event(name, **FIELDS) for name in EVENTS]
    expected = [name for name, event in EVENTS.items() if SEVERITIES[event.level] <= SEVERITIES[level]]
    assert expected == [json.loads(text)["event"] for _, text in lines.taken]
    assert (expected, 0) == ([name for name in EVENTS if made.is_enabled(name)], losses.count)


def test_level_of_one_call() -> None:
    """A call can raise the level of its event, for the filter and in the line."""
    lines = Lines()
    made = Log(lines, "json", "error", Losses())
    made.event("worker_exited", **FIELDS)
    made.event("worker_exited", level="error", **FIELDS)
    assert [("error", "error")] == [(level, json.loads(text)["level"]) for level, text in lines.taken]


def test_two_logs_are_independent() -> None:
    """The log of a new generation has its own level, and the old log keeps its level."""
    old, new = Lines(), Lines()
    logs = [Log(old, "json", "error", Losses()), Log(new, "json", "info", Losses())]
    for each in logs:
        each.event("daemon_reloading")
    assert ([], 1) == (old.taken, len(new.taken))


# -- lost events -----------------------------------------------------------------------------------------------------


def test_lost_event_is_counted() -> None:
    """Each event that the sink does not take is counted as lost."""
    lines, losses = Lines(), Losses()
    made = Log(lines, "json", "info", losses)
    lines.takes = False
    found = [made.event("daemon_reloading"), made.event("daemon_reloading")]
    assert ([False, False], 2) == (found, losses.count)


def test_loss_that_cannot_be_told_is_no_new_one() -> None:
    """A log_lost that the sink does not take is not counted as lost: the next one includes it."""
    lines, losses = Lines(), Losses()
    lines.takes = False
    found = Log(lines, "json", "info", losses).event("log_lost", lost=3)
    assert (False, 0) == (found, losses.count)


def test_full_pipe_loses_and_does_not_wait(pipe: tuple[int, int]) -> None:
    """A full pipe loses events without a wait; once it is read, events pass again."""
    reading, writing = pipe
    made, losses = json_log(writing)
    fill(writing)
    with within(5):
        assert [False] * 3 == [made.event("daemon_reloading") for _ in range(3)]
    assert 3 == losses.count
    drain(reading)
    assert made.event("daemon_reloading")
    assert "daemon_reloading" == json.loads(drain(reading))["event"]


def test_pipe_stays_as_it_was(pipe: tuple[int, int]) -> None:
    """The log does not make its descriptor non-blocking: other processes share it."""
    json_log(pipe[1])[0].event("daemon_reloading")
    assert os.get_blocking(pipe[1])


def test_closed_reader_loses(pipe: tuple[int, int]) -> None:
    """Without a reader, events are lost, without an exception or a signal."""
    reading, writing = pipe
    made, losses = json_log(writing)
    os.close(reading)
    assert (False, 1) == (made.event("daemon_reloading"), losses.count)


def test_full_disk_loses() -> None:
    """On a full disk, events are lost."""
    with open("/dev/full", "wb") as full:
        made, losses = json_log(full.fileno())
        assert (False, 1) == (made.event("daemon_reloading"), losses.count)


def test_closed_descriptor_loses(tmp_path: Path) -> None:
    """With a closed descriptor, events are lost."""
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    made, losses = json_log(descriptor)
    os.close(descriptor)
    assert (False, 1) == (made.event("daemon_reloading"), losses.count)


def test_file_gets_every_line(tmp_path: Path) -> None:
    """A file gets one line for each event."""
    with open(tmp_path / "log", "wb") as file:
        made, _ = json_log(file.fileno())
        assert [True, True] == [made.event(name) for name in ("daemon_reloading", "daemon_reloading")]
    found = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert ["daemon_reloading", "daemon_reloading"] == found


def test_torn_line_ends_before_the_next(pipe: tuple[int, int]) -> None:
    """A partly written event is lost, and the next one begins on a new line."""
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    made, losses = json_log(writing)
    found = [made.event("reload_rejected", error="x" * 2 * size)]
    torn = drain(reading)
    found += [made.event("daemon_reloading"), made.event("daemon_reloading")]
    lines = drain(reading).split(b"\n")
    assert ([False, True, True], 1, size) == (found, losses.count, len(torn))
    assert [b"", True, True, b""] == [line and "event" in json.loads(line) for line in lines]


def log_that_asks_first(writing: int) -> tuple[Log, Losses]:
    """Return a log on a pipe that it could not reopen, because no descriptor was free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        return json_log(writing)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_pipe_that_cannot_be_opened_anew_is_asked_first(pipe: tuple[int, int]) -> None:
    """The log writes to a pipe that it cannot reopen (another user's, or without /proc), and never waits for it."""
    reading, writing = pipe
    made, losses = log_that_asks_first(writing)
    assert made.event("daemon_reloading")
    assert "daemon_reloading" == json.loads(drain(reading))["event"]
    fill(writing)
    with within(5):
        assert (False, 1) == (made.event("daemon_reloading"), losses.count)


def test_long_event_never_waits_either(pipe: tuple[int, int]) -> None:
    """An event that is longer than the room in such a pipe does not wait for the rest."""
    _, writing = pipe
    made, losses = log_that_asks_first(writing)
    with within(1):
        assert (False, 1) == (made.event("reload_rejected", error="x" * (1 << 20)), losses.count)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # a log's own copy lives as long as its process
def test_socket_gets_one_message_an_event() -> None:
    """Each event is one write, and so one message on a SOCK_SEQPACKET socket; a full socket loses events."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        made, losses = json_log(theirs.fileno())
        for name in ("daemon_reloading", "daemon_starting"):
            made.event(name, version="1")
        found = [json.loads(ours.recv(65536))["event"] for _ in range(2)]
        assert ["daemon_reloading", "daemon_starting"] == found
        with within(60):
            while made.event("daemon_reloading"):
                pass
        assert 1 == losses.count
        ours.close()
        assert (False, 2) == (made.event("daemon_reloading"), losses.count)
        assert theirs.getblocking()


# -- the system log --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # a log's own copy lives as long as its process
def test_system_log(tmp_path: Path) -> None:
    """The system log gets datagrams with facility, severity, name and pid; without it, events are lost."""
    path = str(tmp_path / "log")
    sink = log.syslog_sink(path)
    assert not sink("info", b"nobody there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        assert [True] * 5 == [sink(level, b"text") for level in SEVERITIES]
        found = [server.recv(100).decode() for _ in SEVERITIES]
        assert [f"<{24 + severity}>daytimed[{os.getpid()}]: text" for severity in SEVERITIES.values()] == found
        with within(60):
            while sink("info", b"x" * 1000):
                pass


# -- outputs ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def line_on(make_output: Callable[[int], Output], form: str) -> bytes:
    """Return the bytes that a terminal gets for one event."""
    with terminal() as (ours, theirs):
        assert make_output(theirs).make_log(form, "info", Losses()).event("daemon_reloading")
        return os.read(ours, 4096)


def test_automatic_form_of_a_pipe(pipe: tuple[int, int]) -> None:
    """On a pipe, `auto` is JSON."""
    reading, writing = pipe
    Output(writing).make_log("auto", "info", Losses()).event("daemon_reloading")
    assert "daemon_reloading" == json.loads(drain(reading))["event"]


def test_automatic_form_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, `auto` is the console, with colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = line_on(Output, "auto")
    assert (True, True) == (b"Reloading the configuration." in shown, b"\x1b[" in shown)


def test_terminal_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR set, `auto` on a terminal is the console without colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    shown = line_on(Output, "auto")
    assert (False, False) == (shown.startswith(b"{"), b"\x1b[" in shown)


@pytest.mark.parametrize(("form", "begins"), [("json", b'{"timestamp": "'), ("console", b"20")])
def test_form_that_is_asked_for(form: str, begins: bytes, pipe: tuple[int, int]) -> None:
    """A configured form is used on any output."""
    reading, writing = pipe
    Output(writing).make_log(form, "info", Losses()).event("daemon_reloading")
    assert begins == drain(reading)[: len(begins)]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # a log's own copy lives as long as its process
def test_output_to_the_system_log() -> None:
    """Without a descriptor, the output is the system log in any form; without a system log, events are only lost."""
    losses = Losses()
    made = Output(None).make_log("json", "info", losses)
    taken = made.event("daemon_reloading")
    assert (0 if taken else 1) == losses.count


@pytest.mark.parametrize(
    ("form", "is_stream", "has_journal", "expected"),
    [
        ("auto", True, True, "journal"),
        ("auto", True, False, "json"),
        ("auto", False, True, "json"),
        ("journal", False, True, "journal"),
        ("journal", False, False, "json"),
        ("json", True, True, "json"),
        ("console", True, True, "console"),
    ],
)
def test_journal_is_used_under_systemd(
    form: str, is_stream: bool, has_journal: bool, expected: str, pipe: tuple[int, int]
) -> None:
    """`auto` is the journal if standard error goes there; `journal` is JSON on a host without a journal."""
    entries, (reading, writing) = Entries(), pipe
    output = Output(writing, lambda: entries if has_journal else None, is_journal_stream=is_stream)
    output.make_log(form, "info", Losses()).event("daemon_reloading")
    written = drain(reading)
    found = "journal" if entries.taken else "json" if written.startswith(b"{") else "console"
    assert (expected, expected != "journal") == (found, bool(written))


# -- standard error --------------------------------------------------------------------------------------------------


def error_descriptor_with(stdin: int, stderr: int) -> int | None:
    """Return the log's choice with other descriptors as standard input and standard error."""
    saved = os.dup(0), os.dup(2)
    try:
        os.dup2(stdin, 0)
        os.dup2(stderr, 2)
        return log.error_descriptor()
    finally:
        for number, descriptor in zip((0, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def test_errors_never_go_to_the_client(pipe: tuple[int, int]) -> None:
    """The log goes to standard error, unless that is the socket on standard input: the client would read it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert [2, 2, 2, None] == [
            error_descriptor_with(*each)
            for each in (
                (pipe[0], pipe[1]),
                (theirs.fileno(), pipe[1]),
                (theirs.fileno(), ours.fileno()),
                (theirs.fileno(), theirs.fileno()),
            )
        ]
