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

#: A cell of the rate table: 16 bits to tell sources apart, 48 bits of microseconds of CLOCK_MONOTONIC.
_TAG_SHIFT = 48
_TIME_MASK = (1 << _TAG_SHIFT) - 1
#: Link-local (RFC 4291) and translated IPv4 (RFC 6052): one /64 of these is a whole link, or the whole of IPv4.
_WHOLE_ADDRESSES = ("fe80:", "64:ff9b::")
#: How much older a worker's time may be than that of another which it finds in a cell: it was held in between.
_STALE_US = 2_000_000
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

    def take(self, now_ns: int) -> bool:
        """Take one; False when the budget is used up."""
        full_at = self._cells[self._index]
        # spend(), in place: this is on the way of every client
        if full_at < now_ns:
            full_at = now_ns
        elif full_at - now_ns > self._tolerance_ns:
            if full_at - now_ns > self._longest_ns:
                # no further away than it can be: a reload has made the interval shorter
                self._cells[self._index] = now_ns + self._longest_ns
            return False
        self._cells[self._index] = full_at + self._interval_ns
        return True


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
        return any(number >> shift in known for shift, known in self._prefixes[version].items())


class RateLimit:
    """How often each source may have a reply: a source is an IPv4 address, an IPv6 /64, or one address of a link."""

    def __init__(self, cells: Cells, rate: float, burst: int, secret: bytes) -> None:
        self._cells = cells
        self._interval_us = max(1, round(1_000_000 / rate))
        # what a cell can hold of the future: no source could use up more in the years it takes to run out
        burst = min(burst, (_TIME_MASK >> 1) // self._interval_us)
        self._tolerance_us = (burst - 1) * self._interval_us
        self._longest_us = burst * self._interval_us + _STALE_US
        self._secret = secret
        self._place = lru_cache(REMEMBERED)(self._hash)

    def take(self, host: str, now_ns: int) -> bool:
        """Count one reply to a host; False when it has had its share."""
        place, now_us = self._place(host), now_ns // 1000
        cell = self._cells[place[0]]
        if cell ^ place[1] > _TIME_MASK:
            cell = self._look_up(place, now_us)
        # spend(), in place: this is on the way of every client; and modulo what a cell holds, for the machine that has
        # run for more years than that
        ahead = (cell - now_us) & _TIME_MASK
        if ahead > self._longest_us:
            # it has been full for long, or what it owes is of before a reload that made the interval shorter
            ahead = 0
        elif ahead > self._tolerance_us:
            # nothing is stored for a refusal, which would undo what another worker counts in the same moment
            return False
        self._cells[place[0]] = place[1] | ((now_us + ahead + self._interval_us) & _TIME_MASK)
        return True

    def _hash(self, host: str) -> list[int]:
        """Return where the cell of a host was last, and the tag in it."""
        host = unmap(host)
        source = host.encode()
        if ":" in host and not host.startswith(_WHOLE_ADDRESSES):
            source = socket.inet_pton(socket.AF_INET6, host)[:8]
        # twice: a hash has 32 bits where Python has
        first, second = (hash(part) & 0xFFFF_FFFF for part in (self._secret + source, source + self._secret))
        return [first % (len(self._cells) // _WAYS) * _WAYS, second >> 16 << _TAG_SHIFT]

    def _look_up(self, place: list[int], now_us: int) -> int:
        """Find the cell of a source that is not where it was last, and return what it is to go on with."""
        first = place[0] // _WAYS * _WAYS
        cells: list[int] = self._cells[first : first + _WAYS].tolist()
        for way, cell in enumerate(cells):
            if cell & ~_TIME_MASK == place[1]:
                place[0] = first + way
                return cell
        # a source unknown here takes the cell of the one that is nearest to a full budget: a flood of sources makes
        # itself forgotten and shuts nobody out
        ahead = [(cell - now_us) & _TIME_MASK for cell in cells]
        ahead = [each if each <= self._longest_us else 0 for each in ahead]
        place[0] = first + ahead.index(min(ahead))
        return now_us


class Gate:
    """The judgement on a client before it gets a reply."""

    def __init__(self, allow: NetworkSet, deny: NetworkSet, rate: RateLimit | None) -> None:
        self._allow = allow
        self._deny = deny
        self._is_denied = lru_cache(REMEMBERED)(self._deny_or_allow) if allow or deny else None
        self._rate = rate

    def __bool__(self) -> bool:
        """Say whether there is anything to judge."""
        return bool(self._is_denied or self._rate)

    def judge(self, host: str, now_ns: int) -> int | None:
        """
        Return why a host gets no reply now, as an index of REASONS, or None.

        Args:
            host: As the kernel writes it; IPv4 over an IPv6 socket is judged as IPv4.
            now_ns: CLOCK_MONOTONIC.
        """
        if self._is_denied and self._is_denied(host):
            return DENIED
        if self._rate and not self._rate.take(host, now_ns):
            return RATE
        return None

    def _deny_or_allow(self, host: str) -> bool:
        plain = unmap(host)
        return plain in self._deny or (bool(self._allow) and plain not in self._allow)
