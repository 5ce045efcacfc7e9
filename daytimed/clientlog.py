"""The log of clients: as far as the settings and the budget of the whole daemon go."""

from __future__ import annotations

from typing import Any

from daytimed.addresses import unmap
from daytimed.limits import Budget, NetworkSet
from daytimed.log import Log
from daytimed.reasons import REASONS


class ClientLog:
    """Tells of clients one by one."""

    def __init__(self, log: Log, listener: str, clients: str, quiet: NetworkSet, budget: Budget | None) -> None:
        self._log = log
        self._listener = listener
        self._served = clients == "all" and log.is_enabled("client_served")
        self._dropped = clients != "none" and log.is_enabled("client_dropped")
        # None is quicker to ask than an empty set, and every client asks
        self._quiet = quiet or None
        self._budget = budget

    def __bool__(self) -> bool:
        """Say whether there is anything to tell."""
        return self._served or self._dropped

    def tell(self, peer: Any, now_ns: int, size: int, dropped: int | None) -> bool:
        """
        Log one client.

        Args:
            peer: As accept gives it: a tuple, or for a unix socket a path or a name.
            now_ns: CLOCK_MONOTONIC.
            size: Bytes that were sent.
            dropped: None if it was served, or why it was dropped.

        Returns:
            False if the budget is used up and somebody has to count it.
        """
        if dropped is None:
            if not self._served or (self._quiet and isinstance(peer, tuple) and unmap(peer[0]) in self._quiet):
                return True
        elif not self._dropped:
            return True
        if self._budget and not self._budget.take(now_ns):
            return False
        # the client of a unix socket chooses its name, which may be anything
        client, port = (unmap(peer[0]), peer[1]) if isinstance(peer, tuple) else ("unix", 0)
        if dropped is None:
            self._log.event("client_served", client=client, port=port, listener=self._listener, bytes=size)
        else:
            reason = REASONS[dropped]
            self._log.event("client_dropped", client=client, port=port, listener=self._listener, reason=reason)
        return True
