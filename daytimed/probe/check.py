"""
The judgement: what the answers of one server show of its state, and why.

A `Tally` takes the answers one by one and keeps the figures; `judge` looks at it and decides. Neither knows of sockets
or of output.
"""

from __future__ import annotations

from daytimed.probe import offset, parsers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from daytimed.addresses import Address
    from daytimed.probe.client import Answer
    from daytimed.probe.offset import Interval
    from daytimed.probe.ranges import Range
    from daytimed.probe.reading import Reading
    from daytimed.probe.zones import Offsets

OK, WARNING, CRITICAL, UNKNOWN = "OK", "WARNING", "CRITICAL", "UNKNOWN"
EXIT_CODES = {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3}
#: From good to bad: what is not known of one server does not hide what is known to be wrong with another.
_SEVERITY = (OK, UNKNOWN, WARNING, CRITICAL)

#: The most samples with an end; a probe that runs for ever compares no more than the last so many.
MOST_SAMPLES = 1000

#: The health codes of the NIST line but 0, as the pages of NIST's Internet Time Service explain them. Once there was no
#: 3, and 4 was the failure.
_HEALTH = {
    1: (WARNING, "its clock may be wrong by up to 5 s (NIST health 1)"),
    2: (CRITICAL, "its clock is wrong by more than 5 s (NIST health 2)"),
    3: (CRITICAL, "the error of its clock is unknown after a failure (NIST health 3)"),
    4: (WARNING, "it is under maintenance, or in older servers has failed (NIST health 4)"),
}
_LEAP = {
    1: "a leap second will be inserted at the end of the month",
    2: "a leap second will be left out at the end of the month",
}


def worst_of(states: Iterable[str]) -> str:
    """Return the worst of some states; OK for none."""
    return max(states, key=_SEVERITY.index, default=OK)


class Limits:
    """When to be alarmed."""

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
        """Whether a reply has to name an instant; otherwise any is good that is not empty."""
        self.offset_warning = offset_warning
        self.offset_critical = offset_critical
        self.response_warning = response_warning
        self.response_critical = response_critical


class Tally:
    """The answers of one server."""

    __slots__ = (
        "address", "answered", "connect_sum_s", "failure", "intervals", "last", "longest_s", "reading", "sent",
        "shortest_s", "total_sum_s", "unreadable", "whole",
    )  # fmt: skip

    def __init__(self, address: Address) -> None:
        self.address = address
        self.sent = 0
        self.answered = 0
        """Whole replies, readable or not."""
        self.unreadable = 0
        """Of these, those that name no instant."""
        self.last: Answer | None = None
        self.whole: Answer | None = None
        """The last whole one."""
        self.reading: Reading | None = None
        """The last one."""
        self.failure: str | None = None
        """Why the last answer that was not whole, or not readable, was not."""
        self.intervals: list[Interval] = []
        self.shortest_s = self.longest_s = self.total_sum_s = self.connect_sum_s = 0.0

    def add(self, answer: Answer, zone: Offsets) -> Interval | None:
        """Count an answer; return the offset that it shows, if it does."""
        self.sent += 1
        self.last = answer
        if answer.reason:
            self.failure = answer.reason
            return None
        self.answered += 1
        self.whole = answer
        self.shortest_s = min(self.shortest_s, answer.total_s) if self.answered > 1 else answer.total_s
        self.longest_s = max(self.longest_s, answer.total_s)
        self.total_sum_s += answer.total_s
        self.connect_sum_s += answer.connect_s or 0.0
        found = parsers.parse(answer.reply, answer.after_ns, zone)
        if isinstance(found, parsers.Unreadable):
            self.unreadable += 1
            self.failure = f"cannot read the reply: {found.reason}"
            return None
        self.reading = found
        self.intervals.append(offset.bound(found, answer.before_ns, answer.after_ns))
        del self.intervals[:-MOST_SAMPLES]
        return self.intervals[-1]

    @property
    def lost(self) -> int:
        """How many questions had no whole reply."""
        return self.sent - self.answered

    @property
    def response_s(self) -> float | None:
        """Seconds from a question to the end of its reply, on average; None if there was none."""
        return self.total_sum_s / self.answered if self.answered else None

    @property
    def connect_s(self) -> float | None:
        """Seconds from a question to the connection, on average, or those of the last question if all were lost."""
        if self.answered:
            return self.connect_sum_s / self.answered
        return self.last.connect_s if self.last else None


class Verdict:
    """What is to be told of one server."""

    __slots__ = ("agreeing", "good", "interval", "reason", "state", "tally")

    def __init__(
        self, tally: Tally, good: int, state: str, reason: str | None, interval: Interval | None, agreeing: int
    ) -> None:
        self.tally = tally
        self.good = good
        """How many replies are what they should be: readable, if that is judged."""
        self.state = state
        self.reason = reason
        """Why it is not OK; for OK, how what is ambiguous was understood. None if there is nothing to say."""
        self.interval = interval
        """The offset; None if it is not known."""
        self.agreeing = agreeing
        """How many samples agree on it."""

    @property
    def reply(self) -> bytes:
        """What came last; all of a good reply, and the beginning of what is none."""
        answer = self.tally.whole or self.tally.last
        if answer is None:
            return b""
        return answer.reply if self.good else answer.reply[: parsers.LONGEST_REPLY]


def judge(tally: Tally, limits: Limits, wanted: int = 0) -> Verdict:
    """
    Decide on the state of a server.

    Args:
        tally: What came of it.
        limits: When to be alarmed.
        wanted: How many samples were wanted; 0 if it does not matter.
    """
    interval, agreeing = offset.intersect(tally.intervals) if tally.intervals else (None, 0)
    steady = agreeing == len(tally.intervals)
    if 2 * agreeing <= len(tally.intervals):
        interval = None
    good = tally.answered - (tally.unreadable if limits.is_judged else 0)
    found = _faults(tally, good, limits, interval)
    if limits.is_judged and not steady:
        found.append((WARNING, f"unsteady clock: only {agreeing} of {len(tally.intervals)} samples agree"))
    state = worst_of(each for each, _ in found)
    reasons = [reason for each, reason in found if each == state]
    if good and tally.sent < wanted:
        reasons.append(f"only {tally.sent} of {wanted} samples fit into the time")
    if limits.is_judged and tally.reading:
        reasons += tally.reading.notes
        reasons += [_LEAP[tally.reading.leap]] if tally.reading.leap in _LEAP else []
    return Verdict(tally, good, state, "; ".join(reasons) or None, interval, agreeing)


def _faults(tally: Tally, good: int, limits: Limits, interval: Interval | None) -> list[tuple[str, str]]:
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
        found.append((state, "the offset is not known: no majority of the samples agrees"))
    for state, limit in ((WARNING, limits.offset_warning), (CRITICAL, limits.offset_critical)):
        if limit and interval and limit.is_beyond(interval.low / 1e9, interval.high / 1e9):
            measured = f"{interval.offset_s:+.6f} s +/- {interval.uncertainty_s:.6f} s"
            found.append((state, f"the offset {measured} is {limit.said}"))
    if tally.reading and tally.reading.health in _HEALTH:
        found.append(_HEALTH[tally.reading.health])
    elif tally.reading and tally.reading.health:
        found.append((CRITICAL, f"its health is not known (NIST health {tally.reading.health})"))
    if tally.reading and tally.reading.leap is not None and tally.reading.leap > 2:
        found.append((WARNING, f"it announces no leap second that there is (NIST leap {tally.reading.leap})"))
    return found
