"""A log: the levels that it writes, and the events that it loses."""

from __future__ import annotations

import json

import pytest
from recorders import Lines, Losses
from test_events import FIELDS

from daytimed.log.events import EVENTS, SEVERITIES
from daytimed.log.log import Log


@pytest.mark.parametrize("level", SEVERITIES)
def test_level(level: str) -> None:
    """The log writes the events at or above its level; the others do not count as lost."""
    lines, losses = Lines(), Losses()
    made = Log(lines, "json", level, losses)
    assert [True] * len(EVENTS) == [made.event(name, **FIELDS) for name in EVENTS]
    expected = [name for name, event in EVENTS.items() if SEVERITIES[event.level] <= SEVERITIES[level]]
    assert expected == [json.loads(text)["event"] for _, text in lines.taken]
    assert (expected, 0) == ([name for name in EVENTS if made.is_enabled(name)], losses.count)


def test_level_of_one_call() -> None:
    """A call can raise the level of its event, for the filter and in the line."""
    lines = Lines()
    made = Log(lines, "json", "error", Losses())
    made.event("worker_exited", **FIELDS)
    made.event("worker_exited", level="error", **FIELDS)
    assert [("error", "error")] == [(level, json.loads(text)["level"]) for level, text in lines.taken]


@pytest.mark.parametrize("form", ["console", "json", "journal", "syslog"])
def test_a_muted_log_writes_nothing(form: str) -> None:
    """A muted log takes every event of its level, writes none, and loses none."""
    lines, losses = Lines(), Losses()
    muted = Log(lines, form, "info", losses).muted()
    assert [True] * len(EVENTS) == [muted.event(name, **FIELDS) for name in EVENTS]
    assert ([], 0) == (lines.taken, losses.count)
    assert (True, False) == (
        muted.is_enabled("client_served"),
        Log(lines, form, "error", losses).muted().is_enabled("client_served"),
    )


def test_two_logs_are_independent() -> None:
    """The log of a new generation has its own level, and the old log keeps its level."""
    old, new = Lines(), Lines()
    logs = [Log(old, "json", "error", Losses()), Log(new, "json", "info", Losses())]
    for each in logs:
        each.event("daemon_reloading")
    assert ([], 1) == (old.taken, len(new.taken))


def test_lost_event_is_counted() -> None:
    """Each event that the sink does not take is counted as lost."""
    lines, losses = Lines(), Losses()
    made = Log(lines, "json", "info", losses)
    lines.takes = False
    found = [made.event("daemon_reloading"), made.event("daemon_reloading")]
    assert ([False, False], 2) == (found, losses.count)


def test_loss_that_cannot_be_logged_is_not_counted_again() -> None:
    """A log_lost that the sink does not take is not counted as lost: the next one includes it."""
    lines, losses = Lines(), Losses()
    lines.takes = False
    found = Log(lines, "json", "info", losses).event("log_lost", lost=3)
    assert (False, 0) == (found, losses.count)
