"""
The lookout: looks at the workers' slots while clients come, and sleeps while none do.

A worker that serves a client while the lookout sleeps wakes the master. The lookout goes back to sleep when nothing has
changed from one look to the next.
"""

from __future__ import annotations

from collections.abc import Collection

from daytimed.counters import WATCHED, Counters
from daytimed.reporter import Reporter
from daytimed.team import LOOK_S, Child

#: A worker is stuck after this many looks without progress. Looks are counted, not seconds: a machine that was paused
#: must not lose all its workers when it resumes.
STUCK_LOOKS = 5


class Lookout:
    """Knows when to look next, and which workers make no progress."""

    def __init__(self, counters: Counters, reporter: Reporter) -> None:
        self._counters = counters
        self._reporter = reporter
        self._last_accepted = 0
        self._moving = False
        self.look_at: float | None = None

    def wake(self, now: float) -> None:
        """Look at the slots from now on."""
        if self.look_at is None:
            self._counters.head[WATCHED] = 1
            self.look_at = now + LOOK_S

    def look(self, children: Collection[Child], now: float) -> list[Child]:
        """Look at every slot; return the workers that are stuck."""
        self.look_at = now + LOOK_S
        # every slot counts its looks: any() alone would stop at the first
        looks = [child.look() for child in children]
        self._moving = any(looks)
        return [child for child in children if child.still >= STUCK_LOOKS and not child.killed]

    def rest(self, now: float) -> None:
        """Go back to sleep if nothing has moved since the last look, and nothing is left to report."""
        accepted = self._counters.total().accepted
        if not self._moving and accepted == self._last_accepted and not self._reporter.has_unreported():
            self.look_at = None
            self._counters.head[WATCHED] = 0
            # a worker that served a client just now read 1, and woke nobody
            if self._counters.total().accepted != accepted:
                self.wake(now)
        self._last_accepted = accepted
