"""
The offset of a server's clock from ours: the interval that contains it, and the one on which several samples agree.

A server reads its clock after our connection attempt leaves and before its first byte arrives. With the resolution of
its reply, this bounds the offset on both sides, whatever the network does. Unlike NTP, it assumes no symmetric path.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from daytimed.probe.reading import Reading


#: How fast two clocks may drift apart: the largest frequency correction of a kernel, MAXFREQ of RFC 5905.
_DRIFT = 500e-6


class Interval:
    """The bounds of an offset: at `at_ns` of our clock, the server's is `low` to `high` nanoseconds ahead of it."""

    __slots__ = ("at_ns", "high", "low")

    def __init__(self, low: int, high: int, at_ns: int = 0) -> None:
        self.low = low
        self.high = high
        self.at_ns = at_ns

    def drifted(self, at_ns: int) -> Interval:
        """Return the interval at another time, widened by the possible drift."""
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


#: Most servers of whole seconds use time(2), which is up to a tick of the kernel, 1/HZ, late.
_TICK_NS = 10_000_000


def bound(reading: Reading, before_ns: int, after_ns: int) -> Interval:
    """
    Return the interval of one sample.

    Args:
        reading: The meaning of the reply.
        before_ns: Our clock when the question left; nanoseconds since 1970-01-01 UTC.
        after_ns: Our clock when the first byte of the reply arrived.
    """
    shown = reading.instant_ns - reading.advance_ns
    late = _TICK_NS if reading.resolution_ns >= 1_000_000_000 else 0
    return Interval(shown - after_ns, shown + reading.resolution_ns + late - before_ns, after_ns)


def intersect(intervals: Sequence[Interval]) -> tuple[Interval, int]:
    """
    Return the interval that lies in as many of the given ones as possible, and their number.

    Marzullo's algorithm, from which the selection of RFC 5905, section 11.2.1, descends. All samples of a steady clock
    agree. Otherwise the correct ones agree, if they are the majority.

    Args:
        intervals: At least one, the newest last. The result is for its time.
    """
    intervals = [interval.drifted(intervals[-1].at_ns) for interval in intervals]
    # at equal values a start sorts before an end: intervals that touch agree
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
