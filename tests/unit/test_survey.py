"""Surveys: several samples of one server, and several servers side by side."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from unit_help import reset, stream_server, within

from daytimed.addresses import Address
from daytimed.probe import client, survey, zones
from daytimed.probe.survey import Survey, spread
from daytimed.probe.verdict import Limits

LOOPBACK = "127.0.0.1"
LONG_S = 20.0

Handler = Callable[[socket.socket], None]


def plan(count: int, timeout_s: float = LONG_S, gap_s: float = 0.001) -> Survey:
    return Survey(b"", timeout_s, 1000, count, gap_s, zones.load_offsets("UTC"), Limits())


def good(peer: socket.socket) -> None:
    peer.sendall(b"%.6f\r\n" % time.time())


def listen() -> tuple[socket.socket, Address]:
    sock = socket.create_server((LOOPBACK, 0))
    return sock, Address("tcp", LOOPBACK, sock.getsockname()[1])


@pytest.mark.parametrize("count", [1, 2, 7, 20, 100, 101, 450, 1000])
def test_samples_fall_into_different_parts_of_the_second(count: int) -> None:
    """Any number of samples leaves no gap in the second longer than a few hundredths."""
    gap = spread(count, None)
    parts = sorted(number * gap % 1 for number in range(count))
    gaps = [after - before for before, after in zip(parts, [*parts[1:], parts[0] + 1], strict=True)]
    assert max(gaps) < 0.0201 + 1 / count


@pytest.mark.parametrize(("count", "interval"), [(3, 4.0), (20, 0.5), (0, 1.0)])
def test_interval_that_was_asked_for(count: int, interval: float) -> None:
    """Samples are at least the interval apart, and in different parts of the second."""
    gap = spread(count, interval)
    assert gap > interval
    assert len({round(number * gap % 1, 6) for number in range(count or 20)}) == (count or 20)


def test_a_question_that_hangs_leaves_time_for_the_others() -> None:
    """A question takes at most half of the remaining time, so that the next ones are asked too."""
    sock, address = listen()

    def hang_in_the_background(peer: socket.socket) -> None:
        held.append(peer.dup())

    held: list[socket.socket] = []
    with within(LONG_S), stream_server(sock, hang_in_the_background, good, good):
        verdict = plan(3, 1.0).check(address)
    held[0].close()
    assert (verdict.tally.sent, verdict.tally.answered) == (3, 2)
    assert (verdict.state, verdict.reason) == ("WARNING", "1 of 3 samples failed: no reply within 0.5 s")


def test_a_slow_server_is_not_blamed_for_the_deadline() -> None:
    """A sample with less time than the others took is skipped, and the reason reports it."""
    sock, address = listen()
    turn = threading.Event()

    def slow(peer: socket.socket) -> None:
        # a real delay, not an event, because the delay is what is tested
        turn.wait(0.15)
        good(peer)

    with within(LONG_S), stream_server(sock, *[slow] * 20):
        verdict = plan(20, 1.0).check(address)
    assert verdict.tally.answered == verdict.tally.sent < 20
    expected = f"the timeout allowed only {verdict.tally.sent} of 20 samples"
    assert (verdict.state, verdict.reason) == ("OK", expected)


class Clock:
    """A clock that advances only by sleeps and questions."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_no_wait_goes_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late sample delays the next ones, and the survey does not wait for one beyond the deadline."""
    clock = Clock()
    asked: list[float] = []

    def hang_first(address: Address, request: bytes, timeout_s: float, *_: object) -> client.Answer:
        asked.append(clock.now)
        answer = client.Answer(address)
        answer.total_s = 0.001 if len(asked) > 1 else timeout_s
        answer.reason = None if len(asked) > 1 else "no reply"
        clock.now += answer.total_s
        return answer

    monkeypatch.setattr(survey, "time", clock)
    monkeypatch.setattr(survey, "ask", hang_first)
    taken = list(plan(4, timeout_s=17.0, gap_s=5.25).samples(Address("tcp", "name", 1)))
    assert ([0.0, 8.5, 13.75], 3) == (asked, len(taken))
    assert clock.now < 17.0


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Press Ctrl-C during the question after a number of others."""
    asked: list[Address] = []

    def ask_until(address: Address, *arguments: Any) -> client.Answer:
        if len(asked) == after:
            raise KeyboardInterrupt
        asked.append(address)
        return client.ask(address, *arguments)

    monkeypatch.setattr(survey, "ask", ask_until)


@pytest.mark.parametrize("count", [0, 5])
def test_interrupt_counts_the_question_that_hangs(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a question ends the survey, and counts the question as unanswered."""
    interrupted(monkeypatch, after=2)
    sock, address = listen()
    with within(LONG_S), stream_server(sock, good, good):
        verdict = plan(count).check(address)
    assert (verdict.tally.sent, verdict.tally.answered, verdict.state) == (3, 2, "WARNING")
    assert str(verdict.reason).startswith("1 of 3 samples failed: no reply yet after ")


def test_interrupt_of_the_first_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the first of several questions means no reply; during the only one, nothing is known."""
    interrupted(monkeypatch, after=0)
    sock, address = listen()
    sock.close()
    verdict = plan(0).check(address)
    assert (verdict.tally.sent, verdict.tally.answered, verdict.state) == (1, 0, "CRITICAL")
    with pytest.raises(KeyboardInterrupt):
        plan(1).check(address)


def test_interrupt_of_many_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C, servers that replied keep their verdict; the others have no reply."""
    sock, address = listen()
    silent, other = listen()
    counted: list[int] = []

    def progress(count: int) -> None:
        counted.append(count)
        if count == 1:
            raise KeyboardInterrupt

    with within(LONG_S), stream_server(sock, good):
        verdicts = list(plan(1).check_all([other, address], progress))
    silent.close()
    assert [verdict.state for verdict in verdicts] == ["CRITICAL", "OK"]
    assert str(verdicts[0].reason).startswith("no reply yet after ")
    assert counted == [2, 1, 0]


def test_more_servers_than_descriptors() -> None:
    """With few descriptors, fewer servers are asked at the same time, and all are OK."""
    sock, address = listen()
    # one server with a hundred addresses
    words = [f"127.0.0.{number}:{address.port}" for number in range(1, 101)]
    sock.close()
    everywhere = socket.create_server(("0.0.0.0", int(address.port)))
    with within(60), stream_server(everywhere, *[good] * 100):
        command = f"ulimit -n 64; exec {sys.executable} -m daytimed.probe -q -t 20 {' '.join(words)}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_lack_of_memory_in_every_thread_is_no_hang() -> None:
    """Threads that end without a result, for lack of memory, end the survey as UNKNOWN."""
    script = (
        "import queue, sys\n"
        "class Full(queue.SimpleQueue):\n"
        "    def put(self, item): raise MemoryError\n"
        "queue.SimpleQueue = Full\n"
        "from daytimed.probe import __main__\n"
        "sys.exit(__main__.main())\n"
    )
    words = [sys.executable, "-c", script, "127.0.0.1:1", "127.0.0.2:1"]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr.endswith(b"\ndaytime-get: this host is out of memory\n")


def test_lack_of_descriptors_is_local() -> None:
    """Without descriptors on this host, the state of the server is UNKNOWN."""
    sock, address = listen()
    with stream_server(sock, good):
        # the limit is raised again afterwards, for what the interpreter opens at exit
        script = (
            "import resource, sys; from daytimed.probe import cli, screen;"
            " most = resource.getrlimit(resource.RLIMIT_NOFILE);"
            " resource.setrlimit(resource.RLIMIT_NOFILE, (3, most[1])); code = cli.main(sys.argv[1:]);"
            " resource.setrlimit(resource.RLIMIT_NOFILE, most); sys.exit(code)"
        )
        words = [sys.executable, "-c", script, str(address)]
        done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr.endswith(b": this host is out of descriptors; see ulimit -n\n")


def test_the_same_server_is_asked_again() -> None:
    """A name is resolved once, so that all samples ask the same server."""
    first, address = listen()
    second = socket.create_server(("::1", int(address.port)), family=socket.AF_INET6)
    places = []
    with stream_server(first, good, good), stream_server(second, good, good):
        for answer in plan(2).samples(Address("tcp", "localhost", address.port)):
            places.append(answer.place)
    assert places[0] == places[1]
    assert places[0] is not None


def test_failed_samples_do_not_end_the_others() -> None:
    """A reset costs one sample; the next ones are asked."""
    sock, address = listen()
    begun = time.monotonic()
    with within(LONG_S), stream_server(sock, good, reset, good):
        verdict = plan(3).check(address)
    assert (verdict.tally.sent, verdict.tally.answered) == (3, 2)
    assert verdict.reason == "1 of 3 samples failed: the server reset the connection"
    assert time.monotonic() - begun < LONG_S / 2
