"""The decisions of the master: which phase follows, by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytimed.master import _ON_ENTRY
from daytimed.phases import NEXT, Event, Phase, next_phase

#: Every event that ends a phase; any other leaves the master where it is.
EXPECTED = {
    (Phase.STARTING, Event.READY): Phase.SERVING,
    (Phase.SERVING, Event.RELOAD): Phase.LOADING,
    (Phase.LOADING, Event.LOADED): Phase.TRYING,
    (Phase.LOADING, Event.REJECTED): Phase.SERVING,
    (Phase.TRYING, Event.READY): Phase.REPLACING,
    (Phase.TRYING, Event.FAILED): Phase.WITHDRAWING,
    (Phase.REPLACING, Event.GONE): Phase.SERVING,
    (Phase.WITHDRAWING, Event.GONE): Phase.SERVING,
    **{(phase, Event.STOP): Phase.STOPPING for phase in Phase},
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("phase", Phase)
def test_phase_by_event(phase: Phase, event: Event) -> None:
    """Each event ends the phases that it concerns, and no other."""
    assert EXPECTED.get((phase, event), phase) == next_phase(phase, {event})


@given(phase=st.sampled_from(Phase), events=st.sets(st.sampled_from(Event)))
def test_stop_goes_before_everything(phase: Phase, events: set[Event]) -> None:
    """Whatever else has happened, a stop stops."""
    assert next_phase(phase, events | {Event.STOP}) is Phase.STOPPING


@given(events=st.sets(st.sampled_from(Event)))
def test_nothing_leads_out_of_a_stop(events: set[Event]) -> None:
    """A daemon that stops does not serve again."""
    assert next_phase(Phase.STOPPING, events) is Phase.STOPPING


@pytest.mark.parametrize("phase", [Phase.LOADING, Phase.TRYING, Phase.REPLACING, Phase.WITHDRAWING])
def test_reload_waits_for_the_one_before(phase: Phase) -> None:
    """A HUP during a reload begins no second one; it is remembered, and served when the first has ended."""
    assert next_phase(phase, {Event.RELOAD}) is phase
    assert next_phase(Phase.SERVING, {Event.RELOAD, Event.GONE}) is Phase.LOADING


def test_every_way_back_leads_to_service() -> None:
    """From each phase of a reload, any outcome leads back to SERVING."""
    reached, ways = {Phase.LOADING}, [Phase.LOADING]
    while ways:
        phase = ways.pop()
        after = {found for event in Event if event is not Event.STOP and (found := next_phase(phase, {event}))}
        new = after - {Phase.SERVING} - reached
        reached |= new
        ways += new
        assert after - {phase}, f"nothing ends {phase}"
    assert {Phase.LOADING, Phase.TRYING, Phase.REPLACING, Phase.WITHDRAWING} == reached


def test_master_has_an_action_for_each_way() -> None:
    """The master knows what to do on each way that the table has, and on no other."""
    assert {(phase, after) for phase, ways in NEXT.items() for after in ways.values()} == _ON_ENTRY.keys()
