"""
The phases of the master and their transitions.

    STARTING -> SERVING -> LOADING -> TRYING -> REPLACING -> SERVING      a reload that succeeds
                           LOADING -> SERVING                             a configuration that cannot be loaded
                                      TRYING -> WITHDRAWING -> SERVING    one whose workers do not start
    any phase -> STOPPING
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto


class Phase(Enum):
    """What the master is doing."""

    STARTING = auto()
    """The first workers start."""
    SERVING = auto()
    LOADING = auto()
    """A new configuration is loaded, and its listeners are opened."""
    TRYING = auto()
    """The workers of a new configuration start, while the current ones serve."""
    REPLACING = auto()
    """The new workers serve, and the ones they replace are leaving."""
    WITHDRAWING = auto()
    """The new workers did not start, and are leaving."""
    STOPPING = auto()
    """All workers are leaving."""


class Event(Enum):
    """What can end a phase."""

    STOP = auto()
    """TERM or INT."""
    RELOAD = auto()
    """HUP, now or in an earlier phase."""
    LOADED = auto()
    REJECTED = auto()
    """The configuration cannot be loaded, or one of its listeners cannot be opened."""
    READY = auto()
    """Every listener of the new configuration has its workers, or some and cannot have more."""
    FAILED = auto()
    """The workers of the new configuration cannot start, or have not started in time."""
    GONE = auto()
    """No worker is leaving any more."""


NEXT: dict[Phase, dict[Event, Phase]] = {
    Phase.STARTING: {Event.STOP: Phase.STOPPING, Event.READY: Phase.SERVING},
    # one reload after the other: leaving workers hold sockets that the next configuration may want to bind
    Phase.SERVING: {Event.STOP: Phase.STOPPING, Event.RELOAD: Phase.LOADING},
    Phase.LOADING: {Event.STOP: Phase.STOPPING, Event.LOADED: Phase.TRYING, Event.REJECTED: Phase.SERVING},
    Phase.TRYING: {Event.STOP: Phase.STOPPING, Event.READY: Phase.REPLACING, Event.FAILED: Phase.WITHDRAWING},
    Phase.REPLACING: {Event.STOP: Phase.STOPPING, Event.GONE: Phase.SERVING},
    Phase.WITHDRAWING: {Event.STOP: Phase.STOPPING, Event.GONE: Phase.SERVING},
    Phase.STOPPING: {},
}


def next_phase(phase: Phase, events: Collection[Event]) -> Phase:
    """Return the phase that these events lead to, or `phase`. The first event in its row goes before the others."""
    return next((after for event, after in NEXT[phase].items() if event in events), phase)
