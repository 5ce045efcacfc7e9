"""The examples for HAProxy, run by HAProxy."""

from __future__ import annotations

import calendar
import signal
import socket
import time
from pathlib import Path

import pytest
from examples import shipped
from harness import DAYTIME_GET, DEADLINE_S, needs, program, run, running, serving, wait_until
from plugins import plugin
from servers import Place, Reply, refusing, saying, silence, stream_server, unix_time


def nist(health: int) -> Reply:
    def line() -> bytes:
        now = time.gmtime()
        day = calendar.timegm(now) // 86400 + 40587
        return f"\n{day} {time.strftime('%y-%m-%d %H:%M:%S', now)} 00 0 {health} 50.0 UTC(NIST) * \n".encode()

    return line


def haproxy_states(path: Path) -> dict[str, str]:
    """Query the statistics socket for the state of each server and the result of its last check."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(path))
        connection.sendall(b"show stat\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return {f"{row[0]}/{row[1]}": f"{row[17]} {row[36]}" for row in rows if row[1] not in ("FRONTEND", "BACKEND")}


@needs("haproxy")
@pytest.mark.parametrize(
    ("example", "up", "down"),
    [("tcp-check.cfg", "UP L7OK", "DOWN L4CON"), ("external-check.cfg", "UP PROCOK", "DOWN PROCERR")],
)
def test_haproxy_takes_out_a_server_that_is_stopped(example: str, up: str, down: str, tmp_path: Path) -> None:
    """With either kind of check, a stopped server goes DOWN, and clients get their reply from the other."""
    script = str(shipped(tmp_path, "haproxy/daytime-check"))
    with serving() as first, serving() as second, socket.create_server(("127.0.0.1", 0)) as listener:
        end = listener.fileno()
        replacements = {
            "bind :6000": f"bind fd@{end}",
            "192.0.2.10:6000": f"127.0.0.1:{first.port()}",
            "192.0.2.11:6000": f"127.0.0.1:{second.port()}",
        }
        if example.startswith("external"):
            replacements["/etc/haproxy/daytime-check"] = script
        configuration = shipped(tmp_path, f"haproxy/{example}", replacements)
        statistics = tmp_path / "statistics"
        own = tmp_path / "own.cfg"
        own.write_text(f"global\n    stats socket {statistics}\n")
        files = ("-f", str(own), "-f", str(configuration))
        valid = run(program("haproxy"), "-c", *files, pass_fds=(end,))
        assert (valid.returncode, valid.stderr) == (0, b""), valid
        both = {"daytime/a": up, "daytime/b": up}
        with running(program("haproxy"), "-db", *files, pass_fds=(end,)) as haproxy:
            wait_until(lambda: statistics.exists() or haproxy.process.poll() is not None, "HAProxy runs")
            # HAProxy counts a server as UP until its first check
            wait_until(lambda: haproxy_states(statistics) == both, "all servers are checked and UP")
            second.send(signal.SIGTERM)
            second.wait()
            one = {**both, "daytime/b": down}
            wait_until(lambda: haproxy_states(statistics) == one, "the stopped server is DOWN")
            for _ in range(3):
                done = run(*DAYTIME_GET, f"127.0.0.1:{listener.getsockname()[1]}")
                assert (done.returncode, done.stdout[:18]) == (0, b"The Date Time is: ")


def test_the_script_for_haproxy_passes_what_still_serves(tmp_path: Path) -> None:
    """OK and WARNING pass; a wrong clock, a refused connection and a silent server do not."""
    script = str(shipped(tmp_path, "haproxy/daytime-check"))

    def passes(server: Place) -> bool:
        # as HAProxy runs it for a backend: only PATH in the environment, as in the example
        done = run(script, "NOT_USED", "NOT_USED", "127.0.0.1", str(server.port), env={"PATH": "/usr/bin:/bin"})
        assert (done.stdout, done.stderr) == (b"", b"")
        return done.returncode == 0

    with stream_server(saying(nist(0))) as server:
        assert passes(server)
    with stream_server(saying(nist(1))) as server:
        assert passes(server)
        assert plugin(server)[0] == "WARNING"
    with stream_server(saying(unix_time(60))) as server:
        assert not passes(server)
    with refusing() as server:
        assert not passes(server)
    with stream_server(silence) as server:
        assert not passes(server)
