"""
Who may ask and how often; and how many lines of log the clients may cause.

The rate is the generic cell rate algorithm (ITU-T I.371): one number a source, the time at which it will have used
up nothing. Those numbers live in shared memory, in a table of fixed size whatever the number of sources, without
locks: two workers that serve the same source in the same microsecond may let one reply too many through.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from functools import lru_cache

from daytimed.addresses import unmap
from daytimed.reasons import DENIED, RATE

#: What a source may have over UDP where nothing else is configured: an address there can be forged.
UDP_RATE = 10.0

#: Addresses that a worker remembers its judgement on.
REMEMBERED = 1024

#: Link-local (RFC 4291) and translated IPv4 (RFC 6052): one /64 of these is a whole link, or the whole of IPv4.
_WHOLE_ADDRESSES = ("fe80:", "64:ff9b::")
#: How much older a worker's time may be than that of another which it finds in a cell: it was held in between.
_STALE_S = 2.0
#: More than the error of a sum of floating-point seconds, in the first ten years that a machine runs.
_ROUNDING_S = 1e-7
#: Cells among which a source can be; the eight of a cache line.
_WAYS = 8

Cells = memoryview
"""Shared memory, as unsigned 64-bit numbers."""


def spend(full_at: int, now: int, interval: int, burst: int) -> int | None:
    """
    Take one from a budget that grows by one an interval, up to `burst`.

    Args:
        full_at: When the budget will be full again, or was.
        now, interval: In the same unit of time.

    Returns:
        The new `full_at`, or None when there is nothing to take.
    """
    full_at = max(full_at, now)
    if full_at - now > (burst - 1) * interval:
        return None
    return full_at + interval


class Budget:
    """One budget for the whole daemon in one shared cell."""

    def __init__(self, cells: Cells, index: int, rate: float, burst: int) -> None:
        self._cells = cells
        self._index = index
        self._interval_ns = int(1_000_000_000 / rate)
        self._tolerance_ns = (burst - 1) * self._interval_ns
        self._longest_ns = burst * self._interval_ns

    def ask(self, now_ns: int) -> int:
        """Take one and return 0; or return when there will be one, at the earliest, if the budget is used up."""
        full_at = self._cells[self._index]
        # spend(), in place
        if full_at < now_ns:
            full_at = now_ns
        elif full_at - now_ns > self._tolerance_ns:
            if full_at - now_ns > self._longest_ns:
                # no further away than it can be: a reload has made the interval shorter
                self._cells[self._index] = full_at = now_ns + self._longest_ns
            return full_at - self._tolerance_ns
        self._cells[self._index] = full_at + self._interval_ns
        return 0


class NetworkSet:
    """A set of networks; what a question costs does not grow with their number, only with their lengths of prefix."""

    def __init__(self, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            self._prefixes[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        return any(self._prefixes.values())

    def __contains__(self, host: str) -> bool:
        family, version = (socket.AF_INET6, 6) if ":" in host else (socket.AF_INET, 4)
        number = int.from_bytes(socket.inet_pton(family, host.partition("%")[0]))
        # any() of a generator doubles what this costs, and strangers come in floods
        for shift, known in self._prefixes[version].items():  # noqa: SIM110
            if number >> shift in known:
                return True
        return False


class RateLimit:
    """
    How often each source may have a reply: a source is an IPv4 address, an IPv6 /64, or one address of a link.

    The first half of the cells has the times, as floating-point seconds, which are quicker than whole numbers of that
    size; the second half has the tags of the sources, 32 bits each.
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
        """Return the tag of a host's source and where it may be; `take` keeps there where it was last."""
        host = unmap(host)
        source = host.encode()
        if ":" in host and not host.startswith(_WHOLE_ADDRESSES):
            source = socket.inet_pton(socket.AF_INET6, host)[:8]
        # twice: a hash has 32 bits where Python has
        first, tag = hash(self._secret + source) & 0xFFFF_FFFF, hash(source + self._secret) & 0xFFFF_FFFF
        return [first % (len(self._tags) // _WAYS) * _WAYS, tag or 1]

    def take(self, place: list[int], now_ns: int) -> bool:
        """Count one reply; False when the source has had its share."""
        at, tag = place
        if self._tags[at] != tag:
            at = self._look_up(place)
        now = now_ns * 1e-9
        # spend(), in place: this is on the way of every client
        full_at = self._times[at]
        if full_at < now:
            full_at = now
        elif full_at - now > self._tolerance_s:
            # nothing is stored for a refusal, which would undo what another worker counts in the same moment
            if full_at - now < self._longest_s:
                return False
            # what it owes is of before a reload that made the interval shorter
            full_at = now
        self._times[at] = full_at + self._interval_s
        return True

    def _look_up(self, place: list[int]) -> int:
        """Find the cell of a source that is not where it was last, or give it one."""
        first, tag = place[0] // _WAYS * _WAYS, place[1]
        tags: list[int] = self._tags[first : first + _WAYS].tolist()
        if tag in tags:
            place[0] = first + tags.index(tag)
            return place[0]
        # a source unknown here takes the cell of the one that is nearest to a full budget: a flood of sources makes
        # itself forgotten and shuts nobody out
        times: Sequence[float] = self._times[first : first + _WAYS].tolist()
        at = place[0] = first + times.index(min(times))
        self._times[at] = 0.0
        self._tags[at] = tag
        return at


class Gate:
    """The judgement on a client before it gets a reply."""

    def __init__(self, allow: NetworkSet, deny: NetworkSet, rate: RateLimit | None) -> None:
        self._allow = allow
        self._deny = deny
        self._rate = rate
        self._admit = lru_cache(REMEMBERED)(self._place)

    def __bool__(self) -> bool:
        """Say whether there is anything to judge."""
        return bool(self._allow or self._deny or self._rate)

    def judge(self, host: str, now_ns: int) -> int | None:
        """
        Return why a host gets no reply now, as an index of REASONS, or None.

        Args:
            host: As the kernel writes it; IPv4 over an IPv6 socket is judged as IPv4.
            now_ns: CLOCK_MONOTONIC.
        """
        place = self._admit(host)
        if place is None:
            return DENIED
        return None if self._rate is None or self._rate.take(place, now_ns) else RATE

    def _place(self, host: str) -> list[int] | None:
        """Return where the rate of a host is counted; None if it is denied."""
        plain = unmap(host)
        if plain in self._deny or (self._allow and plain not in self._allow):
            return None
        nowhere: list[int] = []
        return self._rate.place(host) if self._rate else nowhere
