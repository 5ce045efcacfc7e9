"""A configuration file with an error, under a booted systemd: the port never closes, and a mended file is enough."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from container import Container
from test_system import configuration, drop_in, status

WRONG = 'workers = "four"'
REASON = '/etc/daytimed/daytimed.toml: workers: "four" is not a whole number from 0 to 1024'
#: A client a second, each of which waits for half a second.
CLIENTS = "for each in $(seq {seconds}); do daytime-get -4 -t 0.5 >/dev/null 2>&1; sleep 0.5; done"
FAILURES = "journalctl -u daytimed DAYTIMED_EVENT=start_failed --since=-{seconds} --no-pager -q -o json"


@pytest.fixture(autouse=True)
def stopped(container: Container) -> None:
    container.run("systemctl stop daytimed.socket daytimed.service; systemctl reset-failed || true")


@contextlib.contextmanager
def unit_of_own_sockets(container: Container) -> Iterator[None]:
    """Let the service bind its sockets."""
    container.run("systemctl mask --runtime daytimed.socket")
    try:
        with drop_in(container, "daytimed.service", "own-sockets"):
            yield
    finally:
        container.run("systemctl unmask --runtime daytimed.socket")


def test_a_wrong_file_never_closes_the_port(container: Container) -> None:
    """While clients come, the socket unit stays active and starts become rare; a mended file serves the next client."""
    seconds = 25
    container.run("systemctl start daytimed")
    with configuration(container, WRONG):
        container.run("! systemctl restart daytimed")
        container.run(CLIENTS.format(seconds=seconds))
        assert container.run("systemctl is-active daytimed.socket").strip() == "active"
        failures = container.run(FAILURES.format(seconds=seconds + 10)).splitlines()
        # 1, 2, 4 and 8 seconds, and 10 more for a client that waits
        assert 3 <= len(failures) <= 6
    # no command: clients start the daemon
    container.until("daytime-get -4 -t 1", "the next client is answered")
    container.until("systemctl is-active daytimed", "the daemon serves")


def test_the_journal_and_the_status_have_the_reason(container: Container) -> None:
    """`journalctl -p warning` shows why a start has failed, once, with the catalog; `systemctl status` shows it too."""
    container.run("systemctl start daytimed")
    with configuration(container, WRONG):
        container.run("! systemctl restart daytimed")
        printed = container.run(
            "journalctl -u daytimed -p warning DAYTIMED_EVENT=start_failed --no-pager -q -n 1 -o json"
        )
        entry = json.loads(printed)
        assert entry["MESSAGE"] == f"Cannot start: {REASON}"
        assert (entry["PRIORITY"], entry["DAYTIMED_ERROR"]) == ("3", REASON)
        assert status(container) == REASON
        explained = container.run(f"journalctl -u daytimed -x MESSAGE_ID={entry['MESSAGE_ID']} --no-pager -q -n 1")
        assert "daytimed --check" in explained
    container.run("systemctl restart daytimed && daytime-get -4")


def test_a_client_that_came_and_left_does_not_start_it_forever(container: Container) -> None:
    """The first start that fails takes it from the queue; nothing starts the daemon after that."""
    with configuration(container, WRONG):
        container.run("systemctl start daytimed.socket; daytime-get -4 -t 0.2 || true")
        container.until("systemctl is-failed daytimed", "the start has failed")
        # nobody is in the queue, so nothing starts it again
        queue = container.run("ss --no-header --listening --numeric --tcp 'sport = :6000'").split()
        assert queue[:2] == ["LISTEN", "0"]
        assert container.run("systemctl is-active daytimed.socket").strip() == "active"


def test_own_sockets_outlive_the_error(container: Container) -> None:
    """Without the socket unit, a restart with an error keeps the sockets: a waiting client is answered afterwards."""
    with unit_of_own_sockets(container):
        container.run("systemctl start daytimed && daytime-get -4")
        with configuration(container, WRONG):
            container.run("! systemctl restart daytimed")
            container.run("daytime-get -4 -t 60 >/tmp/own 2>&1 &")
            container.until("ss --no-header --listening --tcp 'sport = :6000' | grep LISTEN", "the port is open")
            # a second try, and the sockets have survived it
            container.until("systemctl show -P NRestarts daytimed | grep -v '^0'", "systemd tries again")
            container.run("ss --no-header --listening --tcp 'sport = :6000' | grep LISTEN")
        container.until("grep 'The Date Time is' /tmp/own", "the client has its reply")


def test_a_waiting_client_outlives_the_error(container: Container) -> None:
    """A client that waits in the queue is answered when the file is mended, without a command."""
    with configuration(container, WRONG):
        container.run("systemctl start daytimed.socket; daytime-get -4 -t 60 >/tmp/reply 2>&1 &")
        container.until("systemctl show -P StatusText daytimed | grep four", "the start has failed")
    container.until("grep 'The Date Time is' /tmp/reply", "the client has its reply")
