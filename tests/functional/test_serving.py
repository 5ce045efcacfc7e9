"""Replies to clients: formats, families, sockets, access and rates."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from harness import DAYTIMED, DEADLINE_S, clean_environment, fetch, read_all, serving

SENTENCE = re.compile(rb"The Date Time is: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})? \+0000 UTC\r\n")


def test_without_arguments_it_serves_port_6000_on_ipv4_and_ipv6() -> None:
    """`daytimed` alone serves the sentence on port 6000 to IPv4 and IPv6 clients, through one socket."""
    script = f"""
import socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
daemon = subprocess.Popen({[*DAYTIMED]!r}, stderr=subprocess.PIPE, text=True)
for line in daemon.stderr:
    if "daemon_ready" in line:
        break
for host in ("127.0.0.1", "::1"):
    with socket.create_connection((host, 6000), timeout=30) as connection:
        sys.stdout.buffer.write(connection.makefile("rb").read())
daemon.terminate()
daemon.communicate()
sys.exit(daemon.returncode)
"""
    # a network namespace of its own, so that the port is free
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("unshare --net is not possible here")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", script],
        env=clean_environment(), capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.splitlines(keepends=True)
    assert len(lines) == 2
    assert all(SENTENCE.fullmatch(line) for line in lines)


@pytest.mark.parametrize(
    ("address", "host", "refused"),
    [
        ("tcp4://:0", "127.0.0.1", "::1"),
        ("tcp6://:0", "::1", "127.0.0.1"),
        ("[::1]:0", "::1", "127.0.0.1"),
        ("127.0.0.1:0", "127.0.0.1", "::1"),
    ],
)
def test_a_family_is_served_and_the_other_is_refused(address: str, host: str, refused: str) -> None:
    """tcp4, tcp6 and an address of one family accept clients of that family only."""
    with serving("-l", address) as daemon:
        assert SENTENCE.fullmatch(fetch(daemon.port(), host))
        with pytest.raises(ConnectionRefusedError):
            fetch(daemon.port(), refused)


def test_ipv4_clients_are_logged_as_ipv4_on_the_socket_for_both() -> None:
    """A client from 127.0.0.1 on the dual-stack socket is logged as 127.0.0.1, with its port."""
    with serving("-l", "tcp://:0") as daemon:
        with socket.create_connection(("127.0.0.1", daemon.port()), timeout=DEADLINE_S) as client:
            reply = read_all(client)
            own_port = client.getsockname()[1]
        event = daemon.wait_event("client_served", port=own_port)
        assert (event["client"], event["listener"], event["bytes"]) == ("127.0.0.1", "daytime", len(reply))
        assert event["message"] == f"Served {len(reply)} bytes to 127.0.0.1."


def test_every_listener_has_its_own_format_and_zone(tmp_path: Path) -> None:
    """The settings of a listener override the daemon's, and do not affect other listeners."""
    config = tmp_path / "daytimed.toml"
    config.write_text(
        'format = "iso8601"\ntimezone = "UTC"\nworkers = 1\n'
        '[[listener]]\nname = "default"\naddress = "127.0.0.1:0"\n'
        '[[listener]]\nname = "india"\naddress = "127.0.0.1:0"\ntimezone = "Asia/Kolkata"\n'
        '[[listener]]\nname = "seconds"\naddress = "127.0.0.1:0"\nformat = "unix"\n'
        '[[listener]]\nname = "old"\naddress = "127.0.0.1:0"\nformat = "rfc868"\n'
    )
    with serving(config=config) as daemon:
        assert re.fullmatch(rb"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00\r\n", fetch(daemon.port("default")))
        assert re.fullmatch(rb"\d{4}-\d\d-\d\dT[\d:]{8}\+05:30\r\n", fetch(daemon.port("india")))
        seconds = int(fetch(daemon.port("seconds")))
        since_1900 = struct.unpack(">I", fetch(daemon.port("old")))[0]
        assert 0 <= since_1900 - 2_208_988_800 - seconds <= DEADLINE_S


@pytest.mark.parametrize("size", [1, 4096, 65536])
def test_a_client_that_writes_first_gets_the_reply_and_a_clean_end(size: int) -> None:
    """The server discards what a client sends: the client reads the whole reply and then end of file, never a reset."""
    with serving() as daemon:
        for _ in range(50):
            assert SENTENCE.fullmatch(fetch(daemon.port(), request=b"x" * size))
        assert daemon.statistics(accepted=50)["dropped"] == 0


def test_a_client_that_half_closes_gets_the_reply() -> None:
    """A client may end its own side first."""
    with serving() as daemon, socket.create_connection(("127.0.0.1", daemon.port()), timeout=DEADLINE_S) as client:
        client.shutdown(socket.SHUT_WR)
        assert SENTENCE.fullmatch(read_all(client))


def test_a_client_that_never_reads_holds_nobody_up() -> None:
    """With one worker, a client that neither reads nor closes does not delay the next one."""
    with serving("-w", "1") as daemon:
        idle = [socket.create_connection(("127.0.0.1", daemon.port()), timeout=DEADLINE_S) for _ in range(20)]
        assert SENTENCE.fullmatch(fetch(daemon.port()))
        for client in idle:
            client.close()


def test_clients_that_reset_are_dropped_and_the_next_is_served() -> None:
    """A client that resets at once is counted as served or dropped, and the server continues."""
    with serving("-w", "1") as daemon:
        for _ in range(200):
            client = socket.create_connection(("127.0.0.1", daemon.port()), timeout=DEADLINE_S)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert SENTENCE.fullmatch(fetch(daemon.port()))
        figures = daemon.statistics(accepted=201)
        assert figures["dropped"] == figures.get("reset", 0)


def test_the_reply_and_the_end_leave_in_one_segment() -> None:
    """After the handshake the client gets one segment, with the reply and the end of the stream."""
    with serving() as daemon, socket.create_connection(("127.0.0.1", daemon.port()), timeout=DEADLINE_S) as client:
        assert read_all(client)
        # tcpi_segs_in and tcpi_data_segs_in of struct tcp_info, <linux/tcp.h>
        segments, _, _, with_data = struct.unpack_from(
            "=4I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 140
        )
        assert (segments - 1, with_data) == (1, 1)


def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    """unix:///PATH serves every user, and a stop removes the path."""
    path = tmp_path / "daytime.sock"
    with serving("-l", f"unix://{path}") as daemon:
        assert path.stat().st_mode & 0o777 == 0o666
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_S)
            client.connect(str(path))
            assert SENTENCE.fullmatch(read_all(client))
        assert daemon.wait_event("client_served")["client"] == "unix"
    assert not path.exists()


def test_a_client_that_writes_to_a_unix_socket_gets_a_clean_end(tmp_path: Path) -> None:
    """A client that writes until the close reads the reply and end of file, never a reset."""
    path = tmp_path / "daytime.sock"
    with serving("-l", f"unix://{path}") as daemon:
        for _ in range(2000):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(DEADLINE_S)
                client.connect(str(path))
                with contextlib.suppress(BrokenPipeError):
                    while True:
                        client.send(bytes(512))
                assert SENTENCE.fullmatch(read_all(client))
        assert daemon.find("client_dropped") == []


@pytest.mark.parametrize("name", ["\0abstract-{}", "{}/x", "{}/a\n\x1b[31m"])
def test_the_name_of_a_unix_client_does_not_matter(tmp_path: Path, name: str) -> None:
    """A client that has bound its own name is served and logged like any other."""
    path = tmp_path / "daytime.sock"
    with serving("-l", f"unix://{path}", "-w", "1", env={"DAYTIMED_LOG_QUIET": "192.0.2.0/24"}) as daemon:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_S)
            client.bind(name.format(tmp_path))
            client.connect(str(path))
            assert SENTENCE.fullmatch(read_all(client))
        event = daemon.wait_event("client_served")
        assert (event["client"], event["port"]) == ("unix", 0)
        assert daemon.live_workers() == daemon.worker_pids()


def test_a_stale_unix_socket_is_taken_over(tmp_path: Path) -> None:
    """A path that a killed daemon left does not prevent a start."""
    path = tmp_path / "daytime.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving("-l", f"unix://{path}"), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        assert SENTENCE.fullmatch(read_all(client))


def ask_datagram(port: int, family: socket.AddressFamily, host: str, payload: bytes = b"") -> tuple[bytes, str]:
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(DEADLINE_S)
        client.sendto(payload, (host, port))
        reply, source = client.recvfrom(2048)
        return reply, source[0]


def test_a_datagram_is_answered_by_one_from_the_address_it_was_sent_to() -> None:
    """UDP on the socket for both families replies from the address that the client asked."""
    with serving("-l", "udp://:0") as daemon:
        for family, host in (
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET, "127.7.7.7"),
            (socket.AF_INET6, "::1"),
        ):
            reply, source = ask_datagram(daemon.port(), family, host, b"what time is it" * 90)
            assert SENTENCE.fullmatch(reply)
            assert source == host


def test_the_loop_guards_of_udp() -> None:
    """A reserved source port or one of our own UDP ports gets no reply; both are counted as denied."""
    with serving("-l", "udp4://127.0.0.1:0", "-l", "udp4://127.0.0.1:0", "-w", "1") as daemon:
        first, second = daemon.port("daytime"), daemon.port("daytime-2")
        reserved = 7
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) if os.geteuid() == 0 else None
        if sender is None:
            pytest.skip("a raw socket needs root")
        with sender:
            for source in (reserved, second):
                sender.sendto(struct.pack("!HHHH", source, first, 8, 0), ("127.0.0.1", first))
        daemon.wait_events("client_dropped", 2, reason="denied")
        assert ask_datagram(first, socket.AF_INET, "127.0.0.1")[0]
        figures = daemon.statistics(accepted=3)
        assert (figures["accepted"], figures["served"], figures["denied"]) == (3, 1, 2)


def test_datagrams_to_a_broadcast_address_are_not_answered() -> None:
    """A broadcast is denied: the replies would amplify it."""
    with serving("-l", "udp4://:0", "-w", "1") as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.bind(("127.0.0.1", 0))
        client.sendto(b"", ("127.255.255.255", daemon.port()))
        daemon.wait_event("client_dropped", reason="denied")


def test_udp_has_a_rate_limit_without_being_asked() -> None:
    """One source gets a burst of 20 replies and then the default rate; the rest are counted under `rate`."""
    with serving("-l", "udp4://127.0.0.1:0") as daemon, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        for _ in range(200):
            client.sendto(b"", ("127.0.0.1", daemon.port()))
        daemon.wait_event("client_dropped", reason="rate")
        figures = daemon.statistics(accepted=200)
        assert figures["served"] + figures["rate"] == 200
        assert 20 <= figures["served"] <= 20 + 10 * DEADLINE_S


def test_forged_datagrams_use_up_nothing_of_the_streams(tmp_path: Path) -> None:
    """An address that has used up its rate over UDP, where anybody can forge it, still has all of it over TCP."""
    config = tmp_path / "daytimed.toml"
    listeners = "".join(
        f'[[listener]]\nname = "{name}"\naddress = "{name}4://127.0.0.1:0"\n' for name in ("tcp", "udp")
    )
    config.write_text(listeners + "[access]\nrate = 0.001\nburst = 3\n")
    with serving(config=config) as daemon:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            # several too many: two workers that serve the address in the same microsecond may let one through
            for _ in range(20):
                client.sendto(b"", ("127.0.0.1", daemon.port("udp")))
            daemon.wait_event("client_dropped", reason="rate", listener="udp")
        assert [bool(fetch(daemon.port("tcp"))) for _ in range(4)] == [True] * 3 + [False]


def test_access_is_by_network(tmp_path: Path) -> None:
    """A denied client gets no byte and is counted; deny wins over allow; an IPv4 client is judged as IPv4."""
    config = tmp_path / "daytimed.toml"
    config.write_text('[[listener]]\naddress = "tcp://:0"\n[access]\nallow = ["127.0.0.0/24"]\ndeny = ["127.0.0.9"]\n')
    with serving(config=config) as daemon:
        for source, served in (("127.0.0.1", True), ("127.0.0.9", False), ("127.0.1.1", False)):
            with socket.create_connection(
                ("127.0.0.1", daemon.port()), timeout=DEADLINE_S, source_address=(source, 0)
            ) as client:
                assert bool(read_all(client)) is served
        daemon.wait_event("client_dropped", client="127.0.0.9", reason="denied")
        daemon.wait_event("client_dropped", client="127.0.1.1", reason="denied")
        assert daemon.statistics(accepted=3)["denied"] == 2


def test_the_rate_is_one_for_all_workers(tmp_path: Path) -> None:
    """A source gets one burst from all workers together, and another source has its own."""
    config = tmp_path / "daytimed.toml"
    config.write_text('workers = 4\n[[listener]]\naddress = "127.0.0.1:0"\n[access]\nrate = 0.01\nburst = 10\n')
    with serving(config=config) as daemon:
        replies = [fetch(daemon.port()) for _ in range(30)]
        assert [bool(reply) for reply in replies] == [True] * 10 + [False] * 20
        with socket.create_connection(
            ("127.0.0.1", daemon.port()), timeout=DEADLINE_S, source_address=("127.0.0.2", 0)
        ) as client:
            assert read_all(client)
        assert daemon.statistics(accepted=31)["rate"] == 20
