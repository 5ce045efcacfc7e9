"""
A log: the logger of one process.

An event is one write to one sink. A lost event is counted; the master logs the count (`log_lost`) when the sink takes
events again. Each generation has its own `Log`, which its workers inherit: no logger is global.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import structlog

from daytimed import charset
from daytimed.log import rendering
from daytimed.log.events import EVENTS, SEVERITIES
from daytimed.log.sinks import Journal, Sink


class Log:
    """The log of one process in one generation."""

    def __init__(
        self, sink: Sink | Journal, form: str, level: str, on_lost: Callable[[], None], *, colors: bool = False
    ) -> None:
        """
        Make a log.

        Args:
            sink: Its destination; a `Journal` for the form `journal`.
            form: `console`, `json`, `journal` or `syslog`.
            level: The lowest level that is logged.
            on_lost: Called for each event that the sink did not take.
            colors: Whether the console shows colours.
        """
        self._how = form, level
        self._colors = colors
        self._least = SEVERITIES[level]
        self._on_lost = on_lost
        self._logger: Any = structlog.wrap_logger(
            _Writer(sink, form, "ascii" if form == "console" and not charset.is_utf8(os.environ) else "utf-8"),
            processors=rendering.processors(form, colors),
            wrapper_class=_Logger,
            context_class=dict,
            cache_logger_on_first_use=False,
        ).bind()

    def muted(self) -> Log:
        """Return a log that renders every event as this one does, and writes none."""
        return Log(lambda *rendered: True, *self._how, self._on_lost, colors=self._colors)

    def is_enabled(self, name: str) -> bool:
        """Return whether an event of this name is logged."""
        return SEVERITIES[EVENTS[name].level] <= self._least

    def event(self, name: str, *, level: str | None = None, **fields: Any) -> bool:
        """
        Log an event; `level` is for the few events whose level depends on what happened.

        Returns:
            False if the event is lost. That is counted, unless the event is repeated later anyway.
        """
        level = level or EVENTS[name].level
        if SEVERITIES[level] > self._least:
            return True
        taken = self._logger.log(level, name, fields)
        if taken is False and name not in ("log_lost", "clients_suppressed"):
            self._on_lost()
        return taken is not False


class _Logger(structlog.BoundLoggerBase):
    """The outer logger: one method for all levels, which is less to run for each client."""

    def log(self, level: str, name: str, fields: rendering.Fields) -> Any:
        return self._proxy_to_logger(level, name, **fields)


class _Writer:
    """The inner logger: passes a rendered event, whole, to the sink."""

    def __init__(self, sink: Any, form: str, encoding: str) -> None:
        for level in SEVERITIES:
            setattr(self, level, sink if form == "journal" else self._line_writer(sink, level, encoding))

    @staticmethod
    def _line_writer(sink: Sink, level: str, encoding: str) -> Callable[[str], bool]:
        return lambda rendered: sink(level, rendered.encode(encoding, "backslashreplace"))
