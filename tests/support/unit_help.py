"""Tools that several unit tests share; they assert nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from hypothesis import settings
from hypothesis import strategies as st

NS = 1_000_000_000

# a deadline per example would measure the machine, not the code
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

#: Any text that a command line or an environment can contain.
OS_TEXT = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))


@contextlib.contextmanager
def caught_errors(descriptor: int = 2) -> Iterator[Callable[[], str]]:
    """Replace standard error, or another descriptor, with a file; yield a function that reads it."""
    before, file = os.dup(descriptor), os.memfd_create("errors")
    os.dup2(file, descriptor)
    try:
        yield lambda: os.pread(file, 1 << 20, 0).decode()
    finally:
        os.dup2(before, descriptor)
        os.close(before)
        os.close(file)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer: it must not wait."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"still waiting after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Run the block without the rights of root."""
    if os.geteuid() != 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


@contextlib.contextmanager
def stream_server(sock: socket.socket, *handlers: Callable[[socket.socket], None]) -> Iterator[None]:
    """Accept one client for each handler, run the handler and close the client; close `sock` at the end."""

    def run() -> None:
        for handle in handlers:
            try:
                client, _ = sock.accept()
            except OSError:
                return
            with client:
                handle(client)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            # ends an accept without a client
            sock.shutdown(socket.SHUT_RDWR)
        thread.join()
        sock.close()


def reset(sock: socket.socket) -> None:
    """Close a connection with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    sock.close()


def read_to_end(sock: socket.socket) -> bytes:
    """Read a stream to its end."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def has_ipv6() -> bool:
    """Return whether this machine has IPv6 on its loopback."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
