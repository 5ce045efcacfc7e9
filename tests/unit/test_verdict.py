"""The verdict of the probe: a state and its reason, from the figures of a tally and the limits."""

from __future__ import annotations

import pytest
from test_tally import GOOD, LOST, NOW, NS, answer, tally_of

from daytimed.probe import ranges
from daytimed.probe.client import Answer
from daytimed.probe.verdict import EXIT_CODES, Limits, Verdict, judge, worst_of

SECONDS = b"Sun Nov 22 12:00:00 2026"


def verdict(*answers: Answer, limits: Limits | None = None) -> Verdict:
    return judge(tally_of(*answers), limits or Limits())


def outcome(*answers: Answer, limits: Limits | None = None) -> tuple[str, str | None]:
    found = verdict(*answers, limits=limits)
    return found.state, found.reason


def offset_limits(warning: str | None, critical: str | None) -> Limits:
    return Limits(
        offset_warning=ranges.parse(warning, symmetric=True) if warning else None,
        offset_critical=ranges.parse(critical, symmetric=True) if critical else None,
    )


def test_good() -> None:
    """One readable reply is OK, without a reason."""
    assert ("OK", None) == outcome(answer(GOOD))


def test_lost() -> None:
    """Without any reply the state is CRITICAL, with the reason; with some samples lost it is WARNING."""
    lost = answer(b"", reason=LOST)
    assert ("CRITICAL", LOST) == outcome(lost)
    assert ("CRITICAL", f"{LOST} (2 times)") == outcome(lost, lost)
    assert ("WARNING", f"1 of 3 samples failed: {LOST}") == outcome(answer(GOOD), lost, answer(GOOD))


def test_unreadable() -> None:
    """A reply that names no instant is CRITICAL, unless replies are not judged."""
    reason = "cannot read the reply: it contains no date with a time: hello"
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
        # the offset, 1000 to 1001 ms, touches the range
        (1000, "1", None, "OK"),
        (1001, "1", None, "WARNING"),
    ],
)
def test_limits_of_the_offset(ahead_ms: int, warning: str | None, critical: str | None, state: str) -> None:
    """An offset alerts only if every possible value is beyond a limit."""
    asked = answer(GOOD, NOW - ahead_ms * 1_000_000)
    assert state == outcome(asked, limits=offset_limits(warning, critical))[0]


def test_interval_that_reaches_inside() -> None:
    """A format of whole seconds and a slow network cause no false alarm."""
    half_ahead = answer(SECONDS, NOW - NS // 2)
    assert ("OK", None) == outcome(half_ahead, limits=offset_limits("0.5", None))
    state, reason = outcome(half_ahead, limits=offset_limits("0.4", None))
    assert ("WARNING", "the offset +1.005000 s +/- 0.505000 s is beyond -0.4:0.4") == (state, reason)
    slow = answer(SECONDS, NOW - NS // 2, took_ns=NS)
    assert ("OK", None) == outcome(slow, limits=offset_limits("0.4", None))


def test_shortage_of_this_host() -> None:
    """A shortage on this host makes the state UNKNOWN: it says nothing about the server."""
    ours = answer(b"", reason="this host is out of descriptors")
    ours.is_local = True
    assert ("UNKNOWN", "this host is out of descriptors") == outcome(ours)
    assert "CRITICAL" == worst_of(["OK", "UNKNOWN", "CRITICAL", "WARNING"])
    assert "UNKNOWN" == worst_of(["OK", "UNKNOWN"])
    assert "OK" == worst_of([])


def test_samples_that_did_not_fit() -> None:
    """Fewer samples than asked for are reported, but leave the state OK."""
    found = judge(tally_of(answer(GOOD)), Limits(), wanted=20)
    assert ("OK", "the timeout allowed only 1 of 20 samples") == (found.state, found.reason)


def test_limits_of_the_response_time() -> None:
    """The response time is judged even if the reply is not; the average of several samples counts."""
    limits = Limits(False, None, None, ranges.parse("1"), ranges.parse("2"))
    assert ("OK", None) == outcome(answer(b"x", total_s=1.0), limits=limits)
    expected = ("WARNING", "the response time 1.500000 s is beyond 1")
    assert expected == outcome(answer(b"x", total_s=1.0), answer(b"x", total_s=2.0), limits=limits)
    assert ("CRITICAL", "the response time 2.500000 s is beyond 2") == outcome(answer(b"x", total_s=2.5), limits=limits)


def test_steady_clock() -> None:
    """Samples that all agree are OK, without a reason."""
    times = [NOW + number * 50_000_000 for number in range(20)]
    found = verdict(*(answer(b"%d" % ((at + 300_000_000) // NS), at) for at in times))
    assert (20, "OK", None) == (found.agreeing, found.state, found.reason)


def test_unsteady_clock() -> None:
    """Samples that disagree are WARNING; the majority decides the offset, which is unknown without one."""
    near, far = answer(GOOD), answer(GOOD, NOW - 5 * NS)
    found = verdict(near, far, near, near)
    assert ("WARNING", "unsteady clock: only 3 of 4 samples agree") == (found.state, found.reason)
    assert found.interval
    assert 0 == found.interval.low
    split = verdict(near, far)
    assert ("WARNING", "unsteady clock: only 1 of 2 samples agree", None) == (split.state, split.reason, split.interval)
    limited = verdict(near, far, limits=offset_limits("1", "2"))
    assert ("CRITICAL", "the offset is unknown: no majority of the samples agrees") == (limited.state, limited.reason)
    assert "WARNING" == verdict(near, far, limits=offset_limits("1", None)).state


@pytest.mark.parametrize(
    ("leap", "health", "state", "reason"),
    [
        (0, 0, "OK", None),
        (1, 0, "OK", "a leap second will be inserted at the end of the month"),
        (2, 0, "OK", "a leap second will be deleted at the end of the month"),
        (3, 0, "WARNING", "its leap second code is unknown (NIST leap 3)"),
        (0, 1, "WARNING", "its clock may be wrong by up to 5 s (NIST health 1)"),
        (0, 2, "CRITICAL", "its clock is wrong by more than 5 s (NIST health 2)"),
        (0, 3, "CRITICAL", "the error of its clock is unknown after a failure (NIST health 3)"),
        (0, 4, "WARNING", "it is under maintenance or, on older servers, has failed (NIST health 4)"),
        (0, 7, "CRITICAL", "its health is unknown (NIST health 7)"),
    ],
)
def test_health_and_leap(leap: int, health: int, state: str, reason: str | None) -> None:
    """The health and leap codes of a NIST line count."""
    assert (state, reason) == outcome(answer(b"61366 26-11-22 12:00:00 00 %d %d 50.0 UTC(NIST) *" % (leap, health)))


def test_the_worst_counts_and_notes_follow() -> None:
    """Of several problems the worst is reported; notes on the reading follow it."""
    line = b"61366 26-11-22 12:00:00 00 0 1 50.0 UTC(NIST) *"
    state, reason = outcome(answer(line, NOW - 10 * NS), limits=offset_limits("1", "5"))
    assert ("CRITICAL", True) == (state, str(reason).startswith("the offset +10.455000 s"))
    noted = "the weekday is wrong: 2026-11-22 is a Sunday"
    assert ("OK", noted) == outcome(answer(b"Mon Nov 22 12:00:00 2026"))


def test_exit_codes_are_those_of_monitoring_plugins() -> None:
    """The states and their exit codes are an interface."""
    assert {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3} == EXIT_CODES
