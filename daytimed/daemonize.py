"""
`--daemon`: detach from the terminal, for hosts without systemd.

What was started in the foreground learns how it went: the process that the administrator started waits until the
detached one serves or fails, prints why, and ends with its exit code. Detaching itself is python-daemon's.
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
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, DaytimedError, NoPermissionError, UsageError
from daytimed.master import Master
from daytimed.pidfile import PidFile

#: What a manager that expects its own child to serve has set; the detached process would not be that child.
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
        make_master: From the descriptor of the log, or None for the system log.
        complain: Tells a person in the foreground.

    Returns:
        In the process that was started, once the daemon serves or has failed: its exit code.

    Raises:
        DaytimedError: For everything that is found before the fork.
    """
    for variable in _MANAGED:
        if variable in os.environ:
            raise UsageError(f"--daemon: {variable} is set, so a manager runs this already; leave --daemon out")
    owner = _find_owner(user, group)
    # a terminal is gone with its session, and who reads a pipe to its end would wait for the daemon's: then the system
    # log is where an administrator looks
    keep_stderr = not os.isatty(_STDERR) and not stat.S_ISFIFO(os.fstat(_STDERR).st_mode)
    lock = PidFile(pidfile)
    try:
        master = make_master(_STDERR if keep_stderr else None)
        master.open()
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
        _detach([*master.descriptors, lock.fd, writing], owner, keep_stderr)
        lock.write()
        code = master.run(on_ready=lambda: _report(writing, EXIT_OK, ""), private=[lock.fd, writing])
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
        # past the exit handlers and buffers of the process that was started
        os._exit(code)


def _detach(keep: list[int], owner: Owner, keep_stderr: bool) -> None:
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            # python-daemon redirects the streams of `sys`, and Python has none for what was closed at its start
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    if owner.name is not None:
        # python-daemon's own initgroups leaves the group id as it was
        os.initgroups(owner.name, owner.gid)
    daemon.DaemonContext(
        # python-daemon guesses otherwise, and takes a socket on standard input for an inetd's
        detach_process=True,
        files_preserve=keep,
        umask=0o022,
        signal_map={},
        uid=owner.uid,
        gid=owner.gid,
        stderr=sys.stderr if keep_stderr else None,
    ).open()


def _report(writing: int, code: int, message: str) -> None:
    """Tell the process in the foreground; one write that a pipe takes whole."""
    # its reader may have been killed: then there is nobody to tell
    with contextlib.suppress(OSError):
        os.write(writing, f"{code} {message}".encode(errors="backslashreplace")[: select.PIPE_BUF])


def _wait_for(reading: int, complain: Callable[[str], None]) -> int:
    # whoever waits may be interrupted
    signals.release()
    report = os.read(reading, select.PIPE_BUF).decode(errors="replace")
    if not report:
        complain("--daemon: the daemon was killed before it served")
        return EXIT_INTERNAL
    code, _, message = report.partition(" ")
    for line in message.splitlines():
        complain(line)
    return int(code)


class Owner(NamedTuple):
    """Whom the daemon runs as; `name` only where that is another user than now."""

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
        raise NoPermissionError("--user and --group: only root can become another user; start daytimed as root")
    return Owner(None, uid, gid)
