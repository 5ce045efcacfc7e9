"""The decisions of the master: which phase follows, by event."""

from __future__ import annotations

import graphlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytimed.master import _ACTIONS
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


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.LOADING, Phase.TRYING, Phase.REPLACING, Phase.WITHDRAWING])
def test_reload_waits_for_the_one_before(phase: Phase) -> None:
    """A HUP during a start or a reload begins no other reload; one that still holds in SERVING does."""
    assert next_phase(phase, {Event.RELOAD}) is phase
    assert next_phase(Phase.SERVING, {Event.RELOAD, Event.GONE}) is Phase.LOADING


@given(events=st.sets(st.sampled_from(Event)))
def test_ready_goes_before_failed(events: set[Event]) -> None:
    """Workers that are all ready take over, even if the deadline has come at the same moment."""
    events -= {Event.STOP}
    assert next_phase(Phase.TRYING, events | {Event.READY, Event.FAILED}) is Phase.REPLACING


def test_every_way_back_leads_to_service() -> None:
    """From each phase of a reload, every outcome leads back to SERVING: there is no circle without it, and no end."""
    reload = {Phase.LOADING, Phase.TRYING, Phase.REPLACING, Phase.WITHDRAWING}
    ways = {phase: {next_phase(phase, {event}) for event in Event if event is not Event.STOP} for phase in reload}
    assert all(after - {phase} for phase, after in ways.items())
    assert {after for found in ways.values() for after in found} == reload | {Phase.SERVING}
    graphlib.TopologicalSorter({phase: after - {phase, Phase.SERVING} for phase, after in ways.items()}).prepare()


def test_master_has_an_action_for_each_way() -> None:
    """The master has an action for each transition of the table, except those after which it serves as before."""
    ways = {(phase, after) for phase, row in NEXT.items() for after in row.values()}
    as_before = {(Phase.LOADING, Phase.SERVING), (Phase.WITHDRAWING, Phase.SERVING)}
    assert ways - as_before == _ACTIONS.keys()
