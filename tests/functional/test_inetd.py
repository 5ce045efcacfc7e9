"""--inetd: one client on standard input, by hand and under the real xinetd."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness import DAYTIMED, DEADLINE_S, clean_environment, fetch, read_all, run, wait_until

SENTENCE = re.compile(rb"The Date Time is: .* \+0000 UTC\r\n")


def serve_pair(*arguments: str, stderr: int | None = None) -> tuple[int, bytes]:
    """Run it on one end of a TCP connection; return its exit code and what the other end reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname(), timeout=DEADLINE_S)
        accepted, _ = server.accept()
    with client:
        with accepted:
            process = subprocess.Popen(
                [*DAYTIMED, "--inetd", *arguments], stdin=accepted.fileno(), stdout=accepted.fileno(),
                stderr=accepted.fileno() if stderr is None else stderr,
                env=clean_environment(),
            )  # fmt: skip
        got = read_all(client)
        return process.wait(DEADLINE_S), got


def test_the_client_gets_its_reply_and_nothing_else() -> None:
    """With descriptors 0, 1 and 2 on the client, as inetd sets them, no line of the log reaches the client."""
    code, got = serve_pair()
    assert code == 0
    assert SENTENCE.fullmatch(got)


def test_the_flags_are_those_of_the_daemon() -> None:
    """--inetd accepts a format and a zone."""
    code, got = serve_pair("-f", "iso8601", "-z", "Asia/Kolkata")
    assert code == 0
    assert re.fullmatch(rb"[-0-9]{10}T[:0-9]{8}\+05:30\r\n", got)


def test_a_fault_of_the_administrator_is_not_reported_to_the_client() -> None:
    """With an invalid configuration it exits with 78, and the client reads end of file."""
    assert serve_pair("-c", "/nonexistent/daytimed.toml") == (78, b"")


def test_the_log_goes_to_a_standard_error_of_its_own() -> None:
    """A standard error that is not the client, as under systemd, gets one event with the client's address."""
    reading, writing = os.pipe()
    code, got = serve_pair("--log-format", "json", stderr=writing)
    os.close(writing)
    with os.fdopen(reading) as log:
        lines = log.readlines()
    assert code == 0
    assert SENTENCE.fullmatch(got)
    assert len(lines) == 1
    assert '"event": "client_served"' in lines[0]
    assert '"client": "127.0.0.1"' in lines[0]


def test_a_client_of_a_denied_network_gets_nothing(tmp_path: Path) -> None:
    """--inetd obeys the access lists."""
    config = tmp_path / "daytimed.toml"
    config.write_text('[access]\ndeny = ["127.0.0.0/8"]\n')
    assert serve_pair("-c", str(config)) == (0, b"")


def test_a_datagram_socket_is_answered_once() -> None:
    """With dgram/wait, standard input is the server's socket itself."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.settimeout(DEADLINE_S)
        client.sendto(b"", server.getsockname())
        done = run(*DAYTIMED, "--inetd", stdin=server, stdout=server, stderr=server)
        assert done.returncode == 0
        assert SENTENCE.fullmatch(client.recv(2048))


def test_a_datagram_that_another_has_taken_is_no_error() -> None:
    """With nothing to read on a datagram socket, it exits with 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        assert run(*DAYTIMED, "--inetd", stdin=server, stdout=server, stderr=server).returncode == 0


def test_a_datagram_of_a_loop_is_not_answered(tmp_path: Path) -> None:
    """A datagram from our own port or from a denied network is dropped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.sendto(b"", server.getsockname())
        assert run(*DAYTIMED, "--inetd", stdin=server, stdout=server, stderr=server).returncode == 0
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(1)
        config = tmp_path / "daytimed.toml"
        config.write_text('[access]\ndeny = ["127.0.0.0/8"]\n')
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"", server.getsockname())
            done = run(*DAYTIMED, "--inetd", "-c", str(config), stdin=server, stdout=server, stderr=subprocess.PIPE)
        assert b'"reason": "denied"' in done.stderr


def test_a_listening_socket_is_refused_with_a_sentence() -> None:
    """stream/wait passes the listener, which --inetd does not accept."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run(*DAYTIMED, "--inetd", stdin=server, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == (
        b"daytimed: --inetd: standard input is a listening socket; use wait = no, nowait or Accept=yes\n"
    )


@pytest.mark.parametrize(
    ("family", "kind"), [(socket.AF_UNIX, socket.SOCK_DGRAM), (socket.AF_NETLINK, socket.SOCK_RAW)]
)
def test_a_socket_of_another_kind_is_refused(family: socket.AddressFamily, kind: socket.SocketKind) -> None:
    """A socket that is neither TCP nor UDP nor a unix stream causes a sentence, not a traceback."""
    with socket.socket(family, kind) as odd:
        done = run(*DAYTIMED, "--inetd", stdin=odd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == (
        b"daytimed: --inetd: standard input is not a TCP, UDP or unix stream socket; use one of these\n"
    )


def test_a_client_that_is_gone_is_no_error() -> None:
    """When the client has reset before the start, it exits with 0."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    with accepted:
        done = run(*DAYTIMED, "--inetd", stdin=accepted, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0
    assert b'"reason": "reset"' in done.stderr


def test_a_unix_client_is_served() -> None:
    """Standard input may be a unix stream socket."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [*DAYTIMED, "--inetd"], stdin=theirs.fileno(), stderr=theirs.fileno(), env=clean_environment()
            )
        assert SENTENCE.fullmatch(read_all(ours))
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.skipif(shutil.which("xinetd") is None, reason="xinetd is not installed")
def test_under_a_real_xinetd(tmp_path: Path) -> None:
    """Xinetd starts it for each client, and each client gets one whole line."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    user = "root" if os.geteuid() == 0 else os.environ.get("USER", "")
    config = tmp_path / "xinetd.conf"
    config.write_text(
        f"service daytimed\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n port = {port}\n"
        f" bind = 127.0.0.1\n wait = no\n user = {user}\n server = /usr/bin/env\n"
        f" server_args = {sys.executable} -m daytimed --inetd -z UTC\n env = PYTHONPATH={Path.cwd()}\n}}\n"
    )
    process = subprocess.Popen(
        ["xinetd", "-dontfork", "-f", config, "-pidfile", tmp_path / "pid", "-filelog", tmp_path / "log"],
        env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: connects(port), "xinetd listens")
        for _ in range(5):
            assert SENTENCE.fullmatch(fetch(port))
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
