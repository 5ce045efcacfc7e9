"""The sockets that are open: those that were passed, those that were kept, and those that a configuration wants."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from daytimed.addresses import Address, parse
from daytimed.config import load
from daytimed.config.settings import Config
from daytimed.errors import ConfigError, ListenError
from daytimed.listeners import Listener, resolve
from daytimed.sockets import Assigned, Sockets, kept_name
from daytimed.systemd import Notifier


def config(*addresses: str) -> Config:
    return load.load(None, {}, {}, [parse(each) for each in addresses])


def ignore(listeners: Sequence[Listener]) -> None:
    """Answer nobody."""


def open_all(opened: Sockets, wanted: Config) -> Assigned:
    return opened.open(wanted, {each: resolve(each) for each in opened.unopened(wanted)}, ignore)


def close_all(opened: Sockets) -> None:
    for listener in opened.all:
        listener.close()


@pytest.mark.parametrize(
    "name", ["stored-", "stored-xx", "stored-" + 33 * "0", "stored-" + 32 * "G", "daytime", "udp;//"]
)
def test_name_that_only_looks_like_ours(name: str) -> None:
    """A passed socket is a manager's unless its name is one that only this daemon gives."""
    made = Sockets(Notifier({}))
    with socket.create_server(("127.0.0.1", 0)) as server:
        made.adopt([(name, os.dup(server.fileno()))])
    assert [name] == [listener.name for listener in made.all]
    close_all(made)


@pytest.mark.parametrize("address", ["tcp://:6000", "unix:///run/zeit-ü;a.sock", f"tcp://{'x' * 253}:6000"])
def test_name_of_a_kept_socket(address: str) -> None:
    """The name is short, plain ASCII without a colon, and another one for each address and number."""
    name = kept_name(parse(address), 0)
    assert re.fullmatch("stored-[0-9a-f]{32}", name)
    assert 3 == len({name, kept_name(parse(address), 1), kept_name(parse("udp://:6000"), 0)})


def test_name_of_a_kept_unix_socket_changes_with_its_file(tmp_path: Path) -> None:
    """A path that leads to another file is another name."""
    path = tmp_path / "socket"
    found = [kept_name(Address("unix", path=str(path)), 0)]
    for each in (path, tmp_path / "other"):
        each.touch()
        found.append(kept_name(Address("unix", path=str(path)), 0))
    (tmp_path / "other").rename(path)
    found.append(kept_name(Address("unix", path=str(path)), 0))
    assert (found[1], 3) == (found[2], len(set(found)))


def test_only_what_is_not_open_is_resolved() -> None:
    """Names of open listeners are not looked up again; those of passed sockets never are."""
    made = Sockets(Notifier({}))
    first = config("tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
    assert 2 == len(open_all(made, first))
    more = config("tcp://127.0.0.1:0", "tcp://no-such-host.invalid:1")
    assert [Address("tcp", "no-such-host.invalid", 1)] == made.unopened(more)
    close_all(made)
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Sockets(Notifier({}))
        made.adopt([("daytime", os.dup(server.fileno()))])
        assert [] == made.unopened(more)
        close_all(made)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_kept_socket_that_takes_no_clients_is_bound_again() -> None:
    """A socket that was shut down before a restart is not one that is open."""
    server = socket.create_server(("127.0.0.1", 0))
    address = parse(f"tcp4://127.0.0.1:{server.getsockname()[1]}")
    server.shutdown(socket.SHUT_RDWR)
    made = Sockets(Notifier({}))
    made.adopt([(kept_name(address, 0), server.detach())])
    wanted = config(str(address))
    assert [address] == made.unopened(wanted)
    assert 1 == len(open_all(made, wanted))
    close_all(made)


def test_listeners_with_port_0_stay_apart() -> None:
    """Two listeners with port 0 keep their own ports over a reload."""
    made = Sockets(Notifier({}))
    wanted = config("tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
    before = [listener.port for listener, _ in open_all(made, wanted)]
    assert before == [listener.port for listener, _ in open_all(made, wanted)]
    assert 2 == len({*before})
    close_all(made)


def without_addresses(wanted: Config, *positions: int) -> Config:
    """Return a configuration whose listeners at these positions have no address."""
    listeners = [replace(each, address=None) if at in positions else each for at, each in enumerate(wanted.listeners)]
    return replace(wanted, listeners=tuple(listeners))


def test_listener_without_an_address_needs_a_passed_socket() -> None:
    """Without passed sockets, every listener without an address is an error; with one, none is."""
    wanted = without_addresses(config("tcp://:1", "tcp://:2", "tcp://:3"), 0, 2)
    made = Sockets(Notifier({}))
    with pytest.raises(ConfigError) as caught:
        open_all(made, wanted)
    hint = "missing; only a socket that systemd passes needs none, and none named"
    assert [
        f'listener[0].address: {hint} "daytime" was passed',
        f'listener[2].address: {hint} "daytime-3" was passed',
    ] == caught.value.problems
    with socket.create_server(("127.0.0.1", 0)) as server:
        made.adopt([("daytime-3", os.dup(server.fileno()))])
        assert [wanted.listeners[2]] == [settings for _, settings in open_all(made, wanted)]
        close_all(made)


def test_address_that_is_still_in_use_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kept socket was closed, systemd may hold its address a moment longer; without one, nothing waits."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as copy:
        copy.bind(("127.0.0.1", 0))
        address = f"udp4://127.0.0.1:{copy.getsockname()[1]}"
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            copy.close()

        monkeypatch.setattr(time, "sleep", wait)
        made = Sockets(Notifier({}))
        with pytest.raises(ListenError, match="Address already in use"):
            open_all(made, config(address))
        assert [] == waits
        made.adopt([("stored-" + 32 * "0", os.dup(copy.fileno()))])
        assert 1 == len(open_all(made, config(address)))
        assert 1 == len(waits)
        close_all(made)
