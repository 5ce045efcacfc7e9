"""
Counters in one anonymous shared map, made before the first fork.

Each worker has one slot and is its only writer, so there are no locks and a killed worker leaves nothing held. The
master reads all slots, and folds the slot of a dead worker into the totals when it reaps it. The cells at the head
belong to everyone: see their comments.

Cells are unsigned 64-bit numbers; a store of one is a single aligned write on every machine Linux runs on with 64
bits.
"""

from __future__ import annotations

import copy
import mmap
import os
from collections import Counter
from collections.abc import Sequence

from daytimed import talkers
from daytimed.reasons import OS_ERROR, REASONS

#: Room for two generations of the most workers there may be, and for as many that are on their way out.
SLOTS = 4096

#: Cells of a slot.
READY = 0
"""1 once the worker is about to accept for the first time."""
ACCEPTED = 1
FINISHED = 2
"""How many clients it is done with: that have been told of, too. Less than ACCEPTED means that one is at hand."""
SERVED = 3
DROPPED = 4
"""The first of one cell for each reason."""
SUPPRESSED_SERVED = DROPPED + len(REASONS)
SUPPRESSED_DROPPED = SUPPRESSED_SERVED + 1
"""The first of one cell for each reason."""
LOG_LOST = SUPPRESSED_DROPPED + len(REASONS)
TALKERS = LOG_LOST + 1
"""The first of those of talkers.Talkers."""
SLOT_CELLS = 72
"""Nine cache lines, so that no two workers write to the same one."""

#: Cells of the head.
WATCHED = 0
"""1 while the master looks at the slots every second; a worker that finds 0 wakes it. Written by the master."""
LOG_BUDGET = 1
"""When the budget of client events is full again. Written by all: a lost update costs one line too many."""
PERIOD = 2
"""The number of the next summary of suppressed clients, from 1. Written by the master."""
HEAD_CELLS = 8

#: The table of limits.RateLimit, behind the slots: its pages exist only once they are used.
RATE_CELLS = 2 * 65536

Cells = memoryview


class Counts:
    """What was counted: one worker's slot, or the sum over many."""

    __slots__ = ("accepted", "dropped", "log_lost", "served", "suppressed_dropped", "suppressed_served")

    def __init__(self) -> None:
        self.accepted = 0
        self.served = 0
        self.dropped = [0] * len(REASONS)
        self.suppressed_served = 0
        self.suppressed_dropped = [0] * len(REASONS)
        self.log_lost = 0

    def add(self, slot: Cells) -> None:
        """Add the figures of a slot."""
        cells = slot[:TALKERS].tolist()
        self.accepted += cells[ACCEPTED]
        self.served += cells[SERVED]
        for reason in range(len(REASONS)):
            self.dropped[reason] += cells[DROPPED + reason]
            self.suppressed_dropped[reason] += cells[SUPPRESSED_DROPPED + reason]
        self.suppressed_served += cells[SUPPRESSED_SERVED]
        self.log_lost += cells[LOG_LOST]

    def by_reason(self) -> dict[str, int]:
        """Return how many were dropped for each reason that occurred."""
        return name_reasons(self.dropped)


def name_reasons(counts: Sequence[int]) -> dict[str, int]:
    """Return counts by reason, as far as it occurred, under its name."""
    return {REASONS[reason]: count for reason, count in enumerate(counts) if count}


class Counters:
    """The map, its slots and the totals of the workers that are gone."""

    def __init__(self) -> None:
        size = 8 * (HEAD_CELLS + SLOT_CELLS * SLOTS + RATE_CELLS)
        self._cells = memoryview(mmap.mmap(-1, size)).cast("Q")
        self.head: Cells = self._cells[:HEAD_CELLS]
        self.head[PERIOD] = 1
        self.rates: Cells = self._cells[HEAD_CELLS + SLOT_CELLS * SLOTS :]
        self.secret = os.urandom(16)
        """Keeps it unknown outside which sources share a rate cell."""
        self.gone = Counts()
        self._talkers_gone = Counter[int]()
        # the master's own slot is the first; its log can lose events too
        self._free = list(range(SLOTS - 1, 0, -1))
        self._used = {0}

    def slot(self, index: int) -> Cells:
        """Return the cells of a slot."""
        start = HEAD_CELLS + SLOT_CELLS * index
        return self._cells[start : start + SLOT_CELLS]

    def acquire(self) -> int | None:
        """Return the index of a free slot, all zeros; None when every one is in use."""
        if not self._free:
            return None
        index = self._free.pop()
        self._used.add(index)
        return index

    def release(self, index: int) -> int:
        """
        Fold the slot of a worker that is gone into the totals, and free it.

        A worker that was killed with a client in its hands has accepted one more than it served and dropped; that
        client is counted as dropped here.

        Returns:
            How many clients it had in its hands: 0 or 1.
        """
        slot = self.slot(index)
        lost = int(slot[ACCEPTED] - slot[SERVED] - sum(slot[DROPPED : DROPPED + len(REASONS)]))
        slot[DROPPED + OS_ERROR] += lost
        self.gone.add(slot)
        self._talkers_gone += self._talkers_of(slot)
        slot[:] = memoryview(bytes(8 * SLOT_CELLS)).cast("Q")
        self._used.discard(index)
        self._free.append(index)
        return lost

    def total(self) -> Counts:
        """Return the sum over all workers there are and were."""
        counts = copy.deepcopy(self.gone)
        for index in self._used:
            counts.add(self.slot(index))
        return counts

    def talkers(self) -> Counter[str]:
        """Return from which networks the clients came that were suppressed in this period: so many at least."""
        networks = self._talkers_gone.copy()
        for index in self._used:
            networks += self._talkers_of(self.slot(index))
        return Counter({talkers.name_of(network): count for network, count in networks.items()})

    def begin_period(self) -> None:
        """Forget the networks: they have been told."""
        self._talkers_gone.clear()
        self.head[PERIOD] += 1

    def _talkers_of(self, slot: Cells) -> Counter[int]:
        return talkers.read(slot[TALKERS : TALKERS + talkers.CELLS], self.head[PERIOD])
