"""The worker: its loop over real sockets, its log of clients, and the source of its datagrams."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit_help import NS, has_ipv6, read_to_end, reset, within

from daytimed import addresses, signals
from daytimed.budget import Budget
from daytimed.counters import (
    ACCEPTED,
    DROPPED,
    FINISHED,
    READY,
    SERVED,
    SUPPRESSED_DROPPED,
    SUPPRESSED_SERVED,
    WATCHED,
    Counters,
    name_reasons,
)
from daytimed.gate import Gate
from daytimed.listeners import Listener, open_listeners, resolve
from daytimed.log import clients as log_clients
from daytimed.log.clients import Allowance, ClientLog
from daytimed.log.log import Log
from daytimed.networks import NetworkSet
from daytimed.peers import NAMELESS, Peer
from daytimed.rates import RateLimit
from daytimed.reasons import RATE, REASONS, RESET
from daytimed.worker import PAUSE_S, REHEARSED, Worker

REPLY = b"reply\r\n"


@pytest.fixture(autouse=True)
def _no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer of a worker is this process's own, which limits the tests: no tick comes here."""
    monkeypatch.setattr(signals, "set_timer", lambda interval_s: None)


NOBODY = NetworkSet([])
OPEN_GATE = Gate(NOBODY, NOBODY, None)


class Events:
    """A sink of a log that keeps the events, and calls a function for each."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None] = lambda event: None) -> None:
        self.seen: list[dict[str, Any]] = []
        self._on_event = on_event

    def __call__(self, level: str, rendered: bytes) -> bool:
        event = json.loads(rendered)
        event = {key: value for key, value in event.items() if key not in ("timestamp", "level", "message")}
        self.seen.append(event)
        self._on_event(event)
        return True

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.seen]

    def log(self, level: str = "info") -> Log:
        return Log(self, "json", level, lambda: None)


def cell(value: int = 0) -> memoryview[int]:
    return memoryview(bytearray(struct.pack("=Q", value))).cast("Q")


# -- the log of clients ----------------------------------------------------------------------------------------------

SERVED_EVENT = {"event": "client_served", "client": "192.0.2.1", "port": 5, "listener": "daytime", "bytes": 7}
DROPPED_EVENT = {"event": "client_dropped", "client": "192.0.2.1", "port": 5, "listener": "daytime", "reason": "rate"}


@pytest.mark.parametrize(
    ("clients", "level", "quiet", "expected"),
    [
        ("all", "info", "198.51.100.0/24", [SERVED_EVENT, DROPPED_EVENT]),
        ("all", "debug", "198.51.100.0/24", [SERVED_EVENT, DROPPED_EVENT]),
        ("all", "warning", "198.51.100.0/24", []),
        ("dropped", "info", "198.51.100.0/24", [DROPPED_EVENT]),
        ("none", "info", "198.51.100.0/24", []),
        ("all", "info", "192.0.2.0/24", [DROPPED_EVENT]),
        ("none", "info", "192.0.2.0/24", []),
    ],
)
def test_which_clients_are_reported(clients: str, level: str, quiet: str, expected: list[dict[str, Any]]) -> None:
    """The settings select the clients that are logged; the others are not counted as suppressed."""
    events = Events()
    client_log = ClientLog(events.log(level), "daytime", clients, NetworkSet([ipaddress.ip_network(quiet)]), None)
    client_log.record(("192.0.2.1", 5), NS, 7, None)
    client_log.record(("192.0.2.1", 5), NS, 0, RATE)
    assert expected == events.seen
    assert (clients != "none" and level != "warning") == bool(client_log)


def test_clients_beyond_the_budget_are_counted_by_reason_and_network() -> None:
    """Once the budget is used up, exactly the clients that the settings select are counted."""
    events, counters = Events(), Counters()
    quiet = NetworkSet([ipaddress.ip_network("198.51.100.0/24")])
    allowance = Allowance(Budget(cell(), 0, 1.0, 2), counters.head, counters.slot(0))
    client_log = ClientLog(events.log(), "daytime", "all", quiet, allowance)
    for peer in [("192.0.2.1", 5)] * 2 + [
        ("192.0.2.7", 5),
        ("::ffff:192.0.2.9", 5, 0, 0),
        ("198.51.100.1", 5),
        NAMELESS,
    ]:
        client_log.record(peer, NS, 7, None)
    for host, reason in (("198.51.100.1", RATE), ("198.51.100.1", RATE), ("198.51.100.1", RESET), ("192.0.2.1", RESET)):
        client_log.record((host, 5), NS, 0, reason)
    assert [SERVED_EVENT, SERVED_EVENT] == events.seen
    counts = counters.total()
    assert (3, {"rate": 2, "reset": 1}) == (counts.suppressed_served, name_reasons(counts.suppressed_dropped))
    # the one at which the budget was asked; the others came before it is asked again
    assert {"192.0.2.0/24": 1} == counters.sampled_networks()


def test_clients_that_are_not_logged_use_up_no_budget() -> None:
    """Clients of quiet networks, and of kinds that are not logged, use no budget."""
    events, counters = Events(), Counters()
    allowance = Allowance(Budget(cell(), 0, 1.0, 1), counters.head, counters.slot(0))
    client_log = ClientLog(events.log(), "daytime", "dropped", NOBODY, allowance)
    for _ in range(5):
        client_log.record(("192.0.2.1", 5), NS, 7, None)
    client_log.record(("192.0.2.1", 5), NS, 0, RATE)
    assert [DROPPED_EVENT] == events.seen


@pytest.mark.parametrize(
    ("peer", "client", "port"),
    [
        (("192.0.2.1", 5), "192.0.2.1", 5),
        (("2001:db8::1", 5, 0, 0), "2001:db8::1", 5),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1", 5),
        (("fe80::1", 5, 0, 2), "fe80::1%eth2", 5),
        (("unknown", 0), "unknown", 0),
        (NAMELESS, "unix", 0),
    ],
)
def test_names_of_clients(peer: Peer, client: str, port: int) -> None:
    """A client is logged by its address: IPv4 over IPv6 as IPv4, link-local with its scope; `unix` has none."""
    events = Events()
    quiet = NetworkSet([ipaddress.ip_network("::9")])
    client_log = ClientLog(events.log(), "daytime", "all", quiet, None, "eth{}".format)
    client_log.record(peer, NS, 7, None)
    client_log.record(peer, NS, 7, RESET)
    assert [(client, port)] * 2 == [(event["client"], event["port"]) for event in events.seen]


@pytest.mark.parametrize("peer", [("192.0.2.1", 5), ("::ffff:192.0.2.1", 5, 0, 0), ("fe80::1", 5, 0, 2)])
@pytest.mark.parametrize("clients", ["all", "dropped"])
def test_quiet_clients(peer: Peer, clients: str) -> None:
    """A quiet client, IPv4 over IPv6 too, is not logged when it is served or resets; every other drop is logged."""
    events = Events()
    quiet = NetworkSet([ipaddress.ip_network(each) for each in ("192.0.2.0/24", "fe80::/10")])
    client_log = ClientLog(events.log(), "daytime", clients, quiet, None)
    client_log.record(peer, NS, 7, None)
    for reason in range(len(REASONS)):
        client_log.record(peer, NS, 0, reason)
    assert [each for each in REASONS if each != "reset"] == [event["reason"] for event in events.seen]


# -- the loop --------------------------------------------------------------------------------------------------------


class Bench:
    """
    A worker on a real listener in this process, for clients that have already connected.

    It stops as for the master, but from inside: when it accepts the last client, or when it logs it.
    """

    def __init__(self, listener: Listener, gate: Gate = OPEN_GATE, own_ports: frozenset[int] = frozenset()) -> None:
        self.counters = Counters()
        self.head, self.slot = self.counters.head, self.counters.slot(self.counters.acquire() or 0)
        self.wakes = 0
        self.busy: list[bool] = []
        self.busy_logging: list[bool] = []
        self.worker = Worker(listener, "daytime", self.reply, gate, self.head, self.slot, own_ports)

    def reply(self, now_ns: int) -> bytes:
        self.busy.append(self.slot[ACCEPTED] == self.slot[FINISHED] + 1)
        return REPLY

    def run(
        self,
        clients: int,
        *,
        logged: bool = False,
        log: str = "all",
        budget: Budget | None = None,
        quiet: NetworkSet = NOBODY,
    ) -> Events:
        """Serve `clients` clients; stop when the last one is accepted or, with `logged`, when it is logged."""

        def wake() -> None:
            self.wakes += 1
            if not logged and self.slot[ACCEPTED] == clients:
                self.worker.stop()

        def count(event: dict[str, Any]) -> None:
            self.busy_logging.append(self.slot[ACCEPTED] == self.slot[FINISHED] + 1)
            if logged and len(events.seen) == clients:
                self.worker.stop()

        events = Events(count)
        own = events.log()
        with within(20):
            allowance = Allowance(budget, self.head, self.slot) if budget else None
            self.worker.run(own, ClientLog(own, "daytime", log, quiet, allowance), wake)
        return events

    def counted(self) -> dict[str, int]:
        assert self.slot[ACCEPTED] == self.slot[FINISHED]
        names = {"ready": READY, "accepted": ACCEPTED, "served": SERVED}
        names |= {reason: DROPPED + index for index, reason in enumerate(REASONS)}
        names |= {f"suppressed_{reason}": SUPPRESSED_DROPPED + index for index, reason in enumerate(REASONS)}
        names["suppressed_served"] = SUPPRESSED_SERVED
        return {name: self.slot[index] for name, index in names.items() if self.slot[index]}


def used_up() -> Budget:
    """Return a budget that stays used up while any machine runs."""
    return Budget(cell(2**63), 0, 1e-9, 1)


@contextlib.contextmanager
def opened(address: str) -> Iterator[Listener]:
    parsed = addresses.parse(address)
    (listener,) = open_listeners(parsed, resolve(parsed))
    try:
        yield listener
    finally:
        listener.close()


def connect(listener: Listener) -> socket.socket:
    if listener.requested.path:
        client = socket.socket(socket.AF_UNIX)
        client.connect(listener.requested.path)
        return client
    return socket.create_connection(("127.0.0.1", listener.port))


@contextlib.contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """Let this process open only this many more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("scheme", ["tcp4", "unix"])
@pytest.mark.parametrize(("descriptors", "expected"), [(100, REHEARSED), (4, None), (1, 0)])
def test_a_rehearsal_leaves_nothing_behind(
    scheme: str, descriptors: int, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rehearsal serves its clients, ends its timer, keeps no descriptor open, and needs none to be free."""
    intervals = [0.0]
    monkeypatch.setattr(signals, "set_timer", intervals.append)
    address = f"unix://{tmp_path}/socket" if scheme == "unix" else "tcp4://127.0.0.1:0"
    with opened(address) as listener:
        bench, events = Bench(listener), Events()
        before = os.listdir("/proc/self/fd")
        with few_descriptors(descriptors), within(20):
            bench.worker.rehearse(ClientLog(events.log(), "daytime", "all", NOBODY, None))
        assert before == os.listdir("/proc/self/fd")
        counted = bench.counted()
        assert expected in (None, counted.get("served", 0))
        assert counted.get("accepted", 0) == len(events.seen)
        assert intervals[-1] == 0
        # afterwards it serves as before
        with connect(listener) as client:
            bench.run(1)
            assert REPLY == read_to_end(client)


@pytest.mark.parametrize("scheme", ["tcp4", "tcp", "unix"])
def test_clients_are_served_one_after_another(scheme: str, tmp_path: Path) -> None:
    """Each client gets its reply, is counted and logged, and the slot shows when the worker has none."""
    address = f"unix://{tmp_path}/socket" if scheme == "unix" else f"{scheme}://:0"
    with opened(address) as listener, connect(listener) as one, connect(listener) as other:
        bench = Bench(listener)
        events = bench.run(2)
        assert [REPLY, REPLY] == [read_to_end(one), read_to_end(other)]
    assert {"accepted": 2, "served": 2} == bench.counted()
    expected = ("unix", 7) if scheme == "unix" else ("127.0.0.1", 7)
    assert [expected] * 2 == [(event["client"], event["bytes"]) for event in events.seen]
    assert [True, True] == bench.busy


@pytest.mark.parametrize("name", ["", "/tmp/client", b"\0abstract", b"\0"])
def test_client_of_a_unix_socket_may_call_itself_anything(name: str | bytes, tmp_path: Path) -> None:
    """A client with any name is served, and logged as `unix` without that name."""
    if isinstance(name, str) and name:
        name = str(tmp_path / "client")
    with opened(f"unix://{tmp_path}/socket") as listener, socket.socket(socket.AF_UNIX) as client:
        client.bind(name)
        client.connect(listener.requested.path)
        assert [("unix", 0)] == [(event["client"], event["port"]) for event in Bench(listener).run(1).seen]
        assert REPLY == read_to_end(client)


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("scheme", ["tcp4", "udp4"])
def test_worker_is_busy_until_its_client_is_reported(scheme: str, dropped: bool) -> None:
    """A worker that hangs in its log, on a disk that does not respond for example, counts as busy."""
    kind = socket.SOCK_STREAM if scheme == "tcp4" else socket.SOCK_DGRAM
    everybody = NetworkSet([ipaddress.ip_network("127.0.0.0/8")])
    with opened(f"{scheme}://127.0.0.1:0") as listener, socket.socket(socket.AF_INET, kind) as client:
        client.connect(("127.0.0.1", listener.port))
        client.send(b"x")
        bench = Bench(listener, Gate(NOBODY, everybody if dropped else NOBODY, None))
        assert ["client_dropped" if dropped else "client_served"] == bench.run(1).names
        assert [True] == bench.busy_logging


def test_master_is_woken_only_while_it_sleeps() -> None:
    """A worker wakes the master for a client, unless the master is already watching."""
    found = []
    for watched in (0, 1):
        with opened("tcp4://127.0.0.1:0") as listener, connect(listener), connect(listener):
            bench = Bench(listener)
            bench.head[WATCHED] = watched
            bench.run(2, logged=True)
            found.append(bench.wakes)
    assert [2, 0] == found


def test_client_that_resets_is_dropped_and_the_next_is_served() -> None:
    """A client that resets is dropped, and the next one gets its reply."""
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener) as bad, connect(listener) as good:
        reset(bad)
        bench = Bench(listener)
        events = bench.run(2)
        assert REPLY == read_to_end(good)
    assert {"accepted": 2, "served": 1, "reset": 1} == bench.counted()
    assert ["reset", None] == [event.get("reason") for event in events.seen]


def test_denied_client_gets_nothing() -> None:
    """A denied client is closed without a byte, and no reply is made for it."""
    gate = Gate(NOBODY, NetworkSet([ipaddress.ip_network("127.0.0.0/8")]), None)
    with opened("tcp://:0") as listener, connect(listener) as client:
        bench = Bench(listener, gate)
        events = bench.run(1)
        assert b"" == read_to_end(client)
    assert ({"accepted": 1, "denied": 1}, []) == (bench.counted(), bench.busy)
    assert "denied" == events.seen[0]["reason"]


def test_gate_does_not_judge_unix_clients(tmp_path: Path) -> None:
    """A client on a unix socket has no address; the mode of the path controls access."""
    gate = Gate(NetworkSet([ipaddress.ip_network("192.0.2.0/24")]), NOBODY, None)
    with opened(f"unix://{tmp_path}/socket") as listener, connect(listener) as client:
        Bench(listener, gate).run(1)
        assert REPLY == read_to_end(client)


def test_rate_of_clients() -> None:
    """A client beyond the rate of its source is dropped under `rate`."""
    rate = RateLimit(Counters().rates, 0.001, 1, bytes(16))
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener) as one, connect(listener) as other:
        bench = Bench(listener, Gate(NOBODY, NOBODY, rate))
        bench.run(2)
        assert [REPLY, b""] == [read_to_end(one), read_to_end(other)]
    assert {"accepted": 2, "served": 1, "rate": 1} == bench.counted()


def test_clients_beyond_the_budget_are_counted() -> None:
    """A client that is not logged for lack of budget is counted, served and dropped ones separately."""
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener), connect(listener) as bad, connect(listener):
        reset(bad)
        bench = Bench(listener)
        assert [] == bench.run(3, budget=used_up()).seen
    expected = {"accepted": 3, "served": 2, "reset": 1, "suppressed_served": 2, "suppressed_reset": 1}
    assert expected == bench.counted()
    assert {"127.0.0.0/24"} == {*bench.counters.sampled_networks()}


@pytest.mark.parametrize("scheme", ["tcp4", "tcp", "unix"])
def test_clients_that_are_counted_in_place(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the budget, the worker counts clients in place, exactly as ClientLog.record() counts the first."""
    called = []
    record = ClientLog.record

    def count(self: ClientLog, peer: Peer, *rest: Any) -> None:
        called.append(peer[0])
        record(self, peer, *rest)

    monkeypatch.setattr(ClientLog, "record", count)
    monkeypatch.setattr(log_clients, "ASK_AGAIN_NS", 3600 * NS)
    address = f"unix://{tmp_path}/socket" if scheme == "unix" else f"{scheme}://:0"
    with opened(address) as listener, contextlib.ExitStack() as clients:
        for _ in range(4):
            clients.enter_context(connect(listener))
        bench = Bench(listener)
        assert [] == bench.run(4, budget=used_up()).seen
    assert {"accepted": 4, "served": 4, "suppressed_served": 4} == bench.counted()
    assert ({"unix" if scheme == "unix" else "127.0.0.0/24": 1}, 1) == (bench.counters.sampled_networks(), len(called))


@pytest.mark.parametrize(("clients", "quiet"), [("dropped", "192.0.2.0/24"), ("all", "127.0.0.0/8")])
def test_clients_that_are_not_to_be_logged_are_not_missed(clients: str, quiet: str) -> None:
    """A client that the settings do not select is not counted as suppressed, whatever the budget."""
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener) as bad, connect(listener), connect(listener):
        reset(bad)
        bench = Bench(listener)
        quieted = NetworkSet([ipaddress.ip_network(quiet)])
        assert [] == bench.run(3, log=clients, budget=used_up(), quiet=quieted).seen
    suppressed = {"suppressed_reset": 1} if clients == "dropped" else {}
    assert {"accepted": 3, "served": 2, "reset": 1, **suppressed} == bench.counted()


def test_log_that_states_nothing_is_not_asked() -> None:
    """If no client is logged, clients are still served and counted."""
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener) as client:
        bench = Bench(listener)
        events = bench.run(1, log="none")
        assert (REPLY, []) == (read_to_end(client), events.seen)
    assert {"accepted": 1, "served": 1} == bench.counted()


def test_stop_serves_the_client_that_was_accepted() -> None:
    """A stop between accept and reply still serves the client, and no other client is accepted."""
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener) as client, connect(listener):
        bench = Bench(listener)
        bench.run(1)
        assert REPLY == read_to_end(client)
    assert {"accepted": 1, "served": 1} == bench.counted()


def test_stop_before_the_start_ends_at_once() -> None:
    """A worker that is stopped before it begins accepts no client."""
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener):
        bench = Bench(listener)
        bench.worker.stop()
        bench.run(99)
    assert {} == bench.counted()


@pytest.mark.parametrize("scheme", ["tcp4", "udp4"])
def test_socket_made_non_blocking_by_someone_else(scheme: str) -> None:
    """If another process makes the listener non-blocking, the worker neither ends nor spins: it blocks again."""
    with (
        opened(f"{scheme}://127.0.0.1:0") as listener,
        listener.socket.dup() as shared,
    ):
        shared.setblocking(False)
        replies = []

        def come_when_it_blocks() -> None:
            while not os.get_blocking(shared.fileno()):
                pass
            with asking(listener) if listener.is_datagram else connect(listener) as client:
                replies.append(client.recv(100))

        thread = threading.Thread(target=come_when_it_blocks)
        thread.start()
        bench = Bench(listener)
        bench.run(1, logged=True)
        thread.join()
    assert ([REPLY], {"accepted": 1, "served": 1}) == (replies, bench.counted())


@pytest.mark.parametrize(
    "number",
    [
        errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH,
        errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT, errno.ECONNRESET, errno.EPERM,
        errno.ECONNREFUSED,
    ],
)  # fmt: skip
def test_errors_of_a_client_in_accept_are_passed_over(number: int) -> None:
    """Errors of a client or the network, which accept(2) passes on, do not end the worker and are not logged."""
    with opened("tcp4://127.0.0.1:0") as listener:
        bench = Bench(listener)
        assert bench.worker._go_on_after(OSError(number, os.strerror(number)))
    assert {} == bench.counted()


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT])
def test_broken_listener_ends_the_worker(number: int) -> None:
    """An error that no client can cause ends the worker."""
    with opened("tcp4://127.0.0.1:0") as listener, pytest.raises(OSError, match=os.strerror(number)):
        Bench(listener).worker._go_on_after(OSError(number, os.strerror(number)))


def test_closed_listener_of_a_worker_that_was_not_stopped() -> None:
    """A listener that is closed without a stop is an error."""
    with opened("tcp4://127.0.0.1:0") as listener:
        bench = Bench(listener)
        listener.socket.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            bench.run(1)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_shortage_is_a_pause_and_one_warning(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without descriptors or memory, a worker pauses each time, warns at most every ten seconds, and continues."""
    now, slept = [1000.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    with opened("tcp4://127.0.0.1:0") as listener, connect(listener) as client:
        bench = Bench(listener)
        bench.worker._log = (events := Events()).log()
        with monkeypatch.context() as clocks:
            clocks.setattr(time, "monotonic", lambda: now[0])
            clocks.setattr(time, "sleep", sleep)
            found = [bench.worker._go_on_after(OSError(number, os.strerror(number))) for _ in range(150)]
        pause = {"event": "accept_paused", "pid": os.getpid(), "listener": "daytime", "error": os.strerror(number)}
        assert ([True] * 150, [pause, pause], [PAUSE_S] * 150) == (found, events.seen, slept)
        resumed = bench.run(1)
        assert REPLY == read_to_end(client)
    assert ["client_served", "accept_resumed"] == resumed.names
    assert 150 == resumed.seen[1]["pauses"]


# -- datagrams -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def asking(listener: Listener, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Ask once."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((host, listener.port))
        client.send(b"what time is it?")
        yield client


@pytest.mark.parametrize(("scheme", "watched", "wakes"), [("udp4", 0, 2), ("udp", 1, 0)])
def test_one_datagram_for_one(scheme: str, watched: int, wakes: int) -> None:
    """Each datagram gets one reply, from the address that it was sent to."""
    with opened(f"{scheme}://:0") as listener, asking(listener) as one, asking(listener, "127.0.0.2") as other:
        bench = Bench(listener)
        bench.head[WATCHED] = watched
        events = bench.run(2, logged=True)
        assert [REPLY, REPLY] == [one.recv(100), other.recv(100)]
    assert {"accepted": 2, "served": 2} == bench.counted()
    assert ["127.0.0.1", "127.0.0.1"] == [event["client"] for event in events.seen]
    assert ([True, True], wakes) == (bench.busy, bench.wakes)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_datagram_over_ipv6() -> None:
    """A socket for both families answers IPv6 too."""
    with opened("udp://:0") as listener, asking(listener, "::1") as client:
        Bench(listener).run(1, logged=True)
        assert REPLY == client.recv(100)


def test_datagram_from_one_of_our_own_ports_is_denied() -> None:
    """A datagram from one of our own ports gets no reply: two daytime services would answer each other forever."""
    with opened("udp4://127.0.0.1:0") as listener, asking(listener) as looping, asking(listener) as client:
        bench = Bench(listener, own_ports=frozenset({looping.getsockname()[1]}))
        bench.run(2, logged=True)
        assert REPLY == client.recv(100)
        looping.setblocking(False)
        with pytest.raises(BlockingIOError):
            looping.recv(100)
    assert {"accepted": 2, "served": 1, "denied": 1} == bench.counted()


def test_datagram_that_is_denied() -> None:
    """The gate judges datagrams as it judges connections."""
    gate = Gate(NOBODY, NetworkSet([ipaddress.ip_network("127.0.0.0/8")]), None)
    with opened("udp4://127.0.0.1:0") as listener, asking(listener):
        bench = Bench(listener, gate)
        assert ["denied"] == [event["reason"] for event in bench.run(1).seen]
    assert ({"accepted": 1, "denied": 1}, []) == (bench.counted(), bench.busy)


def test_datagrams_beyond_the_budget_are_counted() -> None:
    """A datagram that is not logged for lack of budget is counted, served and dropped ones separately."""
    with opened("udp4://127.0.0.1:0") as listener, asking(listener), asking(listener) as looping:
        bench = Bench(listener, own_ports=frozenset({looping.getsockname()[1]}))
        assert [] == bench.run(2, budget=used_up()).seen
    expected = {"accepted": 2, "served": 1, "denied": 1, "suppressed_served": 1, "suppressed_denied": 1}
    assert expected == bench.counted()


def test_shortage_over_datagrams() -> None:
    """A worker for datagrams logs accept_resumed too."""
    with opened("udp4://127.0.0.1:0") as listener, asking(listener):
        bench = Bench(listener)
        bench.worker._pauses, bench.worker._pause_logged = 3, True
        assert ["client_served", "accept_resumed"] == bench.run(1, logged=True).names


def test_datagram_socket_that_is_broken() -> None:
    """A worker for datagrams ends with an error that no client can cause."""
    with opened("udp4://127.0.0.1:0") as listener:
        bench = Bench(listener)
        listener.socket.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            bench.run(1)


def test_shortage_takes_the_descriptors_of_earlier_clients_first() -> None:
    """A worker that is out of descriptors releases those of served clients, and pauses only if it has none."""
    with opened("tcp4://127.0.0.1:0") as listener, connect(listener) as client:
        bench = Bench(listener)
        found = []

        def run_out(event: dict[str, Any]) -> None:
            error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            found.append((bench.worker._go_on_after(error), bench.worker._pauses))
            bench.worker.stop()

        log = Events(run_out).log()
        bench.worker.run(log, ClientLog(log, "daytime", "all", NOBODY, None), lambda: None)
        assert REPLY == read_to_end(client)
    assert [(True, 0)] == found
