"""The tally of the probe: the figures of the answers of one server."""

from __future__ import annotations

import pytest

from daytimed.addresses import Address
from daytimed.probe import zones
from daytimed.probe.client import Answer
from daytimed.probe.offset import Interval
from daytimed.probe.tally import MOST_SAMPLES, Tally

NS = 1_000_000_000
NOW = 1_795_348_800 * NS  # 2026-11-22 12:00:00 UTC
UTC = zones.load_offsets("UTC")
ADDRESS = Address("tcp", "localhost", 6000)
GOOD = b"2026-11-22T12:00:00.000+00:00"
LOST = "connection refused"


def answer(reply: bytes, at_ns: int = NOW, took_ns: int = 0, reason: str | None = None, total_s: float = 0.5) -> Answer:
    """Make an answer to a question asked at a time, whose reply came some time later."""
    made = Answer(ADDRESS)
    made.reply, made.reason, made.connect_s, made.total_s = reply, reason, 0.25, total_s
    made.before_ns, made.after_ns = at_ns, at_ns + took_ns
    return made


def tally_of(*answers: Answer) -> Tally:
    """Return the tally of some answers."""
    tally = Tally(ADDRESS)
    for each in answers:
        tally.add(each, UTC)
    return tally


def test_figures() -> None:
    """The tally counts, and keeps the shortest, average and longest time of complete replies."""
    tally = Tally(ADDRESS)
    assert (None, None) == (tally.response_s, tally.connect_s)
    assert (None, 0) == tally.majority()
    for total in (0.2, 0.1, 0.6):
        tally.add(answer(GOOD, total_s=total), UTC)
    tally.add(answer(b"20", reason=LOST, total_s=9.0), UTC)
    assert (4, 3, 1) == (tally.sent, tally.answered, tally.lost)
    assert [0.1, pytest.approx(0.3), 0.6] == [tally.shortest_s, tally.response_s, tally.longest_s]


def test_replies_without_an_instant() -> None:
    """An unreadable reply is answered but shows no offset; its reason is kept, like that of a lost one."""
    tally = Tally(ADDRESS)
    assert tally.add(answer(GOOD), UTC) is not None
    assert tally.add(answer(b"hello"), UTC) is None
    assert (2, 2, 1, 0) == (tally.sent, tally.answered, tally.unreadable, tally.lost)
    assert "cannot read the reply: it contains no date with a time: hello" == tally.failure
    assert tally.add(answer(b"", reason=LOST), UTC) is None
    assert (3, 2, 1, 1, LOST) == (tally.sent, tally.answered, tally.unreadable, tally.lost, tally.failure)


def test_samples_narrow_the_offset() -> None:
    """Samples at different parts of the second find when a clock of whole seconds changes."""
    true_ns = 300_000_000
    taken = []
    for number in range(20):
        at = NOW + number * 50_000_000
        clock = (at + true_ns) // NS
        taken.append(answer(b"%d" % clock, at))
    interval, agreeing = tally_of(*taken).majority()
    assert interval
    assert 20 == agreeing
    assert interval.low <= true_ns <= interval.high
    assert interval.uncertainty_s <= 0.035


def test_majority() -> None:
    """More than half of the samples must agree; otherwise the offset is unknown."""
    near, far = answer(GOOD), answer(GOOD, NOW - 5 * NS)
    interval, agreeing = tally_of(near, far, near, near).majority()
    assert isinstance(interval, Interval)
    assert (0, 3) == (interval.low, agreeing)
    assert (None, 1) == tally_of(near, far).majority()


def test_memory_of_a_probe_that_runs_on() -> None:
    """A tally keeps a bounded number of samples, the last ones."""
    tally = Tally(ADDRESS)
    for number in range(MOST_SAMPLES + 5):
        tally.add(answer(GOOD, NOW - number), UTC)
    assert (MOST_SAMPLES, 5) == (len(tally.intervals), tally.intervals[0].low)
