"""The counters in shared memory."""

from __future__ import annotations

import os

import pytest

from daytimed import sample
from daytimed.counters import (
    ACCEPTED,
    DROPPED,
    FINISHED,
    HEAD_CELLS,
    LOG_BUDGET,
    LOG_LOST,
    PERIOD,
    RATE_CELLS,
    READY,
    SAMPLE,
    SERVED,
    SLOT_CELLS,
    SLOTS,
    SUPPRESSED_DROPPED,
    SUPPRESSED_SERVED,
    WATCHED,
    Counters,
    Counts,
)
from daytimed.reasons import NO_FD, RATE, REASONS, RESET


def figures(counts: Counts) -> tuple[int, int, dict[str, int], int, int, int]:
    return (
        counts.accepted,
        counts.served,
        counts.by_reason(),
        counts.suppressed_served,
        sum(counts.suppressed_dropped),
        counts.log_lost,
    )


def acquire(shared: Counters) -> int:
    index = shared.acquire()
    assert index is not None
    return index


def test_reasons_are_those_of_the_design() -> None:
    """The names of the reasons are an interface."""
    assert ("reset", "timeout", "denied", "rate", "no_fd", "no_memory", "os_error") == REASONS


def test_cells_do_not_overlap() -> None:
    """Each figure has its own cell; the head and the slots are multiples of a cache line of 64 bytes."""
    reasons = range(len(REASONS))
    cells = [READY, ACCEPTED, FINISHED, SERVED, *(DROPPED + each for each in reasons), SUPPRESSED_SERVED, LOG_LOST]
    cells += [*(SUPPRESSED_DROPPED + each for each in reasons), *range(SAMPLE, SAMPLE + sample.CELLS)]
    assert len(cells) == len(set(cells))
    assert max(cells) < SLOT_CELLS
    assert (0, 0) == (8 * SLOT_CELLS % 64, 8 * HEAD_CELLS % 64)
    assert 3 == len({WATCHED, LOG_BUDGET, PERIOD} & set(range(HEAD_CELLS)))


def test_slots_are_apart() -> None:
    """Writing to all of a slot, of the head or of the rate table changes nothing else."""
    shared = Counters()
    parts = [shared.head, shared.slot(0), shared.slot(1), shared.slot(SLOTS - 1), shared.rates]
    for number, part in enumerate(parts, 1):
        for index in range(len(part)):
            part[index] = number
    assert [{number} for number in range(1, 6)] == [set(part) for part in parts]
    assert [HEAD_CELLS] + [SLOT_CELLS] * 3 + [RATE_CELLS] == [len(part) for part in parts]


def test_slots_are_handed_out_once() -> None:
    """Each slot except the master's is handed out once, and then none is left."""
    shared = Counters()
    found = [shared.acquire() for _ in range(SLOTS)]
    assert set(range(1, SLOTS)) == {each for each in found[:-1] if each is not None}
    assert found[-1] is None


def test_released_slot_is_free_and_empty() -> None:
    """The slot of a worker that has ended is handed out again, and is empty."""
    shared = Counters()
    index = acquire(shared)
    shared.slot(index)[:] = memoryview(bytes([1] * 8 * SLOT_CELLS)).cast("Q")
    shared.slot(index)[ACCEPTED] = shared.slot(index)[SERVED] + sum(shared.slot(index)[DROPPED:SUPPRESSED_SERVED])
    shared.release(index)
    assert (index, [0] * SLOT_CELLS) == (acquire(shared), shared.slot(index).tolist())


def test_total_is_over_the_living_and_the_dead() -> None:
    """The counts of a worker stay in the total after its end, and are not counted twice."""
    shared = Counters()
    first, second = acquire(shared), acquire(shared)
    for index, times in ((0, 100), (first, 1), (second, 10)):
        slot = shared.slot(index)
        slot[SERVED], slot[DROPPED + RESET], slot[DROPPED + RATE] = 3 * times, times, times
        slot[ACCEPTED] = 5 * times
        slot[SUPPRESSED_SERVED], slot[SUPPRESSED_DROPPED], slot[LOG_LOST] = 2 * times, 4 * times, 6 * times
    expected = (555, 333, {"reset": 111, "rate": 111}, 222, 444, 666)
    found = [figures(shared.total())]
    for index in (first, second):
        assert 0 == shared.release(index)
        found.append(figures(shared.total()))
    assert [expected] * 3 == found


def test_client_in_the_hands_of_a_killed_worker_is_dropped() -> None:
    """The client of a worker that is killed between accept and the end is counted under `os_error`."""
    shared = Counters()
    index = acquire(shared)
    slot = shared.slot(index)
    slot[ACCEPTED], slot[SERVED], slot[DROPPED + NO_FD], slot[FINISHED], slot[READY] = 10, 7, 2, 9, 1
    assert 1 == shared.release(index)
    assert (10, 7, {"no_fd": 2, "os_error": 1}, 0, 0, 0) == figures(shared.total())


def test_totals_of_nothing() -> None:
    """The total of a new map is zero, without a reason."""
    assert (0, 0, {}, 0, 0, 0) == figures(Counters().total())


@pytest.mark.parametrize("reason", range(len(REASONS)))
def test_reasons_keep_their_names(reason: int) -> None:
    """The cell of each reason is reported under its own name."""
    shared = Counters()
    shared.slot(0)[DROPPED + reason] = 1
    assert {REASONS[reason]: 1} == shared.total().by_reason()


def test_worker_and_master_see_the_same_cells() -> None:
    """The parent reads what a child writes to its slot, and to the head, after the fork."""
    shared = Counters()
    index = acquire(shared)
    pid = os.fork()
    if pid == 0:
        shared.slot(index)[SERVED] = 42
        shared.slot(index)[ACCEPTED] = 42
        shared.head[WATCHED] = 1
        os._exit(0)
    os.waitpid(pid, 0)
    assert (42, 1) == (shared.total().served, shared.head[WATCHED])


def test_secret_is_new_for_each_daemon() -> None:
    """The secret is random, so that nobody can know which sources share a rate cell."""
    secrets = {Counters().secret for _ in range(3)}
    assert {16} == {len(secret) for secret in secrets}
    assert 3 == len(secrets)


def test_cells_are_large_enough() -> None:
    """A cell has 64 bits: it holds any count of a machine's lifetime, and the nanoseconds of its clock."""
    slot = Counters().slot(0)
    slot[ACCEPTED] = 2**64 - 1
    assert 2**64 - 1 == slot[ACCEPTED]
