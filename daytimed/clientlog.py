"""The log of clients: as far as the settings and the budget of the whole daemon go; what is beyond is counted."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from daytimed.addresses import unmap
from daytimed.counters import PERIOD, SUPPRESSED_DROPPED, SUPPRESSED_SERVED, TALKERS, Cells
from daytimed.limits import REMEMBERED, Budget, NetworkSet
from daytimed.log import Log
from daytimed.reasons import REASONS
from daytimed.talkers import CELLS, Talkers


class Allowance:
    """How many clients may be logged one by one; and the counts of those beyond, in a worker's slot."""

    def __init__(self, budget: Budget, head: Cells, slot: Cells) -> None:
        self._take = budget.take
        self._head = head
        self._slot = slot
        self._talkers = Talkers(slot[TALKERS : TALKERS + CELLS])

    def take_or_count(self, host: str, dropped: int | None, now_ns: int) -> bool:
        """Take one; else count the client, which is nowhere in the log then, and return False."""
        if self._take(now_ns):
            return True
        self._slot[SUPPRESSED_SERVED if dropped is None else SUPPRESSED_DROPPED + dropped] += 1
        self._talkers.count(host, self._head[PERIOD])
        return False


class ClientLog:
    """Tells of clients one by one."""

    def __init__(self, log: Log, listener: str, clients: str, quiet: NetworkSet, allowance: Allowance | None) -> None:
        self._log = log
        self._listener = listener
        self._served = clients == "all" and log.is_enabled("client_served")
        self._dropped = clients != "none" and log.is_enabled("client_dropped")
        self._is_quiet = lru_cache(REMEMBERED)(lambda host: unmap(host) in quiet) if quiet else None
        self._may_tell = allowance.take_or_count if allowance else None

    def __bool__(self) -> bool:
        """Say whether there is anything to tell."""
        return self._served or self._dropped

    def tell(self, peer: Any, now_ns: int, size: int, dropped: int | None) -> None:
        """
        Log one client, or count it if the allowance is used up.

        Args:
            peer: As accept gives it: a tuple, or for a unix socket a path or a name.
            now_ns: CLOCK_MONOTONIC.
            size: Bytes that were sent.
            dropped: None if it was served, or why it was dropped.
        """
        # the client of a unix socket chooses its name, which may be anything
        host, port = peer[:2] if type(peer) is tuple else ("", 0)
        if dropped is None:
            if not self._served or (self._is_quiet and host and self._is_quiet(host)):
                return
        elif not self._dropped:
            return
        if self._may_tell and not self._may_tell(host, dropped, now_ns):
            return
        client = unmap(host) or "unix"
        if dropped is None:
            self._log.event("client_served", client=client, port=port, listener=self._listener, bytes=size)
        else:
            reason = REASONS[dropped]
            self._log.event("client_dropped", client=client, port=port, listener=self._listener, reason=reason)
