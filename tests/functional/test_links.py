"""Clients of two links that have the same link-local address."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import DEADLINE_S, Daemon, needs, run, running, serving

pytestmark = [needs("ip", "unshare", "nsenter"), pytest.mark.skipif(os.geteuid() != 0, reason="links need root")]

#: A printable name, and one that could control a terminal.
NAMES = ("near", "n\x1b[1m")

CLIENT = """
import socket, sys
host, port, kind = sys.argv[1], int(sys.argv[2]), getattr(socket, sys.argv[3])
with socket.socket(socket.AF_INET6, kind) as client:
    client.settimeout(float(sys.argv[4]))
    client.bind((host, 0, 0, socket.if_nametoindex("far")))
    try:
        client.connect(("fe80::1", port, 0, socket.if_nametoindex("far")))
        if kind == socket.SOCK_DGRAM:
            client.send(b"")
        print(len(client.recv(2048)))
    except OSError:
        print(0)
"""
#: Binds in this namespace, and runs a command in an empty one that gets the socket from a service manager.
PASS = """
import os, socket, sys
sock = socket.create_server(("::", 0), family=socket.AF_INET6)
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "daytime"}
os.execvp("unshare", ["unshare", "--net", *sys.argv[1:]])
"""


class Links(NamedTuple):
    """Network namespaces: one of a server, and one of a client on each of two links."""

    server: int
    clients: tuple[int, int]

    @property
    def prefix(self) -> list[str]:
        """The prefix that runs a command as the server."""
        return ["nsenter", f"--target={self.server}", "--net"]

    def ask(
        self, link: int, port: int, host: str = "fe80::2", kind: str = "SOCK_STREAM", timeout_s: float = DEADLINE_S
    ) -> int:
        """Ask from a host of a link; return the size of the reply."""
        command = ["nsenter", f"--target={self.clients[link]}", "--net", sys.executable, "-c", CLIENT]
        return int(run(*command, host, str(port), kind, str(timeout_s)).stdout)


@pytest.fixture(scope="module")
def links() -> Iterator[Links]:
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(running("unshare", "--net", "sleep", "infinity")) for _ in range(3)]
        pids = [holder.process.pid for holder in holders]
        own = Path("/proc/self/ns/net").readlink()
        for pid in pids:
            while Path(f"/proc/{pid}/ns/net").readlink() == own:
                assert holders[0].process.poll() is None
        for name, pid in zip(NAMES, pids[1:], strict=True):
            done = run(
                "ip", "link", "add", name, "netns", str(pids[0]), "type", "veth", "peer", "far", "netns", str(pid)
            )
            if done.returncode != 0:
                pytest.skip(f"cannot make a link here: {done.stderr!r}")
            for where, link, hosts in ((pids[0], name, ["1"]), (pid, "far", ["2", "3"])):
                inside = ["nsenter", f"--target={where}", "--net", "ip"]
                for host in hosts:
                    run(*inside, "address", "add", f"fe80::{host}/64", "dev", link, "nodad")
                run(*inside, "link", "set", link, "up")
        yield Links(pids[0], (pids[1], pids[2]))


def clients(daemon: Daemon, name: str, count: int) -> list[str]:
    return [event["client"] for event in daemon.wait_events(name, count)]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_clients_are_logged_with_the_link(links: Links, kind: str) -> None:
    """The same address on another link is another client, over TCP and UDP: in the log, and for the rate."""
    socket_kind = "SOCK_DGRAM" if kind == "udp" else "SOCK_STREAM"
    env = {"DAYTIMED_ACCESS_RATE": "0.001", "DAYTIMED_ACCESS_BURST": "1", "DAYTIMED_ACCESS_DENY": "fe80::3"}
    with serving("-l", f"{kind}://:0", prefix=links.prefix, env=env) as daemon:
        assert all(links.ask(link, daemon.port(), kind=socket_kind) for link in (0, 1))
        assert clients(daemon, "client_served", 2) == [f"fe80::2%{name}" for name in NAMES]
        for host, reason in (("fe80::2", "rate"), ("fe80::3", "denied")):
            # a stream is closed without a byte, but no datagram says that there is no reply
            timeout_s = 0.2 if kind == "udp" else DEADLINE_S
            assert not any(links.ask(link, daemon.port(), host, socket_kind, timeout_s) for link in (0, 1))
            events = daemon.wait_events("client_dropped", 2, reason=reason)
            assert [event["client"] for event in events] == [f"{host}%{name}" for name in NAMES]


def test_links_are_those_of_the_passed_socket(links: Links) -> None:
    """With PrivateNetwork=yes the daemon is in another namespace than the socket, and still knows the link."""
    prefix = [*links.prefix, sys.executable, "-c", PASS]
    with Daemon(prefix=prefix, check_descriptors=False) as daemon:
        daemon.ready()
        port = int(daemon.wait_event("listener_adopted")["address"].rpartition(":")[2])
        assert links.ask(0, port)
        assert clients(daemon, "client_served", 1) == [f"fe80::2%{NAMES[0]}"]


def test_networks_of_clients_that_are_not_logged_have_the_link(links: Links) -> None:
    """The summary keeps two links apart, by the numbers of their interfaces."""
    env = {"DAYTIMED_LOG_CLIENT_RATE": "0.001", "DAYTIMED_LOG_CLIENT_BURST": "1"}
    with serving("-l", "tcp://:0", "-w", "1", prefix=links.prefix, env=env) as daemon:
        for link in (0, 0, 1):
            assert links.ask(link, daemon.port())
        networks = daemon.wait_event("clients_suppressed")["networks"]
    listed = run(*links.prefix, sys.executable, "-c", "import socket; print(*socket.if_nameindex())").stdout.decode()
    numbers = [number for number in range(1, 100) if f"({number}, '{NAMES[0]}')" in listed]
    assert f"fe80::%{numbers[0]}/64=" in networks


def test_a_listener_of_a_link_is_logged_with_it(links: Links) -> None:
    """A listener on a link-local address is logged as it is configured."""
    with serving("-l", f"tcp://[fe80::1%{NAMES[0]}]:0", prefix=links.prefix) as daemon:
        address = daemon.wait_event("listener_opened")["address"]
        assert address.startswith(f"tcp://[fe80::1%{NAMES[0]}]:")
        assert links.ask(0, daemon.port())
