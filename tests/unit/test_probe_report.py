"""What the probe prints."""

# ruff: noqa: SIM300 - expected == actual, here and everywhere

from __future__ import annotations

import json

import pytest
import unit_help  # noqa: F401 - its settings of hypothesis
from format_table import ROWS, Row
from hypothesis import example, given
from hypothesis import strategies as st

from daytimed.addresses import Address
from daytimed.probe import report
from daytimed.probe.client import Answer


def answer(reply: bytes = b"", reason: str | None = None, connect_s: float | None = None) -> Answer:
    made = Answer(Address("tcp", "localhost", 6000))
    made.reply, made.reason, made.connect_s, made.total_s = reply, reason, connect_s, 1 / 3
    return made


def test_exit_codes_are_those_of_monitoring_plugins() -> None:
    """The states and their exit codes are an interface."""
    assert {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3} == report.EXIT_CODES


def test_state() -> None:
    """Whatever went wrong is critical, and nothing else is."""
    assert ["OK", "CRITICAL"] == [report.state_of(answer(b"x")), report.state_of(answer(b"x", "it broke"))]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"", ""),
        (b"text\r\n", "text"),
        (b"text\n", "text"),
        (b"text", "text"),
        (b"text\n\r", "text"),
        (b"text\r\n\0", "text"),
        (b"one\r\ntwo\r\n", "one\ntwo"),
        (b"one\n\rtwo", "one\ntwo"),
        (b"one\rtwo", r"one\rtwo"),
        (b"\n61366 26-11-22 *\n", "\n61366 26-11-22 *"),
        (b"tab\there", "tab\there"),
        (b"\x1b[2J\x07\x00x", r"\x1b[2J\x07\x00x"),
        (b"\xff\xee", r"\xff\xee"),
        ("\u00e9\u6642".encode(), "\u00e9\u6642"),
        ("\u0085\u009b".encode(), r"\x85\x9b"),
        ("\u2028\u202e\ufeff".encode(), r"\u2028\u202e\ufeff"),
        (b"\xee\xad\x57\xc0", r"\xee\xadW\xc0"),
    ],
)
def test_visible(reply: bytes, expected: str) -> None:
    """Line ends become newlines, the last ones go, and what does not print is an escape."""
    assert expected == report.visible(reply)


@given(reply=st.binary())
@example(reply=bytes(range(256)))
@example(reply="".join(map(chr, range(0x80, 0xA0))).encode())
def test_no_reply_controls_a_terminal(reply: bytes) -> None:
    """Whatever a server sends, every character shown prints, but for newlines and tabs."""
    shown = report.visible(reply)
    assert [] == [character for character in shown if not character.isprintable() and character not in "\n\t"]


TEXTS = [row for row in ROWS if row.format not in ("nist", "rfc868")]


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: f"{row.format}-{row.zone}-{row.instant_ns}")
def test_replies_of_ours_are_shown_as_they_are(row: Row) -> None:
    """A reply of every format that is text is shown as it is, without its line end."""
    assert row.reply.decode().removesuffix("\r\n") == report.visible(row.reply)


def test_json_of_a_reply() -> None:
    """The object has the keys of the design in their order, on one line, and seconds are numbers."""
    made = answer(b"text\r\n", connect_s=0.12345678)
    made.family = "ipv4"
    line = report.as_json(made)
    keys = "address family reply format instant resolution_s zone offset_s uncertainty_s connect_s total_s state reason"
    found = json.loads(line)
    assert (keys.split(), 0) == (list(found), line.count("\n"))
    expected = ["tcp://localhost:6000", "ipv4", "text\r\n", 0.123457, 0.333333, "OK", None]
    assert expected == [found[key] for key in ("address", "family", "reply", "connect_s", "total_s", "state", "reason")]


def test_json_of_a_failure() -> None:
    """What there was not is null."""
    found = json.loads(report.as_json(answer(reason="it broke")))
    expected = [None, "", None, "CRITICAL", "it broke"]
    assert expected == [found[key] for key in ("family", "reply", "connect_s", "state", "reason")]


@given(reply=st.binary())
def test_json_takes_any_reply(reply: bytes) -> None:
    """Whatever a server sends, the line is ASCII without control characters, and tells its text."""
    line = report.as_json(answer(reply))
    assert (True, True) == (line.isascii(), line.isprintable())
    assert reply.decode(errors="backslashreplace") == json.loads(line)["reply"]
