"""
How far the clock of a server is from ours: intervals that hold the offset for certain, and what several agree on.

A server reads its clock after our connection attempt left and before its first byte came back. With the resolution of
its reply that bounds the offset on both sides, whatever the network did in between; no symmetry of the path is
assumed, as it is by NTP.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from daytimed.probe.reading import Reading


#: How fast two clocks may drift apart: the most that a kernel corrects the rate of its clock by, MAXFREQ of RFC 5905.
_DRIFT = 500e-6


class Interval:
    """Nanoseconds from `low` to `high` by which the server's clock is ahead of ours, at a time of ours."""

    __slots__ = ("at_ns", "high", "low")

    def __init__(self, low: int, high: int, at_ns: int = 0) -> None:
        self.low = low
        self.high = high
        self.at_ns = at_ns

    def drifted(self, at_ns: int) -> Interval:
        """Return what it has become by another time, with all that the clocks can have drifted since."""
        drift = round(abs(at_ns - self.at_ns) * _DRIFT)
        return Interval(self.low - drift, self.high + drift, at_ns)

    @property
    def offset_s(self) -> float:
        """The middle, in seconds."""
        return (self.low + self.high) / 2e9

    @property
    def uncertainty_s(self) -> float:
        """The distance of the ends from the middle, in seconds."""
        return (self.high - self.low) / 2e9


#: Servers that show whole seconds mostly take them from time(2), which is late by up to a tick of the kernel, 1/HZ.
_TICK_NS = 10_000_000


def bound(reading: Reading, before_ns: int, after_ns: int) -> Interval:
    """
    Return the interval of one sample.

    Args:
        reading: What the server said.
        before_ns: Our clock when the question left; nanoseconds since 1970-01-01 UTC.
        after_ns: Our clock when the first byte of the reply was there.
    """
    shown = reading.instant_ns - reading.advance_ns
    late = _TICK_NS if reading.resolution_ns >= 1_000_000_000 else 0
    return Interval(shown - after_ns, shown + reading.resolution_ns + late - before_ns, after_ns)


def intersect(intervals: Sequence[Interval]) -> tuple[Interval, int]:
    """
    Return the smallest interval that lies in as many of the given ones as possible, and how many those are.

    Marzullo's algorithm, from which the selection of RFC 5905, section 11.2.1, descends. All samples of a steady clock
    agree; of the rest the ones that are right agree, if they are the majority.

    Args:
        intervals: At least one, the newest last: the result is for its time.
    """
    intervals = [interval.drifted(intervals[-1].at_ns) for interval in intervals]
    # at equal values a beginning comes before an end: intervals that touch do agree
    edges = sorted(
        [(interval.low, -1) for interval in intervals] + [(interval.high, 1) for interval in intervals]
    )  # fmt: skip
    best = depth = 0
    found = intervals[-1]
    for place, (edge, kind) in enumerate(edges):
        depth -= kind
        if depth > best:
            best = depth
            found = Interval(edge, edges[place + 1][0], intervals[-1].at_ns)
    return found, best
