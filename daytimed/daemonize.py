"""
`--daemon`: detach from the terminal, for hosts without systemd.

The process that the administrator started waits until the detached daemon serves or fails. On failure, it prints the
reason and exits with the code of the daemon. python-daemon does the detaching.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import select
import stat
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import daemon

from daytimed import signals
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, DaytimedError, NoPermissionError, StartError, UsageError
from daytimed.master import Master
from daytimed.pidfile import PidFile

#: A service manager sets these for its child process and expects that process to serve, not a detached one.
_MANAGED = ("NOTIFY_SOCKET", "LISTEN_PID")
_STDERR = 2


def run(
    make_master: Callable[[int | None], Master],
    pidfile: str,
    user: str | None,
    group: str | None,
    complain: Callable[[str], None],
) -> int:
    """
    Detach and serve.

    Args:
        make_master: Creates the master for a log descriptor, or for the system log if None.
        complain: Reports an error to the person in the foreground.

    Returns:
        In the foreground process, once the daemon serves or has failed: the exit code.

    Raises:
        DaytimedError: For every error before the fork.
    """
    for variable in _MANAGED:
        if variable in os.environ:
            raise UsageError(f"--daemon: a service manager runs this process ({variable} is set); remove --daemon")
    owner = _find_owner(user, group)
    # a terminal goes away with its session, and the reader of a pipe would wait for the daemon to end: in both cases
    # the system log is used instead
    keep_stderr = not os.isatty(_STDERR) and not stat.S_ISFIFO(os.fstat(_STDERR).st_mode)
    lock = PidFile(pidfile)
    try:
        master = make_master(_STDERR if keep_stderr else None)
        if not master.open():
            raise StartError("--daemon: stopped before it served")
        reading, writing = os.pipe()
        pid = os.fork()
    except BaseException:
        lock.remove()
        raise
    if pid == 0:
        os.close(reading)
        _serve(master, lock, writing, owner, keep_stderr)
    os.close(writing)
    return _wait_for(reading, complain)


def _serve(master: Master, lock: PidFile, writing: int, owner: Owner, keep_stderr: bool) -> NoReturn:
    code = EXIT_INTERNAL
    try:
        _detach([*master.sockets.descriptors, lock.fd, writing], owner, keep_stderr)
        lock.write()
        master.run(on_ready=lambda: _report(writing, EXIT_OK, ""), private=[lock.fd, writing])
        code = EXIT_OK
    except DaytimedError as error:
        code = error.exit_code
        _report(writing, code, str(error))
    except daemon.daemon.DaemonError as error:
        _report(writing, code, f"--daemon: cannot detach: {error}")
    except BaseException as error:
        traceback.print_exc()
        _report(writing, code, f"--daemon: {error}")
    finally:
        lock.remove()
        # skip the exit handlers and buffers, which belong to the foreground process
        os._exit(code)


def _detach(keep: list[int], owner: Owner, keep_stderr: bool) -> None:
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            # python-daemon redirects the streams of `sys`, which are None for descriptors closed at the start of Python
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    if owner.name is not None:
        # python-daemon's own initgroups does not change the group id
        os.initgroups(owner.name, owner.gid)
    daemon.DaemonContext(
        # by default, python-daemon does not detach if standard input is a socket, as under inetd
        detach_process=True,
        files_preserve=keep,
        umask=0o022,
        signal_map={},
        uid=owner.uid,
        gid=owner.gid,
        stderr=sys.stderr if keep_stderr else None,
    ).open()


def _report(writing: int, code: int, message: str) -> None:
    """Report to the foreground process in one write, atomic for a pipe."""
    # the foreground process may have been killed
    with contextlib.suppress(OSError):
        os.write(writing, f"{code} {message}".encode(errors="backslashreplace")[: select.PIPE_BUF])


def _wait_for(reading: int, complain: Callable[[str], None]) -> int:
    # Ctrl-C may end the wait
    signals.release()
    report = os.read(reading, select.PIPE_BUF).decode(errors="replace")
    if not report:
        complain("--daemon: the daemon was killed before it was ready")
        return EXIT_INTERNAL
    code, _, message = report.partition(" ")
    for line in message.splitlines():
        complain(line)
    return int(code)


class Owner(NamedTuple):
    """The user and group to run as; `name` is set only if root gave --user."""

    name: str | None
    uid: int
    gid: int


def _find_owner(user: str | None, group: str | None) -> Owner:
    if user is None and group is None:
        return Owner(None, os.getuid(), os.getgid())
    name, uid, gid = None, os.getuid(), os.getgid()
    try:
        if user is not None:
            account = pwd.getpwnam(user)
            name, uid, gid = account.pw_name, account.pw_uid, account.pw_gid
    except KeyError:
        raise UsageError(f"argument --user: this system has no user {user!r}") from None
    try:
        if group is not None:
            gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(f"argument --group: this system has no group {group!r}") from None
    if os.geteuid() == 0:
        return Owner(name, uid, gid)
    if (uid, gid) != (os.getuid(), os.getgid()):
        raise NoPermissionError("--user and --group: only root can change user or group; start daytimed as root")
    return Owner(None, uid, gid)
