"""Third-party clients against our server. A missing one is skipped by its name."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from harness import DEADLINE_S, clean_environment, needs, run, serving

SENTENCE = re.compile(rb"The Date Time is: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC\r?\n")
EPOCH_1900 = 2_208_988_800


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["nc", "-d", "127.0.0.1", "PORT"], marks=needs("nc"), id="netcat-openbsd"),
        pytest.param(["socat", "-", "TCP:127.0.0.1:PORT"], marks=needs("socat"), id="socat"),
        pytest.param(["busybox", "nc", "127.0.0.1", "PORT"], marks=needs("busybox"), id="busybox-nc"),
        pytest.param(["curl", "-s", "telnet://127.0.0.1:PORT"], marks=needs("curl"), id="curl-telnet"),
        pytest.param(["bash", "-c", "cat < /dev/tcp/127.0.0.1/PORT"], marks=needs("bash"), id="bash"),
    ],
)
def test_a_plain_client_shows_the_line_and_ends(command: list[str]) -> None:
    """The client prints the line and ends, because the server closes."""
    with serving() as daemon:
        done = run(*(part.replace("PORT", str(daemon.port())) for part in command))
    assert SENTENCE.fullmatch(done.stdout), done


@needs("telnet")
def test_telnet_shows_the_line() -> None:
    """`telnet localhost PORT`, as in the tutorial, prints the line and ends without any input."""
    with serving("-l", "tcp://:0") as daemon:
        telnet = subprocess.Popen(
            ["telnet", "localhost", str(daemon.port())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_environment(),
        )  # fmt: skip
        assert telnet.stdout
        assert telnet.stdin
        shown = telnet.stdout.read()
        telnet.stdin.close()
        telnet.wait(DEADLINE_S)
        telnet.stdout.close()
    assert SENTENCE.search(shown), shown
    assert b"Connection closed by foreign host" in shown


@needs("socat")
@pytest.mark.parametrize(
    ("listen", "target"), [("udp4://127.0.0.1:0", "UDP4:127.0.0.1"), ("udp6://[::1]:0", "UDP6:[::1]")]
)
def test_socat_asks_over_udp(listen: str, target: str) -> None:
    """One datagram gets one datagram."""
    with serving("-l", listen) as daemon:
        done = run("socat", "-t", "1", "-", f"{target}:{daemon.port()},shut-null", input=b"\n", stdin=None)
    assert SENTENCE.match(done.stdout), done


@needs("perl")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("function", ["inet_daytime", "inet_time"])
def test_perls_net_time_reads_daytime_and_time(function: str, protocol: str) -> None:
    """Perl's own library reads the daytime line (RFC 867) and the binary time (RFC 868), over TCP and UDP."""
    style = "rfc868" if function == "inet_time" else "ctime"
    with serving("-l", f"{protocol}4://127.0.0.1:0", "-f", style) as daemon:
        # Net::Time looks the port up by the service's name; this passes ours
        script = (
            "use Net::Time; no warnings; *IO::Socket::INET::real = \\&IO::Socket::INET::new;"
            f"*IO::Socket::INET::new = sub {{ my ($class, %a) = @_; $a{{PeerPort}} = {daemon.port()};"
            " IO::Socket::INET::real($class, %a) };"
            f"print Net::Time::{function}('127.0.0.1', '{protocol}', 10)"
        )
        done = run("perl", "-e", script)
    now = time.time()
    if function == "inet_time":
        assert now - DEADLINE_S <= int(done.stdout) <= now
    else:
        read = time.mktime(time.strptime(done.stdout.decode().strip(), "%a %b %d %H:%M:%S %Y"))
        assert now - DEADLINE_S <= read - time.timezone <= now + 1


@needs("rdate")
def test_rdate_reads_rfc868() -> None:
    """Rdate -p prints the time of an RFC 868 server."""
    with serving("-l", "tcp4://127.0.0.1:0", "-f", "rfc868") as daemon:
        done = run("rdate", "-p", "-o", str(daemon.port()), "127.0.0.1")
    read = time.mktime(time.strptime(done.stdout.decode().strip(), "%a %b %d %H:%M:%S UTC %Y"))
    assert abs(time.time() - (read - time.timezone)) <= DEADLINE_S
