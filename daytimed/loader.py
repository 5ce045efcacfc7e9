"""
The loader: a forked process that loads a configuration and resolves its host names.

Name servers and file systems can take long. Meanwhile the master handles its signals, and a deadline ends the load. The
result comes in a memory file, because a pipe holds only 64 KiB.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from daytimed import signals
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, OUT_OF_RESOURCES, DaytimedError, ListenError, StartError

#: A fork that fails is tried again, at this interval and for this long.
RETRY_S, FORK_DEADLINE_S = 0.1, 5.0
#: One silent name server takes 10 s (resolv.conf(5): two attempts of 5 s); three take 30 s.
LOAD_DEADLINE_S = 30.0

Note = Callable[[str], None]
"""Notes the current step, for the error at the deadline."""


class Loader:
    """One load."""

    def __init__(
        self, load: Callable[[Note], Any], let_go: Callable[[], None], now: float, prctl: Callable[..., int]
    ) -> None:
        """
        Start to load.

        Args:
            load: Returns the result; it runs in the process.
            let_go: Closes, in the process, what it must not hold: a file system can hold the process itself for long.

        Raises:
            OSError: If no descriptor is left.
        """
        self._load, self._let_go, self._prctl = load, let_go, prctl
        self._started_at = now
        self.pid = 0
        """0 until the fork succeeds."""
        self._failure: DaytimedError | None = None
        self._is_done = False
        self.file = os.memfd_create("loaded", os.MFD_CLOEXEC)
        """The descriptor of the result. The master unpickles what is in it, so no worker may have it."""
        self.look_at = now
        """When `is_done` has something to do."""
        self._fork(now)

    def _fork(self, now: float) -> None:
        master = os.getpid()
        try:
            self.pid = os.fork()
        except OSError as error:
            self.pid = 0
            self.look_at = now + RETRY_S
            self._failure = StartError(f"the configuration cannot be loaded: {error.strerror}")
            self._is_done = now >= self._started_at + FORK_DEADLINE_S
            return
        if self.pid == 0:
            self._run(master)
        self._failure = None
        self.look_at = now + LOAD_DEADLINE_S

    def note_exit(self, status: int) -> None:
        """Note the end of the process: a status of waitpid(2)."""
        code = os.waitstatus_to_exitcode(status)
        if code and not self._is_done:
            how = f"was killed by {signals.name_of(-code)}" if code < 0 else f"exited with status {code}"
            self._failure = StartError(f"the configuration cannot be loaded: the loader {how}")
        self._is_done = True

    def is_done(self, now: float) -> bool:
        """Return whether `take` has a result; at the deadline, end the process and have an error as the result."""
        if not self._is_done and not self.pid and now >= self.look_at:
            self._fork(now)
        elif not self._is_done and now >= self.look_at:
            step = os.pread(self.file, 1000, 0).decode(errors="replace") or "the configuration cannot be loaded"
            self._failure = ListenError(f"{step}: no answer within {LOAD_DEADLINE_S:.0f} s")
            self.kill()
        return self._is_done

    def kill(self) -> None:
        """End the process without waiting for it: a file system may hold it."""
        if not self._is_done and self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self._is_done = True

    def take(self) -> Any:
        """
        Return the result, once.

        Raises:
            DaytimedError: As in the process, or because the process failed.
        """
        with open(self.file, "rb") as file:
            if self._failure:
                raise self._failure
            file.seek(0)
            # our own child has written it
            result = pickle.load(file)  # noqa: S301
        if isinstance(result, DaytimedError):
            raise result
        return result

    def _run(self, master: int) -> NoReturn:
        """Load in the child; never return into the master's code."""
        code = EXIT_INTERNAL
        try:
            if signals.die_with(master, self._prctl):
                self._let_go()
                self._write_outcome()
                code = EXIT_OK
        finally:
            os._exit(code)

    def _write_outcome(self) -> None:
        try:
            outcome = self._load(lambda step: self._write(step.encode(errors="replace")))
        except Exception as error:
            outcome = load_error(error)
        self._write(pickle.dumps(outcome))

    def _write(self, content: bytes) -> None:
        os.ftruncate(self.file, 0)
        os.lseek(self.file, 0, os.SEEK_SET)
        with open(self.file, "wb", closefd=False) as file:
            file.write(content)


def load_error(error: Exception) -> DaytimedError:
    """Return the error to report for a load that failed with this exception; call it in the `except` clause."""
    if isinstance(error, DaytimedError):
        # the frames of a traceback would hold the memory of the load
        return error.with_traceback(None)
    if isinstance(error, MemoryError):
        return StartError("there is not enough memory for the configuration")
    if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
        return StartError(f"the configuration cannot be loaded: {error.strerror}", error.errno)
    # a bug of ours
    return StartError(f"the configuration cannot be loaded: {error!r}", trace=traceback.format_exc())
