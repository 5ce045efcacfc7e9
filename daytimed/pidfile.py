"""
The pid file of a detached daemon: a lock that dies with its process, and a pid to be read.

The lock is flock(2) on the open file, never the mere existence of it, so a file left by a killed daemon blocks
nothing. A worker closes its copy, which does not release it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from daytimed.errors import ListenError, NoPermissionError


class PidFile:
    """A locked pid file; the lock is held until the last process that has it open ends."""

    def __init__(self, path: str) -> None:
        """
        Take the lock.

        Raises:
            ListenError: If a running daemon has it, or the file cannot be made.
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
                    f"{path}: cannot write the pid file: {error.strerror}; name another with --pidfile"
                ) from None
            if not self._is_pid_file():
                # emptied and removed later, it would be lost to whoever it belongs to
                os.close(self.fd)
                raise ListenError(f"{path}: is no pid file: it holds something else; name another with --pidfile")
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid = os.pread(self.fd, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(self.fd)
                raise ListenError(f"{path}: daytimed is running already with pid {pid}; stop it first") from None
            if self._is_in_place():
                return
            # the daemon that had it removed it between our open and our lock
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
        """Take the file away, if it is still this one; where the folder is not ours to write, leave it empty."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, 0)
            if self._is_in_place():
                os.unlink(self.path)
