"""When the next worker starts."""

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
    """Return the delays after so many deaths at one moment."""
    result = []
    for _ in range(count):
        respawn.note_death(NOW, ready=ready, healthy=healthy, jitter=jitter)
        result.append(round(respawn.not_before - NOW, 6))
    return result


def test_first_worker_starts_at_once() -> None:
    """Without a history there is nothing to wait for."""
    assert (0.0, False) == (Respawn().not_before, Respawn().is_hopeless)


def test_delay_doubles() -> None:
    """Workers that die before their first client follow each other ever more slowly, up to half a minute."""
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert expected == delays(Respawn(), 11)


def test_delay_stays_the_longest_for_years() -> None:
    """However many have died, the delay is a number and the longest one."""
    assert LONGEST_DELAY_S == delays(Respawn(), 5000)[-1]


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, 0.1), (0.5, 0.0875), (1.0, 0.075)])
def test_jitter_takes_up_to_a_quarter(jitter: float, expected: float) -> None:
    """Listeners that fail together do not start together."""
    assert [expected] == delays(Respawn(), 1, jitter=jitter)


def test_worker_that_worked_is_followed_at_once() -> None:
    """A death after a client costs no time, and forgives those before it."""
    respawn = Respawn()
    expected = [0.1, 0.2, 0.0, 0.1]
    actual = delays(respawn, 2) + delays(respawn, 1, healthy=True) + delays(respawn, 1)
    assert expected == actual


def test_workers_that_die_again_and_again_are_delayed_ever_longer() -> None:
    """A burst of workers that worked and died is replaced at once, and from then on the delay doubles."""
    expected = [0.0] * RESTART_BURST + [0.1, 0.2, 0.4, 0.8]
    assert expected == delays(Respawn(), RESTART_BURST + 4, healthy=True)


def test_burst_comes_back() -> None:
    """What was used of the burst grows back by one a second."""
    respawn = Respawn()
    delays(respawn, RESTART_BURST, healthy=True)
    found = []
    for later in (RESTART_INTERVAL_S, RESTART_INTERVAL_S, 2 * RESTART_INTERVAL_S):
        respawn.note_death(NOW + later, ready=True, healthy=True, jitter=0)
        found.append(respawn.not_before > NOW + later)
    assert [False, True, False] == found


def test_starts_in_a_row_without_success_are_hopeless() -> None:
    """After so many workers that never came as far as accepting, another one is not worth it."""
    respawn = Respawn()
    found = []
    for _ in range(GIVE_UP_AFTER):
        found.append(respawn.is_hopeless)
        delays(respawn, 1, ready=False)
    assert ([False] * GIVE_UP_AFTER, True) == (found, respawn.is_hopeless)


def test_forks_that_fail_are_hopeless_too() -> None:
    """A process that cannot be made counts as one that did not start, and is waited for as long."""
    respawn = Respawn()
    found = []
    for _ in range(GIVE_UP_AFTER):
        respawn.note_no_process(NOW, jitter=0)
        found.append((round(respawn.not_before - NOW, 6), respawn.is_hopeless))
    delays_s, hopeless = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], [False] * 5 + [True]
    assert list(zip(delays_s, hopeless, strict=True)) == found


def test_one_ready_worker_is_hope() -> None:
    """A worker that accepts ends the row of failed starts, and the next row is counted from nothing."""
    respawn = Respawn()
    delays(respawn, GIVE_UP_AFTER - 1, ready=False)
    respawn.note_ready()
    delays(respawn, GIVE_UP_AFTER - 1, ready=False)
    found = [respawn.is_hopeless]
    delays(respawn, 1, ready=False)
    assert [False, True] == [*found, respawn.is_hopeless]


def test_workers_that_were_ready_are_never_hopeless() -> None:
    """Deaths after a start that succeeded slow the next one down and end nothing."""
    respawn = Respawn()
    delays(respawn, 100)
    assert not respawn.is_hopeless


@given(
    events=st.lists(
        st.tuples(st.floats(0, 100), st.booleans(), st.booleans(), st.floats(0, 1), st.booleans()), max_size=200
    )
)
def test_delay_is_bounded(events: list[tuple[float, bool, bool, float, bool]]) -> None:
    """Whatever happens, the next start is never in the past of its death and never more than half a minute ahead."""
    respawn, now = Respawn(), 0.0
    for passed, ready, healthy, jitter, forked in events:
        now += passed
        if forked:
            respawn.note_death(now, ready=ready, healthy=healthy, jitter=jitter)
        else:
            respawn.note_no_process(now, jitter)
        assert 0 <= respawn.not_before - now <= LONGEST_DELAY_S + 1e-6
