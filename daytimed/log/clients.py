"""The log of clients: each gets a line while the budget of the daemon lasts; the others are counted, and sampled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from daytimed import sample
from daytimed.addresses import unmap
from daytimed.budget import Budget
from daytimed.counters import PERIOD, SAMPLE, SLOT_CELLS, SUPPRESSED_DROPPED, SUPPRESSED_SERVED, Cells
from daytimed.log.log import Log
from daytimed.networks import NetworkSet
from daytimed.peers import Peer, host_of
from daytimed.reasons import REASONS, RESET

#: Addresses that a worker remembers to be quiet, or not.
REMEMBERED = 1024
#: After a refusal, a worker asks the budget again this much later, at the latest; until then it leaves the shared cell
#: alone.
ASK_AGAIN_NS = 50_000_000


class Allowance(NamedTuple):
    """The budget of client events, and the slot that counts the clients beyond it."""

    budget: Budget
    head: Cells
    slot: Cells


class ClientLog:
    """Logs clients."""

    def __init__(
        self,
        log: Log,
        listener: str,
        clients: str,
        quiet: NetworkSet,
        allowance: Allowance | None,
        name_scope: Callable[[int], object] = int,
    ) -> None:
        self._log = log
        self._name_scope = name_scope
        self._listener = listener
        self._logs_served = clients == "all" and log.is_enabled("client_served")
        self._logs_dropped = clients != "none" and log.is_enabled("client_dropped")
        self._is_quiet = lru_cache(REMEMBERED)(lambda host: unmap(host) in quiet) if quiet else None
        self._allowance = allowance
        # without an allowance nothing is suppressed
        self._slot = allowance.slot if allowance else memoryview(bytearray(8 * SLOT_CELLS)).cast("Q")
        self._not_before_ns = 0
        """The budget is used up until then."""
        self.suppresses_until_ns = 0
        """Until then the worker itself counts served clients; 0 if a setting excludes some."""

    def __bool__(self) -> bool:
        """Whether any client is logged."""
        return self._logs_served or self._logs_dropped

    def record(self, peer: Peer, now_ns: int, size: int, dropped: int | None) -> None:
        """
        Log one client, or count it if the budget is used up.

        Args:
            now_ns: CLOCK_MONOTONIC.
            size: Bytes sent.
            dropped: None for a served client, or the reason for the drop, an index of REASONS.
        """
        if not (self._logs_served if dropped is None else self._logs_dropped):
            return
        # many health checks close by a reset on purpose; a client without an address has port 0
        if self._is_quiet and dropped in (None, RESET) and peer[1] and self._is_quiet(peer[0]):
            return
        if now_ns < self._not_before_ns or (self._allowance and not self._take(self._allowance, peer, now_ns)):
            self._slot[SUPPRESSED_SERVED if dropped is None else SUPPRESSED_DROPPED + dropped] += 1
            return
        client, port = unmap(host_of(peer, self._name_scope)) or "unix", peer[1]
        if dropped is None:
            self._log.event("client_served", client=client, port=port, listener=self._listener, bytes=size)
        else:
            reason = REASONS[dropped]
            self._log.event("client_dropped", client=client, port=port, listener=self._listener, reason=reason)

    def _take(self, allowance: Allowance, peer: Peer, now_ns: int) -> bool:
        """Take one line from the allowance; if none is left, offer the client to the sample."""
        again_ns = allowance.budget.ask(now_ns)
        if not again_ns:
            return True
        self._not_before_ns = min(again_ns, now_ns + ASK_AGAIN_NS)
        if self._logs_served and not self._is_quiet:
            self.suppresses_until_ns = self._not_before_ns
        # only clients at which the budget is asked are offered: the others cost nothing
        sample.offer(allowance.slot[SAMPLE : SAMPLE + sample.CELLS], host_of(peer), allowance.head[PERIOD])
        return False
