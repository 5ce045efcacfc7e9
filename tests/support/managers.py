"""A service manager as the daemon meets it."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from harness import DEADLINE_S


class Manager:
    """The end of NOTIFY_SOCKET that a service manager has."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(DEADLINE_S)
        self.kept: dict[str, list[int]] = {}

    def forget(self) -> None:
        """Throw away what has been told so far."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(10_000)
        self.socket.settimeout(DEADLINE_S)

    def wait(self, beginning: str) -> str:
        """Wait for a message that begins like this; descriptors on the way are kept."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.socket, 10_000, 8)
            message = data.decode()
            if "FDSTORE=1" in message:
                self.kept.setdefault(message.partition("FDNAME=")[2], []).extend(descriptors)
            if message.startswith("FDSTOREREMOVE=1"):
                for descriptor in self.kept.pop(message.partition("FDNAME=")[2], []):
                    os.close(descriptor)
            if message.startswith(beginning):
                return message
