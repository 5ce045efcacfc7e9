"""The pid file: a lock that ends with its process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_help import unprivileged

from daytimed.errors import ListenError, NoPermissionError
from daytimed.pidfile import PidFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daytimed.pid"


@pytest.fixture
def held(path: Path) -> Iterator[PidFile]:
    """Return a locked pid file with our pid in it."""
    pidfile = PidFile(str(path))
    pidfile.write()
    yield pidfile
    os.close(pidfile.fd)


def test_pid_is_written(path: Path, held: PidFile) -> None:
    """The file holds the pid and a line end; everyone may read it, and its owner may write it."""
    assert (f"{os.getpid()}\n", 0o644) == (path.read_text(), path.stat().st_mode & 0o777 | 0o044)


def test_longer_pid_leaves_nothing(path: Path) -> None:
    """A shorter pid replaces a longer one completely."""
    path.write_text("1234567890123456789\n")
    pidfile = PidFile(str(path))
    pidfile.write()
    assert f"{os.getpid()}\n" == path.read_text()
    os.close(pidfile.fd)


def test_second_daemon_is_refused(path: Path, held: PidFile) -> None:
    """While one daemon holds the lock, a second one reports its pid, keeps the file, and leaks no descriptor."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    assert f"{path}: daytimed is already running with pid {os.getpid()}; stop it first" == str(caught.value)
    assert (f"{os.getpid()}\n", len(before)) == (path.read_text(), len(os.listdir("/proc/self/fd")))


def test_daemon_that_has_not_written_yet_is_running_too(path: Path) -> None:
    """The lock, not the content, shows that a daemon is running."""
    pidfile = PidFile(str(path))
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    assert f"{path}: daytimed is already running with pid unknown; stop it first" == str(caught.value)
    os.close(pidfile.fd)


@pytest.mark.parametrize("content", ["", "99999999\n", "1\n", "\n"])
def test_file_that_is_left_blocks_nothing(path: Path, content: str) -> None:
    """An unlocked file that is empty or holds a pid is taken over: its daemon was killed."""
    path.write_text(content)
    pidfile = PidFile(str(path))
    assert content == path.read_text()
    os.close(pidfile.fd)


@pytest.mark.parametrize("content", ["garbage", "12 34", "1" * 40, "1\nmore\n"])
def test_file_of_something_else_is_refused_and_stays(path: Path, content: str) -> None:
    """A file with other content is rejected, because a stop would empty and remove it."""
    path.write_text(content)
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    assert f"{path}: not a pid file; choose another path with --pidfile" == str(caught.value)
    assert content == path.read_text()


@given(content=st.binary(max_size=40) | st.text("0123456789 \n", max_size=40).map(str.encode))
def test_any_content_is_a_pid_or_stays(content: bytes) -> None:
    """A file with any content is accepted as a stale pid file or rejected, and is not changed by either."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            os.close(PidFile(file.name).fd)
        except ListenError as error:
            assert str(error).isprintable()
        else:
            assert re.fullmatch(rb"\s*\d*\s*", content)
        assert content == Path(file.name).read_bytes()


@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"])
def test_device_is_no_pid_file(device: str) -> None:
    """A device is rejected."""
    with pytest.raises(ListenError):
        PidFile(device)


def test_fifo_is_no_pid_file(path: Path) -> None:
    """A FIFO is rejected without waiting for its other end."""
    os.mkfifo(path)
    with pytest.raises(ListenError):
        PidFile(str(path))


def test_lock_is_held_by_the_last_of_the_family(path: Path) -> None:
    """The lock ends with the last process that inherited it, however that process ends."""
    pidfile = PidFile(str(path))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.close(pidfile.fd)
    with pytest.raises(ListenError, match="already running"):
        PidFile(str(path))
    os.close(writing)
    os.waitpid(pid, 0)
    os.close(PidFile(str(path)).fd)


def test_removed(path: Path, held: PidFile) -> None:
    """A daemon that stops normally leaves no file."""
    held.remove()
    assert not path.exists()


@pytest.fixture
def forbidden_folder(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in which only root may create or remove files."""
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


def test_remove_where_the_folder_is_not_ours(path: Path, held: PidFile) -> None:
    """A daemon that runs as another user and cannot remove the file leaves it empty."""
    path.parent.chmod(0o500)
    with unprivileged():
        held.remove()
    path.parent.chmod(0o700)
    assert "" == path.read_text()


def test_remove_leaves_the_file_of_another_daemon(path: Path, held: PidFile) -> None:
    """If our file was removed and another daemon has created its own, our stop does not remove that one."""
    path.unlink()
    other = PidFile(str(path))
    other.write()
    held.remove()
    assert path.exists()
    os.close(other.fd)


def test_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    """A symbolic link is not followed."""
    (tmp_path / "target").write_text("precious")
    path.symlink_to(tmp_path / "target")
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    expected = (
        f"{path}: cannot write the pid file: Too many levels of symbolic links; choose another path with --pidfile"
    )
    assert (expected, "precious") == (str(caught.value), (tmp_path / "target").read_text())


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    """If the file cannot be created, the error states its path and what to do."""
    with pytest.raises(ListenError) as caught:
        PidFile(f"{tmp_path}/none/pid")
    expected = (
        f"{tmp_path}/none/pid: cannot write the pid file: No such file or directory; choose another path with --pidfile"
    )
    assert expected == str(caught.value)


def test_folder_that_may_not_be_written(forbidden_folder: Path) -> None:
    """A directory that this user may not write gives a permission error."""
    with unprivileged(), pytest.raises(NoPermissionError) as caught:
        PidFile(f"{forbidden_folder}/pid")
    expected = (
        f"{forbidden_folder}/pid: cannot write the pid file: Permission denied; choose another path with --pidfile"
    )
    assert (77, expected) == (caught.value.exit_code, str(caught.value))


_REMOVED_BEFORE_THE_LOCK = """
import os, sys
from daytimed.pidfile import PidFile

path, times = sys.argv[1], 0

def remove_first(event, arguments):
    # the worst case between open and lock: twice, the file is gone when the lock is taken
    global times
    if event == "fcntl.flock" and times < 2:
        times += 1
        os.unlink(path)

sys.addaudithook(remove_first)
held = PidFile(path)
held.write()
print(times, open(path).read() == f"{os.getpid()}\\n")
"""


def test_file_removed_between_open_and_lock(path: Path) -> None:
    """A lock on a file that another daemon has just removed does not count; the file finally in place is locked."""
    script = [sys.executable, "-c", _REMOVED_BEFORE_THE_LOCK, str(path)]
    ended = subprocess.run(script, capture_output=True, text=True, check=False)
    assert ("2 True\n", "") == (ended.stdout, ended.stderr)
