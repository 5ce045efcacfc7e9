"""
Three stable protocols of systemd, without a library: passed descriptors, notifications, the native journal.

systemd documents them for reimplementation: sd_listen_fds(3), sd_notify(3), and JOURNAL_NATIVE_PROTOCOL. Outside
systemd, nothing is passed or sent.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Mapping, MutableMapping, Sequence

from daytimed.charset import printable
from daytimed.errors import ListenError

FIRST_PASSED = 3
JOURNAL_SOCKET = "/run/systemd/journal/socket"

#: The longest that the master waits for systemd to take a message; then the message is lost.
_NOTIFY_TIMEOUT_S = 1.0
#: Of a value, in bytes. systemd ignores a message of more than 4096, with the READY=1 or the WATCHDOG=1 in it.
_LONGEST_VALUE = 3072
#: More than any unit passes; a larger number is garbage.
_MOST_PASSED = 4096
#: Of an address of a unix socket, unix(7), in bytes.
_LONGEST_PATH = 107
#: Keeps absurd numbers out of sigtimedwait(2); notifying more often than required does no harm.
_LONGEST_WATCHDOG_S = 86400.0


def take_passed(environ: MutableMapping[str, str]) -> list[tuple[str, int]]:
    """
    Take the descriptors that were passed to this process, sd_listen_fds_with_names(3).

    The variables are removed from the environment, so that no child process takes the descriptors again.

    Returns:
        Names and descriptors, in the order of the unit; empty if nothing was passed to this process.

    Raises:
        ListenError: If the variables are invalid.
    """
    pid, count, names, identity = (environ.pop(f"LISTEN_{each}", "") for each in ("PID", "FDS", "FDNAMES", "PIDFDID"))
    if not pid or not count:
        # as in sd_listen_fds(3), one without the other means nothing
        return []
    if _number("LISTEN_PID", pid) != os.getpid() or not _is_own_identity(identity):
        # they are meant for a parent of this process
        return []
    if _number("LISTEN_FDS", count) > _MOST_PASSED:
        raise ListenError(f"LISTEN_FDS={count}: more than {_MOST_PASSED}; check the program that starts daytimed")
    named = names.split(":") if names else ["unknown"] * int(count)
    if len(named) != int(count):
        raise ListenError(
            f"LISTEN_FDNAMES={names!r} does not name {count} descriptors; check the program that starts daytimed"
        )
    passed = [(name, FIRST_PASSED + number) for number, name in enumerate(named)]
    for name, descriptor in passed:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            raise ListenError(
                f"LISTEN_FDS: descriptor {descriptor} ({printable(name)}) was not passed: {error.strerror};"
                " check the program that starts daytimed"
            ) from None
    return passed


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ListenError(f"{name}={text[:20]!r} is not a number; check the program that starts daytimed")
    return int(text)


def _is_own_identity(identity: str) -> bool:
    """Compare the inode of our pidfd, which, unlike a pid, is never reused (systemd 259 and later)."""
    if not identity:
        return True
    try:
        descriptor = os.pidfd_open(os.getpid())
    except OSError:
        return True
    try:
        return os.fstat(descriptor).st_ino == _number("LISTEN_PIDFDID", identity)
    finally:
        os.close(descriptor)


class Notifier:
    """Notifies the service manager; without one, every method does nothing."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """
        Take NOTIFY_SOCKET and WATCHDOG_* out of the environment.

        Raises:
            ListenError: If WATCHDOG_USEC is invalid, and somebody waits for our messages.
        """
        path = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, watchdog_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address: str | None = None
        self._socket: socket.socket | None = None
        self.watchdog_s: float | None = None
        """The watchdog timeout; None if the service manager expects no `WATCHDOG=1`."""
        self.ignored: list[str] = []
        """Variables that cannot be used: vsock and other families, or a path that is relative or too long."""
        if not path:
            return
        if path[0] not in "/@" or len(os.fsencode(path)) > _LONGEST_PATH:
            # nothing is lost by serving without notifications
            self.ignored.append("NOTIFY_SOCKET")
            return
        self._address = "\0" + path[1:] if path[0] == "@" else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_NOTIFY_TIMEOUT_S)
        if watchdog_us and (not watchdog_pid or watchdog_pid == str(os.getpid())):
            timeout_us = _number("WATCHDOG_USEC", watchdog_us)
            if timeout_us == 0:
                raise ListenError("WATCHDOG_USEC=0 is not a timeout; check the program that starts daytimed")
            self.watchdog_s = min(timeout_us / 1_000_000, _LONGEST_WATCHDOG_S)

    def __bool__(self) -> bool:
        """Return whether there is a service manager to notify."""
        return self._address is not None

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that only the master needs."""
        return [self._socket.fileno()] if self._socket else []

    def send(self, *, descriptors: Sequence[int] = (), **assignments: str | int) -> bool:
        """
        Send assignments in one datagram, sd_notify(3).

        Returns:
            False if the message is lost; True without a service manager.
        """
        if self._socket is None:
            return True
        text = "\n".join(f"{name}={_one_line(value)}" for name, value in assignments.items())
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([text.encode()], control, 0, self._address)
        except OSError:
            return False
        return True

    def reloading(self) -> bool:
        """Announce a reload; systemd then waits for a READY=1 sent after this moment."""
        return self.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def extend_timeout(self, seconds: float) -> bool:
        """Announce a start or a reload that may take this long: it can wait for name servers."""
        return self.send(EXTEND_TIMEOUT_USEC=round(seconds * 1_000_000))


def _one_line(value: str | int) -> str:
    line = " ".join(str(value).split("\n")).encode(errors="backslashreplace")
    if len(line) > _LONGEST_VALUE:
        # without half a character, which systemd would refuse
        line = line[:_LONGEST_VALUE].decode(errors="ignore").encode() + b"..."
    return line.decode()


def has_journal(path: str = JOURNAL_SOCKET) -> bool:
    """Return whether there is a journal to write to."""
    return os.path.exists(path)


def is_journal_stream(environ: Mapping[str, str], descriptor: int) -> bool:
    """Return whether a descriptor is the stream that systemd connected to the journal, systemd.exec(5)."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def encode_entry(fields: Mapping[str, str]) -> bytes:
    """
    Encode one journal entry in the native protocol.

    Args:
        fields: Values by field name; systemd.journal-fields(7) defines which names are valid.
    """
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts += [name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [name.encode(), b"=", data, b"\n"]
    return b"".join(parts)


class Journal:
    """The journal socket: one datagram per entry, sent without blocking."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # buffers a burst while the journal is busy
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)

    def write(self, fields: Mapping[str, str]) -> bool:
        """Write one entry; return False if it is lost."""
        entry = encode_entry(fields)
        try:
            self._socket.sendto(entry, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                return False
            return self._send_large(entry)
        return True

    def _send_large(self, entry: bytes) -> bool:
        """Send an entry too large for a datagram as a sealed memory file, as the protocol requires."""
        descriptor = -1
        try:
            descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.write(descriptor, entry)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            self._socket.sendmsg([b""], control, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._path)
        except OSError:
            return False
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return True
