"""The ring: streams that have ended, until their descriptors can be closed without a reset."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from unit_help import read_to_end, within

from daytimed import ring
from daytimed.gate import Gate
from daytimed.networks import NetworkSet
from daytimed.ring import RECENT, TICK_S, TICKS, WAITING, Ring
from daytimed.session import Streams

REPLY = b"The Date Time is: 2026-11-22 12:00:00.123456789 +0530 IST\r\n"


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError as error:
        assert error.errno == errno.EBADF
        return False
    return True


class Served:
    """TCP clients that one process serves, one after the other; the test makes the ticks."""

    def __init__(self, stack: contextlib.ExitStack, *, has_timer: bool = True) -> None:
        self.timer: list[float] = []
        self.ring = Ring((int(socket.AF_INET), int(socket.SOCK_STREAM), 0), self.timer.append if has_timer else None)
        gate = Gate(NetworkSet([]), NetworkSet([]), None)
        self._streams = Streams(self.ring, gate, lambda now_ns: REPLY, is_unix=False)
        self._stack = stack
        self._server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.callback(self.ring.close)

    def connect(self) -> tuple[socket.socket, int]:
        """Connect a client; return it and its descriptor here."""
        client = self._stack.enter_context(socket.create_connection(self._server.getsockname()))
        client.settimeout(10)
        return client, self._server.accept()[0].detach()

    def serve(self, descriptor: int) -> None:
        assert (len(REPLY), None) == self._streams.serve((descriptor, ("127.0.0.1", 0)), 0)

    def come(self) -> tuple[socket.socket, int]:
        """Connect a client and serve it; return it and its descriptor here."""
        client, descriptor = self.connect()
        self.serve(descriptor)
        return client, descriptor


@pytest.fixture(name="closed")
def _closed(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Count how often the session closes each descriptor."""
    counted = Counter[int]()
    close = _socket.close

    def count(descriptor: int) -> None:
        counted[descriptor] += 1
        close(descriptor)

    monkeypatch.setattr(_socket, "close", count)
    return counted


@pytest.fixture(name="served")
def _served() -> Iterator[Served]:
    with contextlib.ExitStack() as stack, within(60):
        yield Served(stack)


def test_client_that_writes_again_and_again_is_not_reset(served: Served) -> None:
    """A client that writes after the reply, at every tick, has no failed send, and reads the reply and end of file."""
    client, descriptor = served.come()
    for _ in range(TICKS - 1):
        client.sendall(b"x")
        served.ring.tick()
    assert is_open(descriptor)
    assert REPLY == read_to_end(client)


def test_client_that_closes_is_closed_at_the_next_tick(served: Served) -> None:
    """A tick closes the stream of a client that has closed, and ends the timer with the last one."""
    (one, first), (other, second) = served.come(), served.come()
    one.close()
    served.ring.tick()
    assert (False, True, [TICK_S]) == (is_open(first), is_open(second), served.timer)
    other.close()
    served.ring.tick()
    assert (False, [TICK_S, 0]) == (is_open(second), served.timer)


def test_client_that_never_closes_has_two_seconds(served: Served) -> None:
    """A client that neither closes nor stops writing is closed after its last tick, and not before."""
    client, descriptor = served.come()
    client.setblocking(False)
    for tick in range(TICKS):
        assert is_open(descriptor), tick
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(b"x" * 65536)
        served.ring.tick()
    assert not is_open(descriptor)
    # the first tick may come at once
    assert (TICKS - 1) * TICK_S >= 2.0


def test_ring_is_bounded(served: Served, closed: Counter[int]) -> None:
    """Of any number of clients that do not close, a bounded number of descriptors is open."""
    most = RECENT + WAITING
    for number in range(2 * most):
        served.come()
        assert number + 1 - closed.total() <= most
    served.ring.tick()
    assert 2 * most - closed.total() <= WAITING


def test_later_client_takes_the_place_of_one_that_has_closed(served: Served, closed: Counter[int]) -> None:
    """When a place is needed, a client that has closed gives way before one that waits."""
    waiting, _ = served.come()
    for _ in range(2 * WAITING):
        served.come()[0].close()
    waiting.sendall(b"still here")
    assert REPLY == read_to_end(waiting)
    assert closed.total() >= 2 * WAITING - RECENT


@pytest.mark.parametrize("sent", [0, 1, 65536])
def test_client_whose_place_is_needed_is_not_reset_for_its_input(
    served: Served, closed: Counter[int], sent: int
) -> None:
    """Input that a client has sent is discarded before its stream is closed, so that the close is no reset."""
    client, descriptor = served.come()
    client.sendall(b"x" * sent)
    keep = []
    while not closed[descriptor]:
        keep.append(served.come())
        assert len(keep) <= RECENT + WAITING
    assert REPLY == read_to_end(client)


def test_release_closes_all_at_once(served: Served) -> None:
    """A release closes every stream and ends the timer; clients keep the reply that they have been sent."""
    clients = [served.come() for _ in range(5)]
    assert (5, 0) == (served.ring.release(), served.timer[-1])
    assert [(False, REPLY)] * 5 == [(is_open(descriptor), read_to_end(client)) for client, descriptor in clients]
    assert 0 == served.ring.release()


@pytest.mark.parametrize("kind", ["open", "closed", "mixed"])
def test_tick_may_come_at_any_point(kind: str, closed: Counter[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick between any two steps of the interpreter closes nothing twice, loses nothing, and raises nothing."""
    monkeypatch.setattr(ring, "RECENT", 3)
    monkeypatch.setattr(ring, "WAITING", 3)
    step = steps = 0
    accepted = Counter[int]()
    while step <= steps:
        with contextlib.ExitStack() as stack, within(20):
            served = Served(stack)
            for number in range(6):
                # both kinds of places are full: the next client displaces one of each
                client, descriptor = served.come()
                accepted[descriptor] += 1
                if kind == "closed" or (kind == "mixed" and number % 2):
                    client.close()
            steps = ticking(served, step, accepted)
            assert served.timer[-1] > 0 or accepted == closed, step
            served.ring.release()
            assert accepted == closed, step
            assert served.timer[-1] == 0
        step += 1
    assert steps > 50


def ticking(served: Served, at: int, accepted: Counter[int]) -> int:
    """Serve one client, with a tick before the `at`th step of the ring; return the number of steps."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != ring.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if count == at:
                sys.settrace(None)
                served.ring.tick()
                sys.settrace(trace)
            count += 1
        return trace

    # the newest client has closed when the tick looks at it
    client, descriptor = served.connect()
    client.close()
    accepted[descriptor] += 1
    sys.settrace(trace)
    try:
        served.serve(descriptor)
    finally:
        sys.settrace(None)
    return count


def test_ring_closes_nothing_that_is_not_its_own() -> None:
    """A descriptor that reuses a client's number stays open, both at a next client and at the end."""
    with contextlib.ExitStack() as stack:
        served = Served(stack)
        other = stack.enter_context(open(os.devnull)).fileno()
        for _ in range(3):
            client, descriptor = served.come()
            assert REPLY == read_to_end(client)
            served.ring.release()
            stack.callback(os.close, os.dup2(other, descriptor))
        served.ring.close()
        # the callbacks raise nothing at the end: each descriptor is still open


def test_waiting_ends_with_the_client() -> None:
    """A process that serves one client waits for its end of file, and no longer."""
    with contextlib.ExitStack() as stack, within(1):
        served = Served(stack, has_timer=False)
        client, descriptor = served.come()
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        served.ring.wait()
        assert not is_open(descriptor)
        assert REPLY == read_to_end(client)


def test_waiting_ends_with_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that serves one client does not wait for ever for its end of file: TICKS ticks, and no longer."""
    monkeypatch.setattr(ring, "TICK_S", 0.005)
    with contextlib.ExitStack() as stack, within(10):
        served = Served(stack, has_timer=False)
        _, descriptor = served.come()
        begun = time.monotonic()
        served.ring.wait()
        assert time.monotonic() - begun >= TICKS * 0.005
        assert is_open(descriptor)
        served.ring.close()
        assert not is_open(descriptor)
