"""A running server and its clients."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import journal
from builds import build
from journal import Journal
from lineup import HOST, MissingError, Server

_PATIENCE_S = 10.0
_LOAD_LIMIT_S = 300.0


@dataclass(frozen=True)
class Answers:
    """The results of a load."""

    replies: int
    replies_per_s: float
    p50_us: float
    p99_us: float
    p999_us: float
    errors: Counter[str]


class Running:
    """A running server."""

    def __init__(self, server: Server, folder: Path, ports: Sequence[int], own_journal: Journal | None) -> None:
        self.server = server
        self.ports = ports
        self.journal = own_journal
        self.answered = 0
        """Clients so far that got a correct reply."""
        self._folder = folder
        with (folder / "stderr").open("wb") as errors:
            self.process = subprocess.Popen(
                self.command(), cwd=server.cwd, env=environment(self._fill(server.environment)),
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
            )  # fmt: skip
        self.pid = self.process.pid

    def command(self) -> list[str]:
        """Write its files; return its command."""
        for name, text in self._fill(self.server.files).items():
            (self._folder / name).write_text(text)
        found = []
        for part in self.server.command:
            places = self.ports if "@port@" in part else self.ports[:1]
            found += [part.replace("@folder@", str(self._folder)).replace("@port@", str(port)) for port in places]
        return self.journal.command(self.server.cwd, found) if self.journal else found

    def wait(self) -> None:
        """
        Wait until it accepts on all its ports.

        Raises:
            MissingError: If it does not start.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while any(error.startswith("connect") for error in self.ask(1, len(self.ports)).errors):
            # a server that detaches exits with 0
            if time.monotonic() > deadline or self.process.poll():
                last = (self._folder / "stderr").read_text(errors="replace").strip().rpartition("\n")[2]
                raise MissingError(f"{self.server.name} does not start: {last}")
            time.sleep(0.01)
        if self.server.pid_file:
            while not (text := self._read_pid()) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.pid = int(text)

    def ask(self, clients: int, replies: int, write: int = 0) -> Answers:
        """Load it with `clients` at a time, each of which writes `write` bytes first."""
        answers = _read(subprocess.check_output(self._load(clients, replies, write), timeout=_LOAD_LIMIT_S))
        self.answered += answers.replies
        return answers

    @contextlib.contextmanager
    def holding(self, connections: int) -> Iterator[Counter[str]]:
        """Hold connections that got their reply and that no client closes; yield the errors."""
        if connections == 0:
            yield Counter()
            return
        program, *arguments = self._load(16, connections)
        command = [program, "-k", *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
            assert load.stdin
            assert load.stdout
            yield _read(load.stdout.readline()).errors
            load.stdin.close()

    def stop(self) -> None:
        """Stop it."""
        with contextlib.suppress(ProcessLookupError):
            if not self.server.pid_file:
                self.process.terminate()
            elif text := self._read_pid():
                os.kill(int(text), signal.SIGTERM)
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_PATIENCE_S)

    def _load(self, clients: int, replies: int, write: int = 0) -> list[str]:
        server = self.server
        # a client of HTTP writes its request
        writing = ["-r", server.request] if server.request else ["-w", str(write)]
        options = ["-c", str(clients), "-n", str(replies), "-s", str(server.sources), *writing]
        return [str(build("load.c")), *options, server.reply, *map(str, self.ports)]

    def _fill(self, texts: Mapping[str, str]) -> dict[str, str]:
        port, folder = str(self.ports[0]), str(self._folder)
        return {name: text.replace("@port@", port).replace("@folder@", folder) for name, text in texts.items()}

    def _read_pid(self) -> str:
        with contextlib.suppress(OSError):
            return (self._folder / self.server.pid_file).read_text().strip()
        return ""


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this environment without the variables that change a server."""
    ours = ("DAYTIMED_", "PYTHON", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(more)


def free_ports(count: int) -> list[int]:
    """Return unused ports outside ip_local_port_range, which clients get theirs from."""
    found: set[int] = set()
    while len(found) < count:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randrange(20_000, 32_768)
            probe.bind((HOST, port))
            found.add(port)
    return sorted(found)


@contextlib.contextmanager
def running(server: Server, listeners: int = 1) -> Iterator[Running]:
    """
    Run a server around the body, which begins once it accepts.

    Raises:
        MissingError: If it does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="daytimed-bench-")))
        # some servers drop their privileges
        folder.chmod(0o755)
        own_journal = stack.enter_context(journal.running()) if server.journal else None
        running = Running(server, folder, free_ports(listeners), own_journal)
        stack.callback(running.stop)
        running.wait()
        yield running


def _read(line: bytes) -> Answers:
    found = json.loads(line)
    return Answers(**{**found, "errors": Counter(found["errors"])})
