"""What the probe prints: answers as text for people, as they came, or as JSON."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from daytimed.probe.client import Answer

OK, CRITICAL = "OK", "CRITICAL"
EXIT_CODES = {OK: 0, "WARNING": 1, CRITICAL: 2, "UNKNOWN": 3}


def state_of(answer: Answer) -> str:
    """Return the state of the service that an answer shows."""
    return CRITICAL if answer.reason else OK


def visible(reply: bytes) -> str:
    """
    Return a reply as lines that are safe to show: no byte of it can control a terminal.

    Line ends become newlines, and everything else that is not printing is written as an escape.
    """
    text = reply.decode(errors="backslashreplace").replace("\r\n", "\n").replace("\n\r", "\n").rstrip("\n\r\0")
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def as_json(answer: Answer) -> str:
    """Return an answer as one JSON object on one line."""
    import json  # not for the other outputs

    return json.dumps(
        {
            "address": str(answer.address),
            "family": answer.family,
            "reply": answer.reply.decode(errors="backslashreplace"),
            "format": None,
            "instant": None,
            "resolution_s": None,
            "zone": None,
            "offset_s": None,
            "uncertainty_s": None,
            "connect_s": None if answer.connect_s is None else round(answer.connect_s, 6),
            "total_s": round(answer.total_s, 6),
            "state": state_of(answer),
            "reason": answer.reason,
        }
    )
