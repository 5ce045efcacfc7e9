"""
`--daemon`: detach from the terminal, for hosts without systemd.

The process that the administrator started waits until the detached daemon serves or fails. On failure, it prints the
reason and exits with the code of the daemon. python-daemon does the detaching.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import daemon

from daytimed import privileges, signals
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, DaytimedError, StartError, UsageError
from daytimed.master import Master
from daytimed.pidfile import PidFile
from daytimed.privileges import Owner

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
    _refuse_under_a_manager()
    owner = privileges.find_owner(user, group)
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


def _refuse_under_a_manager() -> None:
    """Refuse to detach from a service manager, which expects its own child process to serve."""
    # a parent can have left its LISTEN_PID
    for variable, is_set in (
        ("NOTIFY_SOCKET", "NOTIFY_SOCKET" in os.environ),
        ("LISTEN_PID", os.environ.get("LISTEN_PID") == str(os.getpid())),
    ):
        if is_set:
            raise UsageError(f"--daemon: a service manager runs this process ({variable} is set); remove --daemon")


def _serve(master: Master, lock: PidFile, writing: int, owner: Owner | None, keep_stderr: bool) -> NoReturn:
    code = EXIT_INTERNAL
    try:
        private = [*lock.descriptors, writing]
        _detach([*master.sockets.descriptors, *private], keep_stderr)
        lock.write()
        if owner is not None:
            privileges.become(owner)
        master.run(on_ready=lambda: _report(writing, EXIT_OK, ""), private=private)
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


def _detach(keep: list[int], keep_stderr: bool) -> None:
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            # python-daemon redirects the streams of `sys`, which are None for descriptors closed at the start of Python
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    daemon.DaemonContext(
        # by default, python-daemon does not detach if standard input is a socket, as under inetd
        detach_process=True,
        files_preserve=keep,
        umask=0o022,
        signal_map={},
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
