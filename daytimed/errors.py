"""
What can end the daemon, each with the exit code that is promised for it (sysexits.h where it has one).

Everything a person can cause is raised as one of these, with one sentence that says what, where, why and what
to do. Only `cli` catches them for good.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_NO_PERMISSION = 77
EXIT_CONFIG = 78


class DaytimedError(Exception):
    """An error that is told to a person and ends the start (or rejects the reload) that met it."""

    exit_code = EXIT_INTERNAL

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.problems = [message]
        self.errno = errno
        """Of errno(3), where a system call said no; else 0."""


class UsageError(DaytimedError):
    """The command line asks for something that cannot be."""

    exit_code = EXIT_USAGE


class ConfigError(DaytimedError):
    """The configuration is wrong; `problems` has one sentence for each fault, all of them at once."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ListenError(DaytimedError):
    """A listener cannot be bound or adopted."""

    exit_code = EXIT_UNAVAILABLE


class NoPermissionError(DaytimedError):
    """The system does not let this user do what was asked."""

    exit_code = EXIT_NO_PERMISSION


class StartError(DaytimedError):
    """No worker can be started."""

    exit_code = EXIT_INTERNAL
