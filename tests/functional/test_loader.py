"""Loading in a process of its own: the master does its work while name servers and files take their time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import children
from harness import DAYTIMED, DEADLINE_S, UNTRACED, Daemon, fetch, needs, process_state, running, serving, wait_until
from managers import Manager
from name_servers import HOST, NameServer, name_server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="port 53 and mounts need root")


@pytest.fixture
def names(tmp_path: Path) -> Iterator[NameServer]:
    with name_server(tmp_path) as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "daytimed.toml"
    path.write_text('workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n')
    return path


def add_named(config: Path) -> None:
    """Add a listener with a host name to a configuration."""
    config.write_text(config.read_text() + f'[[listener]]\nname = "named"\naddress = "{HOST}:0"\n')


def begin_reload(daemon: Daemon, names: NameServer) -> None:
    """Begin a reload that waits for the name server."""
    daemon.send(signal.SIGHUP)
    names.wait_for_question()


def test_a_reload_that_waits_for_a_name_server_holds_up_nothing(names: NameServer, config: Path) -> None:
    """Meanwhile clients are served, statistics are logged and dead workers are replaced; then the reload succeeds."""
    with serving(config=config, prefix=names.prefix) as daemon:
        add_named(config)
        begin_reload(daemon, names)
        assert fetch(daemon.port())
        assert daemon.statistics(accepted=1)["served"] == 1
        victim = daemon.live_workers()[0]
        os.kill(victim, signal.SIGKILL)
        daemon.wait_event("worker_exited", pid=victim)
        daemon.wait_events("worker_started", 2)
        assert fetch(daemon.port())
        opened = [str(each.readlink()) for each in Path(f"/proc/{daemon.live_workers()[0]}/fd").iterdir()]
        assert not [each for each in opened if "memfd" in each], "a worker has the file of the loader"
        assert not daemon.find("daemon_reloaded")
        names.answer()
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port("named"))


def test_a_reload_that_waits_for_a_name_server_feeds_the_watchdog(
    names: NameServer, config: Path, tmp_path: Path
) -> None:
    """The service manager learns that it may take longer, and gets its pings."""
    manager = Manager(tmp_path)
    with manager.socket:
        env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}
        with serving(config=config, prefix=names.prefix, env=env) as daemon:
            manager.wait("READY=1")
            add_named(config)
            manager.forget()
            begin_reload(daemon, names)
            manager.wait("RELOADING=1")
            assert manager.wait("EXTEND_TIMEOUT_USEC=") == "EXTEND_TIMEOUT_USEC=40000000"
            for _ in range(3):
                manager.wait("WATCHDOG=1")
            names.answer()
            manager.wait("READY=1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_a_reload_that_waits_for_a_name_server(
    names: NameServer, config: Path, number: signal.Signals
) -> None:
    """It stops as usual, and the loader is gone."""
    with serving(config=config, prefix=names.prefix) as daemon:
        add_named(config)
        begin_reload(daemon, names)
        (loader,) = set(children(daemon.process.pid)) - set(daemon.live_workers())
        daemon.send(number)
        assert daemon.wait() == 0
        wait_until(lambda: process_state(loader) in ("", "Z"), "the loader has ended")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_a_start_that_waits_for_a_name_server(names: NameServer, number: signal.Signals) -> None:
    """It stops as asked: status 0, and no traceback."""
    with Daemon("-l", f"{HOST}:0", prefix=names.prefix) as daemon:
        names.wait_for_question()
        daemon.send(number)
        assert daemon.wait() == 0
        assert daemon.lines == []


def test_a_start_that_waits_for_a_name_server_extends_its_timeout(names: NameServer, tmp_path: Path) -> None:
    """The service manager learns it before the name server is asked; then the daemon serves."""
    manager = Manager(tmp_path)
    with (
        manager.socket,
        Daemon("-l", f"{HOST}:0", prefix=names.prefix, env={"NOTIFY_SOCKET": manager.path}) as daemon,
    ):
        manager.wait("EXTEND_TIMEOUT_USEC=")
        names.wait_for_question()
        names.answer()
        manager.wait("READY=1")
        assert fetch(daemon.port())


def test_a_reload_on_a_master_that_is_killed_leaves_no_loader(names: NameServer, config: Path) -> None:
    """The loader ends with its master."""
    with serving(config=config, prefix=names.prefix, expect_exit=-signal.SIGKILL, expect_killed=True) as daemon:
        add_named(config)
        begin_reload(daemon, names)
        (loader,) = set(children(daemon.process.pid)) - set(daemon.live_workers())
        daemon.send(signal.SIGKILL)
        daemon.wait()
        wait_until(lambda: process_state(loader) in ("", "Z"), "the loader has ended")


def test_a_loader_holds_no_listener(names: NameServer, config: Path) -> None:
    """A file system can hold the process beyond the end of the daemon; the port must not stay in use."""
    with serving(config=config, prefix=names.prefix) as daemon:
        add_named(config)
        begin_reload(daemon, names)
        (loader,) = set(children(daemon.process.pid)) - set(daemon.live_workers())
        listening = f"socket:[{_inode_of(daemon.port())}]"
        assert listening in _files_of(daemon.live_workers()[0])
        assert listening not in _files_of(loader)


def _files_of(pid: int) -> list[str]:
    return [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]


def _inode_of(port: int) -> str:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return next(line[9] for line in lines if line[1] == f"0100007F:{port:04X}" and line[3] == "0A")


def test_a_loader_that_is_killed_rejects_the_reload(names: NameServer, config: Path) -> None:
    """The error names the signal; the next reload succeeds."""
    with serving(config=config, prefix=names.prefix) as daemon:
        add_named(config)
        begin_reload(daemon, names)
        (loader,) = set(children(daemon.process.pid)) - set(daemon.live_workers())
        # one that is stopped for a time has only stopped
        os.kill(loader, signal.SIGSTOP)
        os.kill(loader, signal.SIGCONT)
        os.kill(loader, signal.SIGKILL)
        rejected = daemon.wait_event("reload_rejected")
        assert rejected["error"] == "the configuration cannot be loaded: the loader was killed by SIGKILL"
        names.answer()
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")


def test_a_name_server_that_is_back_for_the_second_reload(tmp_path: Path, config: Path) -> None:
    """The first reload is rejected with the name of the host; the second one succeeds."""
    with name_server(tmp_path, timeout_s=1) as names, serving(config=config, prefix=names.prefix) as daemon:
        add_named(config)
        begin_reload(daemon, names)
        rejected = daemon.wait_event("reload_rejected")
        assert rejected["error"] == f"tcp://{HOST}:0: cannot resolve: Temporary failure in name resolution"
        names.answer()
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port("named"))


def test_a_load_has_a_deadline(names: NameServer, config: Path) -> None:
    """At the deadline a reload is rejected, and the error states what took so long; the daemon serves on."""
    script = (
        "import sys\nfrom daytimed import __main__, loader\nloader.LOAD_DEADLINE_S = 1.0\nsys.exit(__main__.main())"
    )
    with serving(config=config, prefix=names.prefix, program=(sys.executable, "-c", script)) as daemon:
        add_named(config)
        begin_reload(daemon, names)
        rejected = daemon.wait_event("reload_rejected")
        assert rejected["error"] == f"tcp://{HOST}:0: cannot resolve: no answer within 1 s"
        assert fetch(daemon.port())


def test_a_reload_asks_no_name_server_for_a_listener_that_is_open(names: NameServer, config: Path) -> None:
    """A listener that stays open needs no name server."""
    add_named(config)
    names.answer()
    with serving(config=config, prefix=names.prefix) as daemon:
        names.wait_for_question()
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert not names.asked.is_set()


@needs("strace")
def test_sigterm_during_listen_is_a_stop() -> None:
    """From its first socket on, SIGTERM ends the daemon with status 0."""
    held = ["strace", "--quiet=all", "--signal=none", "--trace=listen", "--inject=listen:delay_exit=500000"]
    with running(*held, *DAYTIMED, "-l", "127.0.0.1:0", env=UNTRACED) as strace:
        strace.wait_for(r"listen\(")
        (daemon,) = children(strace.process.pid)
        os.kill(daemon, signal.SIGTERM)
        assert strace.process.wait(DEADLINE_S) == 0
