"""A team: the workers of one listener in one generation, as the master sees them."""

from __future__ import annotations

from dataclasses import dataclass, field

from daytimed.config.settings import ListenerConfig
from daytimed.counters import ACCEPTED, FINISHED, READY, Cells
from daytimed.listeners import Listener
from daytimed.respawn import Respawn

#: The interval between two looks of the master at the slots.
LOOK_S = 1.0


@dataclass(slots=True)
class Child:
    """A worker process."""

    pid: int
    team: Team
    slot: int
    cells: Cells
    started_at: float
    was_ready: bool = False
    signal_at: float = 0.0
    """When a leaving worker gets its next SIGTERM."""
    signal_delay_s: float = 0.0
    kill_at: float = 0.0
    killed: bool = False
    stopped: bool = False
    """By SIGSTOP, for example."""
    accepted: int = -1
    """As of the last look at its slot."""
    still: int = 0
    """Consecutive looks that found it stopped, starting, or busy with the same client."""

    def look(self) -> bool:
        """Look at the slot; return whether there is a reason to look again."""
        accepted = self.cells[ACCEPTED]
        busy = not self.cells[READY] or accepted != self.cells[FINISHED]
        held = self.stopped or (busy and accepted == self.accepted)
        self.still = self.still + 1 if held else 0
        self.accepted = accepted
        return self.stopped or busy


@dataclass(slots=True)
class Team:
    """The desired number of workers, and the actual ones."""

    listener: Listener
    settings: ListenerConfig
    wanted: int
    respawn: Respawn = field(default_factory=Respawn)
    children: dict[int, Child] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """The number of workers to start."""
        return self.wanted - len(self.children)

    @property
    def ready(self) -> int:
        """The number of workers that can accept clients."""
        return sum(1 for child in self.children.values() if child.cells[READY])

    def note_ready(self) -> None:
        """Record which workers have become ready."""
        for child in self.children.values():
            if not child.was_ready and child.cells[READY]:
                child.was_ready = True
                self.respawn.note_ready()
