"""The daemon's own sockets over a restart, kept by a service manager that the test plays."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from address_pairs import PAIRS, askable, fill_in, listeners
from harness import DEADLINE_S, Daemon, free_port, process_state, read_all, serving, wait_until
from managers import Manager, passing


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    with made.socket:
        yield made
    for descriptors in made.kept.values():
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


@contextlib.contextmanager
def started(
    manager: Manager, folder: Path, addresses: list[str], *passed: tuple[str, int], text: str = ""
) -> Iterator[Daemon]:
    """Run a daemon that gets what the manager keeps; meanwhile the manager does what the daemon asks it to."""
    config = folder.parent / "daytimed.toml"
    config.write_text(listeners(addresses) + text)
    given = [*passed, *((f"'{name}'", each) for name, kept in manager.kept.items() for each in kept)]
    is_over = threading.Event()

    def keep() -> None:
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                manager.wait("")

    manager.socket.settimeout(0.05)
    keeper = threading.Thread(target=keep)
    keeper.start()
    options = {"prefix": passing(*given), "pass_fds": [each for _, each in given]} if given else {}
    try:
        with serving(config=config, env={"NOTIFY_SOCKET": manager.path}, **options) as daemon:
            yield daemon
    finally:
        is_over.set()
        keeper.join()
        manager.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                manager.wait("")


def ask(address: str) -> None:
    """Ask a listener, which must answer."""
    with client_of(address) as client:
        assert client.recv(100).startswith(b"The Date Time is: "), address


def client_of(address: str) -> socket.socket:
    """Return a client that has connected, or sent its datagram."""
    scheme, _, place = askable(address).partition("://")
    is_datagram = scheme.startswith("udp")
    host, _, port = place.rpartition(":")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET6 if "[" in host else socket.AF_INET
    client = socket.socket(family, socket.SOCK_DGRAM if is_datagram else socket.SOCK_STREAM)
    try:
        client.settimeout(DEADLINE_S)
        client.connect(place if scheme == "unix" else (host.strip("[]"), int(port)))
        if is_datagram:
            client.send(b"")
    except OSError:
        client.close()
        raise
    return client


@pytest.mark.parametrize("pair", PAIRS)
def test_every_address_can_follow_every_other(manager: Manager, folder: Path, pair: str) -> None:
    """After a restart with an empty RuntimeDirectory=, the new addresses are served, and nothing else is kept."""
    port = free_port()
    before, after = (fill_in(each, port, str(folder)) for each in PAIRS[pair])
    with started(manager, folder, before):
        for address in before:
            ask(address)
    for addresses in (after, after):
        for path in folder.iterdir():
            path.unlink()
        with started(manager, folder, addresses):
            for address in addresses:
                ask(address)
        assert len(addresses) == len(manager.kept)


@pytest.mark.parametrize("what", ["same path", "path is gone", "path is another's"])
def test_path_of_a_kept_socket(manager: Manager, folder: Path, what: str) -> None:
    """A kept unix socket is served if its path leads to it, bound again if that is gone, and otherwise in use."""
    path = folder / "socket"
    with started(manager, folder, [f"unix://{path}"]):
        pass
    assert path.exists(), "it is kept for the next start"
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(client_of(f"unix://{path}"))
        if what != "same path":
            path.unlink()
        if what == "path is another's":
            other = stack.enter_context(socket.socket(socket.AF_UNIX))
            other.bind(str(path))
            other.listen()
            with (
                pytest.raises(AssertionError, match="Address already in use"),
                started(manager, folder, [f"unix://{path}"]),
            ):
                pass
            assert other.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert path.exists()
        else:
            with started(manager, folder, [f"unix://{path}"]):
                ask(f"unix://{path}")
        # a client of the old one was answered too
        assert read_all(waiting)


@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix"])
def test_clients_of_a_kept_socket_that_is_not_wanted(manager: Manager, folder: Path, scheme: str) -> None:
    """Clients that wait at a listener which the new configuration lacks are answered, counted and judged."""
    port = free_port()
    address = f"unix://{folder}/old" if scheme == "unix" else f"{scheme}://127.0.0.1:{port}"
    with started(manager, folder, [address]):
        pass
    with client_of(address) as one, client_of(address) as other:
        with started(
            manager, folder, [f"tcp://127.0.0.1:{free_port()}"], text="[access]\nrate = 1\nburst = 5\n"
        ) as daemon:
            assert [b"The Date"] * 2 == [each.recv(100)[:8] for each in (one, other)]
            assert 2 == daemon.statistics(2)["served"]
            assert [address] == [event["address"] for event in daemon.find("listener_closed")]
        assert 1 == len(manager.kept)
        assert not (folder / "old").exists()


def test_denied_client_of_a_kept_socket_that_is_not_wanted(manager: Manager, folder: Path) -> None:
    """The access rules of the new configuration hold for clients that wait, too."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with started(manager, folder, [address]):
        pass
    denied = '[access]\ndeny = ["127.0.0.0/8"]\n'
    with client_of(address) as client, started(manager, folder, [f"unix://{folder}/new"], text=denied) as daemon:
        assert b"" == client.recv(100)
        assert 1 == daemon.statistics(1)["denied"]


def test_passed_and_kept_sockets_are_different_things(manager: Manager, folder: Path) -> None:
    """If a manager passes a socket, kept ones are emptied and closed; a name that looks similar is a passed one."""
    port = free_port()
    with started(manager, folder, [f"tcp://127.0.0.1:{port}"]):
        pass
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        client_of(f"tcp://127.0.0.1:{port}") as waiting,
        started(manager, folder, ["tcp://:1"], ("stored-clock", sock.fileno())) as daemon,
    ):
        assert read_all(waiting)
        assert ["stored-clock"] == [event["listener"] for event in daemon.find("listener_adopted")]
        ask(f"tcp://127.0.0.1:{sock.getsockname()[1]}")
        with pytest.raises(ConnectionRefusedError):
            client_of(f"tcp://127.0.0.1:{port}")
    assert {} == manager.kept


def test_sockets_that_another_version_has_kept(manager: Manager, folder: Path) -> None:
    """The names of 0.1.0, and names like ours with something that is no listener, are closed and forgotten."""
    port, path = free_port(), folder / "socket"
    old, local = socket.create_server(("", port)), socket.socket(socket.AF_UNIX)
    local.bind(str(path))
    local.listen()
    manager.kept = {
        f"stored-tcp;//;{port}": [old.detach()],
        f"stored-unix;//{path}": [local.detach()],
        "stored-0123456789abcdef0123456789abcdef": [os.open("/dev/null", os.O_RDONLY)],
    }
    addresses = [f"tcp4://127.0.0.1:{port}", f"unix://{path}"]
    with started(manager, folder, addresses):
        for address in addresses:
            ask(address)
    assert 2 == len(manager.kept)
    assert not {name for name in manager.kept if ";" in name}


def reloaded(daemon: Daemon, folder: Path, addresses: list[str]) -> None:
    (folder.parent / "daytimed.toml").write_text(listeners(addresses))
    daemon.send(signal.SIGHUP)


def test_reload_to_an_address_that_overlaps(manager: Manager, folder: Path) -> None:
    """The reload is rejected: it names our own listener, and the restart that mends it."""
    port = free_port()
    with started(manager, folder, [f"tcp4://127.0.0.1:{port}"]) as daemon:
        reloaded(daemon, folder, [f"tcp4://:{port}"])
        assert daemon.wait_event("reload_rejected")["error"] == (
            f"tcp4://:{port}: cannot listen: this daemon itself listens on tcp://127.0.0.1:{port};"
            " restart it to change that: systemctl restart daytimed"
        )
        ask(f"tcp4://127.0.0.1:{port}")
        reloaded(daemon, folder, [f"tcp4://:{port}", f"tcp4://127.0.0.1:{port}"])
        rejected = daemon.wait_events("reload_rejected", 2)[1]["error"]
        assert rejected.endswith(f"tcp4://127.0.0.1:{port} overlaps tcp4://:{port} of listener[0]")
        ask(f"tcp4://127.0.0.1:{port}")


def test_reload_to_an_address_of_another_program(manager: Manager, folder: Path) -> None:
    """The port of another program is not blamed on this daemon, which has the same port elsewhere."""
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        with started(manager, folder, [f"tcp4://127.0.0.1:{port}"]) as daemon:
            reloaded(daemon, folder, [f"tcp4://127.0.0.1:{port}", f"tcp4://127.0.0.2:{port}"])
            assert "stop the program that uses it" in daemon.wait_event("reload_rejected")["error"]


def test_clients_of_a_listener_that_a_reload_removes(manager: Manager, folder: Path) -> None:
    """A client that still waits when the last worker has gone is answered before the listener is closed."""
    old, new = f"tcp://127.0.0.1:{free_port()}", f"unix://{folder}/new"
    with started(manager, folder, [old]) as daemon:
        # it accepts nobody; the master kills it at the deadline of a stop
        held = daemon.live_workers()[0]
        os.kill(held, signal.SIGSTOP)
        wait_until(lambda: process_state(held) == "T", "it is stopped")
        with client_of(old) as waiting:
            reloaded(daemon, folder, [new])
            assert read_all(waiting)
            daemon.wait_event("listener_closed", address=old)
            with pytest.raises(ConnectionRefusedError):
                client_of(old)
    assert 1 == len(manager.kept)


def test_path_that_was_removed_is_bound_by_a_reload(manager: Manager, folder: Path) -> None:
    """After `rm` and a reload the path is served, after a restart too; one socket is kept."""
    address = f"unix://{folder}/socket"
    for _ in ("start", "restart"):
        with started(manager, folder, [address]) as daemon:
            (folder / "socket").unlink()
            reloaded(daemon, folder, [address])
            daemon.wait_event("daemon_reloaded")
            ask(address)
        assert [1] == [len(each) for each in manager.kept.values()]
