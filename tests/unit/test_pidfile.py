"""The pid file: a lock that ends with its process."""

from __future__ import annotations

import os
import re
import stat
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


def close(pidfile: PidFile) -> None:
    """Close its descriptors, as the end of its process does."""
    for descriptor in pidfile.descriptors:
        os.close(descriptor)


@pytest.fixture
def held(path: Path) -> Iterator[PidFile]:
    """Return a locked pid file with our pid in it."""
    pidfile = PidFile(str(path))
    pidfile.write()
    yield pidfile
    close(pidfile)


def test_pid_is_written(path: Path, held: PidFile) -> None:
    """The file holds the pid and a line end; everyone may read it, and its owner may write it."""
    assert (f"{os.getpid()}\n", 0o644) == (path.read_text(), path.stat().st_mode & 0o777)


def test_lock_names_its_holder_and_is_for_its_owner(path: Path, held: PidFile) -> None:
    """Only the owner can open the lock, and its holder cannot write it; it has the pid and the start time."""
    lock = lock_of(path)
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert (f"{os.getpid()} {started}\n", 0o600) == (lock.read_text(), lock.stat().st_mode & 0o777)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(held.descriptors[0], b"1")


def test_who_can_open_a_file_left_open_before_cannot_anymore(path: Path) -> None:
    """A lock file that everyone could open is for its owner alone from now on."""
    lock_of(path).touch(0o666)
    lock_of(path).chmod(0o666)
    close(PidFile(str(path)))
    assert lock_of(path).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_cannot_hold_the_lock(path: Path) -> None:
    """Another user who locks every file that it can open blocks no start: not of a new, stopped or killed daemon."""
    path.parent.chmod(0o755)
    for left in ("", "99999999\n"):
        path.write_text(left)
        attack = subprocess.Popen(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", _LOCK_EVERYTHING],
            cwd=path.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert attack.stdout and attack.stdin
        assert attack.stdout.readline() == f"{path.name}\n"
        pidfile = PidFile(str(path))
        pidfile.write()
        close(pidfile)
        attack.communicate("")


_LOCK_EVERYTHING = """
import fcntl, os, sys
held = []
for name in sorted(os.listdir()):
    for take in fcntl.flock, fcntl.lockf:
        try:
            held.append(open(name))
            take(held[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)
        except PermissionError:
            continue
print(*sorted({each.name for each in held}), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["", ".lock"])
def either(request: pytest.FixtureRequest, path: Path) -> Path:
    """The pid file or its lock."""
    return Path(f"{path}{request.param}")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_file_of_another_user_is_refused(path: Path, either: Path) -> None:
    """A file that another user owns, and so can open, change and lock, is rejected and stays."""
    either.write_text("")
    os.chown(either, 65534, 65534)
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    assert f"{either}: belongs to another user (uid 65534); choose another path with --pidfile" == str(caught.value)
    assert either.exists()


@pytest.mark.parametrize("content", ["", "1\n"])
def test_hard_link_is_replaced(path: Path, either: Path, content: str) -> None:
    """A second name of another file, which any user can create in a folder for everyone, gets a file of its own."""
    other = path.with_name("other")
    other.write_text(content if either == path else "")
    other.chmod(0o640)
    either.hardlink_to(other)
    pidfile = PidFile(str(path))
    pidfile.write()
    assert other.read_text() == (content if either == path else "")
    assert (other.stat().st_nlink, either.stat().st_nlink) == (1, 1)
    assert stat.S_IMODE(other.stat().st_mode) == 0o640
    with pytest.raises(ListenError, match="already running"):
        PidFile(str(path))
    close(pidfile)


def test_hard_link_to_the_lock_of_a_daemon_frees_nothing(path: Path, held: PidFile) -> None:
    """A second name for the lock of a running daemon does not let a second one start."""
    path.with_name("other").hardlink_to(lock_of(path))
    with pytest.raises(ListenError, match="already running"):
        PidFile(str(path))
    assert lock_of(path).exists()


def lock_of(path: Path) -> Path:
    return Path(f"{path}.lock")


def test_longer_pid_leaves_nothing(path: Path) -> None:
    """A shorter pid replaces a longer one completely."""
    path.write_text("1234567890123456789\n")
    pidfile = PidFile(str(path))
    pidfile.write()
    assert f"{os.getpid()}\n" == path.read_text()
    close(pidfile)


def test_second_daemon_is_refused(path: Path, held: PidFile) -> None:
    """While one daemon holds the lock, a second one reports its pid, keeps the file, and leaks no descriptor."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    assert f"{path}: daytimed is already running with pid {os.getpid()}; stop it first" == str(caught.value)
    assert (f"{os.getpid()}\n", len(before)) == (path.read_text(), len(os.listdir("/proc/self/fd")))


def test_daemon_that_has_not_written_yet_is_running_too(path: Path) -> None:
    """The lock, not the content, shows that a daemon is running."""
    lock_of(path).write_text("1 1\n")
    pidfile = PidFile(str(path))
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    assert f"{path}: daytimed is already running with pid unknown; stop it first" == str(caught.value)
    close(pidfile)


@pytest.mark.parametrize("content", ["", "99999999\n", "1\n", "\n"])
def test_file_that_is_left_blocks_nothing(path: Path, content: str) -> None:
    """An unlocked file that is empty or holds a pid is taken over: its daemon was killed."""
    path.write_text(content)
    pidfile = PidFile(str(path))
    assert content == path.read_text()
    close(pidfile)


@pytest.mark.parametrize("content", ["garbage", "12 34", "1" * 40, "1\nmore\n"])
def test_file_of_something_else_is_refused_and_stays(path: Path, either: Path, content: str) -> None:
    """A file with other content is rejected, because a start or a stop would empty and remove it."""
    if either != path and content == "12 34":
        content = "12 34 56\n"
    either.write_text(content)
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    assert f"{either}: not a pid file; choose another path with --pidfile" == str(caught.value)
    assert content == either.read_text()


@given(content=st.binary(max_size=40) | st.text("0123456789 \n", max_size=40).map(str.encode))
def test_any_content_is_a_pid_or_stays(content: bytes) -> None:
    """A file with any content is accepted as a stale pid file or rejected, and is not changed by either."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            close(PidFile(file.name))
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


def test_fifo_is_no_pid_file(path: Path, either: Path) -> None:
    """A FIFO is rejected without waiting for its other end."""
    os.mkfifo(either)
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
    close(pidfile)
    with pytest.raises(ListenError, match="already running"):
        PidFile(str(path))
    os.close(writing)
    os.waitpid(pid, 0)
    close(PidFile(str(path)))


def test_removed(path: Path, held: PidFile) -> None:
    """A daemon that stops normally leaves no file."""
    held.remove()
    assert os.listdir(path.parent) == []


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
    lock_of(path).unlink()
    other = PidFile(str(path))
    other.write()
    held.remove()
    assert path.exists()
    assert lock_of(path).exists()
    close(other)


def test_symbolic_link_is_refused(path: Path, either: Path, tmp_path: Path) -> None:
    """A symbolic link is not followed."""
    (tmp_path / "target").write_text("precious")
    either.symlink_to(tmp_path / "target")
    with pytest.raises(ListenError) as caught:
        PidFile(str(path))
    expected = (
        f"{either}: cannot write the pid file: Too many levels of symbolic links; choose another path with --pidfile"
    )
    assert (expected, "precious") == (str(caught.value), (tmp_path / "target").read_text())


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    """If the file cannot be created, the error states its path and what to do."""
    with pytest.raises(ListenError) as caught:
        PidFile(f"{tmp_path}/none/pid")
    expected = (
        f"{tmp_path}/none/pid.lock: cannot write the pid file: No such file or directory;"
        " choose another path with --pidfile"
    )
    assert expected == str(caught.value)


def test_folder_that_may_not_be_written(forbidden_folder: Path) -> None:
    """A directory that this user may not write gives a permission error."""
    with unprivileged(), pytest.raises(NoPermissionError) as caught:
        PidFile(f"{forbidden_folder}/pid")
    expected = (
        f"{forbidden_folder}/pid.lock: cannot write the pid file: Permission denied; choose another path with --pidfile"
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
        os.unlink(path + ".lock")

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
