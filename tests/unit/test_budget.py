"""Budgets: the rule, and the budget of the log in shared memory."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import example, given
from hypothesis import strategies as st
from unit_help import NS

from daytimed.budget import Budget, spend
from daytimed.config.checks import LEAST_RATE

RATES = st.floats(0.001, 1_000_000)
BURSTS = st.integers(1, 1_000_000)
STEPS = st.lists(st.integers(0, 3 * NS), max_size=60)


def cells(count: int = 64) -> memoryview[int]:
    return memoryview(bytearray(8 * count)).cast("Q")


def test_spend() -> None:
    """A full budget of three is spent at once, then grows by one per interval."""
    full_at, taken = 0.0, []
    for now in (100, 100, 100, 100, 109, 110, 110, 119, 120, 1000, 1000, 1000, 1000):
        spent = spend(full_at, now, interval=10, tolerance=20)
        taken.append(spent is not None)
        full_at = full_at if spent is None else spent
    assert [True, True, True, False, False, True, False, False, True, True, True, True, False] == taken


@given(steps=STEPS, interval=st.integers(1, NS), burst=st.integers(1, 20))
def test_spend_grants_what_a_bucket_of_tokens_grants(steps: list[int], interval: int, burst: int) -> None:
    """One number makes the same decisions as a token bucket that fills by one per interval."""
    full_at, parts, filled_at = 0.0, burst * interval, 0
    expected, actual = [], []
    for now in accumulate(steps):
        parts, filled_at = min(burst * interval, parts + now - filled_at), now
        expected.append(parts >= interval)
        parts -= interval if parts >= interval else 0
        spent = spend(full_at, now, interval, (burst - 1) * interval)
        actual.append(spent is not None)
        full_at = full_at if spent is None else spent
    assert expected == actual


@given(steps=STEPS, rate=st.sampled_from([0.5, 1.0, 3.0, 20.0, 1e6]), burst=st.integers(1, 30))
def test_budget_decides_as_spend(steps: list[int], rate: float, burst: int) -> None:
    """The budget in shared memory decides as spend() to the nanosecond, and returns the time of the next grant."""
    table, full_at, interval = cells(), 0.0, int(NS / rate)
    budget, tolerance = Budget(table, 3, rate, burst), (burst - 1) * interval
    for now in accumulate(steps):
        spent, again = spend(full_at, now, interval, tolerance), budget.ask(now)
        assert (spent is not None) == (again == 0)
        if spent is None:
            assert [True, False] == [
                spend(full_at, at, interval, (burst - 1) * interval) is None for at in (again - 1, again)
            ]
        full_at = full_at if spent is None else spent
    assert full_at == table[3]


def test_budget_is_one_for_all_who_share_the_cell() -> None:
    """All processes that share the cell spend the same budget."""
    table = cells()
    one, other = Budget(table, 0, 1.0, 2), Budget(table, 0, 1.0, 2)
    assert [0, 0, 2 * NS, 2 * NS] == [each.ask(NS) for each in (one, other, one, other)]


@given(rate=RATES, burst=BURSTS, now_ns=st.integers(0, 10**18))
@example(rate=LEAST_RATE, burst=1_000_000, now_ns=10**18)
def test_budget_works_at_any_rate_that_is_accepted(rate: float, burst: int, now_ns: int) -> None:
    """At any rate that the configuration accepts, the burst is granted and its value fits into the cell."""
    budget = Budget(cells(), 0, rate, burst)
    assert [0] * min(burst, 50) == [budget.ask(now_ns) for _ in range(min(burst, 50))]


def test_budget_of_the_lowest_rate_fits_into_its_cell() -> None:
    """A cell can hold the time of the largest burst at the lowest rate."""
    table = cells()
    now_ns = 10**18
    # all but the last have been granted: one is left
    table[0] = now_ns + (1_000_000 - 1) * int(NS / LEAST_RATE)
    budget = Budget(table, 0, LEAST_RATE, 1_000_000)
    assert [0, now_ns + int(NS / LEAST_RATE)] == [budget.ask(now_ns), budget.ask(now_ns)]
