"""A generation: the sockets that it adopts, and the slots of its workers."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from daytimed.counters import ACCEPTED, FINISHED, READY, Cells, Counters
from daytimed.errors import ListenError
from daytimed.generation import Child, adopt_passed, stored_name


@pytest.mark.parametrize("rest", ["", "xx", "tcp;//::", "unix;//relative"])
def test_a_name_like_those_of_kept_sockets_is_refused(rest: str) -> None:
    """A passed socket whose name begins like those of kept sockets, but is not one of them, is an error."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ListenError) as caught:
        adopt_passed(f"stored-{rest}", server.fileno())
    assert f"(stored-{rest}) has a name like those of sockets that were kept for us, but " in str(caught.value)


def test_a_socket_of_ours_is_what_it_was() -> None:
    """A socket that systemd kept across a restart has the address that it was bound for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = adopt_passed("stored-tcp4;//localhost;0", server.detach())
        assert (str(listener.requested), listener.name) == ("tcp4://localhost:0", None)
        assert stored_name(listener.requested) == "stored-tcp4;//localhost;0"
        listener.close()


def child() -> tuple[Child, Cells]:
    """Return a worker that is starting, and its cells."""
    counters = Counters()
    slot = counters.acquire()
    assert slot is not None
    # nobody asks for its team
    team: Any = None
    return Child(0, team, slot, counters.slot(slot), 0.0), counters.slot(slot)


def looks(worker: Child, count: int) -> list[tuple[bool, int]]:
    """Return, for each look, whether another one is due and for how many looks the worker has stood still."""
    return [(worker.look(), worker.still) for _ in range(count)]


def test_worker_that_does_not_get_ready_stands_still() -> None:
    """A worker stands still from the second look until it is ready; then no other look is due."""
    worker, cells = child()
    assert [(True, 0), (True, 1), (True, 2)] == looks(worker, 3)
    cells[READY] = 1
    assert [(False, 0)] == looks(worker, 1)


def test_worker_with_the_same_client_stands_still() -> None:
    """A worker stands still while it has the same client at each look, and not with a new one each time."""
    worker, cells = child()
    cells[READY] = 1
    for _ in range(3):
        cells[ACCEPTED] += 1
        assert [(True, 0)] == looks(worker, 1)
        cells[FINISHED] += 1
    cells[ACCEPTED] += 1
    assert [(True, 0), (True, 1), (True, 2)] == looks(worker, 3)
    cells[FINISHED] += 1
    assert [(False, 0)] == looks(worker, 1)


def test_worker_that_is_held_stands_still() -> None:
    """A stopped worker stands still, even without a client."""
    worker, cells = child()
    cells[READY] = 1
    worker.stopped = True
    assert [(True, 1), (True, 2)] == looks(worker, 2)
