"""
The three stable protocols of systemd, without a binding: passed descriptors, notifications, the native journal.

They are documented to be implemented like this: sd_listen_fds(3), sd_notify(3), and JOURNAL_NATIVE_PROTOCOL of
systemd's documentation. Outside systemd all of it is quietly nothing.
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

from daytimed.addresses import printable
from daytimed.errors import ListenError

FIRST_PASSED = 3
JOURNAL_SOCKET = "/run/systemd/journal/socket"

#: How long the master lets systemd keep it waiting; it has nothing to lose but this one message.
_NOTIFY_TIMEOUT_S = 1.0
#: More than any unit has; a number beyond it is garbage.
_MOST_PASSED = 4096
#: Keeps an absurd number out of sigtimedwait(2); more often than is asked for is no harm.
_LONGEST_WATCHDOG_S = 86400.0


def take_passed(environ: MutableMapping[str, str]) -> list[tuple[str, int]]:
    """
    Take the descriptors that were passed to this process, sd_listen_fds_with_names(3).

    The variables are removed from the environment, so that nothing that is run from here takes them again.

    Returns:
        Names and descriptors, in the order of the unit; none where nothing was passed to this very process.

    Raises:
        ListenError: If the variables are garbage.
    """
    pid, count, names, identity = (environ.pop(f"LISTEN_{each}", "") for each in ("PID", "FDS", "FDNAMES", "PIDFDID"))
    if not pid and not count:
        return []
    if not (_is_number(pid) and _is_number(count) and int(count) <= _MOST_PASSED):
        raise ListenError(
            f"LISTEN_PID={pid[:20]!r} and LISTEN_FDS={count[:20]!r} are not two numbers; whatever set them is broken"
        )
    if int(pid) != os.getpid() or not _is_own_identity(identity):
        # they were meant for a parent of this process
        return []
    named = names.split(":") if names else ["unknown"] * int(count)
    if len(named) != int(count):
        raise ListenError(f"LISTEN_FDNAMES={names!r} does not name {count} descriptors; whatever set it is broken")
    passed = [(name, FIRST_PASSED + number) for number, name in enumerate(named)]
    for name, descriptor in passed:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            raise ListenError(
                f"LISTEN_FDS: descriptor {descriptor} ({printable(name)}) was not passed: {error.strerror}"
            ) from None
    return passed


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _is_own_identity(identity: str) -> bool:
    """Compare the inode of our pidfd, which unlike a pid is never used again (systemd 259 and later)."""
    if not identity:
        return True
    try:
        descriptor = os.pidfd_open(os.getpid())
    except OSError:
        return True
    try:
        return str(os.fstat(descriptor).st_ino) == identity
    finally:
        os.close(descriptor)


class Notifier:
    """Tells the service manager about this process; nothing at all where there is none."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """
        Take NOTIFY_SOCKET and WATCHDOG_* out of the environment.

        Raises:
            ListenError: If they are garbage.
        """
        path = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, watchdog_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address: str | None = None
        self._socket: socket.socket | None = None
        self.watchdog_s: float | None = None
        """How often `WATCHDOG=1` has to come; None if nobody waits for it."""
        if path:
            if path[0] not in "/@":
                raise ListenError(
                    f"NOTIFY_SOCKET={path!r} is no path and no abstract socket; whatever set it is broken"
                )
            self._address = "\0" + path[1:] if path[0] == "@" else path
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(_NOTIFY_TIMEOUT_S)
        if watchdog_us and (not watchdog_pid or watchdog_pid == str(os.getpid())):
            if not _is_number(watchdog_us) or int(watchdog_us) == 0:
                raise ListenError(f"WATCHDOG_USEC={watchdog_us!r} is no number; whatever set it is broken")
            self.watchdog_s = min(int(watchdog_us) / 1_000_000, _LONGEST_WATCHDOG_S)

    def __bool__(self) -> bool:
        """Say whether there is somebody to tell."""
        return self._address is not None

    @property
    def descriptors(self) -> list[int]:
        """What only the master needs."""
        return [self._socket.fileno()] if self._socket else []

    def send(self, *, descriptors: Sequence[int] = (), **assignments: str | int) -> bool:
        """
        Send assignments in one datagram, sd_notify(3).

        Returns:
            Whether it was taken; nobody to tell counts as told.
        """
        if self._socket is None:
            return True
        text = "\n".join(f"{name}={_one_line(value)}" for name, value in assignments.items())
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([text.encode(errors="backslashreplace")], control, 0, self._address)
        except OSError:
            return False
        return True

    def reloading(self) -> bool:
        """Say that a reload begins; systemd waits for the READY=1 that is sent after this very moment."""
        return self.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)


def _one_line(value: str | int) -> str:
    return " ".join(str(value).split("\n"))


def has_journal(path: str = JOURNAL_SOCKET) -> bool:
    """Say whether there is a journal to write to."""
    return os.path.exists(path)


def is_journal_stream(environ: Mapping[str, str], descriptor: int) -> bool:
    """Say whether a descriptor is the stream to the journal that systemd set up, systemd.exec(5)."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def encode_entry(fields: Mapping[str, str]) -> bytes:
    """
    Return one journal entry in the native protocol.

    Args:
        fields: Names as systemd.journal-fields(7) allows them, and values.
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
    """The socket of the journal; one datagram an entry, never waiting."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # room for a burst while the journal is busy
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)

    def write(self, fields: Mapping[str, str]) -> bool:
        """Write one entry; False says that it is lost."""
        entry = encode_entry(fields)
        try:
            self._socket.sendto(entry, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                return False
            return self._send_large(entry)
        return True

    def _send_large(self, entry: bytes) -> bool:
        """Send what is no datagram as a sealed file in memory, which is how the protocol wants it."""
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
