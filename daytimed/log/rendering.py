"""Rendering: from an event and its fields to a line or a journal entry, as structlog processors."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from daytimed.charset import printable
from daytimed.log.events import EVENTS, SEVERITIES

Fields = MutableMapping[str, Any]


def processors(form: str, colors: bool) -> list[Any]:
    """Return the processors of a form: `console`, `json`, `journal` or `syslog`."""
    return [_add_sentence, *_renderers(form, colors)]


def _add_sentence(logger: object, method: str, fields: Fields) -> Fields:
    name = fields.pop("event")
    sentence = EVENTS[name].sentence.format_map(fields)
    if name == "worker_exited" and fields["pid"] is None:
        sentence = "A worker ({listener}) {how}.".format_map(fields)
    return {"level": method, "event": name, "message": sentence, **fields}


def _renderers(form: str, colors: bool) -> list[Any]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp")
    if form == "json":
        return [stamp, _put_first("timestamp"), structlog.processors.JSONRenderer()]
    if form == "console":
        return [
            stamp,
            _name_as_logger,
            _escaper("exception"),
            structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False),
        ]
    # the journal and the system log add their own timestamp
    if form == "journal":
        return [_as_journal_entry]
    return [_escaper(), structlog.processors.LogfmtRenderer(key_order=["message", "event"])]


def _put_first(key: str) -> Callable[[object, str, Fields], Fields]:
    return lambda logger, method, fields: {key: fields.pop(key), **fields}


def _name_as_logger(logger: object, method: str, fields: Fields) -> Fields:
    """Show the sentence as the console's event, and the name of the event in brackets after it."""
    fields["logger"] = fields["event"]
    fields["event"] = fields.pop("message")
    return fields


def _escaper(*lines: str) -> Callable[[object, str, Fields], Fields]:
    """Escape what could control a terminal or start a new line, except the lines of the fields `lines`: a traceback."""

    def escape(key: str, value: str) -> str:
        return "\n".join(map(printable, value.split("\n"))) if key in lines else printable(value)

    return lambda logger, method, fields: {
        key: escape(key, value) if isinstance(value, str) else value for key, value in fields.items()
    }


def _as_journal_entry(logger: object, method: str, fields: Fields) -> tuple[tuple[dict[str, str]], dict[str, str]]:
    """Return the fields under the names of systemd.journal-fields(7); ours begin with DAYTIMED_."""
    name = fields.pop("event")
    entry = {
        "MESSAGE": fields.pop("message"),
        "PRIORITY": str(SEVERITIES[fields.pop("level")]),
        "SYSLOG_IDENTIFIER": "daytimed",
        "MESSAGE_ID": EVENTS[name].id,
        "DAYTIMED_EVENT": name,
    }
    own = {f"DAYTIMED_{key.upper()}": str(value) for key, value in fields.items() if value is not None}
    return (entry | own,), {}
