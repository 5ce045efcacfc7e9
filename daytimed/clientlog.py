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

Peer = tuple[Any, ...]
"""Host and port first, as accept gives them."""
NAMELESS: Peer = ("", 0)
"""The client of a unix socket."""

#: How rarely the shared cells are asked while the budget is used up.
ASKED_NS = 50_000_000


class Allowance:
    """How many clients may be logged one by one; and the counts of those beyond, in a worker's slot."""

    def __init__(self, budget: Budget, head: Cells, slot: Cells) -> None:
        self._budget = budget
        self._head = head
        self._slot = slot
        self._served = 0
        self._talkers = Talkers(slot[TALKERS : TALKERS + CELLS])
        self.not_before_ns = 0
        """Until then there is nothing to take: whoever finds that need not ask."""

    def take(self, now_ns: int) -> bool:
        """Take one; False when the budget is used up, and the client is to be counted."""
        again_ns = self._budget.take(now_ns)
        if not again_ns:
            return True
        self.not_before_ns = min(again_ns, now_ns + ASKED_NS)
        self._talkers.begin(self._head[PERIOD])
        return False

    def count(self, host: str, dropped: int | None) -> None:
        """Count a client that is nowhere in the log."""
        # on the way of nearly every client of a busy daemon
        if dropped is None:
            self._served += 1
            self._slot[SUPPRESSED_SERVED] = self._served
        else:
            self._slot[SUPPRESSED_DROPPED + dropped] += 1
        self._talkers.counts[self._talkers.place(host)] += 1


class ClientLog:
    """Tells of clients one by one."""

    def __init__(self, log: Log, listener: str, clients: str, quiet: NetworkSet, allowance: Allowance | None) -> None:
        self._log = log
        self._listener = listener
        self._served = clients == "all" and log.is_enabled("client_served")
        self._dropped = clients != "none" and log.is_enabled("client_dropped")
        self._is_quiet = lru_cache(REMEMBERED)(lambda host: unmap(host) in quiet) if quiet else None
        self._allowance = allowance

    def __bool__(self) -> bool:
        """Say whether there is anything to tell."""
        return self._served or self._dropped

    def tell(self, peer: Peer, now_ns: int, size: int, dropped: int | None) -> None:
        """
        Log one client, or count it if the allowance is used up.

        Args:
            peer: Host and port first, as accept gives them; no host for a unix socket.
            now_ns: CLOCK_MONOTONIC.
            size: Bytes that were sent.
            dropped: None if it was served, or why it was dropped.
        """
        host = peer[0]
        if dropped is None:
            if not self._served or (self._is_quiet and host and self._is_quiet(host)):
                return
        elif not self._dropped:
            return
        allowance = self._allowance
        if allowance and (now_ns < allowance.not_before_ns or not allowance.take(now_ns)):
            allowance.count(host, dropped)
            return
        client, port = unmap(host) or "unix", peer[1]
        if dropped is None:
            self._log.event("client_served", client=client, port=port, listener=self._listener, bytes=size)
        else:
            reason = REASONS[dropped]
            self._log.event("client_dropped", client=client, port=port, listener=self._listener, reason=reason)
