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
from address_pairs import PAIRS, askable, configuration, fill_in
from harness import DAYTIME_GET, DEADLINE_S, Daemon, fetch, free_port, passing, read_all, run, serving, wait_until
from managers import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    with made.socket:
        yield made
    for descriptors in made.kept.values():
        for descriptor in descriptors:
            os.close(descriptor)


@contextlib.contextmanager
def started(manager: Manager, config: Path, addresses: list[str], *more: tuple[str, int]) -> Iterator[Daemon]:
    """Run a daemon that gets what the manager keeps; the manager does what it is asked to meanwhile."""
    config.write_text(configuration(addresses))
    kept = [(f"'{name}'", each) for name, descriptors in manager.kept.items() for each in descriptors]
    given = [*more, *kept]
    descriptors = [os.dup(each) for _, each in given]
    stopped = threading.Event()

    def keep() -> None:
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                manager.wait("")

    manager.socket.settimeout(0.05)
    keeper = threading.Thread(target=keep)
    keeper.start()
    prefix = passing(*zip((name for name, _ in given), descriptors, strict=True)) if given else ()
    try:
        with serving(config=config, env={"NOTIFY_SOCKET": manager.path}, prefix=prefix, pass_fds=descriptors) as daemon:
            yield daemon
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        stopped.set()
        keeper.join()
        with contextlib.suppress(BlockingIOError):
            manager.socket.settimeout(0)
            while True:
                manager.wait("")


def ask(address: str) -> None:
    done = run(*DAYTIME_GET, "-t", "5", "--", askable(address))
    assert done.returncode == 0, (address, done.stdout, done.stderr)


@pytest.mark.parametrize("pair", PAIRS)
def test_every_address_can_follow_every_other(tmp_path: Path, manager: Manager, pair: str) -> None:
    """After a restart the new addresses are served, and nothing else is kept."""
    folder = tmp_path / "run"
    folder.mkdir()
    before, after = (fill_in(each, free_port(), str(folder)) for each in PAIRS[pair])
    port = free_port()
    before, after = (fill_in(each, port, str(folder)) for each in PAIRS[pair])
    config = tmp_path / "daytimed.toml"
    with started(manager, config, before):
        for address in before:
            ask(address)
    for path in folder.iterdir():
        # RuntimeDirectory=
        path.unlink()
    for turn in range(2):
        with started(manager, config, after) as daemon:
            for address in after:
                ask(address)
            assert len(daemon.find("listener_opened")) >= len(after), turn
            kept = {name: len(each) for name, each in manager.kept.items()}
            assert len(kept) == len(after)
