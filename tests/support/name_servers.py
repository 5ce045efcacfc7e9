"""A name server that answers when the test wants, for one host name, and the prefix of a daemon that asks it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from harness import DEADLINE_S, skip_without_mounts

#: The one name it knows.
HOST = "time.example.org"
ADDRESS = "127.0.0.1"

_MOUNTED = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'


class NameServer:
    """A name server; it is silent until `answer` is called."""

    def __init__(self, folder: Path, timeout_s: int) -> None:
        """
        Bind port 53 of an address of the loopback network.

        Args:
            folder: For the resolv.conf of the daemon.
            timeout_s: How long the daemon waits for the one answer.
        """
        skip_without_mounts("unshare", "--mount")
        # of its own: tests run at the same time
        host = f"127.53.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250 + 1}"
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 53))
        self.asked = threading.Event()
        self._may_answer = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        resolv = folder / "resolv.conf"
        resolv.write_text(f"nameserver {host}\noptions timeout:{timeout_s} attempts:1\n")
        self.prefix = ["unshare", "--mount", "sh", "-ec", _MOUNTED, "sh", str(resolv)]
        """Runs a program that asks this server."""

    def wait_for_question(self) -> None:
        """Wait until the daemon has asked."""
        assert self.asked.wait(DEADLINE_S)
        self.asked.clear()

    def answer(self) -> None:
        """Answer the questions that have come, and all later ones."""
        self._may_answer.set()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self.socket.recvfrom(512)
                if not question:
                    return
                self.asked.set()
                threading.Thread(target=self._reply, args=(question, client), daemon=True).start()

    def _reply(self, question: bytes, client: tuple[str, int]) -> None:
        self._may_answer.wait(DEADLINE_S * 2)
        # RFC 1035, section 4.1: the question is repeated; 1 as its type asks for an IPv4 address
        end = question.index(b"\0", 12) + 5
        has_address = question[end - 4 : end - 2] == b"\0\1"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(ADDRESS) if has_address else b""
        header = question[:2] + b"\x81\x80\0\1" + bytes([0, int(has_address)]) + b"\0\0\0\0"
        with contextlib.suppress(OSError):
            self.socket.sendto(header + question[12:end] + record, client)

    def close(self) -> None:
        """Stop."""
        self._may_answer.set()
        self.socket.sendto(b"", self.socket.getsockname())
        self._thread.join(DEADLINE_S)
        self.socket.close()


@contextlib.contextmanager
def name_server(folder: Path, timeout_s: int = 30) -> Iterator[NameServer]:
    """Run a name server."""
    server = NameServer(folder, timeout_s)
    try:
        yield server
    finally:
        server.close()
