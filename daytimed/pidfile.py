"""
The pid file of a detached daemon, and the lock beside it.

The lock is flock(2) on PIDFILE.lock, which only its owner can open: another user can neither hold nor change it. The
lock ends with its process, so the files of a killed daemon block nothing. The lock file contains the pid and the start
time of the daemon, which no other process has: the init script compares them, and takes no lock. The pid file itself is
for people.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat

from daytimed.errors import ListenError, NoPermissionError

_PID = rb"\s{,4}\d{,19}\s{,4}"
_PID_AND_START = rb"(\d{1,19} \d{1,19}\n)?"


class PidFile:
    """A locked pid file; the lock ends with the last process that has it open."""

    def __init__(self, path: str) -> None:
        """
        Take the lock.

        Raises:
            ListenError: If a running daemon holds the lock, or a file cannot be created or belongs to something else.
            NoPermissionError: If this user may not write there.
        """
        self.path = path
        self._lock_path = f"{path}.lock"
        # a lock needs no more, and the user that the daemon becomes cannot write to it
        while not self._take(_open(self._lock_path, os.O_RDONLY, 0o600, _PID_AND_START)):
            os.close(self._lock)
        try:
            # until this daemon has a pid, the file must not name the one before; without /proc nobody compares
            with contextlib.suppress(FileNotFoundError):
                self._identify("")
            while not _is_ours_alone(descriptor := _open(path, os.O_RDWR, 0o644, _PID), path):
                os.close(descriptor)
            self._fd = descriptor
        except BaseException:
            _remove(self._lock, self._lock_path)
            os.close(self._lock)
            raise

    def _take(self, descriptor: int) -> bool:
        """Lock the open file; return whether it is still in place."""
        self._lock = descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").partition(" ")[0] or "unknown"
            os.close(descriptor)
            raise ListenError(f"{self.path}: daytimed is already running with pid {pid}; stop it first") from None
        return _is_ours_alone(descriptor, self._lock_path)

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that stay open as long as the daemon."""
        return [self._lock, self._fd]

    def write(self) -> None:
        """Write the pid of this process to both files; this needs the user that took the lock."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        with contextlib.suppress(FileNotFoundError):
            self._identify(f"{os.getpid()} {_start_time()}\n")

    def _identify(self, text: str) -> None:
        # a second, writable open of the same file
        with open(f"/proc/self/fd/{self._lock}", "w") as lock:
            lock.write(text)

    def remove(self) -> None:
        """Remove the files if the paths still lead to them; if this user may not, leave the pid file empty."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        # the lock last: the next daemon creates its pid file after it
        _remove(self._fd, self.path)
        _remove(self._lock, self._lock_path)


def _open(path: str, access: int, mode: int, content: bytes) -> int:
    """Open or create a file of ours; refuse one of another user, or with other content, which we would overwrite."""
    try:
        flags = access | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, mode)
    except OSError as error:
        kind = NoPermissionError if isinstance(error, PermissionError) else ListenError
        raise kind(f"{path}: cannot write the pid file: {error.strerror}; choose another path with --pidfile") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not re.fullmatch(content, os.pread(descriptor, 64, 0)):
        problem = "not a pid file"
    elif status.st_uid != os.geteuid():
        problem = f"belongs to another user (uid {status.st_uid})"
    else:
        # a file with another name is given up, and its mode is that of the other
        if status.st_nlink == 1:
            os.fchmod(descriptor, mode)
        return descriptor
    os.close(descriptor)
    raise ListenError(f"{path}: {problem}; choose another path with --pidfile")


def _is_ours_alone(descriptor: int, path: str) -> bool:
    """Return whether the open file is still in place; give up a name of a file that has another (a hard link)."""
    if not _is_in_place(descriptor, path):
        # the previous daemon has removed it since we opened it
        return False
    if os.fstat(descriptor).st_nlink > 1:
        os.unlink(path)
        return False
    return True


def _remove(descriptor: int, path: str) -> None:
    with contextlib.suppress(OSError):
        if _is_in_place(descriptor, path):
            os.unlink(path)


def _is_in_place(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _start_time() -> str:
    """Return the start time of this process, in clock ticks since the boot, proc_pid_stat(5)."""
    with open("/proc/self/stat") as file:
        return file.read().rpartition(")")[2].split()[19]
