"""Rare failures of system calls, which strace injects into the real daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aftermath import figures_of, unharmed
from harness import DEADLINE_S, UNTRACED, Daemon, fetch, needs, running, serving, wait_until

from daytimed.reasons import REASONS

pytestmark = needs("strace")

UDP = {**UNTRACED, "DAYTIMED_ACCESS_RATE": "1000000"}
#: The first and the third call fail. No others: a call that strace leaves half injected would fail with ENOSYS.
EVERY_OTHER = "when=1..3+2"
CLIENTS = 4


def is_traced(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    return False


@contextlib.contextmanager
def failing(pid: int, fault: str) -> Iterator[None]:
    """Make system calls of one process fail, in the syntax of strace(1): CALL:error=NAME:when=WHICH."""
    options = ["--trace=" + fault.partition(":")[0], f"--inject={fault}"]
    with running("strace", "--quiet=all", *options, f"--attach={pid}") as strace:
        wait_until(lambda: is_traced(pid) or strace.process.poll() is not None, "strace is attached")
        if "ptrace(" in strace.log.read_text():
            pytest.skip("strace may not attach here")
        yield
        # served clients are closed later; strace has ended already if the process has
        wait_until(lambda: "(INJECTED)" in strace.log.read_text() or strace.process.poll() is not None, "a call fails")
        strace.process.terminate()
        strace.process.wait(DEADLINE_S)
        assert "(INJECTED)" in strace.log.read_text(), "nothing has failed"


def drops(daemon: Daemon, fault: str, ask: Callable[[], object]) -> dict[str, int]:
    """
    Return the number of clients dropped during a fault, by reason.

    The only worker has to survive the fault; then it is killed, and its counts must remain.
    """
    (worker,) = daemon.live_workers()
    before = figures_of(daemon)
    with failing(worker, fault):
        for _ in range(CLIENTS):
            # a dropped client may or may not have its reply
            with contextlib.suppress(ConnectionResetError):
                ask()
        during = figures_of(daemon, before["accepted"] + CLIENTS)
    assert daemon.live_workers() == [worker]
    os.kill(worker, signal.SIGKILL)
    daemon.wait_event("worker_exited", pid=worker)
    after = figures_of(daemon)
    assert all(after[name] == during[name] for name in ("accepted", "served", "dropped"))
    assert after["accepted"] == before["accepted"] + CLIENTS
    return {name: more for name in REASONS if (more := after.get(name, 0) - before.get(name, 0))}


@pytest.fixture(scope="module")
def streams() -> Iterator[Daemon]:
    with serving("-w", "1", env=UNTRACED) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def datagrams() -> Iterator[Daemon]:
    with serving("-w", "1", "-l", "udp4://127.0.0.1:0", env=UDP) as daemon:
        yield daemon


#: The fault of every second client, and the reason for which it is dropped; None if it is served all the same.
STREAM_FAULTS = [
    *((f"accept4:error={name}", None) for name in ("ENOMEM", "ENOBUFS", "ENFILE", "EMFILE")),
    *((f"accept4:error={name}", None) for name in ("ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "EAGAIN", "EINTR")),
    ("sendto:error=ENOMEM", "no_memory"),
    ("sendto:error=ENOBUFS", "no_memory"),
    ("sendto:error=EPIPE:signal=PIPE", "reset"),
    ("sendto:error=ECONNRESET", "reset"),
    ("sendto:error=EAGAIN", "timeout"),
    ("sendto:error=ETIMEDOUT", "timeout"),
    ("sendto:error=EIO", "os_error"),
    ("sendto:error=EINTR", None),
    ("sendto:retval=7", "timeout"),
    ("shutdown:error=ENOTCONN", "reset"),
    # the look at an earlier client, which has been served
    ("recvfrom:error=ECONNRESET", None),
    ("recvfrom:error=ENOMEM", None),
    ("recvfrom:error=EAGAIN", None),
    ("close:error=EIO", None),
    ("close:error=EINTR", None),
]


@pytest.mark.parametrize(("fault", "reason"), STREAM_FAULTS, ids=[fault for fault, _ in STREAM_FAULTS])
def test_a_call_that_fails_for_a_client_costs_nobody_else_anything(
    streams: Daemon, fault: str, reason: str | None
) -> None:
    """A call that fails for every second client drops those, under its reason, or none; the worker stays."""
    with unharmed(streams):
        dropped = drops(streams, f"{fault}:{EVERY_OTHER}", lambda: fetch(streams.port()))
        assert dropped == ({reason: CLIENTS // 2} if reason else {})


DATAGRAM_FAULTS = [
    *((f"recvmsg:error={name}", None) for name in ("ENOMEM", "ENOBUFS", "ECONNREFUSED", "ENETDOWN", "EAGAIN", "EINTR")),
    ("sendmsg:error=ENOMEM", "no_memory"),
    ("sendmsg:error=ENOBUFS", "no_memory"),
    ("sendmsg:error=ECONNREFUSED", "reset"),
    ("sendmsg:error=EAGAIN", "timeout"),
    ("sendmsg:error=EPERM", "os_error"),
    ("sendmsg:error=ENETUNREACH", "os_error"),
    ("sendmsg:error=EINTR", None),
]


def ask_datagram(daemon: Daemon) -> bytes:
    """Act as one client over UDP; return the reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(DEADLINE_S)
        client.connect(("127.0.0.1", daemon.port()))
        client.send(b"")
        return client.recv(2048)


def send_datagram(daemon: Daemon) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"", ("127.0.0.1", daemon.port()))
    return b""


@pytest.mark.parametrize(("fault", "reason"), DATAGRAM_FAULTS, ids=[fault for fault, _ in DATAGRAM_FAULTS])
def test_a_call_that_fails_for_a_datagram_costs_no_other_anything(
    datagrams: Daemon, fault: str, reason: str | None
) -> None:
    """A call that fails for every second datagram drops those, under its reason, or none; the worker stays."""
    with unharmed(datagrams, ask_datagram):
        dropped = drops(datagrams, f"{fault}:{EVERY_OTHER}", lambda: send_datagram(datagrams))
        assert dropped == ({reason: CLIENTS // 2} if reason else {})


def test_a_listener_that_fails_for_a_worker_is_served_by_the_next() -> None:
    """An error of accept that no client can cause ends the worker, which logs it; the next one serves the client."""
    with serving("-w", "1", env=UNTRACED, expect_traceback=True) as daemon, unharmed(daemon):
        (worker,) = daemon.live_workers()
        with failing(worker, "accept4:error=EIO"):
            assert fetch(daemon.port())
            daemon.wait_event("worker_exited", pid=worker, how="failed: OSError(5, 'Input/output error')")
            daemon.wait_event("worker_exited", pid=worker, how="exited with status 70", lost=0)


@pytest.mark.parametrize("name", ["EIO", "ENOSPC", "EAGAIN", "EINTR"])
def test_lines_that_cannot_be_written_are_counted_and_reported(name: str) -> None:
    """When every second line of the log fails, all clients are served, and each is logged or counted as lost."""
    with serving("-w", "1", env={**UNTRACED, "DAYTIMED_LOG_CLIENT_RATE": "0"}) as daemon:
        with unharmed(daemon), failing(daemon.live_workers()[0], f"write:error={name}:{EVERY_OTHER}"):
            for _ in range(CLIENTS):
                assert fetch(daemon.port())
            figures = figures_of(daemon, CLIENTS)
        lost = 0 if name == "EINTR" else CLIENTS // 2
        if lost:
            wait_until(lambda: sum(event["lost"] for event in daemon.find("log_lost")) == lost, "the loss is logged")
        assert figures["served"] == figures["accepted"]
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
        assert len(daemon.find("client_served")) + lost == daemon.wait_event("daemon_stopped")["served"]


#: Not every architecture has all of them.
FORKS = "clone,clone3,?fork,?vfork"


def serve_until(daemon: Daemon, name: str, count: int = 1, **fields: object) -> None:
    """Assert that every client gets a reply until `count` events have been logged."""

    def is_logged() -> bool:
        assert fetch(daemon.port())
        return len(daemon.find(name, **fields)) >= count

    wait_until(is_logged, name)


@pytest.mark.parametrize("name", ["EAGAIN", "ENOMEM"])
def test_a_fork_that_fails_for_a_time_is_reported_and_tried_again(name: str) -> None:
    """When three forks fail, each is logged and the other worker serves on; then the number of workers is as before."""
    with serving("-w", "2", env=UNTRACED) as daemon, unharmed(daemon):
        with failing(daemon.process.pid, f"{FORKS}:error={name}:when=1..3"):
            victim = daemon.live_workers()[0]
            os.kill(victim, signal.SIGKILL)
            daemon.wait_event("worker_exited", pid=victim)
            serve_until(daemon, "worker_exited", 3, pid=None)
            daemon.wait_events("worker_started", 3)
        ways = {event["how"].partition(":")[0] for event in daemon.find("worker_exited", pid=None)}
        assert ways == {"could not be forked"}


def test_a_reload_waits_for_forks_that_fail_for_a_time() -> None:
    """The old workers serve until the master can fork those of the new configuration."""
    with serving("-w", "1", env=UNTRACED) as daemon, unharmed(daemon):
        with failing(daemon.process.pid, f"{FORKS}:error=EAGAIN:when=1..3"):
            daemon.send(signal.SIGHUP)
            serve_until(daemon, "daemon_reloaded")
        assert daemon.find("reload_rejected") == []


def test_a_reload_that_can_fork_nothing_is_rejected() -> None:
    """The old workers serve on, and the next reload succeeds."""
    with serving("-w", "1", env=UNTRACED) as daemon, unharmed(daemon):
        workers = daemon.live_workers()
        with failing(daemon.process.pid, f"{FORKS}:error=ENOMEM"):
            daemon.send(signal.SIGHUP)
            serve_until(daemon, "reload_rejected")
        assert daemon.live_workers() == workers
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")


@pytest.mark.parametrize("name", ["EAGAIN", "EINTR"])
def test_a_wait_for_signals_that_fails_is_made_again(name: str) -> None:
    """When the wait for a signal is interrupted or ends too early, the master retries it and loses no signal."""
    with serving("-w", "1", env=UNTRACED) as daemon, unharmed(daemon):
        fault = f"rt_sigtimedwait:error={name}:when=1..15+2"
        with failing(daemon.process.pid, fault):
            for count in range(1, 4):
                daemon.send(signal.SIGHUP)
                daemon.wait_events("daemon_reloaded", count)
                assert fetch(daemon.port())
