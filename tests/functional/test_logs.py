"""The log: its content and its budget; the service never waits for it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from aftermath import children
from attacks import reset
from harness import DAYTIMED, DEADLINE_S, clean_environment, fetch, free_port, process_state, serving, wait_until

from daytimed.log.events import EVENTS

WORKERS = 2


def config_file(folder: Path, text: str) -> Path:
    path = folder / "daytimed.toml"
    path.write_text('[[listener]]\naddress = "127.0.0.1:0"\n' + text)
    return path


def test_every_event_has_a_time_a_level_a_name_and_a_sentence(tmp_path: Path) -> None:
    """Each line of the JSON log is one object with these four keys, and the table has every event."""
    with serving(config=config_file(tmp_path, "")) as daemon:
        fetch(daemon.port())
        os.kill(daemon.live_workers()[0], signal.SIGKILL)
        daemon.wait_event("worker_exited")
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        daemon.statistics()
    assert len(daemon.events) == len(daemon.lines)
    for event in daemon.events:
        assert list(event)[:4] == ["timestamp", "level", "event", "message"]
        assert event["event"] in EVENTS
        assert "{" not in event["message"]
    names = [event["event"] for event in daemon.events]
    assert names[0] == "daemon_starting"
    assert names[-1] == "daemon_stopped"
    assert names.index("listener_opened") < names.index("worker_started") < names.index("daemon_ready")


def test_a_flood_is_logged_within_its_budget_and_summed_up(tmp_path: Path) -> None:
    """The burst is logged client by client, the rest is counted and sampled; together they are all the clients."""
    config = config_file(tmp_path, f"workers = {WORKERS}\n[log]\nclient_rate = 1\nclient_burst = 50\n")
    with serving(config=config) as daemon:
        for _ in range(1000):
            fetch(daemon.port())
        daemon.wait_event("clients_suppressed")
        daemon.send(signal.SIGTERM)
        daemon.wait()
    logged, summaries = len(daemon.find("client_served")), daemon.find("clients_suppressed")
    assert logged + sum(event["served"] for event in summaries) == 1000
    assert summaries[0]["sampled"] > 0
    for event in summaries:
        sampled = event["sampled"]
        assert event["networks"] == (f"127.0.0.0/24={sampled}" if sampled else "")
        # the two counts are not read at once: between them, each worker may sample a client
        assert sampled <= event["served"] + WORKERS
    # the burst, the rate during the test, and what two workers may log at once
    assert 50 <= logged <= 50 + DEADLINE_S + 5


@pytest.mark.parametrize(("clients", "served", "dropped"), [("all", 1, 1), ("dropped", 0, 1), ("none", 0, 0)])
def test_which_clients_are_logged(tmp_path: Path, clients: str, served: int, dropped: int) -> None:
    """log.clients selects the clients that are logged; no client is logged above info."""
    config = config_file(tmp_path, f'[access]\ndeny = ["127.0.0.9"]\n[log]\nclients = "{clients}"\n')
    with serving(config=config) as daemon:
        fetch(daemon.port())
        be_denied(daemon.port())
        daemon.send(signal.SIGTERM)
        daemon.wait()
    assert len(daemon.find("client_served")) == served
    assert len(daemon.find("client_dropped")) == dropped
    assert all(event["level"] == "info" for event in daemon.events if event["event"].startswith("client"))


def be_denied(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S, source_address=("127.0.0.9", 0)) as client:
        assert client.recv(1) == b""


def test_quiet_networks_are_served_without_a_line(tmp_path: Path) -> None:
    """Clients of log.quiet that are served or reset are neither logged nor summed up; the others are logged."""
    config = config_file(tmp_path, '[access]\ndeny = ["127.0.0.9"]\n[log]\nquiet = ["127.0.0.0/8"]\n')
    with serving("-w", "1", config=config) as daemon:
        fetch(daemon.port())
        # they are gone before the worker can accept them
        os.kill(daemon.live_workers()[0], signal.SIGSTOP)
        for _ in range(30):
            reset(socket.create_connection(("127.0.0.1", daemon.port())))
        os.kill(daemon.live_workers()[0], signal.SIGCONT)
        assert daemon.statistics(accepted=31)["reset"] == 30
        be_denied(daemon.port())
        daemon.wait_event("client_dropped", client="127.0.0.9")
        daemon.send(signal.SIGTERM)
        daemon.wait()
    assert daemon.find("client_served") == []
    assert [event["reason"] for event in daemon.find("client_dropped")] == ["denied"]
    assert daemon.find("clients_suppressed") == []
    assert daemon.wait_event("daemon_stopped")["served"] == 1


def test_a_level_above_info_leaves_only_what_is_wrong(tmp_path: Path) -> None:
    """At `warning`, the log of a normal run is empty; a killed worker is logged."""
    port = free_port()
    process = subprocess.Popen(
        [*DAYTIMED, "-l", f"127.0.0.1:{port}", "--log-level", "warning", "--log-format", "json", "-w", "1"],
        env=clean_environment(), stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_until(lambda: connects(port), "it listens")
        fetch(port)
        worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(worker, signal.SIGKILL)
        assert process.stderr
        assert json.loads(process.stderr.readline())["event"] == "worker_exited"
    finally:
        process.terminate()
        _, rest = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, rest) == (0, b"")


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def serve_with_stderr(stderr: int) -> None:
    """Serve three hundred clients with a broken standard error, reload, and stop with 0."""
    port = free_port()
    process = subprocess.Popen([*DAYTIMED, "-l", f"127.0.0.1:{port}"], env=clean_environment(), stderr=stderr)
    try:
        wait_until(lambda: connects(port), "it listens")
        for _ in range(300):
            assert fetch(port).endswith(b"\r\n")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        assert fetch(port).endswith(b"\r\n")
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_a_standard_error_whose_reader_is_gone_costs_nothing_but_lines() -> None:
    """The daemon serves on when every line fails with EPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    serve_with_stderr(writing)
    os.close(writing)


def test_a_full_disk_behind_standard_error_costs_nothing_but_lines() -> None:
    """The daemon serves on when every line fails with ENOSPC."""
    full = os.open("/dev/full", os.O_WRONLY)
    serve_with_stderr(full)
    os.close(full)


def test_a_terminal_that_is_stopped_costs_nothing_but_lines() -> None:
    """A stopped terminal (Ctrl-S) delays no client."""
    controller, terminal = pty.openpty()
    import termios

    termios.tcflow(terminal, termios.TCOOFF)
    serve_with_stderr(terminal)
    os.close(terminal)
    os.close(controller)


def test_a_socket_that_nobody_reads_costs_nothing_but_lines() -> None:
    """The daemon serves on when standard error is a full socket, such as a supervisor's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serve_with_stderr(theirs.fileno())


def test_a_blocked_pipe_holds_nobody_up_and_the_loss_is_reported() -> None:
    """An unread pipe fills, and clients are served; when it is read again, log_lost has the number of lost lines."""
    reading, writing = os.pipe()
    port = free_port()
    process = subprocess.Popen(
        [*DAYTIMED, "-l", f"127.0.0.1:{port}", "--log-format", "json"],
        env=clean_environment({"DAYTIMED_LOG_CLIENT_RATE": "0"}), stderr=writing,
    )  # fmt: skip
    os.close(writing)
    try:
        wait_until(lambda: connects(port), "it listens")
        for _ in range(1500):
            assert fetch(port).endswith(b"\r\n")
        lines: list[bytes] = []
        lost = threading.Event()

        def read() -> None:
            with os.fdopen(reading, "rb") as stream:
                for line in stream:
                    lines.append(line)
                    if b'"log_lost"' in line:
                        lost.set()

        reader = threading.Thread(target=read)
        reader.start()
        process.send_signal(signal.SIGUSR1)
        assert lost.wait(DEADLINE_S)
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    reader.join(DEADLINE_S)
    events = [json.loads(line) for line in lines]
    reported = sum(event["lost"] for event in events if event["event"] == "log_lost")
    served = events[-1]["served"]
    logged = sum(1 for event in events if event["event"] == "client_served")
    assert events[-1]["event"] == "daemon_stopped"
    assert reported > 0
    # apart from a few lines of the start, the stop and the signals, all are of clients
    assert served <= logged + reported <= served + 10


def test_the_pipe_of_the_shell_stays_blocking() -> None:
    """The daemon never sets O_NONBLOCK on standard error, which other processes share."""
    reading, writing = os.pipe()
    port = free_port()
    process = subprocess.Popen([*DAYTIMED, "-l", f"127.0.0.1:{port}"], env=clean_environment(), stderr=writing)
    try:
        wait_until(lambda: connects(port), "it listens")
        assert os.get_blocking(writing)
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    os.close(reading)
    os.close(writing)


def test_on_a_terminal_the_console_shows_sentence_and_name() -> None:
    """On a terminal, `auto` shows sentence, name and fields of an event in colour; NO_COLOR turns colour off."""
    for environment, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [*DAYTIMED, "-l", "127.0.0.1:0"], env=clean_environment(environment), stderr=terminal
        )
        os.close(terminal)
        shown = b""
        try:
            while b"daemon_ready" not in shown:
                shown += os.read(controller, 65536)
        finally:
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        os.close(controller)
        assert b"Listening on tcp://127.0.0.1:" in shown
        assert b'"event"' not in shown
        assert (b"\x1b[" in shown) is coloured


#: The leader of a session on a terminal runs its arguments, in the background if the first one says so.
_ON_A_TERMINAL = """
import os, sys, termios
settings = termios.tcgetattr(2)
settings[3] |= termios.TOSTOP
termios.tcsetattr(2, termios.TCSANOW, settings)
pid = os.fork()
if pid == 0:
    if sys.argv[1] == "background":
        os.setpgid(0, 0)
    os.execv(sys.argv[2], sys.argv[2:])
os._exit(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
"""


def on_a_terminal(place: str, *arguments: str) -> tuple[int, int]:
    """Run the daemon on a terminal with `stty tostop`; return the pid of the leader, and the other end."""
    leader, controller = pty.fork()
    if leader == 0:
        command = [sys.executable, "-c", _ON_A_TERMINAL, place, *DAYTIMED, "--log-format", "json", *arguments]
        os.execve(command[0], command, clean_environment())
    return leader, controller


def read_until(controller: int, pattern: bytes) -> re.Match[bytes] | None:
    """Read a terminal until a pattern, or until its processes have ended."""
    shown = b""
    with contextlib.suppress(OSError):
        while not (found := re.search(pattern, shown)):
            shown += os.read(controller, 4096)
        return found
    print(shown.decode())
    return None


def test_a_background_daemon_writes_to_its_terminal() -> None:
    """With `stty tostop`, which stops background processes that write, the daemon logs, serves and stops."""
    leader, controller = on_a_terminal("background", "-l", "127.0.0.1:0")
    found = read_until(controller, b"daemon_ready")
    assert found, "it was stopped"
    pid, port = re.findall(rb'daemon_starting.*"pid": (\d+)|127\.0\.0\.1:(\d+)"', found.string)[:2]
    assert fetch(int(port[1]))
    assert read_until(controller, b"client_served"), "a worker was stopped"
    os.kill(int(pid[0]), signal.SIGTERM)
    assert read_until(controller, b"daemon_stopped")
    assert os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1]) == 0
    os.close(controller)


def test_a_failed_start_in_the_background_ends() -> None:
    """With `stty tostop`, a background daemon that cannot start reports it and ends; it is not stopped instead."""
    leader, controller = on_a_terminal("background", "-c", "/nonexistent/file")
    assert read_until(controller, b"No such file or directory"), "it was stopped"
    assert os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1]) == 0
    os.close(controller)


def test_a_terminal_that_closes_is_a_reload() -> None:
    """A terminal that closes sends HUP: the daemon reloads, serves on without its log, and stops as usual."""
    leader, controller = on_a_terminal("foreground", "-l", "127.0.0.1:0")
    found = read_until(controller, b"daemon_ready")
    assert found
    pid, port = re.findall(rb'daemon_starting.*"pid": (\d+)|127\.0\.0\.1:(\d+)"', found.string)[:2]
    workers = children(int(pid[0]))
    os.close(controller)
    wait_until(lambda: not {*workers} & {*children(int(pid[0]))}, "it has reloaded")
    assert fetch(int(port[1]))
    os.kill(int(pid[0]), signal.SIGTERM)
    wait_until(lambda: process_state(int(pid[0])) in ("", "Z"), "it has ended")
    os.waitpid(leader, 0)
