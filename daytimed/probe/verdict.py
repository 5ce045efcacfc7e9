"""
A verdict: the state of one server and its reason, decided from the figures of a tally and the limits.

It knows neither sockets nor output.
"""

from __future__ import annotations

from daytimed.probe.parsers import LONGEST_REPLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from daytimed.probe.offset import Interval
    from daytimed.probe.ranges import Range
    from daytimed.probe.tally import Tally

OK, WARNING, CRITICAL, UNKNOWN = "OK", "WARNING", "CRITICAL", "UNKNOWN"
#: The exit codes of monitoring plugins.
EXIT_CODES = {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3}
#: From good to bad. An unknown state of one server does not hide a known problem of another.
_SEVERITY = (OK, UNKNOWN, WARNING, CRITICAL)

#: The health codes of the NIST line except 0, from the pages of NIST's Internet Time Service. Older servers have no 3;
#: there 4 is the failure.
_HEALTH = {
    1: (WARNING, "its clock may be wrong by up to 5 s (NIST health 1)"),
    2: (CRITICAL, "its clock is wrong by more than 5 s (NIST health 2)"),
    3: (CRITICAL, "the error of its clock is unknown after a failure (NIST health 3)"),
    4: (WARNING, "it is under maintenance or, on older servers, has failed (NIST health 4)"),
}
_LEAP = {
    1: "a leap second will be inserted at the end of the month",
    2: "a leap second will be deleted at the end of the month",
}


def worst_of(states: Iterable[str]) -> str:
    """Return the worst of the states, or OK if there are none."""
    return max(states, key=_SEVERITY.index, default=OK)


class Limits:
    """The limits beyond which a state is not OK; None is no limit."""

    __slots__ = ("is_judged", "offset_critical", "offset_warning", "response_critical", "response_warning")

    def __init__(
        self,
        is_judged: bool = True,
        offset_warning: Range | None = None,
        offset_critical: Range | None = None,
        response_warning: Range | None = None,
        response_critical: Range | None = None,
    ) -> None:
        self.is_judged = is_judged
        """Whether a reply must name an instant; if not, any reply that is not empty is good."""
        self.offset_warning = offset_warning
        self.offset_critical = offset_critical
        self.response_warning = response_warning
        self.response_critical = response_critical


class Verdict:
    """The state of one server."""

    __slots__ = ("agreeing", "good", "interval", "reason", "state", "tally")

    def __init__(
        self, tally: Tally, good: int, state: str, reason: str | None, interval: Interval | None, agreeing: int
    ) -> None:
        self.tally = tally
        self.good = good
        """The number of good replies: complete and, if they are judged, readable."""
        self.state = state
        self.reason = reason
        """Why the state is not OK, and notes on how the reply was read; None if there are none."""
        self.interval = interval
        """The offset; None if it is unknown."""
        self.agreeing = agreeing
        """The number of samples that agree on it."""

    @property
    def reply(self) -> bytes:
        """The last reply: all of a good one, the beginning of any other."""
        answer = self.tally.whole or self.tally.last
        if answer is None:
            return b""
        return answer.reply if self.good else answer.reply[:LONGEST_REPLY]


def judge(tally: Tally, limits: Limits, wanted: int = 0) -> Verdict:
    """
    Decide on the state of a server.

    Args:
        tally: Its figures.
        limits: The limits.
        wanted: The number of samples that were asked for; 0 for any.
    """
    interval, agreeing = tally.majority()
    good = tally.answered - (tally.unreadable if limits.is_judged else 0)
    found = _problems(tally, good, limits, interval)
    if limits.is_judged and agreeing < len(tally.intervals):
        found.append((WARNING, f"unsteady clock: only {agreeing} of {len(tally.intervals)} samples agree"))
    state = worst_of(each for each, _ in found)
    reasons = [reason for each, reason in found if each == state]
    if good and tally.sent < wanted:
        reasons.append(f"the timeout allowed only {tally.sent} of {wanted} samples")
    if limits.is_judged and tally.reading:
        reasons += tally.reading.notes
        reasons += [_LEAP[tally.reading.leap]] if tally.reading.leap in _LEAP else []
    return Verdict(tally, good, state, "; ".join(reasons) or None, interval, agreeing)


def _problems(tally: Tally, good: int, limits: Limits, interval: Interval | None) -> list[tuple[str, str]]:
    """Return every problem as its state and reason."""
    found = []
    bad = tally.sent - good
    if bad:
        failure = tally.failure or "no reply"
        if not good:
            is_local = tally.last is not None and tally.last.is_local
            found.append((UNKNOWN if is_local else CRITICAL, failure if bad == 1 else f"{failure} ({bad} times)"))
            return found
        found.append((WARNING, f"{bad} of {tally.sent} samples failed: {failure}"))
    if tally.response_s is not None:
        for state, limit in ((WARNING, limits.response_warning), (CRITICAL, limits.response_critical)):
            if limit and limit.is_beyond(tally.response_s, tally.response_s):
                found.append((state, f"the response time {tally.response_s:.6f} s is {limit.said}"))
    if not limits.is_judged:
        return found
    if interval is None and (limits.offset_warning or limits.offset_critical):
        state = CRITICAL if limits.offset_critical else WARNING
        found.append((state, "the offset is unknown: no majority of the samples agrees"))
    for state, limit in ((WARNING, limits.offset_warning), (CRITICAL, limits.offset_critical)):
        if limit and interval and limit.is_beyond(interval.low / 1e9, interval.high / 1e9):
            measured = f"{interval.offset_s:+.6f} s +/- {interval.uncertainty_s:.6f} s"
            found.append((state, f"the offset {measured} is {limit.said}"))
    if tally.reading and tally.reading.health in _HEALTH:
        found.append(_HEALTH[tally.reading.health])
    elif tally.reading and tally.reading.health:
        found.append((CRITICAL, f"its health is unknown (NIST health {tally.reading.health})"))
    if tally.reading and tally.reading.leap is not None and tally.reading.leap > 2:
        found.append((WARNING, f"its leap second code is unknown (NIST leap {tally.reading.leap})"))
    return found
