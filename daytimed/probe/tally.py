"""
A tally: the answers of one server, counted, with their times and the offset on which the samples agree.

It knows neither limits nor sockets.
"""

from __future__ import annotations

from daytimed.probe import offset, parsers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from daytimed.addresses import Address
    from daytimed.probe.client import Answer
    from daytimed.probe.offset import Interval
    from daytimed.probe.reading import Reading
    from daytimed.probe.zones import Offsets

#: The most samples of a survey with an end. Without an end, only the last ones are compared.
MOST_SAMPLES = 1000


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
        """Complete replies, readable or not."""
        self.unreadable = 0
        """Complete replies that name no instant."""
        self.last: Answer | None = None
        self.whole: Answer | None = None
        """The last answer with a complete reply."""
        self.reading: Reading | None = None
        """The last reading."""
        self.failure: str | None = None
        """The reason for the last answer without a complete, readable reply."""
        self.intervals: list[Interval] = []
        """The offsets of the last samples."""
        self.shortest_s = self.longest_s = self.total_sum_s = self.connect_sum_s = 0.0

    def add(self, answer: Answer, zone: Offsets) -> Interval | None:
        """
        Count an answer.

        Args:
            answer: The answer.
            zone: Assumed if the reply names none.

        Returns:
            The offset that it shows, or None if the reply is incomplete or unreadable.
        """
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
        found = parsers.parse(answer.reply, answer.after_ns, zone, answer.dropped)
        if isinstance(found, parsers.Unreadable):
            self.unreadable += 1
            self.failure = f"cannot read the reply: {found.reason}"
            return None
        self.reading = found
        self.intervals.append(offset.bound(found, answer.before_ns, answer.after_ns))
        del self.intervals[:-MOST_SAMPLES]
        return self.intervals[-1]

    def majority(self) -> tuple[Interval | None, int]:
        """Return the offset on which a majority of the samples agrees, if any, and how many samples agree at most."""
        if not self.intervals:
            return None, 0
        interval, agreeing = offset.intersect(self.intervals)
        return interval if 2 * agreeing > len(self.intervals) else None, agreeing

    @property
    def lost(self) -> int:
        """The number of questions without a complete reply."""
        return self.sent - self.answered

    @property
    def response_s(self) -> float | None:
        """Average seconds from the question to the end of the reply; None without a complete reply."""
        return self.total_sum_s / self.answered if self.answered else None

    @property
    def connect_s(self) -> float | None:
        """Average seconds from the question to the connection; of the last question if all were lost."""
        if self.answered:
            return self.connect_sum_s / self.answered
        return self.last.connect_s if self.last else None
