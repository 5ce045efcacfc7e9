"""The log of clients: as far as the settings and the budget of the whole daemon go; what is beyond is counted."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from daytimed.addresses import unmap
from daytimed.counters import PERIOD, SLOT_CELLS, SUPPRESSED_DROPPED, SUPPRESSED_SERVED, TALKERS, Cells
from daytimed.limits import REMEMBERED, Budget, NetworkSet
from daytimed.log import Log
from daytimed.reasons import REASONS
from daytimed.talkers import CELLS, Talkers

Peer = tuple[Any, ...]
"""Host and port first, as accept gives them."""
NAMELESS: Peer = ("", 0)
"""The client of a unix socket."""

#: At most so long after a refusal the budget is asked again; until then nobody reads the shared cell.
ASK_AGAIN_NS = 50_000_000


class Allowance(NamedTuple):
    """What the clients may use up of the log; and the slot of the worker that counts those beyond."""

    budget: Budget
    head: Cells
    slot: Cells


class ClientLog:
    """Tells of clients one by one."""

    def __init__(self, log: Log, listener: str, clients: str, quiet: NetworkSet, allowance: Allowance | None) -> None:
        self._log = log
        self._listener = listener
        self._tells_served = clients == "all" and log.is_enabled("client_served")
        self._tells_dropped = clients != "none" and log.is_enabled("client_dropped")
        self._is_quiet = lru_cache(REMEMBERED)(lambda host: unmap(host) in quiet) if quiet else None
        self._allowance = allowance
        self._not_before_ns = 0
        """Until then there is nothing left of the budget, and nobody need ask."""
        self.suppresses_until_ns = 0
        """Until then all who are served are only counted, by the worker itself; 0 where some are not to be told."""
        # nothing is counted where there is no allowance
        self._slot = allowance.slot if allowance else memoryview(bytes(8 * SLOT_CELLS)).cast("Q")
        self.talkers = Talkers(self._slot[TALKERS : TALKERS + CELLS])

    def __bool__(self) -> bool:
        """Say whether there is anything to tell."""
        return self._tells_served or self._tells_dropped

    def tell(self, peer: Peer, now_ns: int, size: int, dropped: int | None) -> None:
        """
        Log one client, or count it if the allowance is used up.

        Args:
            peer: Who it is.
            now_ns: CLOCK_MONOTONIC.
            size: Bytes that were sent.
            dropped: None if it was served, or why it was dropped.
        """
        host = peer[0]
        if dropped is None:
            if not self._tells_served or (self._is_quiet and host and self._is_quiet(host)):
                return
        elif not self._tells_dropped:
            return
        if now_ns < self._not_before_ns or (self._allowance and not self._take(self._allowance, now_ns)):
            self._slot[SUPPRESSED_SERVED if dropped is None else SUPPRESSED_DROPPED + dropped] += 1
            self.talkers.counts[self.talkers.place(host)] += 1
            return
        client, port = unmap(host) or "unix", peer[1]
        if dropped is None:
            self._log.event("client_served", client=client, port=port, listener=self._listener, bytes=size)
        else:
            reason = REASONS[dropped]
            self._log.event("client_dropped", client=client, port=port, listener=self._listener, reason=reason)

    def _take(self, allowance: Allowance, now_ns: int) -> bool:
        """Take one line from the allowance; False if it is used up."""
        again_ns = allowance.budget.ask(now_ns)
        if not again_ns:
            return True
        self._not_before_ns = min(again_ns, now_ns + ASK_AGAIN_NS)
        if self._tells_served and not self._is_quiet:
            self.suppresses_until_ns = self._not_before_ns
        self.talkers.begin(allowance.head[PERIOD])
        return False
