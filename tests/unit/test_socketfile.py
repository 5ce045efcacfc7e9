"""The file of a unix socket in a folder that another user may write."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit_help import unprivileged

from daytimed import socketfile
from daytimed.addresses import LONGEST_UNIX_PATH


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        yield made


def leave_stale(path: Path) -> None:
    """Leave the file of a socket that no process listens on."""
    with socket.socket(socket.AF_UNIX) as old:
        folder = os.open(path.parent, os.O_PATH)
        old.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("before", ["nothing", "a stale socket"])
def test_no_file_gets_another_mode(tmp_path: Path, before: str) -> None:
    """Another user of the folder swaps the socket for a link before a chmod: the mode of no other file changes."""
    precious, path = tmp_path / "precious", tmp_path / "socket"
    precious.touch(0o600)
    if before != "nothing":
        leave_stale(path)
    script = f"""if True:
        import os, socket, sys
        from daytimed.addresses import Address
        from daytimed.listeners import open_listeners
        def swap(event, arguments):
            # these are raised just before the system call
            if event == "os.chmod":
                os.rename({str(path)!r}, {str(path)!r} + ".mine")
                os.symlink({str(precious)!r}, {str(path)!r})
        sys.addaudithook(swap)
        open_listeners(Address("unix", path={str(path)!r}), [])
    """
    subprocess.run([sys.executable, "-c", script], check=True)
    assert 0o600 == stat.S_IMODE(precious.stat().st_mode)
    assert 0o666 == stat.S_IMODE(path.lstat().st_mode)


def test_stale_socket_is_replaced_in_one_step(tmp_path: Path, sock: socket.socket) -> None:
    """The path leads to the stale socket or to one that listens; no other name is left."""
    path = tmp_path / "socket"
    leave_stale(path)
    seen = []
    rename = os.rename

    def look(before: str, after: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append(connects(path))
        rename(before, after, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        seen.append(connects(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", look)
        identity = socketfile.bind(sock, str(path), 5)
    assert ([False, True], ["socket"]) == (seen, os.listdir(tmp_path))
    assert identity == socketfile.identify(str(path))
    assert 0o666 == stat.S_IMODE(path.stat().st_mode)


def test_stale_socket_with_the_longest_path_is_replaced(tmp_path: Path, sock: socket.socket) -> None:
    """The temporary name needs no more room than the system gives, even if the path uses all of it."""
    folder = tmp_path / ("x" * (LONGEST_UNIX_PATH - len(str(tmp_path)) - 3))
    folder.mkdir()
    path = folder / "s"
    assert LONGEST_UNIX_PATH == len(str(path))
    leave_stale(path)
    socketfile.bind(sock, str(path), 5)
    assert connects(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_stale_socket_of_another_user_in_a_sticky_folder_stays(tmp_path: Path, sock: socket.socket) -> None:
    """A socket that this user may not replace is an error, and no other name is left."""
    path = tmp_path / "socket"
    leave_stale(path)
    tmp_path.chmod(0o1777)
    path.chmod(0o666)
    with unprivileged(), pytest.raises(PermissionError):
        socketfile.bind(sock, str(path), 5)
    assert ["socket"] == os.listdir(tmp_path)


def test_umask_is_what_it_was(tmp_path: Path, sock: socket.socket) -> None:
    """The umask of the process is restored, after an error too."""
    before = os.umask(0o027)
    try:
        socketfile.bind(sock, str(tmp_path / "socket"), 5)
        with pytest.raises(OSError, match="in use"):
            socketfile.bind(sock, str(tmp_path / "socket"), 5)
        assert 0o027 == os.umask(before)
    finally:
        os.umask(before)


def test_other_folder_at_the_path_is_not_touched(tmp_path: Path, sock: socket.socket) -> None:
    """If the folder was swapped for a link, the file of that name in the other folder stays, even a link to ours."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    path = mine / "socket"
    identity = socketfile.bind(sock, str(path), 5)
    assert identity
    os.link(path, other / "socket")
    mine.rename(tmp_path / "moved")
    mine.symlink_to(other)
    socketfile.remove(str(path), identity)
    assert (other / "socket").exists()
    assert identity != socketfile.identify(str(path))


@pytest.mark.parametrize("what", ["folder", "file"])
def test_nothing_there(tmp_path: Path, what: str) -> None:
    """A path that leads nowhere has no identity, and there is nothing to remove."""
    path = str(tmp_path / "none" / "socket" if what == "folder" else tmp_path / "socket")
    assert socketfile.identify(path) is None
    socketfile.remove(path, (0, 0, 0, 0))
