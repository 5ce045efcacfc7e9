"""
The pid file of a detached daemon: a lock that ends with its process, and a pid to read.

The lock is flock(2) on the open file, not the existence of the file, so a file left by a killed daemon blocks nothing.
A worker closes its copy of the descriptor, which does not release the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from daytimed.errors import ListenError, NoPermissionError


class PidFile:
    """A locked pid file; the lock ends with the last process that has the file open."""

    def __init__(self, path: str) -> None:
        """
        Take the lock.

        Raises:
            ListenError: If a running daemon holds the lock, or the file cannot be created.
            NoPermissionError: If this user may not write there.
        """
        self.path = path
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                self.fd = os.open(path, flags, 0o644)
            except OSError as error:
                kind = NoPermissionError if isinstance(error, PermissionError) else ListenError
                raise kind(
                    f"{path}: cannot write the pid file: {error.strerror}; choose another path with --pidfile"
                ) from None
            if not self._is_pid_file():
                # the stop would empty and remove a file that belongs to somebody else
                os.close(self.fd)
                raise ListenError(f"{path}: not a pid file; choose another path with --pidfile")
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid = os.pread(self.fd, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(self.fd)
                raise ListenError(f"{path}: daytimed is already running with pid {pid}; stop it first") from None
            if self._is_in_place():
                return
            # the previous daemon removed the file between our open and our lock
            os.close(self.fd)

    def _is_pid_file(self) -> bool:
        if not stat.S_ISREG(os.fstat(self.fd).st_mode):
            return False
        content = os.pread(self.fd, 32, 0)
        return len(content) < 32 and content.strip().isdigit() == bool(content.strip())

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def write(self) -> None:
        """Write the pid of this process."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, b"%d\n" % os.getpid(), 0)

    def remove(self) -> None:
        """Remove the file if the path still leads to it; if this user may not, leave it empty."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, 0)
            if self._is_in_place():
                os.unlink(self.path)
