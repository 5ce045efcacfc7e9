"""A hundred thousand clients, half of which write 64 KiB first, while the daemon is left alone or disturbed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from disturbances import every, killing
from harness import UNTRACED, Daemon, serving
from loads import CLIENTS, THREADS, load, outcomes


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with serving(env=UNTRACED) as running:
        yield running


def test_a_hundred_thousand_clients_get_their_replies(daemon: Daemon) -> None:
    """Every client gets a whole reply, and the daemon counts exactly as many."""
    assert outcomes(load(daemon.port())) == {"whole": THREADS * CLIENTS}
    figures = daemon.statistics(accepted=THREADS * CLIENTS)
    assert (figures["accepted"], figures["served"], figures["dropped"]) == (100_000, 100_000, 0)


def test_reloads_under_load_lose_nobody(daemon: Daemon) -> None:
    """With a SIGHUP every 100 ms, every client gets a whole reply."""
    with every(0.1, lambda: daemon.send(signal.SIGHUP)):
        assert outcomes(load(daemon.port())) == {"whole": THREADS * CLIENTS}
    assert len(daemon.find("daemon_reloaded")) >= 10
    figures = daemon.statistics(accepted=THREADS * CLIENTS)
    assert (figures["accepted"], figures["served"], figures["dropped"]) == (100_000, 100_000, 0)


def test_killed_workers_lose_only_the_client_in_their_hands(daemon: Daemon) -> None:
    """With a SIGKILL to a worker every 100 ms, each costs at most one client, and the figures add up."""
    with killing(daemon) as killed:
        ended = outcomes(load(daemon.port()))
    failed = sum(ended.values()) - ended["whole"]
    assert sum(ended.values()) == THREADS * CLIENTS
    assert len(killed) >= 10
    assert failed <= len(killed)
    figures = daemon.statistics()
    assert figures["accepted"] == figures["served"] + figures["dropped"]
    # a worker that is killed between accepting and counting a client has not counted it
    assert 0 <= THREADS * CLIENTS - figures["accepted"] <= len(killed)


def test_a_stop_under_load_loses_no_accepted_client(daemon: Daemon) -> None:
    """After SIGTERM under load, every accepted client gets a whole reply; the others do not get a byte."""
    running = load(daemon.port(), clients=400)
    daemon.wait_event("client_served")
    daemon.statistics(accepted=2000)
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0
    ended = outcomes(running)
    stopped = daemon.wait_event("daemon_stopped")
    assert stopped["accepted"] == stopped["served"] == ended["whole"]
    # the others were refused, or still in the backlog when the port closed (a write then fails, and nothing is read):
    # none of them has read a part of a reply
    others = set(ended) - {"whole", "empty"}
    assert not [outcome for outcome in others if not outcome.endswith("after 0 bytes")]


def test_a_worker_frozen_under_load_costs_one_client_at_the_most(daemon: Daemon) -> None:
    """A worker that SIGSTOP holds under load is logged, killed and replaced; at most one client is lost."""
    running = load(daemon.port(), clients=1000)
    daemon.statistics(accepted=1000)
    frozen = daemon.live_workers()[0]
    os.kill(frozen, signal.SIGSTOP)
    daemon.wait_event("worker_stuck", pid=frozen)
    exited = daemon.wait_event("worker_exited", pid=frozen)
    ended = outcomes(running)
    assert exited["how"] == "was killed by SIGKILL"
    assert sum(ended.values()) == THREADS * 1000
    assert THREADS * 1000 - ended["whole"] <= 1
    assert exited["lost"] <= 1
    print("clients of the frozen worker:", exited["lost"])
    figures = daemon.statistics()
    assert figures["accepted"] == figures["served"] + figures["dropped"]
