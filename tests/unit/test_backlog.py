"""The clients that wait at a listener which goes away."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daytimed import backlog
from daytimed.addresses import Address, parse
from daytimed.backlog import Backlog
from daytimed.config import load
from daytimed.counters import Counters
from daytimed.generation import compile_replies
from daytimed.listeners import Listener, open_listeners, resolve

HERE = "127.0.0.1"


@contextlib.contextmanager
def opened(address: str | Address) -> Iterator[Listener]:
    parsed = parse(address) if isinstance(address, str) else address
    (listener,) = open_listeners(parsed, resolve(parsed))
    try:
        yield listener
    finally:
        listener.close()


def make(**settings: object) -> tuple[Backlog, Counters]:
    config = load.load(None, {}, {"format": "ctime", **settings}, [])
    counters = Counters()
    return Backlog(config, compile_replies(config, {}), counters), counters


def counted(counters: Counters) -> tuple[int, int, dict[str, int]]:
    total = counters.total()
    return total.accepted, total.served, total.by_reason()


@pytest.mark.parametrize("scheme", ["tcp4", "udp4", "unix"])
def test_all_who_wait_are_answered(tmp_path: Path, scheme: str) -> None:
    """Each client in the queue gets the reply of the daemon's format, and nothing waits for another one."""
    address = Address("unix", path=str(tmp_path / "socket")) if scheme == "unix" else parse(f"{scheme}://{HERE}:0")
    empty, counters = make()
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    kind = socket.SOCK_DGRAM if scheme == "udp4" else socket.SOCK_STREAM
    with opened(address) as listener, socket.socket(family, kind) as one, socket.socket(family, kind) as other:
        for client in (one, other):
            client.settimeout(10)
            client.connect(listener.socket.getsockname())
            if scheme == "udp4":
                client.send(b"")
        empty.empty([listener])
        assert [26, 26] == [len(client.recv(100)) for client in (one, other)]
    assert (2, 2, {}) == counted(counters)
    assert 4095 == len(counters._free)


def test_access_rules_hold(tmp_path: Path) -> None:
    """A client that is denied, or beyond its rate, gets nothing, and is counted."""
    file = tmp_path / "daytimed.toml"
    for rule, reason in ((f'deny = ["{HERE}"]', "denied"), ("rate = 1\nburst = 1", "rate")):
        file.write_text(f"[access]\n{rule}\n")
        config = load.load(str(file), {}, {}, [])
        counters = Counters()
        with opened(f"{HERE}:0") as listener:
            clients = [socket.create_connection((HERE, listener.port)) for _ in range(2)]
            Backlog(config, compile_replies(config, {}), counters).empty([listener])
            for client in clients:
                client.close()
        assert counted(counters)[2] == {reason: 2 if reason == "denied" else 1}


def test_clients_that_keep_coming_do_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One time limit covers all listeners together."""
    empty, counters = make()
    times = iter(range(0, 10 * backlog.LONGEST_NS, backlog.LONGEST_NS // 2))
    with opened(f"{HERE}:0") as first, opened(f"{HERE}:0") as second:
        clients = [socket.create_connection((HERE, each.port)) for each in (first, second) for _ in range(5)]
        monkeypatch.setattr(time, "monotonic_ns", lambda: next(times))
        empty.empty([first, second])
        monkeypatch.undo()
        for client in clients:
            client.close()
    assert (1, 1, {}) == counted(counters)


class Broken:
    """A socket whose accept fails."""

    def __init__(self, *errors: int) -> None:
        self._errors = [*errors]

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def _accept(self) -> tuple[int, object]:
        raise OSError(self._errors.pop(0), "broken")


def test_errors_of_a_client_are_passed_over() -> None:
    """A client that has gone is not the end; an empty queue is."""
    empty, counters = make()
    with opened(f"{HERE}:0") as listener:
        real, listener.socket = listener.socket, Broken(errno.ECONNABORTED, errno.EHOSTUNREACH, errno.EAGAIN)  # type: ignore[assignment]
        empty.empty([listener])
        assert [] == listener.socket._errors  # type: ignore[attr-defined]
        listener.socket = real
    assert (0, 0, {}) == counted(counters)
