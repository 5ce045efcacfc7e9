"""
The errors that can end the daemon, each with its documented exit code (from sysexits.h, except for usage).

Every error that a person can cause is one of these, with one sentence that states what, where, why and what to do.
"""

from __future__ import annotations

import errno
from typing import Any

#: The host lacks something for now. So it is no error of the configuration, after which systemd does not try again.
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_NO_PERMISSION = 77
EXIT_CONFIG = 78


class DaytimedError(Exception):
    """An error that is reported to a person and ends the start, or rejects the reload, in which it occurs."""

    exit_code = EXIT_INTERNAL

    def __init__(self, message: str, errno: int = 0, trace: str = "") -> None:
        super().__init__(message)
        self.problems = [message]
        self.errno = errno
        """The errno(3) of the failed system call; 0 if none failed."""
        self.trace = trace
        """The traceback, if the cause is a bug."""


class UsageError(DaytimedError):
    """The command line is wrong."""

    exit_code = EXIT_USAGE


class ConfigError(DaytimedError):
    """The configuration is wrong; `problems` has one sentence for each error, all at once."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class ListenError(DaytimedError):
    """A listener cannot be bound or adopted."""

    exit_code = EXIT_UNAVAILABLE


class NoPermissionError(DaytimedError):
    """The current user lacks a permission."""

    exit_code = EXIT_NO_PERMISSION


class StartError(DaytimedError):
    """No worker can start."""
