"""The output: the destination of this process's log, from which the log of each configuration is made."""

from __future__ import annotations

import os
from collections.abc import Callable

from daytimed.log.log import Log
from daytimed.log.sinks import Journal, stream_sink, syslog_sink


class Output:
    """Where the log of this process goes; workers inherit it."""

    def __init__(
        self,
        fd: int | None,
        find_journal: Callable[[], Journal | None] = lambda: None,
        *,
        is_journal_stream: bool = False,
    ) -> None:
        """
        Choose the output.

        Args:
            fd: The descriptor that lines are written to; None for the system log.
            find_journal: Returns a writer of journal entries if there is a journal.
            is_journal_stream: Whether `fd` is a stream to the journal.
        """
        self._find_journal = find_journal
        self.is_journal_stream = is_journal_stream
        self._to_syslog = fd is None
        self._to_terminal = fd is not None and os.isatty(fd)
        self._sink = syslog_sink() if fd is None else stream_sink(fd)

    def make_log(self, form: str, level: str, on_lost: Callable[[], None]) -> Log:
        """
        Make a log of a configured format.

        `auto` is the journal under systemd, the console on a terminal, and otherwise JSON. `journal` without a journal
        is JSON too: a line in another form is better than no line.
        """
        if form == "journal" or (form == "auto" and self.is_journal_stream):
            journal = self._find_journal()
            if journal:
                return Log(journal, "journal", level, on_lost)
        if self._to_syslog:
            form = "syslog"
        elif form in ("auto", "journal"):
            form = "console" if self._to_terminal else "json"
        colors = self._to_terminal and "NO_COLOR" not in os.environ
        return Log(self._sink, form, level, on_lost, colors=colors)
