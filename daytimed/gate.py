"""The gate: access rules and rate limits, asked before a client gets its reply."""

from __future__ import annotations

from functools import lru_cache

from daytimed.addresses import unmap
from daytimed.networks import NetworkSet
from daytimed.rates import RateLimit
from daytimed.reasons import DENIED, RATE

#: Addresses whose verdict a worker remembers.
REMEMBERED = 1024


class Gate:
    """The verdict on a client."""

    def __init__(self, allow: NetworkSet, deny: NetworkSet, rate: RateLimit | None) -> None:
        self._allow = allow
        self._deny = deny
        self._rate = rate
        self._admit = lru_cache(REMEMBERED)(self._place)

    def __bool__(self) -> bool:
        """Whether any rule or limit applies."""
        return bool(self._allow or self._deny or self._rate)

    def judge(self, host: str, now_ns: int) -> int | None:
        """
        Return the reason to refuse a host now, an index of REASONS, or None.

        Args:
            host: As the kernel writes it; IPv4 over an IPv6 socket is judged as IPv4.
            now_ns: CLOCK_MONOTONIC.
        """
        place = self._admit(host)
        if place is None:
            return DENIED
        return None if self._rate is None or self._rate.take(place, now_ns) else RATE

    def _place(self, host: str) -> list[int] | None:
        """Return where the rate of a host is counted; None if the host is denied."""
        plain = unmap(host)
        if plain in self._deny or (self._allow and plain not in self._allow):
            return None
        nowhere: list[int] = []
        return self._rate.place(host) if self._rate else nowhere
