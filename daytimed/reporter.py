"""What the master tells of the daemon: summaries and figures to the log, its state and its health to systemd."""

from __future__ import annotations

from typing import Any

from daytimed.counters import Counters, Counts, name_reasons
from daytimed.log import Log
from daytimed.systemd import Notifier

#: Clients that are not logged one by one are summed up when they become few again, and at the latest after this.
SUMMARY_S = 10.0
#: So many of the networks that they come from are named.
NETWORKS = 5

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


class Reporter:
    """Knows what has been told, so that everything is told once."""

    def __init__(self, counters: Counters, notifier: Notifier, started_at: float) -> None:
        self._counters = counters
        self._notifier = notifier
        self._started_at = started_at
        self._told = Counts()
        self._last_untold = 0
        self._refused = 0
        """How many untold clients there were when the log did not take the summary."""
        self._summary_at = 0.0
        self._fed_at: float | None = None
        self._shown = (0, 0)

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

    def has_untold(self) -> bool:
        """Say whether there are clients that are not told of in any way yet, though the log may take it."""
        return self._untold(self._counters.total()) != self._refused

    def _untold(self, total: Counts) -> int:
        told = self._told.suppressed_served + sum(self._told.suppressed_dropped)
        return total.suppressed_served + sum(total.suppressed_dropped) - told

    def tell_suppressed(self, log: Log, now: float, *, at_once: bool = False) -> None:
        """Sum up the clients that were not logged, unless more of them are coming just now."""
        total = self._counters.total()
        untold = self._untold(total)
        growing = untold != self._last_untold
        if growing and not self._last_untold:
            self._summary_at = now + SUMMARY_S
        self._last_untold = untold
        if not untold or (growing and now < self._summary_at and not at_once):
            return
        pairs = zip(total.suppressed_dropped, self._told.suppressed_dropped, strict=True)
        dropped = [count - told for count, told in pairs]
        reasons: dict[str, Any] = name_reasons(dropped)
        networks = self._counters.talkers().most_common(NETWORKS)
        # one that the log does not take is told again, with the clients that come then
        self._refused = untold
        if log.event(
            "clients_suppressed",
            served=total.suppressed_served - self._told.suppressed_served,
            dropped=sum(dropped),
            networks=" ".join(f"{network}={count}" for network, count in networks),
            **reasons,
        ):
            self._told.suppressed_served = total.suppressed_served
            self._told.suppressed_dropped = total.suppressed_dropped
            self._counters.begin_period()
            self._last_untold = self._refused = 0

    def tell_losses(self, log: Log) -> None:
        """Say how many events are missing from the log, as soon as it takes one again."""
        lost = self._counters.total().log_lost - self._told.log_lost
        if lost and log.event("log_lost", lost=lost):
            self._told.log_lost += lost

    @property
    def feed_at(self) -> float | None:
        """When the watchdog of systemd wants to be fed; None if there is none, or nothing serves yet."""
        if self._fed_at is None or self._notifier.watchdog_s is None:
            return None
        return self._fed_at + self._notifier.watchdog_s / 2

    def tell_ready(self, listeners: int, workers: int, now: float) -> None:
        """Tell systemd that clients are served, after the start and after each reload."""
        self._fed_at = now
        self._notifier.send(READY=1, STATUS=self._status(listeners, workers, now))

    def tell_health(self, healthy: bool, listeners: int, workers: int, now: float) -> None:
        """Feed the watchdog, unless a worker is missing or does nothing."""
        self._fed_at = now
        if healthy:
            self._notifier.send(WATCHDOG=1, STATUS=self._status(listeners, workers, now))

    def tell_change(self, listeners: int, workers: int, now: float) -> None:
        """Show it when there are more or fewer workers than were told of."""
        if self._fed_at is not None and (listeners, workers) != self._shown:
            self._notifier.send(STATUS=self._status(listeners, workers, now))

    def _status(self, listeners: int, workers: int, now: float) -> str:
        self._shown = (listeners, workers)
        return describe(listeners, workers, self._counters.total(), now - self._started_at)


def describe(listeners: int, workers: int, counts: Counts, uptime_s: float) -> str:
    """
    Return the state of a daemon in a sentence, for `systemctl status`.

    As in: Serving 1 listener with 2 workers; 123,456 replies, 3 dropped (2 reset, 1 rate), up 3 days
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
