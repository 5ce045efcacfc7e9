"""The forms of an event: JSON, console, system log, journal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pipe import drain, open_pipe
from recorders import Entries, Lines, Losses
from test_events import FIELDS, SENTENCES
from test_systemd import parse_entry
from unit_help import OS_TEXT

from daytimed.log.events import EVENTS, SEVERITIES
from daytimed.log.log import Log
from daytimed.log.sinks import stream_sink
from daytimed.systemd import encode_entry


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


def test_json_line() -> None:
    """A JSON event has timestamp, level, event, message and its fields, in this order; the time is UTC."""
    before = datetime.now(UTC)
    with open_pipe() as (reading, writing):
        log = Log(stream_sink(writing), "json", "debug", Losses())
        assert log.event("client_dropped", client="192.0.2.1", port=5, listener="daytime", reason="rate")
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


def test_worker_that_never_was() -> None:
    """The event of a worker that could not be forked has no pid."""
    lines = Lines()
    Log(lines, "json", "info", Losses()).event("worker_exited", pid=None, listener="daytime", how="could not be forked")
    found = json.loads(lines.taken[0][1])
    assert ("A worker (daytime) could not be forked.", None) == (found["message"], found["pid"])
