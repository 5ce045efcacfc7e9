"""The daemon under a service manager that the test plays: it passes sockets, reads messages, and stores sockets."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DAYTIMED, DEADLINE_S, Daemon, clean_environment, fetch, read_all, run, serving, wait_until
from managers import Manager, activated, passing

from daytimed.addresses import Address
from daytimed.sockets import kept_name


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    with made.socket:
        yield made
    for descriptors in made.kept.values():
        for descriptor in descriptors:
            os.close(descriptor)


def test_passed_sockets_take_the_settings_of_their_names(tmp_path: Path) -> None:
    """A passed socket has the settings of its name or the defaults; an unused address is logged once."""
    config = tmp_path / "daytimed.toml"
    config.write_text(
        'format = "iso8601"\nworkers = 1\n[[listener]]\nname = "seconds"\naddress = ":1"\nformat = "unix"\n'
    )
    path = str(tmp_path / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as seconds,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as local,
    ):
        datagrams.bind(("127.0.0.1", 0))
        local.bind(path)
        local.listen()
        # an earlier daemon may have left it non-blocking
        seconds.setblocking(False)
        with activated(
            ("seconds", seconds), ("other", other), ("udp", datagrams), ("local", local), config=config
        ) as daemon:
            ports = [each.getsockname()[1] for each in (seconds, other, datagrams)]
            assert fetch(ports[0]).strip().isdigit()
            assert b"T" in fetch(ports[1])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(DEADLINE_S)
                client.sendto(b"", ("127.0.0.1", ports[2]))
                assert b"T" in client.recv(100)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(DEADLINE_S)
                client.connect(path)
                assert b"T" in read_all(client)
            assert [event["listener"] for event in daemon.find("listener_adopted")] == [
                "seconds", "other", "udp", "local",
            ]  # fmt: skip
            ignored = daemon.find("listener_address_ignored")
            assert [(event["level"], event["listener"], event["address"]) for event in ignored] == [
                ("warning", "seconds", "tcp://:1")
            ]
            assert ignored[0]["message"] == (
                f"Listener seconds: not on tcp://:1, but on the passed tcp://127.0.0.1:{ports[0]};"
                " change the socket unit (systemctl edit daytimed.socket), or see examples/own-sockets.conf."
            )
            daemon.send(signal.SIGHUP)
            daemon.wait_event("daemon_reloaded")
            assert fetch(ports[0]).strip().isdigit()
        # the daemon does not own it: it neither shuts down, closes nor removes it
        assert Path(path).exists()
        with socket.create_connection(("127.0.0.1", ports[0]), timeout=DEADLINE_S):
            assert seconds.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize(
    ("scheme", "host", "bound"),
    [
        ("tcp", "", "::"),
        ("tcp", "[::]", "::"),
        ("tcp4", "", "0.0.0.0"),
        ("tcp", "", "0.0.0.0"),
        ("tcp", "127.0.0.1", "127.0.0.1"),
        ("unix", "", ""),
    ],
)
def test_an_address_that_was_passed_as_it_is_configured_is_not_reported(
    tmp_path: Path, scheme: str, host: str, bound: str
) -> None:
    """An address that the passed socket has is not logged as ignored, until a reload changes it."""
    config = tmp_path / "daytimed.toml"
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind(str(tmp_path / "socket") if scheme == "unix" else (bound, 0))
        sock.listen()
        place = tmp_path / "socket" if scheme == "unix" else f"{host}:{sock.getsockname()[1]}"
        config.write_text(f'[[listener]]\naddress = "{scheme}://{place}"\n')
        with activated(("daytime", sock), config=config) as daemon:
            assert daemon.find("listener_adopted")
            assert not daemon.find("listener_address_ignored")
            config.write_text('[[listener]]\naddress = "tcp4://:1"\n')
            daemon.send(signal.SIGHUP)
            daemon.wait_event("daemon_reloaded")
            assert [event["address"] for event in daemon.find("listener_address_ignored")] == ["tcp4://:1"]


@pytest.mark.parametrize(
    ("listener", "is_told"),
    [
        ('address = "tcp://127.0.0.1:PORT"\n', False),
        ('address = "tcp://127.0.0.1:PORT"\nformat = "unix"\n', True),
        ('address = "tcp://127.0.0.1:1"\n', True),
    ],
)
def test_a_listener_whose_name_no_socket_bears_is_reported(tmp_path: Path, listener: str, is_told: bool) -> None:
    """Settings that no passed socket takes are a warning, once; an address that is served with the defaults is none."""
    config = tmp_path / "daytimed.toml"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listener = listener.replace("PORT", str(sock.getsockname()[1]))
        config.write_text(f'[[listener]]\nname = "mine"\n{listener}')
        with activated(("other", sock), config=config) as daemon:
            daemon.send(signal.SIGHUP)
            daemon.wait_event("daemon_reloaded")
            assert [
                (event["level"], event["message"]) for event in daemon.find("listener_address_ignored")
            ] == is_told * [
                (
                    "warning",
                    "Listener mine: no passed socket has this name, so its settings are not used;"
                    " name one in its socket unit: FileDescriptorName=mine.",
                )
            ]


def test_workers_know_nothing_of_systemd(tmp_path: Path, manager: Manager) -> None:
    """A worker has the listener, and not the notification socket."""
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        activated(("daytime", sock), env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "60000000"}) as daemon,
    ):
        assert manager.wait("READY=1")
        sockets = [str(each.readlink()) for each in Path(f"/proc/{daemon.live_workers()[0]}/fd").iterdir()]
        assert len([each for each in sockets if each.startswith("socket:")]) == 1


@pytest.mark.parametrize("what", ["file", "connection", "netlink", "vsock"])
def test_what_is_no_listener_is_69(tmp_path: Path, what: str) -> None:
    """A connection (Accept=yes), a file or a socket of another family ends the start with one line."""
    (tmp_path / "file").touch()
    with contextlib.ExitStack() as stack:
        if what == "file":
            descriptor = os.open(tmp_path / "file", os.O_RDONLY)
            stack.callback(os.close, descriptor)
        elif what == "connection":
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            descriptor = stack.enter_context(socket.create_connection(server.getsockname())).fileno()
        elif what == "vsock":
            try:
                vsock = stack.enter_context(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
                vsock.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
                vsock.listen()
            except OSError as error:
                pytest.skip(f"no vsock: {error}")
            descriptor = vsock.fileno()
        else:
            descriptor = stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)).fileno()
        done = run(*passing(("daytime", descriptor)), *DAYTIMED, pass_fds=[descriptor])
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(b"daytimed: LISTEN_FDS: descriptor 3 (daytime) is ")


def test_notifications_of_a_whole_life(tmp_path: Path, manager: Manager) -> None:
    """A daemon sends READY and STATUS, WATCHDOG, RELOADING and READY for each reload, even a rejected one, STOPPING."""
    config = tmp_path / "daytimed.toml"
    config.write_text('workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n')
    with serving(config=config, env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}) as daemon:
        ready = manager.wait("READY=1")
        assert re.fullmatch(r"READY=1\nSTATUS=Serving 1 listener with 1 worker; 0 replies, up 0 seconds", ready)
        fetch(daemon.port())
        while "1 reply," not in manager.wait("WATCHDOG=1"):
            pass
        daemon.send(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.wait("RELOADING=1"))
        assert "STATUS=Serving 1 listener" in manager.wait("READY=1")
        config.write_text("workers = [")
        daemon.send(signal.SIGHUP)
        manager.wait("RELOADING=1")
        assert "\nSTATUS=The last reload was rejected: " in manager.wait("READY=1")
        for _ in range(2):
            assert re.search(r", up \d+ seconds?\. The last reload was rejected: ", manager.wait("WATCHDOG=1"))
        config.write_text('workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n')
        daemon.send(signal.SIGHUP)
        assert "rejected" not in manager.wait("READY=1")
        assert "rejected" not in manager.wait("WATCHDOG=1")
        daemon.send(signal.SIGTERM)
        assert manager.wait("STOPPING=1") == "STOPPING=1\nSTATUS=Stopping"
        assert daemon.wait() == 0


def test_a_rejection_with_many_errors_keeps_the_watchdog_fed(tmp_path: Path, manager: Manager) -> None:
    """However much is wrong with the file, the manager takes READY and WATCHDOG, with the beginning of the errors."""
    config = tmp_path / "daytimed.toml"
    config.write_text('workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n')
    with serving(config=config, env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"}) as daemon:
        manager.wait("READY=1")
        config.write_text(f"[access]\ndeny = {[f'192.0.2.{each}/24' for each in range(1, 99)]}\n")
        daemon.send(signal.SIGHUP)
        manager.wait("RELOADING=1")
        for beginning in ("READY=1", "WATCHDOG=1"):
            status = manager.wait(beginning)
            assert f'The last reload was rejected: {config}: access.deny: "192.0.2.1/24" is not a network' in status
            assert status.endswith("...")


def test_the_watchdog_is_not_fed_while_a_worker_is_held(tmp_path: Path, manager: Manager) -> None:
    """The master sends no WATCHDOG from the SIGSTOP of a worker until its replacement."""
    with serving("-w", "1", env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"}) as daemon:
        manager.wait("WATCHDOG=1")
        held = daemon.live_workers()[0]
        os.kill(held, signal.SIGSTOP)
        wait_until(lambda: Path(f"/proc/{held}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
        daemon.statistics()
        manager.forget()
        # the next WATCHDOG follows the replacement
        manager.wait("WATCHDOG=1")
        assert daemon.find("worker_stuck", pid=held)
        assert daemon.live_workers() != [held]


def test_a_failed_start_is_reported_with_its_errno(manager: Manager) -> None:
    """A failed start sends STATUS and ERRNO, which `systemctl status` shows."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(
            *DAYTIMED, "-l", f"127.0.0.1:{port}", env=clean_environment({"NOTIFY_SOCKET": manager.path})
        )  # fmt: skip
    assert done.returncode == 69
    message = manager.wait("STATUS=")
    assert message.startswith(f"STATUS=tcp://127.0.0.1:{port}: cannot listen: Address already in use")
    assert message.endswith("\nERRNO=98")


@pytest.mark.parametrize(
    "variables",
    [
        {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "100000"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"},
        {"NOTIFY_SOCKET": "/nonexistent/notify"},
    ],
)
def test_what_it_cannot_use_of_a_manager_is_no_error(variables: dict[str, str]) -> None:
    """A manager out of reach, and sockets that were not passed to this process, change nothing; the log names them."""
    with serving(env=variables, check_descriptors=False) as daemon:
        assert fetch(daemon.port())
        ignored = daemon.find("daemon_starting")[0].get("ignored_variables", "")
        assert ignored == ("NOTIFY_SOCKET" if "vsock" in str(variables) else "")


def test_own_sockets_are_kept_over_a_restart(tmp_path: Path, manager: Manager) -> None:
    """With the descriptor store, a client that connects between stop and start waits and is served; paths stay."""
    config, path = tmp_path / "daytimed.toml", tmp_path / "socket"
    config.write_text(f'[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "unix://{path}"\n')
    env = {"NOTIFY_SOCKET": manager.path}
    with serving(config=config, env=env) as daemon:
        port = daemon.port()
        manager.wait("READY=1")
    names = [kept_name(Address("tcp", "127.0.0.1"), 0), kept_name(Address("unix", path=str(path)), 0)]
    assert list(manager.kept) == names
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as waiting,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.settimeout(DEADLINE_S)
        local.connect(str(path))
        stored = [(f"'{name}'", descriptors[0]) for name, descriptors in manager.kept.items()]
        descriptors = [descriptor for _, descriptor in stored]
        with serving(config=config, env=env, prefix=passing(*stored), pass_fds=descriptors) as daemon:
            assert daemon.port() == port
            assert read_all(waiting)
            assert read_all(local)
            assert not daemon.find("listener_address_ignored")
            # a listener that the configuration drops leaves the store
            config.write_text('[[listener]]\naddress = "127.0.0.1:0"\n')
            daemon.send(signal.SIGHUP)
            manager.wait("FDSTOREREMOVE=1")
            daemon.wait_event("listener_closed", address=f"unix://{path}")
    assert list(manager.kept) == names[:1]


def test_json_where_there_is_no_journal() -> None:
    """Without a journal, `--log-format journal` writes lines to standard error."""
    if Path("/run/systemd/journal/socket").exists():
        pytest.skip("this host has a journal")
    with Daemon("-l", "127.0.0.1:0", "--log-format", "journal") as daemon:
        daemon.ready()
