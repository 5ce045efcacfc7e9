"""
Decide when the next worker of a listener may start. The caller passes the time in.

The test is that of Postfix: a worker is healthy if it has served a client or lived for a while. A healthy worker is
replaced at once, as long as such deaths are rare. After any other, the delay doubles.
"""

from __future__ import annotations

from daytimed.budget import spend

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
#: A worker that lives this long is healthy even without a client.
HEALTHY_AFTER_S = 10.0
#: After this many failed starts in a row, another one is hopeless.
GIVE_UP_AFTER = 6
#: This many healthy workers are replaced at once, plus one a second; beyond that, they are delayed too.
RESTART_BURST = 1000
RESTART_INTERVAL_S = 1.0
_TOLERANCE_S = (RESTART_BURST - 1) * RESTART_INTERVAL_S


class Respawn:
    """The worker deaths and failed starts of one listener, which determine the next start."""

    def __init__(self) -> None:
        self.not_before = 0.0
        self.failed_starts = 0
        """Starts in a row that failed before the worker was ready to accept."""
        self._deaths = 0
        self._restarts_full_at = 0.0

    def note_no_process(self, now: float, jitter: float) -> None:
        """Record a failed fork."""
        self.failed_starts += 1
        self._delay(now, jitter)

    def note_ready(self) -> None:
        """Record that a worker is ready to accept."""
        self.failed_starts = 0

    def note_death(self, now: float, *, ready: bool, healthy: bool, jitter: float) -> None:
        """
        Record that a worker died without a stop request.

        Args:
            now: A monotonic time in seconds.
            ready: Whether it was ready to accept.
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
        """Whether another start would be pointless."""
        return self.failed_starts >= GIVE_UP_AFTER

    def _delay(self, now: float, jitter: float) -> None:
        # the exponent is bounded first: deaths can add up for years
        delay = min(FIRST_DELAY_S * 2 ** min(self._deaths, 16), LONGEST_DELAY_S)
        self._deaths += 1
        self.not_before = now + delay * (1 - jitter / 4)
