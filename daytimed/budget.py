"""
Budgets: one event an interval, and a burst at most.

This is the generic cell rate algorithm (ITU-T I.371). Its whole state is one number, the time at which the budget is
full again.
"""

from __future__ import annotations

Cells = memoryview
"""Shared memory, as unsigned 64-bit integers."""


def spend(full_at: float, now: float, interval: float, tolerance: float) -> float | None:
    """
    Take one from a budget.

    Args:
        full_at: When the budget will be full again, or was.
        now, interval: In the same unit of time.
        tolerance: One interval for each event of a burst after the first.

    Returns:
        The new `full_at`, or None if the budget is used up.
    """
    if full_at < now:
        return now + interval
    return None if full_at - now > tolerance else full_at + interval


class Budget:
    """One budget of the whole daemon, in one shared cell."""

    def __init__(self, cells: Cells, index: int, rate: float, burst: int) -> None:
        self._cells = cells
        self._index = index
        self._interval_ns = int(1_000_000_000 / rate)
        self._tolerance_ns = (burst - 1) * self._interval_ns
        self._longest_ns = burst * self._interval_ns

    def ask(self, now_ns: int) -> int:
        """Take one and return 0; if the budget is used up, return when to ask again at the earliest."""
        full_at = self._cells[self._index]
        spent = spend(full_at, now_ns, self._interval_ns, self._tolerance_ns)
        if spent is not None:
            # integers in, integer out
            self._cells[self._index] = int(spent)
            return 0
        if full_at - now_ns > self._longest_ns:
            # further away than it can be: a reload has made the interval shorter
            self._cells[self._index] = full_at = now_ns + self._longest_ns
        return int(full_at - self._tolerance_ns)
