"""
Signals: the master takes them one by one, without handlers.

A worker has two handlers: SIGTERM ends its accept, SIGALRM is the tick of its ring.

The master blocks all its signals permanently, before the first fork. So no signal is lost between a fork and the setup
of the worker's handlers, and no handler interrupts the master. (Prefork servers often fail here: their handlers log,
reap, or swallow the signal meant for a child.)
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import ctypes
import os
import signal
import time
from collections.abc import Callable

STOP = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD = signal.SIGHUP
STATISTICS = signal.SIGUSR1
#: From a worker: it is ready, or the first client after a quiet time has come. To a worker: start.
WAKE = GO = signal.SIGUSR2
CHILD = signal.SIGCHLD

MASTER = STOP | {RELOAD, STATISTICS, WAKE, CHILD}
#: The tick of a worker's ring; blocked in the master, so that it cannot end a worker that has no handlers yet.
TICK = signal.SIGALRM
_BLOCKED = MASTER | {TICK}

_PR_SET_PDEATHSIG = 1


def write_from_background() -> None:
    """Let this process write to its terminal from the background: with `stty tostop`, SIGTTOU would stop it."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)


def prepare_master() -> None:
    """Block the signals of the master."""
    # systemd 258 and later require a SIGHUP handler of a notify-reload service; SIGHUP is blocked, so it never runs
    signal.signal(RELOAD, _do_nothing)
    # if a parent left SIGCHLD ignored, the kernel would reap the workers itself
    signal.signal(CHILD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)


def wait(deadline: float | None) -> list[int]:
    """
    Wait for a signal and take all pending ones.

    Args:
        deadline: In seconds of `time.monotonic`; None waits indefinitely.

    Returns:
        The signals, in the order taken; empty at the deadline.
    """
    info: signal.struct_siginfo | None
    if deadline is None:
        info = signal.sigwaitinfo(MASTER)
    else:
        info = signal.sigtimedwait(MASTER, max(0.0, deadline - time.monotonic()))
    taken = []
    while info is not None:
        taken.append(info.si_signo)
        info = signal.sigtimedwait(MASTER, 0)
    return taken


def release() -> None:
    """Unblock the signals of the master, in a process that does not become one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)


def wait_for_go() -> bool:
    """Wait in a new worker, signals still blocked, for GO; return False if SIGTERM comes instead."""
    return signal.sigwaitinfo({GO, signal.SIGTERM}).si_signo == GO


def prepare_worker(stop: Callable[[], None], tick: Callable[[], None]) -> None:
    """
    Install the handlers of a new worker, then unblock its signals.

    Args:
        stop: Runs in the SIGTERM handler, each time that signal comes.
        tick: Runs in the SIGALRM handler, each time the worker's timer expires.
    """
    # from `_signal`: `signal` converts old handlers to enums, which would write to memory shared between processes
    _signal.signal(signal.SIGTERM, lambda number, frame: stop())
    _signal.signal(TICK, lambda number, frame: tick())
    # only the master acts on these: Ctrl-C reaches the whole process group, and the others can be sent to it
    for number in (signal.SIGINT, RELOAD, STATISTICS, WAKE):
        _signal.signal(number, _signal.SIG_IGN)
    _signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)


def set_timer(interval_s: float) -> None:
    """Have SIGALRM sent to this process at this interval, setitimer(2); 0 ends it."""
    signal.setitimer(signal.ITIMER_REAL, interval_s, interval_s)


def find_prctl() -> Callable[..., int]:
    """Return prctl(2); the master looks it up before the fork, so that workers share it."""
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    return prctl


def end_worker() -> None:
    """Block the repeated stop signals of the master."""
    # blocked, not ignored: Python would print a warning about a signal that is pending but not handled yet
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def name_of(number: int) -> str:
    """Return the name of a signal, or its number: of the real-time signals, only the first and the last have names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def die_with(parent: int, prctl: Callable[..., int]) -> bool:
    """
    Ask the kernel to kill this process when its parent ends, prctl(2).

    With SIGKILL: a SIGTERM just before accept takes effect only at the next client, and no master is left to repeat it,
    so the port would stay in use.

    Args:
        parent: Its pid, found before the fork: a child whose parent has ended would find the pid of another one.

    Returns:
        False if the parent has already ended.
    """
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    return os.getppid() == parent


def _do_nothing(number: int, frame: object) -> None:
    pass
