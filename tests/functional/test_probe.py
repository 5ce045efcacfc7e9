"""daytime-get against the daemon and against other servers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DAYTIME_GET, DAYTIMED, DEADLINE_S, clean_environment, needs, run, serving, skip_without_mounts
from servers import reset, saying, stream_server

from daytimed.probe.arguments import HELP


def probe(*arguments: str) -> tuple[int, str, str]:
    """Run the probe; return its exit code, standard output and standard error."""
    done = run(*DAYTIME_GET, *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


#: Listeners for tests with several servers, since a server named twice is asked once.
TWO = ("-l", "tcp4://127.0.0.1:0", "-l", "udp4://127.0.0.1:0")


def test_it_prints_the_reply_of_the_daemon() -> None:
    """The line of the daemon, and exit code 0."""
    with serving() as daemon:
        code, out, err = probe(f"127.0.0.1:{daemon.port()}")
    assert (code, err) == (0, "")
    assert out.startswith("The Date Time is: ")
    assert out.endswith(" +0000 UTC\n")


@pytest.mark.parametrize("listen", ["tcp4://127.0.0.1:0", "tcp6://[::1]:0", "udp4://127.0.0.1:0", "udp6://[::1]:0"])
def test_it_asks_every_kind_of_listener(listen: str) -> None:
    """TCP and UDP over both families, at the address that the daemon logs."""
    with serving("-l", listen) as daemon:
        code, out, _ = probe(daemon.bound()[0])
    assert code == 0
    assert out.startswith("The Date Time is: ")


def test_it_asks_a_unix_socket(tmp_path: Path) -> None:
    """A unix socket has the same address grammar and the same reply."""
    path = tmp_path / "socket"
    with serving("-l", f"unix://{path}"):
        assert probe(f"unix://{path}")[1].startswith("The Date Time is: ")


def test_families_can_be_chosen() -> None:
    """A server on IPv4 only answers -4 but not -6; `localhost` alone finds it."""
    with serving("-l", "tcp4://127.0.0.1:0") as daemon:
        port = daemon.port()
        assert probe("-4", f"localhost:{port}")[0] == 0
        assert probe("-6", f"localhost:{port}")[0] == 2
        assert probe(f"localhost:{port}")[0] == 0
        assert probe("-H", "127.0.0.1", "-p", str(port))[0] == 0
        assert probe("-p", str(port), "127.0.0.1")[0] == 0


def test_several_addresses_have_a_row_each_and_the_worst_wins() -> None:
    """Each address has a row of the table, in the given order; a failure makes the exit code 2."""
    with serving(*TWO) as daemon, stream_server(saying(b"")) as empty:
        first, last = daemon.bound()
        code, out, err = probe(first, empty, last)
    assert (code, err) == (2, "")
    rows = [line.split(maxsplit=2) for line in out.splitlines()]
    assert [row[0] for row in rows] == ["STATE", "OK", "CRITICAL", "OK"]
    assert [row[1] for row in rows[1:]] == [first, empty, last]
    assert "\x1b" not in out
    assert "The Date Time is: " in rows[1][2]
    assert rows[2][2].endswith("the server closed without sending a byte")


def test_json_has_every_key() -> None:
    """JSON is one object per line, with all documented keys for good and bad replies."""
    keys = ["address", "family", "reply", "format", "instant", "resolution_s", "zone", "offset_s", "uncertainty_s"]
    keys += ["connect_s", "total_s", "state", "reason"]
    with serving("-f", "iso8601") as daemon, stream_server(saying(b"")) as empty:
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

    with stream_server(trickle) as address:
        code, out, _ = probe("-o", "raw", address)
    assert (code, out) == (0, "".join(f"{number:02}," for number in range(100)))


def test_a_reply_of_exactly_the_most_bytes_is_good() -> None:
    """A reply of exactly --max-bytes is accepted."""
    with stream_server(saying(b"x" * 1000)) as address:
        assert probe("--any", "--max-bytes", "1000", address)[0] == 0


def test_refused_unresolvable_and_missing_are_critical(tmp_path: Path) -> None:
    """A missing server, name or socket gives exit code 2 and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for address, reason in (
        (f"tcp://127.0.0.1:{port}", "connection refused; nothing listens there"),
        (f"udp://127.0.0.1:{port}", "connection refused; nothing listens there"),
        (f"unix://{tmp_path}/none", "no such socket"),
    ):
        assert probe(address) == (2, "", f"daytime-get: {address}: {reason}\n")
    code, _, err = probe("host.invalid:13")
    assert code == 2
    assert err.startswith("daytime-get: tcp://host.invalid:13: cannot resolve host.invalid: ")


#: A host 192.0.2.2 that receives packets and never answers.
BLACK_HOLE = (
    "ip link set lo up && ip link add near type veth peer name far && ip addr add 192.0.2.1/24 dev near"
    " && ip link set near up && ip link set far up && ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev near"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_the_deadline_holds_for_a_connection_that_nobody_answers() -> None:
    """A host that drops packets gives exit code 2 within the deadline."""
    begun = time.monotonic()
    script = f'{BLACK_HOLE} && exec "$@"'
    done = run("unshare", "--net", "sh", "-c", script, "sh", *DAYTIME_GET, "-t", "0.5", "192.0.2.2:13")
    assert (done.returncode, done.stderr) == (2, b"daytime-get: tcp://192.0.2.2:13: no connection within 0.5 s\n")
    assert time.monotonic() - begun < DEADLINE_S / 3


@pytest.mark.skipif(os.geteuid() != 0, reason="a network and a mount namespace need root")
def test_the_deadline_holds_for_name_resolution(tmp_path: Path) -> None:
    """A name server that never answers takes no longer than the deadline."""
    own = ("unshare", "--net", "--mount")
    skip_without_mounts(*own)
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.2\noptions timeout:20 attempts:3\n")
    script = f'mount --bind "$1" /etc/resolv.conf && shift && {BLACK_HOLE} && exec "$@"'
    begun = time.monotonic()
    command = (*DAYTIME_GET, "-t", "0.5", "daytime.example.org:13")
    done = run(*own, "sh", "-c", script, "sh", str(resolv), *command)
    line = b"daytime-get: tcp://daytime.example.org:13: cannot resolve daytime.example.org within 0.5 s\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert time.monotonic() - begun < DEADLINE_S / 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nosuch"], "unrecognized arguments: --nosuch"),
        (["-t", "0"], "argument -t/--timeout: '0' is not a number of seconds above 0 and up to one day"),
        (["-t", "nan"], "argument -t/--timeout: 'nan' is not a number of seconds above 0 and up to one day"),
        (["--max-bytes", "0"], "argument --max-bytes: '0' is not a whole number above 0"),
        (["--send", r"\q"], r"argument --send: \q is not an escape; use \r \n \t \0 \\ or \xHH"),
        (["localhost:99999"], "argument ADDRESS: 'localhost:99999' has the invalid port 99999; use 0 to 65535"),
        (["-4", "tcp6://localhost:1"], "argument -4: tcp6://localhost:1 is not IPv4"),
        (["-p", "x y"], "argument -p/--port: 'x y' is not a port; use a number up to 65535 or a service name"),
        (["-H", "a/b"], "argument -H: 'a/b' is not a host; give a port with -p, and a whole address without -H"),
    ],
)
def test_wrong_arguments_are_3(arguments: list[str], line: str) -> None:
    """Wrong arguments give UNKNOWN and one line."""
    assert probe(*arguments) == (3, "", f"daytime-get: {line}; see daytime-get --help\n")


def test_quiet_prints_nothing() -> None:
    """-q prints nothing and leaves the exit code."""
    with serving() as daemon:
        assert probe("-q", f"127.0.0.1:{daemon.port()}") == (0, "", "")
    assert probe("-q", "unix:///nonexistent/socket") == (2, "", "")


def test_many_addresses_are_asked_side_by_side() -> None:
    """All servers reply, even if each one waits until all have been asked."""
    count = 40
    everybody = threading.Barrier(count)

    def together(client: socket.socket) -> None:
        everybody.wait(DEADLINE_S)
        client.sendall(b"2026-11-22T12:00:00Z\r\n")

    with contextlib.ExitStack() as stack:
        addresses = [stack.enter_context(stream_server(together)) for _ in range(count)]
        code, out, err = probe("-o", "json", *addresses)
    assert (code, err) == (0, "")
    assert [json.loads(line)["address"] for line in out.splitlines()] == addresses


def on_a_terminal(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the probe with two terminals; return its exit code and the text on each."""
    shown = []
    (out, out_end), (err, err_end) = os.openpty(), os.openpty()
    environment = clean_environment() | {"TERM": "xterm"} | variables
    with subprocess.Popen([*DAYTIME_GET, *arguments], stdout=out_end, stderr=err_end, env=environment) as process:
        os.close(out_end)
        os.close(err_end)
        for terminal in (out, err):
            text = b""
            # reading a terminal that no process has open is an error, not an end of file
            with contextlib.suppress(OSError):
                while part := os.read(terminal, 65536):
                    text += part
            os.close(terminal)
            shown.append(text.decode())
    return process.returncode, shown[0], shown[1]


def test_a_terminal_has_colour_and_a_live_count() -> None:
    """On a terminal the states have colours, and a count of outstanding servers is shown and then erased."""
    with serving(*TWO) as daemon:
        good = daemon.bound()
        code, out, err = on_a_terminal(*good, "unix:///nonexistent/socket")
        _, plain, _ = on_a_terminal(*good, NO_COLOR="1")
        _, dumb, _ = on_a_terminal(*good, TERM="dumb")
    assert code == 2
    assert "\x1b[32mOK      \x1b[0m" in out
    assert "\x1b[31mCRITICAL\x1b[0m" in out
    assert [part for part in err.split("\r\x1b[K") if part] == ["3 outstanding", "2 outstanding", "1 outstanding"]
    assert err.endswith("\r\x1b[K")
    assert "\x1b" not in plain + dumb


@contextlib.contextmanager
def running_on(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a probe that asks until it is interrupted."""
    process = subprocess.Popen(
        [*DAYTIME_GET, "-n", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_runs_on_like_ping() -> None:
    """`-n 0` prints a line per reply until Ctrl-C, then a summary, and exits with the worst state."""
    with serving("-f", "ctime") as daemon:
        address = f"tcp://127.0.0.1:{daemon.port()}"
        with running_on("-i", "0.05", "-z", "UTC", address) as process:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(5)]
            process.send_signal(signal.SIGINT)
            rest, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    # a busy machine may take a second
    took, offset = r"\S+ (ms|s)", r"offset \S+ (ms|s) ± \S+ (ms|s)"
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"26 bytes from {address}: seq={number} {offset} time {took}\n", line), line
    ends = rest.splitlines()[-4:]
    assert ends[0] == f"--- {address} ---"
    sent, answered, lost = map(int, re.findall(r"\d+", ends[1]))
    assert (sent, lost) == (answered, 0)
    assert sent >= 5
    assert re.fullmatch(r"time min/avg/max \S+/\S+/\S+ ms", ends[2])
    assert re.fullmatch(rf"{offset} \({sent} agree\)", ends[3])


def test_it_runs_on_as_json_and_through_failures() -> None:
    """`-n 0 -o json` prints an object per reply; an occasional failure does not end it, and is WARNING."""
    good = saying(b"2026-11-22T12:00:00Z\r\n")
    with (
        stream_server(good, reset(), good) as address,
        running_on("-i", "0.01", "-o", "json", address) as process,
    ):
        assert process.stdout
        states = [json.loads(process.stdout.readline())["state"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
    assert (states, process.returncode) == (["OK", "CRITICAL", "OK"], 1)


@pytest.mark.parametrize("command", re.findall("^  daytime-get (.*)$", HELP, re.MULTILINE))
def test_examples_of_the_help(command: str) -> None:
    """The examples work as written, in a separate network with a server at each address."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    own = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
    skip_without_mounts(*own)
    script = """
        ip link set lo up && mount --bind "$1" /etc/hosts && shift || exit
        "$@" -l :6000 -l :80 >/dev/null 2>&1 & daemon=$!
        until $PROBE -q; do kill -0 $daemon || exit 99; done
        sh -c "$PROBE $COMMAND"; state=$?
        kill $daemon; wait $daemon 2>/dev/null; exit $state
    """
    with tempfile.NamedTemporaryFile("w") as hosts:
        hosts.write("127.0.0.1 localhost www.example.org\n::1 localhost\n")
        hosts.flush()
        environment = clean_environment() | {"PROBE": shlex.join(DAYTIME_GET), "COMMAND": command}
        words = [*own, "sh", "-c", script, "sh", hosts.name, *DAYTIMED]
        done = subprocess.run(words, capture_output=True, env=environment, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert re.match(rb"The Date Time is: |DAYTIME OK: offset ", done.stdout), done.stdout


@needs("curl")
def test_it_is_an_http_client(tmp_path: Path) -> None:
    """A GET sent with --send returns the same bytes as curl: header, blank line and body."""
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
    """Remove the Date header: the two requests may fall into different seconds."""
    return [line for line in response.split(b"\r\n") if not line.startswith(b"Date: ")]
