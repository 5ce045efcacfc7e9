"""
The file of a unix socket: bind, recognize and remove it.

Other users may write its folder. So the folder is opened once and every later step names the file in it: whatever they
put there meanwhile, nothing outside that folder is touched, and no mode is changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator

Identity = tuple[int, int, int, int]
"""Device and inode of the folder, device and inode of the file."""

#: Everyone may ask for the time; the mode of the folder restricts access.
_UMASK = 0o111


def bind(sock: socket.socket, path: str, backlog: int) -> Identity | None:
    """
    Bind a socket to a path and listen; replace a socket that no process listens on.

    Returns:
        The identity of the file; None if it has gone already.

    Raises:
        OSError: EADDRINUSE if a process listens on the path, or if it is not a socket.
    """
    with _folder_of(path) as (folder, name):
        # of the whole process, which has no threads
        before = os.umask(_UMASK)
        try:
            try:
                sock.bind(path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not _is_stale(folder, name):
                    raise
                _replace(sock, folder, name, backlog)
            else:
                sock.listen(backlog)
        finally:
            os.umask(before)
        return _identify(folder, name)


def identify(path: str) -> Identity | None:
    """Return the identity of a file; None if there is none."""
    with contextlib.suppress(OSError), _folder_of(path) as (folder, name):
        return _identify(folder, name)
    return None


def remove(path: str, identity: Identity) -> None:
    """Remove a file if it is still the one with this identity; in a folder that this user cannot write, it stays."""
    with contextlib.suppress(OSError), _folder_of(path) as (folder, name):
        if _identify(folder, name) == identity:
            os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _folder_of(path: str) -> Iterator[tuple[int, str]]:
    """Open the folder of a path; yield its descriptor and the name of the file in it."""
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def _identify(folder: int, name: str) -> Identity | None:
    try:
        file = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    parent = os.fstat(folder)
    return parent.st_dev, parent.st_ino, file.st_dev, file.st_ino


def _is_stale(folder: int, name: str) -> bool:
    """Return whether a file is a socket that no process listens on."""
    try:
        if not stat.S_ISSOCK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # a listener with a full backlog is alive, but would block this connect
        client.setblocking(False)
        return client.connect_ex(_path_in(folder, name)) == errno.ECONNREFUSED


def _path_in(folder: int, name: str) -> str:
    """Return a path through the open folder; a path of a socket has at most 107 bytes, unix(7)."""
    return f"/proc/self/fd/{folder}/{name}"


def _replace(sock: socket.socket, folder: int, name: str, backlog: int) -> None:
    """Bind and listen at a new name, then rename it: the path never leads to a socket that refuses clients."""
    fresh = f".daytimed-{os.urandom(8).hex()}"
    sock.bind(_path_in(folder, fresh))
    try:
        sock.listen(backlog)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=folder)
        raise
