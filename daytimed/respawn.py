"""
When the next worker of a listener may start: decisions only, time is passed in.

Postfix's test tells a worker that works from one that does not: it has served a client, or lived a while. One that
has not is followed after a delay that doubles. One that has is followed at once, as long as such deaths are rare.
"""

from __future__ import annotations

from daytimed.budget import spend

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
#: Having lived this long is as good as having served.
HEALTHY_AFTER_S = 10.0
#: So many starts in a row before one is ready show that none will ever be.
GIVE_UP_AFTER = 6
#: Workers that worked and died are replaced at once so often, and one a second more; beyond that they are delayed too.
RESTART_BURST = 1000
RESTART_INTERVAL_S = 1.0
_TOLERANCE_S = (RESTART_BURST - 1) * RESTART_INTERVAL_S


class Respawn:
    """The history of one listener's workers, as far as it decides on the next."""

    def __init__(self) -> None:
        self.not_before = 0.0
        self.failed_starts = 0
        """Starts in a row that did not come as far as accepting."""
        self._deaths = 0
        self._restarts_full_at = 0.0

    def note_no_process(self, now: float, jitter: float) -> None:
        """There was no new process: try again later."""
        self.failed_starts += 1
        self._delay(now, jitter)

    def note_ready(self) -> None:
        """A worker has come as far as accepting."""
        self.failed_starts = 0

    def note_death(self, now: float, *, ready: bool, healthy: bool, jitter: float) -> None:
        """
        A worker died that nobody had asked to.

        Args:
            now: A monotonic time in seconds.
            ready: Whether it came as far as accepting.
            healthy: Whether it served a client or lived for HEALTHY_AFTER_S.
            jitter: From 0 to 1, so that many listeners do not start their workers in step.
        """
        if not ready:
            self.failed_starts += 1
        full_at = spend(self._restarts_full_at, now, RESTART_INTERVAL_S, _TOLERANCE_S) if healthy else None
        if full_at is None:
            self._delay(now, jitter)
            return
        self._restarts_full_at = full_at
        self._deaths = 0
        self.not_before = now

    @property
    def is_hopeless(self) -> bool:
        """Say whether another try would be as good as none."""
        return self.failed_starts >= GIVE_UP_AFTER

    def _delay(self, now: float, jitter: float) -> None:
        # the exponent is bounded before the power is taken: deaths go on for years
        delay = min(FIRST_DELAY_S * 2 ** min(self._deaths, 16), LONGEST_DELAY_S)
        self._deaths += 1
        self.not_before = now + delay * (1 - jitter / 4)
