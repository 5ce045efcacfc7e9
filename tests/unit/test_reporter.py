"""Reports of the master: the sentence of `systemctl status`, summaries, and the watchdog."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from daytimed.budget import Budget
from daytimed.counters import Counters, Counts
from daytimed.log.clients import ASK_AGAIN_NS, Allowance, ClientLog
from daytimed.log.log import Log
from daytimed.networks import NetworkSet
from daytimed.reasons import RATE, RESET
from daytimed.reporter import Reporter, describe
from daytimed.systemd import Notifier

# the notification socket lives as long as the process
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def counts(served: int, reset: int = 0, rate: int = 0) -> Counts:
    made = Counts()
    made.served, made.dropped[RESET], made.dropped[RATE] = served, reset, rate
    return made


@pytest.mark.parametrize(
    ("listeners", "workers", "counted", "uptime_s", "expected"),
    [
        (1, 2, counts(123456, 2, 1), 3 * 86400 + 5, "Serving 1 listener with 2 workers; 123,456 replies, "
         "3 dropped (2 reset, 1 rate), up 3 days"),
        (2, 1, counts(1), 0.2, "Serving 2 listeners with 1 worker; 1 reply, up 0 seconds"),
        (1, 1, counts(0), 1.9, "Serving 1 listener with 1 worker; 0 replies, up 1 second"),
        (1, 1, counts(0, 1), 60, "Serving 1 listener with 1 worker; 0 replies, 1 dropped (1 reset), up 1 minute"),
        (1, 1, counts(0), 86399, "Serving 1 listener with 1 worker; 0 replies, up 23 hours"),
    ],
)  # fmt: skip
def test_the_status_is_a_sentence(
    listeners: int, workers: int, counted: Counts, uptime_s: float, expected: str
) -> None:
    """The status has numbers with their nouns, reasons only if there are any, and the largest unit of time."""
    assert expected == describe(listeners, workers, counted, uptime_s)


def test_the_watchdog_is_fed_twice_an_interval_and_only_in_health(tmp_path: Path) -> None:
    """WATCHDOG=1 starts after READY, comes every half interval, and stops while a worker is missing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
        reporter = Reporter(Counters(), notifier, 100.0)
        assert reporter.feed_at is None
        reporter.notify_ready(1, 2, 100.5)
        assert manager.recv(1000) == b"READY=1\nSTATUS=Serving 1 listener with 2 workers; 0 replies, up 0 seconds"
        assert reporter.feed_at == 115.5
        reporter.notify_state(1, 2, 116.0, is_healthy=True)
        assert manager.recv(1000).startswith(b"WATCHDOG=1\nSTATUS=Serving 1 listener")
        reporter.notify_state(1, 2, 131.0, is_healthy=False)
        with pytest.raises(BlockingIOError):
            manager.recv(1000)
        assert reporter.feed_at == 146.0


class Suppressing:
    """A worker that serves and drops more clients than it may log, and the reporter that sums them up."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.logged: list[dict[str, Any]] = []
        self.broken = False
        self.log = Log(self._take, "json", "info", lambda: None)
        self.reporter = Reporter(self.counters, Notifier({}), 0.0)
        index = self.counters.acquire()
        assert index
        allowance = Allowance(NOTHING_LEFT, self.counters.head, self.counters.slot(index))
        self.client_log = ClientLog(self.log, "daytime", "all", NetworkSet([]), allowance)
        self._now_ns = 0

    def _take(self, level: str, rendered: bytes) -> bool:
        if self.broken:
            return False
        event = json.loads(rendered)
        self.logged.append({key: value for key, value in event.items() if key not in ("timestamp", "level", "message")})
        return True

    def come(self, host: str, dropped: int | None, count: int) -> None:
        for _ in range(count):
            # late enough for the budget to be asked again, so that each client is offered to the sample
            self._now_ns += ASK_AGAIN_NS
            self.client_log.record((host, 5), self._now_ns, 0, dropped)


NOTHING_LEFT = Budget(memoryview(bytearray((2**63).to_bytes(8, "little"))).cast("Q"), 0, 0.001, 1)


def test_the_summary_is_by_reason_and_network() -> None:
    """Each client is summarised once, when no more come; at most five networks are listed, the largest first."""
    scene = Suppressing()
    scene.reporter.report_suppressed(scene.log, 1.0)
    assert scene.logged == []
    for number in range(6):
        scene.come(f"10.0.{number}.1", None, 6 - number)
    scene.come("2001:db8:1:2::3", RATE, 5)
    scene.come("", RESET, 1)
    scene.reporter.report_suppressed(scene.log, 2.0)
    assert scene.logged == [], "more may be coming"
    scene.reporter.report_suppressed(scene.log, 3.0)
    networks = "10.0.0.0/24=6 10.0.1.0/24=5 2001:db8:1::/48=5 10.0.2.0/24=4 10.0.3.0/24=3"
    first = {
        "event": "clients_suppressed", "served": 21, "dropped": 6, "networks": networks, "sampled": 27,
        "reset": 1, "rate": 5,
    }  # fmt: skip
    assert scene.logged == [first]
    scene.come("192.0.2.1", RATE, 2)
    scene.reporter.report_suppressed(scene.log, 4.0, at_once=True)
    networks = "192.0.2.0/24=2"
    second = {"event": "clients_suppressed", "served": 0, "dropped": 2, "networks": networks, "sampled": 2, "rate": 2}
    assert scene.logged == [first, second]


def test_a_summary_that_the_log_does_not_take_is_reported_again() -> None:
    """A summary that the log does not take is repeated with the next clients, and causes no wake-up until then."""
    scene = Suppressing()
    scene.come("192.0.2.1", None, 3)
    scene.broken = True
    assert scene.reporter.has_unreported()
    for now in (1.0, 2.0):
        scene.reporter.report_suppressed(scene.log, now)
    assert not scene.reporter.has_unreported()
    scene.broken = False
    scene.come("192.0.2.1", RATE, 1)
    assert scene.reporter.has_unreported()
    for now in (3.0, 4.0):
        scene.reporter.report_suppressed(scene.log, now)
    networks = "192.0.2.0/24=4"
    expected = {"event": "clients_suppressed", "served": 3, "dropped": 1, "networks": networks, "sampled": 4, "rate": 1}
    assert scene.logged == [expected]


def test_a_flood_that_does_not_end_is_summed_up_all_the_same() -> None:
    """While more clients come, a summary is logged every ten seconds."""
    scene = Suppressing()
    for second in range(25):
        scene.come("192.0.2.1", None, 1)
        scene.reporter.report_suppressed(scene.log, float(second))
    assert [event["served"] for event in scene.logged] == [11, 11]


def test_without_a_watchdog_nothing_is_to_be_fed() -> None:
    """Without a watchdog there is no deadline, and so no wake-up."""
    reporter = Reporter(Counters(), Notifier({}), 0.0)
    reporter.notify_ready(1, 1, 1.0)
    assert reporter.feed_at is None
