"""The judgement of the probe: from answers to a state and its reason."""

from __future__ import annotations

import pytest

from daytimed.addresses import Address
from daytimed.probe import check, ranges, zones
from daytimed.probe.check import Limits, Tally, Verdict, judge
from daytimed.probe.client import Answer

NS = 1_000_000_000
NOW = 1_795_348_800 * NS  # 2026-11-22 12:00:00 UTC
UTC = zones.load_offsets("UTC")
ADDRESS = Address("tcp", "localhost", 6000)


def answer(reply: bytes, at_ns: int = NOW, took_ns: int = 0, reason: str | None = None, total_s: float = 0.5) -> Answer:
    """Make an answer that was asked for at one time and took another."""
    made = Answer(ADDRESS)
    made.reply, made.reason, made.connect_s, made.total_s = reply, reason, 0.25, total_s
    made.before_ns, made.after_ns = at_ns, at_ns + took_ns
    return made


def verdict(*answers: Answer, limits: Limits | None = None) -> Verdict:
    tally = Tally(ADDRESS)
    for each in answers:
        tally.add(each, UTC)
    return judge(tally, limits or Limits())


def outcome(*answers: Answer, limits: Limits | None = None) -> tuple[str, str | None]:
    found = verdict(*answers, limits=limits)
    return found.state, found.reason


def offset_limits(warning: str | None, critical: str | None) -> Limits:
    return Limits(
        offset_warning=ranges.parse(warning, symmetric=True) if warning else None,
        offset_critical=ranges.parse(critical, symmetric=True) if critical else None,
    )


GOOD = b"2026-11-22T12:00:00.000+00:00"
SECONDS = b"Sun Nov 22 12:00:00 2026"
LOST = "connection refused"


def test_good() -> None:
    """One reply that can be read is OK, and there is nothing to say."""
    assert ("OK", None) == outcome(answer(GOOD))


def test_lost() -> None:
    """Without a reply the state is critical, with the reason; a part of the samples is worth a warning."""
    lost = answer(b"", reason=LOST)
    assert ("CRITICAL", LOST) == outcome(lost)
    assert ("CRITICAL", f"{LOST} (2 times)") == outcome(lost, lost)
    assert ("WARNING", f"1 of 3 samples failed: {LOST}") == outcome(answer(GOOD), lost, answer(GOOD))


def test_unreadable() -> None:
    """A reply that names no instant is critical; unless it is not judged."""
    reason = "cannot read the reply: there is no date with a time in it: hello"
    assert ("CRITICAL", reason) == outcome(answer(b"hello"))
    assert ("WARNING", f"1 of 2 samples failed: {reason}") == outcome(answer(GOOD), answer(b"hello"))
    assert ("OK", None) == outcome(answer(b"hello"), limits=Limits(is_judged=False))
    assert ("CRITICAL", LOST) == outcome(answer(b"", reason=LOST), limits=Limits(is_judged=False))


@pytest.mark.parametrize(
    ("ahead_ms", "warning", "critical", "state"),
    [
        (0, "1", "2", "OK"),
        (1500, "1", "2", "WARNING"),
        (-1500, "1", "2", "WARNING"),
        (2500, "1", "2", "CRITICAL"),
        (2500, None, "2", "CRITICAL"),
        (2500, "2", None, "WARNING"),
        (2500, "~:2", None, "WARNING"),
        (-2500, "~:2", None, "OK"),
        (2500, "@2:3", None, "WARNING"),
        # touches the range: the offset is from 1000 to 1001 ms
        (1000, "1", None, "OK"),
        (1001, "1", None, "WARNING"),
    ],
)
def test_limits_of_the_offset(ahead_ms: int, warning: str | None, critical: str | None, state: str) -> None:
    """The offset is judged by the limits, and only when all that is possible is beyond them."""
    asked = answer(GOOD, NOW - ahead_ms * 1_000_000)
    assert state == outcome(asked, limits=offset_limits(warning, critical))[0]


def test_interval_that_reaches_inside() -> None:
    """A format of whole seconds, and a slow network, are no reason for an alarm that might be wrong."""
    half_ahead = answer(SECONDS, NOW - NS // 2)
    assert ("OK", None) == outcome(half_ahead, limits=offset_limits("0.5", None))
    state, reason = outcome(half_ahead, limits=offset_limits("0.4", None))
    assert ("WARNING", "the offset +1.005000 s +/- 0.505000 s is beyond -0.4:0.4") == (state, reason)
    slow = answer(SECONDS, NOW - NS // 2, took_ns=NS)
    assert ("OK", None) == outcome(slow, limits=offset_limits("0.4", None))


def test_fault_of_this_host() -> None:
    """What this host is out of says nothing of the server."""
    ours = answer(b"", reason="this host is out of descriptors")
    ours.is_local = True
    assert ("UNKNOWN", "this host is out of descriptors") == outcome(ours)
    assert "CRITICAL" == check.worst_of(["OK", "UNKNOWN", "CRITICAL", "WARNING"])
    assert "UNKNOWN" == check.worst_of(["OK", "UNKNOWN"])
    assert "OK" == check.worst_of([])


def test_samples_that_did_not_fit() -> None:
    """Fewer samples than wanted are told, and are nobody's fault."""
    tally = Tally(ADDRESS)
    tally.add(answer(GOOD), UTC)
    found = judge(tally, Limits(), wanted=20)
    assert ("OK", "only 1 of 20 samples fit into the time") == (found.state, found.reason)


def test_limits_of_the_response_time() -> None:
    """The response time is judged, even if the reply is not; of several it is the average."""
    limits = Limits(False, None, None, ranges.parse("1"), ranges.parse("2"))
    assert ("OK", None) == outcome(answer(b"x", total_s=1.0), limits=limits)
    expected = ("WARNING", "the response time 1.500000 s is beyond 1")
    assert expected == outcome(answer(b"x", total_s=1.0), answer(b"x", total_s=2.0), limits=limits)
    assert ("CRITICAL", "the response time 2.500000 s is beyond 2") == outcome(answer(b"x", total_s=2.5), limits=limits)


def test_samples_narrow_the_offset() -> None:
    """Samples of a clock that shows whole seconds, taken at different parts of it, find when it changes."""
    true_ns = 300_000_000
    taken = []
    for number in range(20):
        at = NOW + number * 50_000_000
        clock = (at + true_ns) // NS
        taken.append(answer(b"%d" % clock, at))
    found = verdict(*taken)
    assert found.interval
    assert (20, "OK", None) == (found.agreeing, found.state, found.reason)
    assert found.interval.low <= true_ns <= found.interval.high
    assert found.interval.uncertainty_s <= 0.035


def test_unsteady_clock() -> None:
    """Samples that do not agree are a warning; the majority tells the offset, and without one it is not known."""
    near, far = answer(GOOD), answer(GOOD, NOW - 5 * NS)
    found = verdict(near, far, near, near)
    assert ("WARNING", "unsteady clock: only 3 of 4 samples agree") == (found.state, found.reason)
    assert found.interval
    assert 0 == found.interval.low
    split = verdict(near, far)
    assert ("WARNING", "unsteady clock: only 1 of 2 samples agree", None) == (split.state, split.reason, split.interval)
    limited = verdict(near, far, limits=offset_limits("1", "2"))
    assert ("CRITICAL", "the offset is not known: no majority of the samples agrees") == (limited.state, limited.reason)
    assert "WARNING" == verdict(near, far, limits=offset_limits("1", None)).state


@pytest.mark.parametrize(
    ("leap", "health", "state", "reason"),
    [
        (0, 0, "OK", None),
        (1, 0, "OK", "a leap second will be inserted at the end of the month"),
        (2, 0, "OK", "a leap second will be left out at the end of the month"),
        (3, 0, "WARNING", "it announces no leap second that there is (NIST leap 3)"),
        (0, 1, "WARNING", "its clock may be wrong by up to 5 s (NIST health 1)"),
        (0, 2, "CRITICAL", "its clock is wrong by more than 5 s (NIST health 2)"),
        (0, 3, "CRITICAL", "the error of its clock is unknown after a failure (NIST health 3)"),
        (0, 4, "WARNING", "it is under maintenance, or in older servers has failed (NIST health 4)"),
        (0, 7, "CRITICAL", "its health is not known (NIST health 7)"),
    ],
)
def test_health_and_leap(leap: int, health: int, state: str, reason: str | None) -> None:
    """What a NIST line says of its own clock counts."""
    assert (state, reason) == outcome(answer(b"61366 26-11-22 12:00:00 00 %d %d 50.0 UTC(NIST) *" % (leap, health)))


def test_the_worst_counts_and_notes_follow() -> None:
    """Of several faults the worst is told; how a reply was understood stands behind it."""
    line = b"61366 26-11-22 12:00:00 00 0 1 50.0 UTC(NIST) *"
    state, reason = outcome(answer(line, NOW - 10 * NS), limits=offset_limits("1", "5"))
    assert ("CRITICAL", True) == (state, str(reason).startswith("the offset +10.455000 s"))
    noted = "the weekday is wrong: 2026-11-22 is a Sunday"
    assert ("OK", noted) == outcome(answer(b"Mon Nov 22 12:00:00 2026"))


def test_figures() -> None:
    """The tally counts, and keeps the shortest, the average and the longest time of whole replies."""
    tally = Tally(ADDRESS)
    assert (None, None) == (tally.response_s, tally.connect_s)
    for total in (0.2, 0.1, 0.6):
        tally.add(answer(GOOD, total_s=total), UTC)
    tally.add(answer(b"20", reason=LOST, total_s=9.0), UTC)
    assert (4, 3, 1) == (tally.sent, tally.answered, tally.lost)
    assert [0.1, pytest.approx(0.3), 0.6] == [tally.shortest_s, tally.response_s, tally.longest_s]


def test_memory_of_a_probe_that_runs_on() -> None:
    """However long it runs, a tally keeps no more than so many samples, the last ones."""
    tally = Tally(ADDRESS)
    for number in range(check.MOST_SAMPLES + 5):
        tally.add(answer(GOOD, NOW - number), UTC)
    assert (check.MOST_SAMPLES, 5) == (len(tally.intervals), tally.intervals[0].low)


def test_exit_codes_are_those_of_monitoring_plugins() -> None:
    """The states and their exit codes are an interface."""
    assert {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3} == check.EXIT_CODES
