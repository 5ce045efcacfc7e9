"""Reports on the daemon: summaries and statistics to the log, its state and its health to systemd."""

from __future__ import annotations

from typing import Any

from daytimed.counters import Counters, Counts, name_reasons
from daytimed.log.log import Log
from daytimed.systemd import Notifier

#: Clients that were not logged are summarised when no more of them come, and after this time at the latest.
SUMMARY_S = 10.0
#: The summary names at most this many networks.
NETWORKS = 5

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


class Reporter:
    """Reports everything once."""

    def __init__(self, counters: Counters, notifier: Notifier, started_at: float) -> None:
        self._counters = counters
        self._notifier = notifier
        self._started_at = started_at
        self._reported = Counts()
        self._last_unreported = 0
        self._refused = 0
        """Unreported clients at the time when the log did not take the summary."""
        self._summary_at = 0.0
        self._fed_at: float | None = None
        self._shown = (0, 0)
        self._rejection = ""
        """Why the last reload was rejected, if it was."""

    def figures(self, now: float) -> dict[str, Any]:
        """Return the fields of `statistics` and `daemon_stopped`."""
        total = self._counters.total()
        return {
            "accepted": total.accepted,
            "served": total.served,
            "dropped": sum(total.dropped),
            **total.by_reason(),
            "uptime_s": round(now - self._started_at, 1),
        }

    def has_unreported(self) -> bool:
        """Return whether a summary is due that the log may take."""
        return self._unreported(self._counters.total()) != self._refused

    def _unreported(self, total: Counts) -> int:
        reported = self._reported.suppressed_served + sum(self._reported.suppressed_dropped)
        return total.suppressed_served + sum(total.suppressed_dropped) - reported

    def report_suppressed(self, log: Log, now: float, *, at_once: bool = False) -> None:
        """Log a summary of the clients that were not logged, unless more of them are coming."""
        total = self._counters.total()
        unreported = self._unreported(total)
        growing = unreported != self._last_unreported
        if growing and not self._last_unreported:
            self._summary_at = now + SUMMARY_S
        self._last_unreported = unreported
        if not unreported or (growing and now < self._summary_at and not at_once):
            return
        pairs = zip(total.suppressed_dropped, self._reported.suppressed_dropped, strict=True)
        dropped = [count - reported for count, reported in pairs]
        reasons: dict[str, Any] = name_reasons(dropped)
        networks = self._counters.sampled_networks()
        # a summary that the log does not take is repeated, with the clients that come until then
        self._refused = unreported
        if log.event(
            "clients_suppressed",
            served=total.suppressed_served - self._reported.suppressed_served,
            dropped=sum(dropped),
            networks=" ".join(f"{name}={count}" for name, count in networks.most_common(NETWORKS)) or "unknown",
            sampled=networks.total(),
            **reasons,
        ):
            self._reported.suppressed_served = total.suppressed_served
            self._reported.suppressed_dropped = total.suppressed_dropped
            self._counters.begin_period()
            self._last_unreported = self._refused = 0

    def report_losses(self, log: Log) -> None:
        """Log the number of lost events as soon as the log takes events again."""
        lost = self._counters.total().log_lost - self._reported.log_lost
        if lost and log.event("log_lost", lost=lost):
            self._reported.log_lost += lost

    @property
    def feed_at(self) -> float | None:
        """When the watchdog of systemd is due; None if there is none, or nothing serves yet."""
        if self._fed_at is None or self._notifier.watchdog_s is None:
            return None
        return self._fed_at + self._notifier.watchdog_s / 2

    def notify_ready(self, listeners: int, workers: int, now: float) -> None:
        """Notify systemd that clients are served, after the start and after each reload."""
        self._fed_at = now
        self._rejection = ""
        self._notifier.send(READY=1, STATUS=self._status(listeners, workers, now))

    def notify_rejected(self, error: str) -> None:
        """Notify systemd that a reload was rejected; it serves as before, and the status says so until one succeeds."""
        self._rejection = f"The last reload was rejected: {error}"
        self._notifier.send(READY=1, STATUS=self._rejection)

    def notify_state(self, listeners: int, workers: int, now: float, *, is_healthy: bool) -> None:
        """Update the status if the number of workers has changed; feed the watchdog if it is due and all is well."""
        if self._fed_at is not None and (listeners, workers) != self._shown:
            self._notifier.send(STATUS=self._status(listeners, workers, now))
        if self.feed_at is not None and now >= self.feed_at:
            self._fed_at = now
            if is_healthy:
                self._notifier.send(WATCHDOG=1, STATUS=self._status(listeners, workers, now))

    def _status(self, listeners: int, workers: int, now: float) -> str:
        self._shown = (listeners, workers)
        state = describe(listeners, workers, self._counters.total(), now - self._started_at)
        return f"{state}. {self._rejection}" if self._rejection else state


def describe(listeners: int, workers: int, counts: Counts, uptime_s: float) -> str:
    """
    Return the state of a daemon in one sentence, for `systemctl status`.

    For example: Serving 1 listener with 2 workers; 123,456 replies, 3 dropped (2 reset, 1 rate), up 3 days
    """
    text = f"Serving {_count(listeners, 'listener')} with {_count(workers, 'worker')}; "
    text += f"{counts.served:,} {'reply' if counts.served == 1 else 'replies'}"
    if dropped := counts.by_reason():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        text += f", {sum(dropped.values()):,} dropped ({reasons})"
    return f"{text}, up {_duration(uptime_s)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(seconds: float) -> str:
    unit, length = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    return _count(int(seconds // length), unit)
