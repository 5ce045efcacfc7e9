"""The start time of the next worker."""

from __future__ import annotations

import pytest
import unit_help  # noqa: F401 - its settings of hypothesis
from hypothesis import given
from hypothesis import strategies as st

from daytimed.respawn import GIVE_UP_AFTER, LONGEST_DELAY_S, RESTART_BURST, RESTART_INTERVAL_S, Respawn

NOW = 1000.0


def delays(
    respawn: Respawn, count: int, *, ready: bool = True, healthy: bool = False, jitter: float = 0
) -> list[float]:
    """Return the delays after `count` deaths at the same moment."""
    result = []
    for _ in range(count):
        respawn.note_death(NOW, ready=ready, healthy=healthy, jitter=jitter)
        result.append(round(respawn.not_before - NOW, 6))
    return result


def test_first_worker_starts_at_once() -> None:
    """Without a history, a worker starts at once."""
    assert (0.0, False) == (Respawn().not_before, Respawn().is_hopeless)


def test_delay_doubles() -> None:
    """After workers that die before their first client, the delay doubles, up to half a minute."""
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert expected == delays(Respawn(), 11)


def test_delay_stays_the_longest_for_years() -> None:
    """After any number of deaths, the delay stays at its maximum."""
    assert LONGEST_DELAY_S == delays(Respawn(), 5000)[-1]


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, 0.1), (0.5, 0.0875), (1.0, 0.075)])
def test_jitter_takes_up_to_a_quarter(jitter: float, expected: float) -> None:
    """Jitter keeps listeners that fail together from starting together."""
    assert [expected] == delays(Respawn(), 1, jitter=jitter)


def test_worker_that_worked_is_followed_at_once() -> None:
    """A worker that has served is replaced at once, and resets the delay."""
    respawn = Respawn()
    expected = [0.1, 0.2, 0.0, 0.1]
    actual = delays(respawn, 2) + delays(respawn, 1, healthy=True) + delays(respawn, 1)
    assert expected == actual


def test_workers_that_die_again_and_again_are_delayed_ever_longer() -> None:
    """A burst of healthy workers that die is replaced at once; after that, the delay doubles."""
    expected = [0.0] * RESTART_BURST + [0.1, 0.2, 0.4, 0.8]
    assert expected == delays(Respawn(), RESTART_BURST + 4, healthy=True)


def test_burst_comes_back() -> None:
    """The burst grows back by one a second."""
    respawn = Respawn()
    delays(respawn, RESTART_BURST, healthy=True)
    found = []
    for later in (RESTART_INTERVAL_S, RESTART_INTERVAL_S, 2 * RESTART_INTERVAL_S):
        respawn.note_death(NOW + later, ready=True, healthy=True, jitter=0)
        found.append(respawn.not_before > NOW + later)
    assert [False, True, False] == found


def test_starts_in_a_row_without_success_are_hopeless() -> None:
    """After GIVE_UP_AFTER workers in a row that were never ready, another start is hopeless."""
    respawn = Respawn()
    found = []
    for _ in range(GIVE_UP_AFTER):
        found.append(respawn.is_hopeless)
        delays(respawn, 1, ready=False)
    assert ([False] * GIVE_UP_AFTER, True) == (found, respawn.is_hopeless)


def test_forks_that_fail_are_hopeless_too() -> None:
    """A failed fork counts as a failed start, with the same delays."""
    respawn = Respawn()
    found = []
    for _ in range(GIVE_UP_AFTER):
        respawn.note_no_process(NOW, jitter=0)
        found.append((round(respawn.not_before - NOW, 6), respawn.is_hopeless))
    delays_s, hopeless = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], [False] * 5 + [True]
    assert list(zip(delays_s, hopeless, strict=True)) == found


def test_one_ready_worker_is_hope() -> None:
    """A ready worker resets the count of failed starts."""
    respawn = Respawn()
    delays(respawn, GIVE_UP_AFTER - 1, ready=False)
    respawn.note_ready()
    delays(respawn, GIVE_UP_AFTER - 1, ready=False)
    found = [respawn.is_hopeless]
    delays(respawn, 1, ready=False)
    assert [False, True] == [*found, respawn.is_hopeless]


def test_workers_that_were_ready_are_never_hopeless() -> None:
    """Deaths after a successful start delay the next one, but are never hopeless."""
    respawn = Respawn()
    delays(respawn, 100)
    assert not respawn.is_hopeless


@given(
    events=st.lists(
        st.tuples(st.floats(0, 100), st.booleans(), st.booleans(), st.floats(0, 1), st.booleans()), max_size=200
    )
)
def test_delay_is_bounded(events: list[tuple[float, bool, bool, float, bool]]) -> None:
    """After any sequence of events, the next start is not before the death and at most half a minute after it."""
    respawn, now = Respawn(), 0.0
    for passed, ready, healthy, jitter, forked in events:
        now += passed
        if forked:
            respawn.note_death(now, ready=ready, healthy=healthy, jitter=jitter)
        else:
            respawn.note_no_process(now, jitter)
        assert 0 <= respawn.not_before - now <= LONGEST_DELAY_S + 1e-6
