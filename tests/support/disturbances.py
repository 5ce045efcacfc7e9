"""Disturbances of a daemon, repeated while a test runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator

from harness import Daemon


@contextlib.contextmanager
def every(interval_s: float, act: Callable[[], None]) -> Iterator[None]:
    """Repeat an action while the body runs."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(interval_s):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def killing(daemon: Daemon) -> Iterator[set[int]]:
    """Kill a worker every 100 ms while the body runs; yields the killed pids."""
    killed: set[int] = set()

    def kill() -> None:
        if workers := daemon.live_workers():
            with contextlib.suppress(ProcessLookupError):
                victim = random.choice(workers)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)

    with every(0.1, kill):
        yield killed
