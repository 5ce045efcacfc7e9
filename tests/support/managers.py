"""A service manager, as the daemon sees it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from harness import DEADLINE_S, Daemon

#: Of a notification, in bytes: NOTIFY_BUFFER_MAX of systemd, which ignores longer ones.
LONGEST_MESSAGE = 4096


class Manager:
    """The service manager's end of NOTIFY_SOCKET, with a descriptor store."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(DEADLINE_S)
        self.kept: dict[str, list[int]] = {}

    def forget(self) -> None:
        """Discard the messages received so far."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(10_000)
        self.socket.settimeout(DEADLINE_S)

    def wait(self, beginning: str) -> str:
        """Wait for a message with this beginning; store descriptors that arrive before it."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.socket, 10_000, 8)
            assert len(data) <= LONGEST_MESSAGE, "systemd ignores this message"
            message = data.decode()
            if "FDSTORE=1" in message:
                self.kept.setdefault(message.partition("FDNAME=")[2], []).extend(descriptors)
            if message.startswith("FDSTOREREMOVE=1"):
                for descriptor in self.kept.pop(message.partition("FDNAME=")[2], []):
                    os.close(descriptor)
            if message.startswith(beginning):
                return message


def passing(*sockets: tuple[str, int], pid: str = "$$") -> list[str]:
    """Return a command prefix that passes these descriptors as 3, 4 and so on, sd_listen_fds(3)."""
    names = ":".join(name for name, _ in sockets)
    # move them away from each other first, then into place
    high = " ".join(f"{50 + number}<&{descriptor} {descriptor}<&-" for number, (_, descriptor) in enumerate(sockets))
    place = " ".join(f"{3 + number}<&{50 + number} {50 + number}<&-" for number in range(len(sockets)))
    export = f"export LISTEN_PID={pid} LISTEN_FDS={len(sockets)} LISTEN_FDNAMES={names}"
    return ["bash", "-c", f'exec {high}; {export}; exec "$@" {place}', "bash"]


@contextlib.contextmanager
def activated(*sockets: tuple[str, socket.socket], config: Path | None = None, **options: object) -> Iterator[Daemon]:
    """Run a daemon with these passed sockets."""
    descriptors = [(name, sock.fileno()) for name, sock in sockets]
    arguments = ["-c", str(config)] if config else []
    with Daemon(
        *arguments,
        prefix=passing(*descriptors),
        pass_fds=[descriptor for _, descriptor in descriptors],
        **options,  # type: ignore[arg-type]
    ) as daemon:
        yield daemon.ready()
