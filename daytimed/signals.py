"""
Signals: the master takes them one by one and has no handlers; a worker has the one that ends its accept.

The master blocks all its signals for good, before the first fork, so none can be lost between a fork and the
worker's own handlers, and nothing ever runs in the middle of something else (pitfalls of prefork servers: handlers
that log, reap, or swallow the signal meant for a child).
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
#: From a worker: it is ready, or the first client after a quiet time has come. To a worker: begin.
WAKE = GO = signal.SIGUSR2
CHILD = signal.SIGCHLD

MASTER = STOP | {RELOAD, STATISTICS, WAKE, CHILD}

_PR_SET_PDEATHSIG = 1


def prepare_master() -> None:
    """Block the signals of the master."""
    # systemd 258 and later do not start a notify-reload service that has no handler for SIGHUP; blocked, it never runs
    signal.signal(RELOAD, _do_nothing)
    # a parent may have left this ignored, and then there is nothing to reap
    signal.signal(CHILD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, MASTER)


def wait(deadline: float | None) -> list[int]:
    """
    Wait for signals and take all that are pending.

    Args:
        deadline: A time of `time.monotonic`, seconds; None waits for ever.

    Returns:
        The signals, in the order taken; none when the deadline has come.
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
    """Undo `prepare_master` in a process that is no master after all."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER)


def wait_for_go() -> bool:
    """Wait, in a fresh child whose signals are still blocked, until it may begin; False if it is to stop instead."""
    return signal.sigwaitinfo({GO, signal.SIGTERM}).si_signo == GO


def prepare_worker(stop: Callable[[], None], tick: Callable[[], None]) -> None:
    """
    Give a fresh child its own handlers, and only then unblock.

    Args:
        stop: Runs in the handler of SIGTERM, each time.
        tick: Runs in the handler of SIGALRM, which a timer of the worker sends.
    """
    # of `_signal`: making enums of what was set before would write to memory that the processes share
    _signal.signal(signal.SIGTERM, lambda number, frame: stop())
    _signal.signal(signal.SIGALRM, lambda number, frame: tick())
    # these are the master's: Ctrl-C reaches the whole process group, and someone may send the others to it
    for number in (signal.SIGINT, RELOAD, STATISTICS, WAKE):
        _signal.signal(number, _signal.SIG_IGN)
    _signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER | {signal.SIGALRM})


def set_timer(interval_s: float) -> None:
    """Have SIGALRM sent to this process at this interval, setitimer(2); 0 ends it."""
    signal.setitimer(signal.ITIMER_REAL, interval_s, interval_s)


def find_prctl() -> Callable[..., int]:
    """Return prctl(2); looked up in the master, so that a worker finds it in memory."""
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    return prctl


def end_worker() -> None:
    """Be deaf to a stop that is repeated."""
    # blocked and not ignored: of one that has come but is not handled yet, Python would print that it ignored it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def name_of(number: int) -> str:
    """Return the name of a signal; real-time signals have none but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def die_with(parent: int, prctl: Callable[..., int]) -> bool:
    """
    Have the kernel end this process when its parent ends, prctl(2).

    By SIGKILL: a SIGTERM that falls just before accept would be seen at the next client only, and nobody would be
    left to repeat it, so the port would stay taken.

    Returns:
        False if the parent was gone before.
    """
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    return os.getppid() == parent


def _do_nothing(number: int, frame: object) -> None:
    pass
