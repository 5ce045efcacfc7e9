"""daytime-get against the daemon and against servers that nobody here wrote."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import DAYTIME_GET, DAYTIMED, DEADLINE_S, clean_environment, run, serving

from daytimed.probe.cli import HELP


def probe(*arguments: str) -> tuple[int, str, str]:
    """Run the probe; return its exit code, standard output and standard error."""
    done = run(*DAYTIME_GET, *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextlib.contextmanager
def server(*behaviours: Callable[[socket.socket], None]) -> Iterator[str]:
    """Have a server that treats its clients, one after the other, as it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for behave in behaviours:
                client, _ = listener.accept()
                with client:
                    behave(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_it_prints_what_the_daemon_says() -> None:
    """The line that telnet would show, and 0."""
    with serving() as daemon:
        code, out, err = probe(f"127.0.0.1:{daemon.port()}")
    assert (code, err) == (0, "")
    assert out.startswith("The Date Time is: ")
    assert out.endswith(" +0000 UTC\n")


@pytest.mark.parametrize("listen", ["tcp4://127.0.0.1:0", "tcp6://[::1]:0", "udp4://127.0.0.1:0", "udp6://[::1]:0"])
def test_it_asks_every_kind_of_listener(listen: str) -> None:
    """TCP and UDP over both families, by the very address that the daemon logs."""
    with serving("-l", listen) as daemon:
        code, out, _ = probe(daemon.bound()[0])
    assert code == 0
    assert out.startswith("The Date Time is: ")


def test_it_asks_a_unix_socket(tmp_path: Path) -> None:
    """The same grammar, the same line."""
    path = tmp_path / "socket"
    with serving("-l", f"unix://{path}"):
        assert probe(f"unix://{path}")[1].startswith("The Date Time is: ")


def test_families_can_be_chosen() -> None:
    """-4 reaches a server on IPv4 only and -6 does not; `localhost` alone finds the one that answers."""
    with serving("-l", "tcp4://127.0.0.1:0") as daemon:
        port = daemon.port()
        assert probe("-4", f"localhost:{port}")[0] == 0
        assert probe("-6", f"localhost:{port}")[0] == 2
        assert probe(f"localhost:{port}")[0] == 0
        assert probe("-H", "127.0.0.1", "-p", str(port))[0] == 0
        assert probe("-p", str(port), "127.0.0.1")[0] == 0


def test_several_addresses_are_told_apart_and_the_worst_wins() -> None:
    """Each has a row of the table, in the order asked for; one that fails makes the exit code 2."""
    with serving() as daemon, server(lambda client: None) as empty:
        good = f"tcp://127.0.0.1:{daemon.port()}"
        code, out, err = probe(good, empty, good)
    assert (code, err) == (2, "")
    rows = [line.split(maxsplit=2) for line in out.splitlines()]
    assert [row[0] for row in rows] == ["STATE", "OK", "CRITICAL", "OK"]
    assert [row[1] for row in rows[1:]] == [good, f"tcp://{empty}", good]
    assert "\x1b" not in out
    assert "The Date Time is: " in rows[1][2]
    assert rows[2][2].endswith("the server closed without sending a byte")


def test_json_has_every_key() -> None:
    """One object a line, with the keys of the interface, for good and bad answers alike."""
    keys = ["address", "family", "reply", "format", "instant", "resolution_s", "zone", "offset_s", "uncertainty_s"]
    keys += ["connect_s", "total_s", "state", "reason"]
    with serving("-f", "iso8601") as daemon, server(lambda client: None) as empty:
        code, out, _ = probe("-o", "json", f"127.0.0.1:{daemon.port()}", empty)
    good, bad = (json.loads(line) for line in out.splitlines())
    assert code == 2
    assert list(good) == list(bad) == keys
    assert (good["state"], good["reason"], good["family"]) == ("OK", None, "ipv4")
    assert good["reply"].endswith("+00:00\r\n")
    assert 0 < good["connect_s"] <= good["total_s"]
    assert (bad["state"], bad["reason"]) == ("CRITICAL", "the server closed without sending a byte")


def test_many_packets_are_read_to_the_end_of_file() -> None:
    """A reply in a hundred pieces is one reply."""

    def trickle(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(100):
            client.sendall(b"%02d," % number)

    with server(trickle) as address:
        code, out, _ = probe("-o", "raw", address)
    assert (code, out) == (0, "".join(f"{number:02}," for number in range(100)))


def test_text_never_controls_a_terminal() -> None:
    """Escape sequences, other controls and bytes that are no text are shown and not sent."""
    with server(lambda client: client.sendall(b"\n\x1b]0;owned\x07 12:00\x9b2J \xe2\x80\xae\x7f\r\n\0")) as address:
        code, out, _ = probe("--any", address)
    assert (code, out) == (0, "\n\\x1b]0;owned\\x07 12:00\\x9b2J \\u202e\\x7f\n")


def silent(client: socket.socket) -> None:
    client.recv(1)


def half(client: socket.socket) -> None:
    client.sendall(b"The Date")
    client.recv(1)


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def endless(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            client.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (silent, "no reply within 0.3 s"),
        (half, "8 bytes and no end of file within 0.3 s"),
        (reset, "the server reset the connection"),
        (endless, "the reply is longer than 1000 bytes; see --max-bytes"),
    ],
)
def test_what_is_no_whole_reply_is_critical(behave: Callable[[socket.socket], None], reason: str) -> None:
    """Each fault is its own sentence, and 2."""
    with server(behave) as address:
        code, _, err = probe("-t", "0.3", "--max-bytes", "1000", address)
    assert code == 2
    assert err == f"daytime-get: tcp://{address}: {reason}\n"


def test_a_reply_of_exactly_the_most_bytes_is_good() -> None:
    """--max-bytes is what may come, not what may not."""
    with server(lambda client: client.sendall(b"x" * 1000)) as address:
        assert probe("--any", "--max-bytes", "1000", address)[0] == 0


def test_refused_unresolvable_and_missing_are_critical(tmp_path: Path) -> None:
    """No server, no name, no socket: 2 with the reason."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for address, reason in (
        (f"tcp://127.0.0.1:{port}", "connection refused; nothing listens there"),
        (f"udp://127.0.0.1:{port}", "connection refused; nothing listens there"),
        (f"unix://{tmp_path}/none", "there is no such socket"),
    ):
        assert probe(address) == (2, "", f"daytime-get: {address}: {reason}\n")
    code, _, err = probe("host.invalid:13")
    assert code == 2
    assert err.startswith("daytime-get: tcp://host.invalid:13: cannot resolve host.invalid: ")


#: A host 192.0.2.2 that takes packets and never answers.
BLACK_HOLE = (
    "ip link set lo up && ip link add near type veth peer name far && ip addr add 192.0.2.1/24 dev near"
    " && ip link set near up && ip link set far up && ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev near"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own needs root")
def test_the_deadline_holds_for_a_connection_that_nobody_answers() -> None:
    """A host behind which packets vanish: 2 within the deadline."""
    begun = time.monotonic()
    script = f'{BLACK_HOLE} && exec "$@"'
    done = run("unshare", "--net", "sh", "-c", script, "sh", *DAYTIME_GET, "-t", "0.5", "192.0.2.2:13")
    assert (done.returncode, done.stderr) == (2, b"daytime-get: tcp://192.0.2.2:13: no connection within 0.5 s\n")
    assert time.monotonic() - begun < DEADLINE_S / 3


@pytest.mark.skipif(os.geteuid() != 0, reason="a name service of its own needs root")
def test_the_deadline_holds_for_name_resolution(tmp_path: Path) -> None:
    """A name server that never answers takes no longer than the deadline."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.2\noptions timeout:20 attempts:3\n")
    script = f'mount --bind "$1" /etc/resolv.conf && shift && {BLACK_HOLE} && exec "$@"'
    begun = time.monotonic()
    done = run(
        "unshare", "--net", "--mount", "sh", "-c", script, "sh", str(resolv),
        *DAYTIME_GET, "-t", "0.5", "daytime.example.org:13",
    )  # fmt: skip
    if b"unshare" in done.stderr:
        pytest.skip("no mount namespace of its own is possible here (a chroot, for one)")
    line = b"daytime-get: tcp://daytime.example.org:13: no connection within 0.5 s\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert time.monotonic() - begun < DEADLINE_S / 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nosuch"], "unrecognized arguments: --nosuch"),
        (["-t", "0"], "argument -t/--timeout: '0' is not a number of seconds above 0 and up to one day"),
        (["-t", "nan"], "argument -t/--timeout: 'nan' is not a number of seconds above 0 and up to one day"),
        (["--max-bytes", "0"], "argument --max-bytes: '0' is not a whole number from 1"),
        (["--send", r"\q"], r"argument --send: \q is no escape; there are \r \n \t \0 \\ and \xHH"),
        (["localhost:99999"], "argument ADDRESS: 'localhost:99999' has the port 99999; ports go from 0 to 65535"),
        (["-4", "tcp6://localhost:1"], "argument -4: tcp6://localhost:1 is not of that family"),
        (["-p", "x y"], "argument -p/--port: 'x y' is no port; write a number up to 65535 or a service name"),
        (["-H", "a/b"], "argument -H: 'a/b' is no host"),
    ],
)
def test_wrong_arguments_are_3(arguments: list[str], line: str) -> None:
    """UNKNOWN, as monitoring systems have it, in one line."""
    assert probe(*arguments) == (3, "", f"daytime-get: {line}; see daytime-get --help\n")


def test_quiet_prints_nothing() -> None:
    """-q leaves the exit code."""
    with serving() as daemon:
        assert probe("-q", f"127.0.0.1:{daemon.port()}") == (0, "", "")
    assert probe("-q", "unix:///nonexistent/socket") == (2, "", "")


def test_an_output_that_is_closed_or_full_is_no_traceback() -> None:
    """A reader that has gone is fine, a full disk is told."""
    with serving() as daemon:
        address = f"127.0.0.1:{daemon.port()}"
        reading, writing = os.pipe()
        os.close(reading)
        done = run(*DAYTIME_GET, address, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")
        with Path("/dev/full").open("wb") as full:
            done = run(*DAYTIME_GET, address, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 3
        assert done.stderr == b"daytime-get: standard output: cannot write: No space left on device\n"


def test_an_interrupt_is_no_traceback() -> None:
    """Ctrl-C while it waits: one line."""
    connected = threading.Event()

    def hold(client: socket.socket) -> None:
        connected.set()
        client.recv(1)

    with server(hold) as address:
        process = subprocess.Popen([*DAYTIME_GET, address], stderr=subprocess.PIPE, env=clean_environment())
        assert connected.wait(DEADLINE_S)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (3, b"daytime-get: interrupted\n")


def test_many_addresses_are_asked_side_by_side() -> None:
    """Servers that each answer only once all have been asked are all answered."""
    count = 40
    everybody = threading.Barrier(count)

    def together(client: socket.socket) -> None:
        everybody.wait(DEADLINE_S)
        client.sendall(b"2026-11-22T12:00:00Z\r\n")

    with contextlib.ExitStack() as stack:
        addresses = [stack.enter_context(server(together)) for _ in range(count)]
        code, out, err = probe("-o", "json", *addresses)
    assert (code, err) == (0, "")
    assert [json.loads(line)["address"] for line in out.splitlines()] == [f"tcp://{address}" for address in addresses]


def on_a_terminal(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the probe with two terminals; return its exit code and what each shows."""
    shown = []
    (out, out_end), (err, err_end) = os.openpty(), os.openpty()
    environment = clean_environment() | {"TERM": "xterm"} | variables
    with subprocess.Popen([*DAYTIME_GET, *arguments], stdout=out_end, stderr=err_end, env=environment) as process:
        os.close(out_end)
        os.close(err_end)
        for terminal in (out, err):
            text = b""
            # a terminal that nobody has open any more is an error, not an end of file
            with contextlib.suppress(OSError):
                while part := os.read(terminal, 65536):
                    text += part
            os.close(terminal)
            shown.append(text.decode())
    return process.returncode, shown[0], shown[1]


def test_a_terminal_has_colour_and_a_live_count() -> None:
    """On a terminal the states have colours and what is outstanding is counted down, and wiped at the end."""
    with serving() as daemon:
        good = f"127.0.0.1:{daemon.port()}"
        code, out, err = on_a_terminal(good, good, "unix:///nonexistent/socket")
        _, plain, _ = on_a_terminal(good, good, NO_COLOR="1")
        _, dumb, _ = on_a_terminal(good, good, TERM="dumb")
    assert code == 2
    assert "\x1b[32mOK      \x1b[0m" in out
    assert "\x1b[31mCRITICAL\x1b[0m" in out
    assert [part for part in err.split("\r\x1b[K") if part] == ["3 outstanding", "2 outstanding", "1 outstanding"]
    assert err.endswith("\r\x1b[K")
    assert "\x1b" not in plain + dumb


def test_it_runs_on_like_ping() -> None:
    """`-n 0` asks until Ctrl-C, a line a reply, and ends with a summary and the worst state."""
    with serving("-f", "ctime") as daemon:
        address = f"tcp://127.0.0.1:{daemon.port()}"
        process = subprocess.Popen(
            [*DAYTIME_GET, "-n", "0", "-i", "0.05", "-z", "UTC", address],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
        )  # fmt: skip
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"26 bytes from {address}: seq={number} offset \S+ ms ± \S+ ms time \S+ ms\n", line), line
    ends = rest.splitlines()[-4:]
    assert ends[0] == f"--- {address} ---"
    sent, answered, lost = map(int, re.findall(r"\d+", ends[1]))
    assert (sent, lost) == (answered, 0)
    assert sent >= 5
    assert re.fullmatch(r"time min/avg/max \S+/\S+/\S+ ms", ends[2])
    assert re.fullmatch(rf"offset \S+ ms ± \S+ ms \({sent} agree\)", ends[3])


def test_it_runs_on_as_json_and_through_failures() -> None:
    """`-n 0 -o json` has an object a reply; a server that fails now and then does not end it, and is a warning."""

    def good(client: socket.socket) -> None:
        client.sendall(b"2026-11-22T12:00:00Z\r\n")

    with server(good, reset, good) as address:
        process = subprocess.Popen(
            [*DAYTIME_GET, "-n", "0", "-i", "0.01", "-o", "json", address],
            stdout=subprocess.PIPE, text=True, env=clean_environment(),
        )  # fmt: skip
        assert process.stdout
        states = [json.loads(process.stdout.readline())["state"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
    assert (states, process.returncode) == (["OK", "CRITICAL", "OK"], 1)


@pytest.mark.parametrize("command", re.findall("^  daytime-get (.*)$", HELP, re.MULTILINE))
def test_examples_of_the_help(command: str) -> None:
    """The examples work when they are pasted: here in a network of their own, where a server is at each address."""
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root")
    script = """
        ip link set lo up; mount --bind "$1" /etc/hosts; shift
        "$@" -l :6000 -l :80 >/dev/null 2>&1 & daemon=$!
        until $PROBE -q; do kill -0 $daemon || exit 99; done
        sh -c "$PROBE $COMMAND"; state=$?
        kill $daemon; wait $daemon 2>/dev/null; exit $state
    """
    with tempfile.NamedTemporaryFile("w") as hosts:
        hosts.write("127.0.0.1 localhost www.example.org\n::1 localhost\n")
        hosts.flush()
        environment = clean_environment() | {"PROBE": shlex.join(DAYTIME_GET), "COMMAND": command}
        words = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", hosts.name, *DAYTIMED]
        done = subprocess.run(words, capture_output=True, env=environment, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert re.match(rb"The Date Time is: |DAYTIME OK: offset ", done.stdout), done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_it_is_the_tutorials_http_client(tmp_path: Path) -> None:
    """The GET of the tutorial brings the very bytes that curl shows: header, blank line and all of the body."""
    (tmp_path / "page.html").write_bytes(b"<html>" + os.urandom(300_000) + b"</html>")
    web = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert web.stdout
        port = web.stdout.readline().split(" port ")[1].split()[0]
        for path in ("/", "/page.html"):
            url = f"http://127.0.0.1:{port}{path}"
            ours = run(*DAYTIME_GET, "-o", "raw", "--send", rf"GET {path} HTTP/1.0\r\n\r\n", f"localhost:{port}")
            theirs = run("curl", "--silent", "--http1.0", "-i", "--raw", url)
            assert ours.returncode == theirs.returncode == 0
            assert without_date(ours.stdout) == without_date(theirs.stdout)
        assert len(ours.stdout) > 300_000
    finally:
        web.terminate()
        web.communicate(timeout=DEADLINE_S)


def without_date(response: bytes) -> list[bytes]:
    """The two questions may fall into two seconds."""
    return [line for line in response.split(b"\r\n") if not line.startswith(b"Date: ")]
