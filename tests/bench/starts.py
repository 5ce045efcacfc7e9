"""The time of a start: to READY, and to the first reply for a client that waits on a passed socket."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import lineup
from document import Table, spread
from lineup import HOST, MissingError, Server
from running import environment, free_ports

_PATIENCE_S = 20.0
#: The first passed descriptor, sd_listen_fds(3).
_PASSED = 3
BARE = "bare interpreter, the same imports"

#: Imports the modules, tries those that daytimed does not find either, and notifies READY.
_BARE = """\
from daytimed import deferral
with deferral.until_used(deferral.UNUSED, deferral.OPTIONAL):
    for name in {}:
        try:
            __import__(name)
        except ImportError:
            pass
import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
"""

Times = Mapping[str, Mapping[str, Sequence[float]]]
"""Milliseconds, by what starts and by what ends the time."""
READY, FIRST = "ready", "first"


def measure(servers: Sequence[Server], starts: int, progress: Callable[[str], None]) -> Times:
    """
    Start bare Python, daytimed, gunicorn and the Go original in turn.

    Raises:
        MissingError: If one does not start.
    """
    bare, own_passed = Server(BARE, [lineup.PYTHON, "-c", _BARE.format(modules())]), lineup.own(listen=False)
    ways: dict[tuple[str, str], Callable[[], float]] = {(BARE, READY): lambda: ready_ms(bare)}
    for server in servers:
        if server.name == lineup.OWN:
            ways[server.name, READY] = partial(ready_ms, server)
            ways[server.name, FIRST] = partial(first_reply_ms, own_passed)
        elif server.name == lineup.GUNICORN:
            ways[server.name, READY] = partial(ready_ms, server)
            ways[server.name, FIRST] = partial(first_reply_ms, lineup.gunicorn(listen=False))
        elif server.name == lineup.GO:
            ways[server.name, FIRST] = partial(first_reply_ms, server, passed=False)
    times: dict[str, dict[str, list[float]]] = {name: {READY: [], FIRST: []} for name, _ in ways}
    for turn in range(-1, starts):
        for name, what in ways if turn % 2 == 0 else reversed(ways):
            progress(f"start {turn + 1} of {starts}: {name}")
            taken = ways[name, what]()
            # the first starts only fill caches
            if turn >= 0:
                times[name][what].append(taken)
    return times


def modules() -> list[str]:
    """Return the modules that daytimed imports until READY, or tries to, its own included, in order."""
    with tempfile.TemporaryDirectory() as folder:
        _, _, *rest = lineup.own().command
        # -X importtime prints every import when it ends
        traced = Server(lineup.OWN, [lineup.PYTHON, "-X", "importtime", "-m", *rest])
        errors = Path(folder, "errors")
        with errors.open("wb") as file:
            ready_ms(traced, stderr=file.fileno())
        return re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", errors.read_text(), re.MULTILINE)


def ready_ms(server: Server, stderr: int | None = None) -> float:
    """Return the time from exec to READY=1."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = f"{folder}/notify"
        manager.bind(path)
        manager.settimeout(_PATIENCE_S)
        begun = time.perf_counter()
        pid = _spawn(server, {"NOTIFY_SOCKET": path}, free_ports(1)[0], None, stderr)
        try:
            while b"READY=1" not in manager.recv(4096).splitlines():
                pass
            return (time.perf_counter() - begun) * 1e3
        except TimeoutError as error:
            raise MissingError(f"{server.name} does not become ready") from error
        finally:
            _end(pid)


def first_reply_ms(server: Server, *, passed: bool = True) -> float:
    """
    Return the time from exec to the first byte of a reply.

    Args:
        passed: Whether the client waits on a passed socket; otherwise it retries until it connects.
    """
    (port,) = free_ports(1)
    listener = socket.create_server((HOST, port)) if passed else None
    client = _ask(server, port) if passed else None
    begun = time.perf_counter()
    pid = _spawn(server, {"LISTEN_FDS": "1"} if passed else {}, port, listener, None)
    try:
        while client is None:
            try:
                client = _ask(server, port)
            except ConnectionRefusedError as error:
                if time.perf_counter() - begun > _PATIENCE_S:
                    raise MissingError(f"{server.name} does not listen") from error
        with client:
            if not client.recv(1):
                raise MissingError(f"{server.name} sends no reply")
        return (time.perf_counter() - begun) * 1e3
    except TimeoutError as error:
        raise MissingError(f"{server.name} sends no reply in time") from error
    finally:
        _end(pid)
        if listener:
            listener.close()


def _ask(server: Server, port: int) -> socket.socket:
    client = socket.create_connection((HOST, port), timeout=_PATIENCE_S)
    client.sendall(server.request.encode())
    return client


def _spawn(
    server: Server, more: Mapping[str, str], port: int, listener: socket.socket | None, stderr: int | None
) -> int:
    """Start a server like a service manager; return its process id."""
    command = [part.replace("@port@", str(port)) for part in server.command]
    variables = environment({**server.environment, **more})
    pid = os.fork()
    if pid:
        return pid
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(stderr if descriptor == 2 and stderr is not None else null, descriptor)
        if listener:
            # dup2 of a descriptor to itself keeps close-on-exec
            os.set_inheritable(os.dup2(listener.fileno(), _PASSED), True)
            variables["LISTEN_PID"] = str(os.getpid())
        os.chdir(server.cwd)
        os.execvpe(command[0], command, variables)
    finally:
        os._exit(127)


def _end(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], _PATIENCE_S)[0]:
                break
        os.waitpid(pid, 0)
    finally:
        os.close(descriptor)


def table(times: Times, missing: Mapping[str, str]) -> Table:
    """Return the table."""
    rows = [
        [name, *(spread(each[what], 0) if each[what] else "-" for what in (READY, FIRST))]
        for name, each in times.items()
    ]
    notes = [
        "The client of the first reply waits on the passed socket, as under socket activation. The Go original accepts"
        " no passed socket; its client retries until it connects.",
        *(f"Missing: {name}: {why}." for name, why in missing.items() if name in (lineup.GO, lineup.GUNICORN)),
    ]
    count = max(len(each[what]) for each in times.values() for what in each)
    return Table(f"Start, {count} times", ["server", "exec to READY, ms", "exec to the first reply, ms"], rows, notes)
