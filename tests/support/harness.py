"""
The real daemon under test: start it, watch its log, stop it, and check the promises of every run.

Nothing here waits for time to pass: it waits for an event in the log, or for the end of a file or of a process.
DEADLINE_S only bounds a failing test.
"""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pytest

DEADLINE_S = 30.0

Event = dict[str, Any]

DAYTIMED = (sys.executable, "-m", "daytimed")
DAYTIME_GET = (sys.executable, "-m", "daytimed.probe")

#: For processes that have to run at their real speed: coverage does not trace them.
UNTRACED = {"COVERAGE_PROCESS_CONFIG": ""}

#: Not every PATH includes services and plugins.
PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/nagios/plugins"])


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without the variables that change the programs under test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAYTIMED_")}
    return {**kept, "TZ": "UTC", **(extra or {})}


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end and capture its output."""
    options.setdefault("env", clean_environment())
    options.setdefault("stdin", subprocess.DEVNULL)
    if "stdout" not in options and "stderr" not in options:
        options["capture_output"] = True
    return subprocess.run(command, timeout=DEADLINE_S, check=False, **options)


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test if one of these programs is not installed."""
    missing = [name for name in names if shutil.which(name, path=PROGRAMS) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} is not installed")


def program(name: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    path = shutil.which(name, path=PROGRAMS)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def skip_without_mounts(*namespaces: str) -> None:
    """Skip a test where mounting in these namespaces is impossible."""
    if run(*namespaces, "mount", "-t", "tmpfs", "none", "/run").returncode != 0:
        pytest.skip("cannot mount in a namespace here (in a chroot, for example)")


class Program(NamedTuple):
    """A running program of a third party, and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until its log has `count` matches of a pattern; return them."""

        def found() -> list[str]:
            return re.findall(pattern, self.log.read_text(errors="replace"))

        wait_until(lambda: len(found()) >= count or self.process.poll() is not None, pattern)
        assert len(found()) >= count, f"ended without {pattern!r}"
        return found()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def running(*command: str, env: Mapping[str, str] | None = None, **options: Any) -> Iterator[Program]:
    """Run a program until the body ends."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=clean_environment(env),
                start_new_session=True, **options,
            )  # fmt: skip
        started = Program(process, log)
        try:
            yield started
            if process.poll() is None:
                started.stop()
        finally:
            # and the processes that it has left behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"--- output of {shlex.join(command)}", log.read_text(errors="replace"), sep="\n")


def read_all(connection: socket.socket) -> bytes:
    """Read to the end of file; raises the connection's errors."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def free_port() -> int:
    """Return a port that is free over TCP on every IPv4 address."""
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def fetch(port: int, host: str = "127.0.0.1", request: bytes = b"") -> bytes:
    """Act as one client; return the reply."""
    with socket.create_connection((host, port), timeout=DEADLINE_S) as connection:
        if request:
            connection.sendall(request)
        return read_all(connection)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a state of the system that no event reports."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        # a poll: the state has no event to wait for
        time.sleep(0.005)


def process_state(pid: int) -> str:
    """Return the state letter of proc(5), or an empty string if the process does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descriptors(pid: int) -> list[str]:
    """Return what the descriptors of a process refer to, without inode numbers; of one that has ended, nothing."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(str(entry.readlink()).partition(":")[0])
    return sorted(found)


def has_sockets(pid: int, most: int) -> bool:
    """Return whether a process has at most this many sockets, or has ended."""
    return descriptors(pid).count("socket") <= most


class Daemon:
    """One run of the daemon. Use it in a `with`: leaving it stops the daemon and checks the promises of every run."""

    def __init__(
        self,
        *arguments: str,
        config: Path | None = None,
        env: Mapping[str, str] | None = None,
        expect_exit: int = 0,
        prefix: Sequence[str] = (),
        program: Sequence[str] = DAYTIMED,
        expect_killed: bool = False,
        expect_traceback: bool = False,
        check_descriptors: bool = True,
        **popen: Any,
    ) -> None:
        if config is not None:
            arguments = ("-c", str(config), *arguments)
        self.command = [*prefix, *program, "--log-format", "json", *arguments]
        self.env = clean_environment(env)
        self.expect_exit = expect_exit
        self.expect_killed = expect_killed
        self.expect_traceback = expect_traceback
        self.check_descriptors = check_descriptors
        self.popen = popen
        self.lines: list[str] = []
        self.events: list[Event] = []
        self._changed = threading.Condition()
        self._ended = False

    def __enter__(self) -> Daemon:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env, **self.popen
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.process.poll() is None:
                if kind is None and self.check_descriptors:
                    self._check_descriptors()
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(DEADLINE_S)
            assert self.process.stderr
            self.process.stderr.close()
            print(f"--- log of {' '.join(self.command)}", *self.lines, sep="\n")
        if kind is not None:
            return
        assert not self._reader.is_alive(), "a process of the daemon outlived it and holds its standard error"
        assert bool([line for line in self.lines if "Traceback" in line]) is self.expect_traceback
        assert code == self.expect_exit
        stopping = next((i for i, event in enumerate(self.events) if event["event"] == "daemon_stopping"), None)
        if stopping is not None and not self.expect_killed:
            # every worker that ran at the stop has stopped as asked
            started = [event["pid"] for event in self.events[:stopping] if event["event"] == "worker_started"]
            gone = [event["pid"] for event in self.events[:stopping] if event["event"] == "worker_exited"]
            exits = [event for event in self.events[stopping:] if event["event"] == "worker_exited"]
            assert {event["how"] for event in exits} <= {"stopped as asked"}
            assert {*started} - {*gone} <= {event["pid"] for event in exits}
        # init reaps the workers of a killed master; one that ends closes its files first
        wait_until(
            lambda: not [pid for pid in self.live_workers() if process_state(pid) not in ("", "Z")], "no worker is left"
        )

    def _read(self) -> None:
        assert self.process.stderr
        for raw in self.process.stderr:
            line = raw.decode().rstrip("\n")
            with self._changed:
                self.lines.append(line)
                with contextlib.suppress(ValueError):
                    self.events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _check_descriptors(self) -> None:
        """Assert that no process of the daemon has more sockets open than it needs."""
        # a worker that has just ended is a zombie until the master runs; one that stays a zombie is a bug
        wait_until(lambda: not [pid for pid in self.worker_pids() if process_state(pid) == "Z"], "no zombie is left")
        self.rest()
        # the master may notify a manager
        most = max(1, len(self.bound())) + ("NOTIFY_SOCKET" in self.env)
        assert has_sockets(self.process.pid, most), f"the master has {descriptors(self.process.pid)}"

    def rest(self) -> None:
        """Wait until no worker has a socket of a client: those of served clients are closed up to two seconds later."""
        for started in self.find("worker_started"):
            name = started["listener"]
            opened = self.find("listener_opened", listener=name) + self.find("listener_adopted", listener=name)
            # replies over UDP have a copy of the socket
            most = 2 if any(event["address"].startswith("udp") for event in opened) else 1
            if started["pid"] in self.live_workers():
                wait_until(partial(has_sockets, started["pid"], most), f"worker {started['pid']} has {most} sockets")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self.process.send_signal(number)

    def wait_events(self, name: str, count: int = 1, **fields: Any) -> list[Event]:
        """Wait until `count` events of a name, with these fields, have been logged; return all of them."""
        with self._changed:
            done = self._changed.wait_for(lambda: len(self.find(name, **fields)) >= count or self._ended, DEADLINE_S)
            found = self.find(name, **fields)
            assert done and len(found) >= count, f"{len(found)} of {count} {name} {fields} in\n" + "\n".join(self.lines)
            return found

    def wait_event(self, name: str, **fields: Any) -> Event:
        """Wait until an event of a name, with these fields, has been logged; return the last."""
        return self.wait_events(name, **fields)[-1]

    def find(self, name: str, **fields: Any) -> list[Event]:
        """Return the events of a name, with these fields, that have been logged so far."""
        return [
            event
            for event in self.events
            if event["event"] == name and all(event.get(key) == value for key, value in fields.items())
        ]

    def ready(self) -> Daemon:
        """Wait until it serves."""
        self.wait_event("daemon_ready")
        return self

    def wait(self) -> int:
        """Wait until the daemon and its log have ended; return the exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def bound(self) -> list[str]:
        """Return the addresses that it listens on."""
        bound: list[str] = []
        for event in self.events:
            if event["event"] in ("listener_opened", "listener_adopted"):
                bound.append(event["address"])
            elif event["event"] == "listener_closed" and event["address"] in bound:
                bound.remove(event["address"])
        return bound

    def port(self, listener: str = "daytime") -> int:
        """Return the port of a listener."""
        address: str = self.wait_event("listener_opened", listener=listener)["address"]
        return int(address.rpartition(":")[2])

    def worker_pids(self) -> list[int]:
        """Return the pids of all workers so far."""
        return [event["pid"] for event in self.find("worker_started")]

    def live_workers(self) -> list[int]:
        """Return the pids of the workers that have not ended."""
        gone = [event["pid"] for event in self.find("worker_exited")]
        return [pid for pid in self.worker_pids() if pid not in gone]

    def statistics(self, accepted: int = 0) -> Event:
        """
        Ask for the statistics and return them.

        A client reads the end of file before the daemon counts it, so this asks until `accepted` clients are counted
        and each of them is served or dropped.
        """
        deadline = time.monotonic() + DEADLINE_S
        while True:
            count = len(self.find("statistics"))
            self.send(signal.SIGUSR1)
            figures = self.wait_events("statistics", count + 1)[-1]
            if figures["accepted"] >= accepted and figures["accepted"] == figures["served"] + figures["dropped"]:
                return figures
            assert time.monotonic() < deadline, f"too few clients, or figures that do not add up: {figures}"


@contextlib.contextmanager
def serving(*arguments: str, **options: Any) -> Iterator[Daemon]:
    """Run a daemon until the body ends, on a free port of 127.0.0.1 unless the arguments give an address."""
    if "-l" not in arguments and "config" not in options:
        arguments = ("-l", "tcp://127.0.0.1:0", *arguments)
    with Daemon(*arguments, **options) as daemon:
        yield daemon.ready()
