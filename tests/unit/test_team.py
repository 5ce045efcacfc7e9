"""A team: what the slots of its workers show."""

from __future__ import annotations

from typing import Any

from daytimed.counters import ACCEPTED, FINISHED, READY, Cells, Counters
from daytimed.team import Child


def child() -> tuple[Child, Cells]:
    """Return a worker that is starting, and its cells."""
    counters = Counters()
    slot = counters.acquire()
    assert slot is not None
    # nobody asks for its team
    team: Any = None
    return Child(0, team, slot, counters.slot(slot), 0.0), counters.slot(slot)


def looks(worker: Child, count: int) -> list[tuple[bool, int]]:
    """Return, for each look, whether another one is due and for how many looks the worker has stood still."""
    return [(worker.look(), worker.still) for _ in range(count)]


def test_worker_that_does_not_get_ready_stands_still() -> None:
    """A worker stands still from the second look until it is ready; then no other look is due."""
    worker, cells = child()
    assert [(True, 0), (True, 1), (True, 2)] == looks(worker, 3)
    cells[READY] = 1
    assert [(False, 0)] == looks(worker, 1)


def test_worker_with_the_same_client_stands_still() -> None:
    """A worker stands still while it has the same client at each look, and not with a new one each time."""
    worker, cells = child()
    cells[READY] = 1
    for _ in range(3):
        cells[ACCEPTED] += 1
        assert [(True, 0)] == looks(worker, 1)
        cells[FINISHED] += 1
    cells[ACCEPTED] += 1
    assert [(True, 0), (True, 1), (True, 2)] == looks(worker, 3)
    cells[FINISHED] += 1
    assert [(False, 0)] == looks(worker, 1)


def test_worker_that_is_held_stands_still() -> None:
    """A stopped worker stands still, even without a client."""
    worker, cells = child()
    cells[READY] = 1
    worker.stopped = True
    assert [(True, 1), (True, 2)] == looks(worker, 2)
