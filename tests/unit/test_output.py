"""The output: the form and the destination of the log in each environment."""

from __future__ import annotations

import contextlib
import json
import os
import pty
from collections.abc import Callable, Iterator

import pytest
from pipe import drain, open_pipe
from recorders import Entries, Losses

from daytimed.log.output import Output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    with open_pipe() as both:
        yield both


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
