"""The output of the probe for people."""

from __future__ import annotations

import pytest
import unit_help  # noqa: F401 - its settings of hypothesis
from format_table import ROWS, Row
from hypothesis import example, given
from hypothesis import strategies as st
from test_report import GOOD, LOST, verdict

from daytimed.probe import screen, zones
from daytimed.probe.offset import Interval
from daytimed.probe.verdict import Limits, judge


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
    """Line ends become newlines, trailing ones are removed, and unprintable characters become escapes."""
    assert expected == screen.visible(reply)


@given(reply=st.binary())
@example(reply=bytes(range(256)))
@example(reply="".join(map(chr, range(0x80, 0xA0))).encode())
def test_no_reply_controls_a_terminal(reply: bytes) -> None:
    """Whatever a server sends, only newlines, tabs and printable characters are shown; in a table, no tabs."""
    shown = screen.visible(reply)
    assert [] == [character for character in shown if not character.isprintable() and character not in "\n\t"]
    found = verdict(reply or b"x")
    for told in (screen.table([found], colour=False), screen.details(found), screen.summary(found)):
        assert all(line.isprintable() for line in told.split("\n"))


TEXTS = [row for row in ROWS if row.format not in ("nist", "rfc868")]


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: f"{row.format}-{row.zone}-{row.instant_ns}")
def test_replies_of_ours_are_shown_as_they_are(row: Row) -> None:
    """A reply in any text format of daytimed is shown unchanged, without its line end."""
    assert row.reply.decode().removesuffix("\r\n") == screen.visible(row.reply)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1_000_000, 3_000_000, "+2.000 ms ± 1.000 ms"),
        (-3_000_000_000, -1_000_000_000, "-2.000 s ± 1.000 s"),
        (0, 2_000, "+0.001 ms ± 0.001 ms"),
        (-1_500_000_000, 1_500_000_000, "+0.000 s ± 1.500 s"),
    ],
)
def test_measured(low: int, high: int, expected: str) -> None:
    """Offset and uncertainty share the unit of the larger one."""
    assert expected == screen.measured(Interval(low, high))


def test_details() -> None:
    """The details show all that was understood."""
    assert (
        "  address  tcp://localhost:6000 over ipv4\n"
        "  format   iso8601, resolution 1 ms\n"
        "  zone     UTC\n"
        "  instant  2026-11-22T12:00:00.000Z\n"
        "  offset   +1.000 ms ± 0.500 ms\n"
        "  time     333.333 ms, including 100.000 ms to connect\n"
        "  state    OK"
    ) == screen.details(verdict(GOOD))


def test_details_of_unusual_replies() -> None:
    """The details show an assumed zone, the codes of a NIST line, and how an ambiguity was resolved."""
    nist = screen.details(verdict(b"61366 26-11-22 12:00:00 00 1 0 50.0 UTC(NIST) *"))
    assert "\n  NIST     health 0, leap 1, advance 0.05 s\n" in nist
    assert nist.endswith("  state    OK\n  note     a leap second will be inserted at the end of the month")
    windows = screen.details(verdict(b"12:00:00 11/10/2026"))
    assert "\n  zone     assumed, none in the reply\n" in windows
    assert windows.endswith("day and month are ambiguous: assuming 2026-11-10, which is nearer than 2026-10-11")
    assert screen.details(verdict(b"", LOST)) == "  address  tcp://localhost:6000\n  state    CRITICAL"


def test_sample_and_summary() -> None:
    """Each sample is a line, and the summary has counts and times, as ping has, and the offset."""
    good, lost = verdict(GOOD).tally, verdict(b"", LOST).tally
    assert good.last
    assert lost.last
    line = screen.sample(1, good.last, good.intervals[0], None)
    assert line == "31 bytes from tcp://localhost:6000: seq=1 offset +1.000 ms ± 0.500 ms time 333.333 ms"
    assert screen.sample(2, lost.last, None, LOST) == f"tcp://localhost:6000: seq=2 {LOST}"
    assert screen.sample(3, good.last, None, None).endswith("seq=3 2026-11-22T12:00:00.000+00:00 time 333.333 ms")
    good.add(lost.last, zones.load_offsets("UTC"))
    assert (
        "--- tcp://localhost:6000 ---\n"
        "2 sent, 1 answered, 1 lost\n"
        "time min/avg/max 333.333/333.333/333.333 ms\n"
        "offset +1.000 ms ± 0.500 ms (1 agree)"
    ) == screen.summary(judge(good, Limits()))
    assert screen.summary(verdict(b"", LOST)) == "--- tcp://localhost:6000 ---\n1 sent, 0 answered, 1 lost"


def test_table() -> None:
    """Columns fit their contents, and colour does not move them."""
    found = [verdict(GOOD), verdict(b"", LOST, "[2001:db8::1]:13"), verdict(b"x" * 99, address="a:1", judged=False)]
    assert [
        "STATE     ADDRESS                               OFFSET        TIME  REPLY",
        "OK        tcp://localhost:6000    +1.000 ms ± 0.500 ms  333.333 ms  2026-11-22T12:00:00.000+00:00",
        "CRITICAL  tcp://[2001:db8::1]:13                     -           -  connection refused",
        f"OK        tcp://a:1                                  -  333.333 ms  {'x' * 69}...",
    ] == screen.table(found, colour=False).split("\n")
    plain, coloured = screen.table(found, colour=False), screen.table(found, colour=True)
    assert "\x1b[32mOK      \x1b[0m  tcp://localhost:6000" in coloured
    assert "\x1b[31mCRITICAL\x1b[0m  tcp://[2001:db8::1]:13" in coloured
    for code in ("\x1b[32m", "\x1b[31m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert plain == coloured
