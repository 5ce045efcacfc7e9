"""Sinks: they never wait; a broken, full or unread one loses its events, no more."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipe import drain, fill, open_pipe
from recorders import Losses
from unit_help import within

from daytimed.log.events import SEVERITIES
from daytimed.log.log import Log
from daytimed.log.sinks import error_descriptor, stream_sink, syslog_sink


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    with open_pipe() as both:
        yield both


def json_log(fd: int) -> tuple[Log, Losses]:
    losses = Losses()
    return Log(stream_sink(fd), "json", "debug", losses), losses


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


def test_pipe_that_cannot_be_reopened_is_asked_first(pipe: tuple[int, int]) -> None:
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


# -- the system log ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # a log's own copy lives as long as its process
def test_system_log(tmp_path: Path) -> None:
    """The system log gets datagrams with facility, severity, name and pid; without it, events are lost."""
    path = str(tmp_path / "log")
    sink = syslog_sink(path)
    assert not sink("info", b"nobody there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        assert [True] * 5 == [sink(level, b"text") for level in SEVERITIES]
        found = [server.recv(100).decode() for _ in SEVERITIES]
        assert [f"<{24 + severity}>daytimed[{os.getpid()}]: text" for severity in SEVERITIES.values()] == found
        with within(60):
            while sink("info", b"x" * 1000):
                pass


# -- standard error ----------------------------------------------------------------------------------------------------


def error_descriptor_with(stdin: int, stderr: int) -> int | None:
    """Return the log's choice with other descriptors as standard input and standard error."""
    saved = os.dup(0), os.dup(2)
    try:
        os.dup2(stdin, 0)
        os.dup2(stderr, 2)
        return error_descriptor()
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
