"""
Counters in one anonymous shared map, made before the first fork.

Each worker has one slot and is its only writer, so there are no locks, and a killed worker holds none. The master reads
all slots; when it reaps a worker, it adds the worker's slot to the totals. The cells of the head are shared by all: see
their comments.

Cells are unsigned 64-bit integers. To store one is a single aligned write on every 64-bit machine that Linux supports.
"""

from __future__ import annotations

import copy
import mmap
import os
from collections import Counter
from collections.abc import Sequence

from daytimed import sample
from daytimed.reasons import OS_ERROR, REASONS

#: Enough for two generations of the maximum number of workers, and as many that are stopping.
SLOTS = 4096

#: Cells of a slot.
READY = 0
"""1 from the first accept on."""
ACCEPTED = 1
FINISHED = 2
"""Clients that were closed and logged. The worker is busy with one if this is less than ACCEPTED."""
SERVED = 3
DROPPED = 4
"""The first of one cell per reason."""
SUPPRESSED_SERVED = DROPPED + len(REASONS)
SUPPRESSED_DROPPED = SUPPRESSED_SERVED + 1
"""The first of one cell per reason."""
LOG_LOST = SUPPRESSED_DROPPED + len(REASONS)
SAMPLE = LOG_LOST + 1
"""The first cell of the sample of clients that were not logged: see sample.py."""
SLOT_CELLS = 56
"""Seven cache lines, so that no two workers write to the same one."""

#: Cells of the head.
WATCHED = 0
"""1 while the master looks at the slots every second; a worker that finds 0 wakes it. The master writes it."""
LOG_BUDGET = 1
"""When the budget of client events is full again. All write it: a lost update allows one line too many."""
PERIOD = 2
"""The number of the next summary of suppressed clients, from 1. The master writes it."""
HEAD_CELLS = 8

#: The table of rates.RateLimit, after the slots. Its pages exist once they are used.
RATE_CELLS = 2 * 65536

Cells = memoryview


class Counts:
    """Counts of one worker, or the sum over several."""

    __slots__ = ("accepted", "dropped", "log_lost", "served", "suppressed_dropped", "suppressed_served")

    def __init__(self) -> None:
        self.accepted = 0
        self.served = 0
        self.dropped = [0] * len(REASONS)
        self.suppressed_served = 0
        self.suppressed_dropped = [0] * len(REASONS)
        self.log_lost = 0

    def add(self, slot: Cells) -> None:
        """Add the counts of a slot."""
        cells = slot[:SAMPLE].tolist()
        self.accepted += cells[ACCEPTED]
        self.served += cells[SERVED]
        for reason in range(len(REASONS)):
            self.dropped[reason] += cells[DROPPED + reason]
            self.suppressed_dropped[reason] += cells[SUPPRESSED_DROPPED + reason]
        self.suppressed_served += cells[SUPPRESSED_SERVED]
        self.log_lost += cells[LOG_LOST]

    def by_reason(self) -> dict[str, int]:
        """Return the drops by reason, without reasons that did not occur."""
        return name_reasons(self.dropped)


def name_reasons(counts: Sequence[int]) -> dict[str, int]:
    """Return counts by the name of the reason, without zeros."""
    return {REASONS[reason]: count for reason, count in enumerate(counts) if count}


class Counters:
    """The map, its slots, and the totals of the workers that have ended."""

    def __init__(self) -> None:
        size = 8 * (HEAD_CELLS + SLOT_CELLS * SLOTS + RATE_CELLS)
        self._cells = memoryview(mmap.mmap(-1, size)).cast("Q")
        self.head: Cells = self._cells[:HEAD_CELLS]
        self.head[PERIOD] = 1
        self.rates: Cells = self._cells[HEAD_CELLS + SLOT_CELLS * SLOTS :]
        self.secret = os.urandom(16)
        """Nobody outside can compute which sources share a rate cell."""
        self.gone = Counts()
        self._sample_gone = Counter[int]()
        # the first slot is the master's, whose log can lose events too
        self._free = list(range(SLOTS - 1, 0, -1))
        self._used = {0}

    def slot(self, index: int) -> Cells:
        """Return the cells of a slot."""
        start = HEAD_CELLS + SLOT_CELLS * index
        return self._cells[start : start + SLOT_CELLS]

    def acquire(self) -> int | None:
        """Return the index of a free slot, which is all zeros; None if none is free."""
        if not self._free:
            return None
        index = self._free.pop()
        self._used.add(index)
        return index

    def release(self, index: int) -> int:
        """
        Add the slot of a worker that has ended to the totals, and free it.

        A worker that was killed while it served a client has accepted one more than it served and dropped; that client
        is counted as dropped here.

        Returns:
            The number of such clients: 0 or 1.
        """
        slot = self.slot(index)
        lost = int(slot[ACCEPTED] - slot[SERVED] - sum(slot[DROPPED : DROPPED + len(REASONS)]))
        slot[DROPPED + OS_ERROR] += lost
        self.gone.add(slot)
        self._sample_gone += self._sample_of(slot)
        slot[:] = memoryview(bytes(8 * SLOT_CELLS)).cast("Q")
        self._used.discard(index)
        self._free.append(index)
        return lost

    def total(self) -> Counts:
        """Return the sum over all workers, past and present."""
        counts = copy.deepcopy(self.gone)
        for index in self._used:
            counts.add(self.slot(index))
        return counts

    def sampled_networks(self) -> Counter[str]:
        """Return the networks of the sampled clients of this period: see sample.py."""
        networks = self._sample_gone.copy()
        for index in self._used:
            networks += self._sample_of(self.slot(index))
        return Counter({sample.name_of(network): count for network, count in networks.items()})

    def begin_period(self) -> None:
        """Discard the sample: it has been logged."""
        self._sample_gone.clear()
        self.head[PERIOD] += 1

    def _sample_of(self, slot: Cells) -> Counter[int]:
        return sample.read(slot[SAMPLE : SAMPLE + sample.CELLS], self.head[PERIOD])
