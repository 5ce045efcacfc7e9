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

from daytimed.reasons import DENIED, RATE

#: What a source may have over UDP where nothing else is configured: an address there can be forged.
UDP_RATE = 10.0

#: Judged addresses that a worker remembers.
REMEMBERED = 4096

#: A cell of the rate table: 16 bits to tell sources apart, 48 bits of microseconds of CLOCK_MONOTONIC.
_TAG_SHIFT = 48
_TIME_MASK = (1 << _TAG_SHIFT) - 1
_HASH_MASK = (1 << 64) - 1
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
        self._interval_ns = int(1_000_000_000 / rate) if rate else 0
        self._tolerance_ns = (burst - 1) * self._interval_ns
        self._longest_ns = burst * self._interval_ns

    def take(self, now_ns: int) -> bool:
        """Take one; False when the budget is used up."""
        full_at = self._cells[self._index]
        # spend(), in place: this is on the way of every client
        if full_at < now_ns:
            full_at = now_ns
        elif full_at - now_ns > self._tolerance_ns:
            # no further away than it can be: a reload may have made the interval shorter
            self._cells[self._index] = min(full_at, now_ns + self._longest_ns)
            return False
        self._cells[self._index] = full_at + self._interval_ns
        return True


class NetworkSet:
    """A set of networks, and the memory of the addresses it was asked for."""

    def __init__(self, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: str) -> bool:
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            address = ipaddress.ip_address(host.partition("%")[0])
            known = any(address in network for network in self._networks)
            self._known[host] = known
        return known


class RateLimit:
    """How often each source may have a reply: one source is an IPv4 address or an IPv6 /64."""

    def __init__(self, cells: Cells, rate: float, burst: int, secret: bytes) -> None:
        self._cells = cells
        self._interval_us = max(1, round(1_000_000 / rate))
        # what a cell can hold of the future: no source could use up more in the years it takes to run out
        self._burst = min(burst, (_TIME_MASK >> 1) // self._interval_us)
        self._secret = secret

    def take(self, host: str, now_ns: int) -> bool:
        """Count one reply to a host; False when it has had its share."""
        now_us = now_ns // 1000
        source = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8] if ":" in host else host.encode()
        digest = hash(self._secret + source) & _HASH_MASK
        tag = digest >> _TAG_SHIFT
        first = digest % (len(self._cells) // _WAYS) * _WAYS
        cells = self._cells[first : first + _WAYS].tolist()
        tags = [cell >> _TAG_SHIFT for cell in cells]
        if tag in tags:
            way = tags.index(tag)
            full_at = cells[way] & _TIME_MASK
        else:
            # a source unknown here takes the cell of the one that is nearest to a full budget: a flood of sources
            # makes itself forgotten and shuts nobody out
            way = min(range(_WAYS), key=lambda each: cells[each] & _TIME_MASK)
            full_at = 0
        spent = spend(full_at, now_us, self._interval_us, self._burst)
        # refused, it is no further away than it can be: a reload may have made the interval shorter
        kept = min(full_at, now_us + self._burst * self._interval_us) if spent is None else spent
        self._cells[first + way] = tag << _TAG_SHIFT | kept & _TIME_MASK
        return spent is not None


class Gate:
    """The judgement on a client before it gets a reply."""

    def __init__(self, allow: NetworkSet, deny: NetworkSet, rate: RateLimit | None) -> None:
        self._allow = allow
        self._deny = deny
        self._rate = rate

    def __bool__(self) -> bool:
        """Say whether there is anything to judge."""
        return bool(self._allow or self._deny or self._rate)

    def judge(self, host: str, now_ns: int) -> int | None:
        """Return why a host gets no reply now, as an index of REASONS, or None."""
        if self._deny and host in self._deny:
            return DENIED
        if self._allow and host not in self._allow:
            return DENIED
        if self._rate and not self._rate.take(host, now_ns):
            return RATE
        return None
