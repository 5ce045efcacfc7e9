"""
The rate limit: how often each source gets a reply.

The budgets of all sources are in shared memory, in a table of fixed size, without locks: two workers that serve the
same source in the same microsecond can let one reply too many through.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from daytimed.addresses import unmap
from daytimed.budget import Cells, spend
from daytimed.config.settings import AccessConfig
from daytimed.counters import Counters

#: The limit of a source over UDP, where an address can be forged, unless the configuration sets one.
UDP_RATE = 10.0

#: Link-local (RFC 4291) and translated IPv4 (RFC 6052): one /64 of these is a whole link, or all of IPv4.
_WHOLE_ADDRESSES = ("fe80:", "64:ff9b::")
#: A worker that was held can be this far behind the time that another has stored in a cell.
_STALE_S = 2.0
#: More than the rounding error of floating-point seconds in the first ten years of uptime.
_ROUNDING_S = 1e-7
#: The cells of a source: the eight of a cache line.
_WAYS = 8


class RateLimit:
    """
    The budgets of the sources. A source is an IPv4 address, an IPv6 /64, or one address of a link.

    The first half of the cells holds the times, as floating-point seconds, which are faster than integers of that size;
    the second half holds the tags of the sources, 32 bits each.
    """

    def __init__(self, cells: Cells, rate: float, burst: int, secret: bytes) -> None:
        half = len(cells) // 2
        self._times = cells[:half].cast("B").cast("d")
        self._tags = cells[half:]
        self._interval_s = 1 / rate
        self._tolerance_s = (burst - 1) / rate + _ROUNDING_S
        self._longest_s = burst / rate + _STALE_S
        self._secret = secret

    def place(self, host: str) -> list[int]:
        """Return the cell index of a host's source, and its tag; `take` updates the index when the source moves."""
        host = unmap(host)
        source = host.encode()
        if ":" in host and "%" not in host and not host.startswith(_WHOLE_ADDRESSES):
            source = socket.inet_pton(socket.AF_INET6, host)[:8]
        # two hashes: each has 32 bits on a 32-bit Python
        first, tag = hash(self._secret + source) & 0xFFFF_FFFF, hash(source + self._secret) & 0xFFFF_FFFF
        return [first % (len(self._tags) // _WAYS) * _WAYS, tag or 1]

    def take(self, place: list[int], now_ns: int) -> bool:
        """Count one reply; return False if the source has used up its budget."""
        at, tag = place
        if self._tags[at] != tag:
            at = self._look_up(place)
        now = now_ns * 1e-9
        full_at = spend(self._times[at], now, self._interval_s, self._tolerance_s)
        if full_at is None:
            # a refusal stores nothing: it would undo what another worker counts at the same moment
            if self._times[at] - now < self._longest_s:
                return False
            # a debt from before a reload that made the interval shorter
            full_at = now + self._interval_s
        self._times[at] = full_at
        return True

    def _look_up(self, place: list[int]) -> int:
        """Find the cell of a source that has moved, or assign one."""
        first, tag = place[0] // _WAYS * _WAYS, place[1]
        tags: list[int] = self._tags[first : first + _WAYS].tolist()
        if tag in tags:
            place[0] = first + tags.index(tag)
            return place[0]
        # a new source takes the cell with the fullest budget: a flood of sources evicts itself and locks nobody out
        times: Sequence[float] = self._times[first : first + _WAYS].tolist()
        at = place[0] = first + times.index(min(times))
        self._times[at] = 0.0
        self._tags[at] = tag
        return at


def limit(access: AccessConfig, counters: Counters, *, is_datagram: bool) -> RateLimit | None:
    """Return the limit of a listener; None if it has none."""
    rate = access.rate or (UDP_RATE if is_datagram else 0.0)
    # counted separately: a forged UDP source must not use up the TCP rate of that address
    secret = counters.secret + (b"udp" if is_datagram else b"")
    return RateLimit(counters.rates, rate, access.burst, secret) if rate else None
